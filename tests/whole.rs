//! What must hold of a lake whatever happened to it: each key whole, once, and nothing else.

use std::collections::BTreeSet;

use almanac_delta::TableName;

use crate::lake::TestLake;
use crate::market::later;
use crate::tables::{HORIZON, Key, Paths, assert_same, moments, without_runs};

/// Asserts that every key that is there has the paths 1 … `paths`, from one run, on one input.
#[track_caller]
pub fn assert_no_key_is_half_written(found: &Paths, paths: i32) {
    for (key, rows) in found {
        let ids: Vec<i32> = rows.iter().map(|row| row.path_id).collect();
        let wanted: Vec<i32> = (1..=paths).collect();
        assert!(
            ids == wanted,
            "{key:?} has {} rows, paths {:?} … {:?}, wanted each of 1 … {paths} once",
            ids.len(),
            ids.first(),
            ids.last()
        );
        let first = &rows[0];
        for row in rows {
            assert_eq!(
                (
                    &row.run_id,
                    &row.digest,
                    row.revision,
                    row.cutoff,
                    &row.origin
                ),
                (
                    &first.run_id,
                    &first.digest,
                    first.revision,
                    first.cutoff,
                    &first.origin
                ),
                "{key:?} is put together from several runs"
            );
            assert!(
                row.days
                    .iter()
                    .all(|value| value.is_some_and(|bits| f32::from_bits(bits).is_finite())),
                "{key:?}"
            );
        }
        assert_eq!(first.leakage, Some(false), "{key:?}");
        assert!(
            first.cutoff.is_some_and(|cutoff| cutoff < key.date),
            "{key:?} rests on {:?}",
            first.cutoff
        );
    }
}

/// Asserts that the lake holds exactly these forecasts, whole and once, with their points, and no
/// model twice.
#[track_caller]
pub fn assert_whole(lake: &TestLake, wanted: &BTreeSet<Key>, paths: i32) {
    let found = lake.paths();
    assert_no_key_is_half_written(&found, paths);
    let keys: BTreeSet<Key> = found.keys().cloned().collect();
    let missing: Vec<_> = wanted.difference(&keys).collect();
    let surplus: Vec<_> = keys.difference(wanted).collect();
    assert!(
        missing.is_empty(),
        "{} of {} keys are missing, first {:?}",
        missing.len(),
        wanted.len(),
        missing[0]
    );
    assert!(
        surplus.is_empty(),
        "{} keys too many, first {:?}",
        surplus.len(),
        surplus[0]
    );

    let points = lake.points();
    let with_points: BTreeSet<Key> = points.keys().cloned().collect();
    assert_eq!(with_points, keys, "keys with points and keys with paths");
    for (key, rows) in &points {
        let days: Vec<i32> = rows.iter().map(|row| row.day_ahead).collect();
        assert_eq!(days, (1..=HORIZON as i32).collect::<Vec<_>>(), "{key:?}");
        for (row, day) in rows.iter().zip(1..) {
            let (mean, deviation) = moments(&found[key], day);
            let scale = mean.abs().max(1.0);
            assert!(
                (row.value("forecast_mean") - mean).abs() < 1e-9 * scale,
                "{key:?} day {day}"
            );
            if let Some(std) = row.values["forecast_std"].map(f64::from_bits) {
                assert!(
                    (std - deviation).abs() < 1e-6 * scale,
                    "{key:?} day {day}: {std} is not {deviation}"
                );
            }
            let order = [
                "q01",
                "lower_95",
                "q05",
                "q10",
                "q25",
                "forecast_median",
                "q75",
                "q90",
                "q95",
                "upper_95",
                "q99",
            ];
            assert!(
                order.map(|column| row.value(column)).is_sorted(),
                "{key:?} day {day}: quantiles out of order"
            );
            assert_eq!(row.date, Some(later(key.date, day as u64 - 1)), "{key:?}");
            assert_eq!(
                (row.actual_close, row.success, row.leakage),
                (None, Some(true), Some(false)),
                "{key:?}"
            );
            let path = &found[key][0];
            assert_eq!(
                (row.revision, &row.digest, row.cutoff),
                (path.revision, &path.digest, path.cutoff),
                "{key:?}"
            );
        }
    }

    for (key, rows) in lake.models() {
        assert_eq!(rows.len(), 1, "{key:?} is trained twice");
        assert!(
            rows[0].cutoff.is_some_and(|cutoff| cutoff < key.date),
            "{key:?} rests on {:?}",
            rows[0].cutoff
        );
    }
    for (key, rows) in lake.actuals() {
        assert_eq!(rows.len(), 1, "actuals of {key:?} stand twice");
    }
}

/// Asserts that the stored point forecasts are those that `rerun` makes from the stored paths alone.
#[track_caller]
pub fn assert_points_equal_a_rebuild(lake: &TestLake, rerun: &str) {
    let rebuilt = lake.copy();
    rebuilt.reset(TableName::PointForecasts);
    assert!(rebuilt.points().is_empty());
    let report = rebuilt.job(rerun);
    assert_eq!(
        report.count("forecasts"),
        0,
        "a rebuild makes no forecast: {report:?}"
    );
    assert_same(
        &without_runs(rebuilt.points()),
        &without_runs(lake.points()),
        "rebuilt point forecasts",
    );
    assert_same(&rebuilt.paths(), &lake.paths(), "paths after a rebuild");
}

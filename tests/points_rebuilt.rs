//! `distributions` is the truth; `point_forecasts` are made from it, whoever makes them.

use almanac_delta::TableName;

use crate::lake::TestLake;
use crate::market::{Market, days};
use crate::tables::{assert_same, keys, without_runs};
use crate::whole::{assert_points_equal_a_rebuild, assert_whole};

const REQUEST: &str = "--commodity Coffee,Sugar --models naive,linear_regression --start 2021-03-25 --end 2021-04-05 \
    --frequency monthly --model-version v1 --paths 137";

fn prepared(init: &str) -> TestLake {
    let lake = TestLake::init(init);
    lake.ingest(&Market::usual("Coffee", 51).and(Market::usual("Sugar", 52)));
    lake
}

#[test]
fn points_lost_between_the_tables_are_rebuilt_byte_for_byte() {
    for init in ["", "--buckets 4", "--calendar daily", "--calendar observed"] {
        let base = prepared(init);
        let undisturbed = base.copy();
        undisturbed.job(&format!("backfill {REQUEST}"));
        let lake = base.copy();
        lake.crash("between_tables", &format!("backfill {REQUEST}"));
        let paths = lake.paths();
        assert_eq!(
            (paths.len(), lake.points().len()),
            (2 * 2 * 12, 0),
            "`init {init}`"
        );
        let report = lake.job(&format!("backfill {REQUEST}"));
        assert_eq!(report.forecasts(), [0, 48, 0], "`init {init}`");
        assert_same(&lake.paths(), &paths, "paths are not made again");
        assert_same(
            &without_runs(lake.points()),
            &without_runs(undisturbed.points()),
            &format!("points, `init {init}`"),
        );
    }
}

#[test]
fn a_run_that_finds_some_points_missing_makes_only_those() {
    let lake = prepared("");
    lake.job(&format!(
        "backfill {}",
        REQUEST.replace("--end 2021-04-05", "--end 2021-03-28")
    ));
    lake.crash("between_tables", &format!("backfill {REQUEST}"));
    let before = lake.points();
    assert_eq!(before.len(), 2 * 2 * 4);
    // The job that finds them missing may ask for less than what is missing.
    lake.job(&format!(
        "forecast {}",
        REQUEST.replace("Coffee,Sugar", "Coffee")
    ));
    let after = lake.points();
    assert_eq!(after.len(), 2 * 2 * 4 + 2 * 8);
    for (key, rows) in &before {
        assert_eq!(&after[key], rows, "{key:?} was there");
    }
    lake.job(&format!("forecast {REQUEST}"));
    assert_whole(
        &lake,
        &keys(
            &["Coffee", "Sugar"],
            &["naive", "linear_regression"],
            days("2021-03-25", "2021-04-05"),
        ),
        137,
    );
}

#[test]
fn points_that_are_there_equal_a_rebuild() {
    let lake = prepared("");
    lake.job(&format!("backfill {REQUEST}"));
    assert_points_equal_a_rebuild(&lake, &format!("backfill {REQUEST}"));
    // Also after the files have been rewritten.
    lake.run("optimize").expect(0);
    assert_points_equal_a_rebuild(&lake, &format!("backfill {REQUEST}"));
}

#[test]
fn a_rebuild_that_is_killed_is_finished_by_the_next() {
    let lake = prepared("");
    lake.job(&format!("backfill {REQUEST}"));
    let wanted = without_runs(lake.points());
    for point in [
        "before_commit:forecast/point_forecasts",
        "after_commit_put:forecast/point_forecasts",
    ] {
        let broken = lake.copy();
        broken.reset(TableName::PointForecasts);
        broken.crash(point, &format!("backfill {REQUEST}"));
        broken.job(&format!("backfill {REQUEST}"));
        assert_same(
            &without_runs(broken.points()),
            &wanted,
            &format!("points rebuilt after {point}"),
        );
    }
}

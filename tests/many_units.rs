//! Many units in one run: many models of one commodity, many commodities, many series in buckets.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use almanac_delta::TableName;

use crate::lake::TestLake;
use crate::market::{Market, days};
use crate::tables::{assert_same, bits, keys, states};
use crate::whole::assert_whole;

#[test]
fn one_commodity_with_twenty_models_spreads_over_slices() {
    let names: Vec<String> = (1..=20).map(|number| format!("mean_{number}")).collect();
    let settings = names
        .iter()
        .zip(1..)
        .fold(String::new(), |mut text, (name, number)| {
            writeln!(
                text,
                "[models.{name}]\nfamily = \"window_mean\"\n[models.{name}.params]\nwindow = {}",
                2 * number
            )
            .unwrap();
            text
        });
    let lake = TestLake::of(&Market::usual("Coffee", 131));
    lake.configure(&settings);
    let single = lake.copy();
    let request = format!(
        "backfill --commodity Coffee --models {} --start 2021-03-01 --end 2021-03-10 --frequency weekly --model-version v1 --paths 30",
        names.join(",")
    );
    let report = lake.job(&format!("--slices 8 {request}"));
    assert_eq!(
        (report.trained(), report.forecasts()),
        ([40, 0, 0], [200, 0, 0])
    );
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_whole(
        &lake,
        &keys(&["Coffee"], &names, days("2021-03-01", "2021-03-10")),
        30,
    );
    // Twenty windows are twenty different models.
    let distinct: BTreeSet<_> = bits(&lake.paths()).into_values().collect();
    assert_eq!(distinct.len(), 200);
    single.job(&format!("--slices 1 {request}"));
    assert_same(
        &bits(&lake.paths()),
        &bits(&single.paths()),
        "paths of one slice and of eight",
    );
}

fn many(count: u64) -> (Vec<String>, Market) {
    let names: Vec<String> = (0..count)
        .map(|number| format!("series_{number:03}"))
        .collect();
    let market = names
        .iter()
        .zip(1000..)
        .fold(Market::default(), |market, (name, seed)| {
            market.and(Market::walk(name, seed, "2018-12-01", "2021-03-15"))
        });
    (names, market)
}

#[test]
fn sixty_commodities_in_one_run_are_one_commit_a_table() {
    let (names, market) = many(60);
    let lake = TestLake::of(&market);
    let versions = lake.versions();
    let report = lake.job(
        "backfill --commodity * --models naive,random_walk --start 2021-03-01 --end 2021-03-03 --frequency monthly \
         --model-version v1 --paths 20",
    );
    assert_eq!(
        (report.trained(), report.forecasts()),
        ([120, 0, 0], [360, 0, 0])
    );
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_whole(
        &lake,
        &keys(
            &names,
            &["naive", "random_walk"],
            days("2021-03-01", "2021-03-03"),
        ),
        20,
    );
    for table in [TableName::TrainedModels, TableName::PointForecasts] {
        assert_eq!(lake.versions()[&table], versions[&table] + 1, "{table}");
    }
}

#[test]
fn a_lake_of_buckets_gives_what_a_lake_of_commodities_gives() {
    let (names, market) = many(200);
    let by_bucket = TestLake::init("--buckets 8");
    by_bucket.ingest(&market);
    let request = "backfill --commodity * --models naive,window_mean --start 2021-03-01 --end 2021-03-02 --frequency monthly \
                   --model-version v1 --paths 20";
    let report = by_bucket.job(request);
    assert_eq!(
        (report.trained(), report.forecasts()),
        ([400, 0, 0], [800, 0, 0])
    );
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_whole(
        &by_bucket,
        &keys(
            &names,
            &["naive", "window_mean"],
            days("2021-03-01", "2021-03-02"),
        ),
        20,
    );
    let files = by_bucket.table(TableName::Distributions).files().len();
    assert!(files <= 64, "{files} files for 200 series in 8 buckets");

    let few = &names[..10];
    let by_commodity = TestLake::of(&market.only(|name, _| few.contains(&name)));
    by_commodity.job(request);
    let mut found = bits(&by_bucket.paths());
    found.retain(|key, _| few.contains(&key.commodity.as_str()));
    assert_same(
        &found,
        &bits(&by_commodity.paths()),
        "paths by bucket and by commodity",
    );
    let mut found = states(&by_bucket.models());
    found.retain(|key, _| few.contains(&key.commodity.as_str()));
    assert_same(
        &found,
        &states(&by_commodity.models()),
        "states by bucket and by commodity",
    );

    let report = by_bucket.job(request);
    assert_eq!(
        (report.trained(), report.forecasts()),
        ([0, 400, 0], [0, 800, 0])
    );
    // A subset, a later date, and a correction work there as well.
    let report = by_bucket.job(
        &request
            .replace('*', "series_007,series_123")
            .replace("2021-03-02", "2021-03-04"),
    );
    assert_eq!(report.forecasts(), [8, 8, 0]);
}

#[test]
fn buckets_are_killed_and_finished_like_commodities() {
    let (_, market) = many(30);
    let lake = TestLake::init("--buckets 4");
    lake.ingest(&market);
    let request = "backfill --commodity * --models naive,random_walk --start 2021-03-01 --end 2021-03-03 --frequency monthly \
                   --model-version v1 --paths 100";
    let undisturbed = lake.copy();
    undisturbed.job(request);
    for point in ["before_manifest", "after_manifest", "between_tables"] {
        let killed = lake.copy();
        killed.crash(point, request);
        killed.job(request);
        assert_whole(&killed, &undisturbed.paths().into_keys().collect(), 100);
        assert_same(
            &bits(&killed.paths()),
            &bits(&undisturbed.paths()),
            &format!("paths after {point}"),
        );
    }
}

#[test]
fn more_than_a_hundred_of_the_series_are_those_and_no_others() {
    let (names, market) = many(130);
    let lake = TestLake::init("--buckets 4");
    lake.ingest(&market);
    let request = |names: &[String], paths: u32| {
        format!(
            "--commodity {} --models naive --start 2021-02-22 --end 2021-02-23 --frequency monthly \
             --model-version v1 --paths {paths}",
            names.join(",")
        )
    };
    let report = lake.job(&format!("backfill {}", request(&names[..20], 5)));
    assert_eq!(report.forecasts(), [40, 0, 0]);
    let dry = format!("--json backfill {} --dry-run", request(&names[10..125], 5));
    let dry = lake.run(&dry).expect(0).json();
    assert_eq!(
        (
            dry["would_forecast"].as_u64(),
            dry["forecast_skipped"].as_u64()
        ),
        (Some(210), Some(20)),
        "{dry}"
    );
    // The first twenty have other paths, and are not asked for.
    let report = lake.job(&format!("backfill {}", request(&names[20..], 4)));
    assert_eq!(
        (report.trained(), report.forecasts()),
        ([110, 0, 0], [220, 0, 0])
    );
    let actuals: BTreeSet<String> = lake
        .actuals()
        .into_keys()
        .map(|key| key.commodity)
        .collect();
    assert_eq!(actuals, names.into_iter().collect());
}

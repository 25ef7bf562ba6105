//! Names people really use: commodities, versions and folders with spaces, slashes and accents.

use almanac_delta::TableName;

use crate::lake::TestLake;
use crate::market::{Market, days};
use crate::tables::{Key, assert_same, bits, keys};
use crate::whole::assert_whole;

const ODD: [&str; 9] = [
    "a/b",
    "Crude Oil",
    "O'Brien",
    "é%2F",
    "a=b",
    "..",
    "q?#",
    "A",
    "__HIVE_DEFAULT_PARTITION__",
];

/// `backfill` of all commodities under a version that may hold spaces.
fn backfill(lake: &TestLake, version: &str) -> crate::lake::Output {
    let mut command =
        lake.command("--json backfill --commodity * --models naive --frequency monthly");
    command.args([
        "--start",
        "2021-05-01",
        "--end",
        "2021-05-03",
        "--paths",
        "20",
        "--model-version",
        version,
    ]);
    crate::lake::finish(&mut command)
}

#[test]
fn odd_commodities_and_versions_are_kept_apart() {
    let market = ODD
        .iter()
        .zip(200..)
        .fold(Market::default(), |market, (name, seed)| {
            market.and(Market::usual(name, seed))
        });
    for init in ["", "--buckets 4"] {
        let lake = TestLake::init(init);
        lake.ingest(&market);
        for version in ["v1", "v 1/2", "é%2F=1", ".."] {
            backfill(&lake, version).expect(0);
            let again = backfill(&lake, version).expect(0).json();
            assert_eq!(
                (
                    again["forecasts"].as_u64(),
                    again["forecast_skipped"].as_u64()
                ),
                (Some(0), Some(27))
            );
        }
        lake.run("optimize").expect(0);
        let mut wanted = keys(&ODD, &["naive"], days("2021-05-01", "2021-05-03"));
        for version in ["v 1/2", "é%2F=1", ".."] {
            let of_version: Vec<Key> = wanted
                .iter()
                .filter(|key| key.version == "v1")
                .map(|key| Key {
                    version: version.to_owned(),
                    ..key.clone()
                })
                .collect();
            wanted.extend(of_version);
        }
        assert_whole(&lake, &wanted, 20);
        let rows = lake.sql("SELECT DISTINCT commodity FROM forecast.distributions");
        assert_eq!(rows.len(), ODD.len(), "{rows:?}");
    }
}

#[test]
fn a_version_that_no_table_can_tell_apart_is_refused() {
    let lake = TestLake::of(&Market::usual("Coffee", 210));
    backfill(&lake, "v1").expect(0);
    let versions = lake.data_versions();
    // An empty partition value is null to every reader; `actuals` is what happened.
    for version in ["", " ", "actuals"] {
        let (error, _) = backfill(&lake, version).refusal();
        assert!(error.contains("version"), "`{version}`: {error}");
        assert_eq!(lake.data_versions(), versions, "`{version}`");
    }
    let long = "x".repeat(300);
    let (error, _) = backfill(&lake, &long).refusal();
    assert!(error.contains("version"), "{error}");
    let found = lake.sql("SELECT count(*) AS n FROM forecast.distributions WHERE NOT is_actuals");
    assert_eq!(found[0]["n"], 60, "the table can still be read");
}

#[test]
fn a_model_cannot_take_a_reserved_name() {
    let lake = TestLake::of(&Market::usual("Coffee", 211));
    for name in ["actuals", ""] {
        lake.configure(&format!("[models.\"{name}\"]\nfamily = \"naive\"\n"));
        let mut command = lake.command(
            "backfill --commodity Coffee --frequency monthly --start 2021-05-01 --end 2021-05-03",
        );
        command.args(["--paths", "20", "--model-version", "v1", "--models", name]);
        crate::lake::finish(&mut command).refusal();
    }
    assert_eq!(lake.table(TableName::Distributions).version(), 0);
}

#[test]
fn a_lake_may_lie_in_any_folder() {
    let market = Market::usual("Coffee", 212);
    let plain = TestLake::of(&market);
    backfill(&plain, "v1").expect(0);
    for folder in ["with space", "Übung", "100%", "a#b?c", "日本"] {
        let lake = TestLake::inside(folder);
        lake.run("init").expect(0);
        lake.ingest(&market);
        backfill(&lake, "v1").expect(0);
        let again = backfill(&lake, "v1").expect(0).json();
        assert_eq!(again["forecast_skipped"].as_u64(), Some(3), "{folder}");
        assert_same(
            &bits(&lake.paths()),
            &bits(&plain.paths()),
            &format!("paths in `{folder}`"),
        );
        let rows =
            lake.sql("SELECT count(*) AS n FROM forecast.distributions WHERE NOT is_actuals");
        assert_eq!(rows[0]["n"], 60, "{folder}");
        lake.run("optimize").expect(0);
        lake.run("vacuum").expect(0);
        lake.run("status --stale").expect(0);
    }
    // delta-rs decodes such a name once more than it was encoded; better no lake than a lost one.
    let output = TestLake::inside("%20").run("init").expect(1);
    assert!(output.stderr.contains("percent"), "{}", output.stderr);
}

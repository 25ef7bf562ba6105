//! Making a lake: once, whole, whoever else makes it and whatever dies.

use std::collections::BTreeSet;

use almanac_delta::TableName;

use crate::lake::TestLake;
use crate::market::Market;
use crate::tables::{assert_same, bits};

const TABLES: [&str; 7] = [
    "silver/unified_data",
    "forecast/trained_models",
    "forecast/distributions",
    "forecast/point_forecasts",
    "forecast/job_runs",
    "forecast/job_failures",
    "silver/calendar",
];

/// Days that the lake knows to be closed.
fn closed(lake: &TestLake) -> BTreeSet<String> {
    let rows =
        lake.sql("SELECT CAST(date AS VARCHAR) AS day FROM silver.calendar WHERE NOT is_open");
    rows.iter()
        .map(|row| row["day"].as_str().expect("a day").to_owned())
        .collect()
}

#[test]
fn an_init_that_is_killed_is_completed_by_the_next() {
    let whole = closed(&TestLake::new());
    assert!(whole.contains("2021-07-05") && whole.contains("2021-12-24"));
    for table in TABLES {
        let lake = TestLake::missing();
        lake.crash(&format!("after_commit_put:{table}"), "init");
        let output = lake.run("init");
        if output.code != Some(0) {
            output.refusal();
        }
        assert_eq!(closed(&lake), whole, "killed after {table}");
        lake.ingest(&Market::usual("Coffee", 220));
    }
}

#[test]
fn an_init_that_is_refused_can_be_repeated_with_what_was_meant() {
    let lake = TestLake::missing();
    lake.run("init --holidays no_such_file.csv").refusal();
    let broken = lake.file("broken.csv", "date,is_open\n2021-02-30,maybe\n");
    lake.run(&format!("init --holidays {broken}")).refusal();
    let holidays = lake.file("holidays.csv", "date,is_open\n2021-07-07,false\n");
    lake.run(&format!("init --holidays {holidays}")).expect(0);
    assert!(closed(&lake).contains("2021-07-07"));
}

#[test]
fn several_inits_at_once_make_one_lake() {
    let lake = TestLake::missing();
    let racing = [(), (), ()].map(|()| lake.start("init"));
    let codes: Vec<_> = racing.map(|running| running.wait().code).into();
    assert!(
        codes.contains(&Some(0)) && codes.iter().all(|code| matches!(code, Some(0 | 1))),
        "{codes:?}"
    );
    assert_eq!(closed(&lake), closed(&TestLake::new()));
    let [one, other] = [lake, TestLake::new()].map(|lake| {
        lake.ingest(&Market::usual("Coffee", 221));
        lake.job("backfill --commodity Coffee --models naive --start 2021-07-01 --end 2021-07-02 --frequency monthly --model-version v1 --paths 20");
        lake.paths()
    });
    assert_same(
        &bits(&one),
        &bits(&other),
        "paths in a lake that several made",
    );
}

#[test]
fn another_init_changes_nothing() {
    let lake = TestLake::of(&Market::usual("Coffee", 222));
    let versions = lake.versions();
    for flags in ["", "--buckets 8", "--calendar daily", "--seed 9"] {
        let (error, _) = lake.run(&format!("init {flags}")).refusal();
        assert!(error.contains("already"), "{error}");
    }
    assert_eq!(lake.versions(), versions);
}

#[test]
fn files_loaded_at_once_all_arrive_with_their_columns() {
    for init in ["", "--buckets 3"] {
        let lake = TestLake::init(init);
        let markets: Vec<Market> = (0..4)
            .map(|number| {
                let name = format!("series_{number}");
                Market::usual(&name, 230 + number).with_index(
                    &format!("column_{number}"),
                    240 + number,
                    10.0,
                )
            })
            .collect();
        let racing: Vec<_> = markets
            .iter()
            .enumerate()
            .map(|(number, market)| {
                lake.start(&format!(
                    "ingest {}",
                    lake.file(&format!("{number}.csv"), market.csv())
                ))
            })
            .collect();
        for running in racing {
            running.wait().expect(0);
        }
        let rows = lake.sql(
            "SELECT count(*) AS n, count(column_0) AS c0, count(column_1) AS c1, count(column_2) AS c2, count(column_3) AS c3 \
             FROM silver.unified_data",
        );
        let count = |name: &str| rows[0][name].as_u64();
        let each = Some(markets[0].csv().lines().count() as u64 - 1);
        assert_eq!(
            [count("c0"), count("c1"), count("c2"), count("c3")],
            [each; 4],
            "`init {init}`"
        );
        assert_eq!(count("n"), each.map(|each| 4 * each), "`init {init}`");
    }
}

#[test]
fn an_ingest_that_is_killed_is_there_whole_or_not_at_all() {
    let base = TestLake::of(&Market::usual("Coffee", 223));
    let before = base.observations();
    let changed = Market::usual("Coffee", 224).and(Market::usual("Sugar", 225));
    let wanted = base.copy();
    wanted.ingest(&changed);
    for (point, landed) in [
        ("before_commit:silver/unified_data", false),
        ("after_commit_put:silver/unified_data", true),
    ] {
        let lake = base.copy();
        let path = lake.file("changed.csv", changed.csv());
        let output = crate::lake::finish(
            lake.command(&format!("ingest {path}"))
                .env("ALMANAC_CRASH_AT", point),
        );
        if output.signal != Some(9) {
            assert_eq!(point, "before_commit:silver/unified_data", "{output}");
            continue;
        }
        assert_eq!(
            lake.observations() == wanted.observations(),
            landed,
            "{point}"
        );
        assert_eq!(lake.observations() == before, !landed, "{point}");
        lake.run(&format!("ingest {path}")).expect(0);
        assert_eq!(lake.observations(), wanted.observations(), "{point}");
    }
    assert_eq!(
        base.table(TableName::UnifiedData).version() + 1,
        wanted.table(TableName::UnifiedData).version()
    );
}

//! One result: neither threads nor slices nor a violent death change a byte of what is computed.

use crate::lake::TestLake;
use crate::market::Market;
use crate::tables::{assert_same, bits, states, without_runs};

const REQUEST: &str = "--commodity Coffee,Sugar \
    --models naive,random_walk,seasonal_naive,window_mean,linear_regression,with_index \
    --start 2020-12-20 --end 2021-01-20 --frequency biweekly --model-version v1 --paths 60";

fn prepared() -> TestLake {
    let market = Market::usual("Coffee", 1)
        .and(Market::usual("Sugar", 2))
        .with_index("vix", 3, 20.0);
    let lake = TestLake::new();
    lake.configure("[models.with_index]\nfamily = \"linear_regression\"\ncovariates = [\"vix\"]\n");
    lake.ingest(&market);
    lake
}

fn assert_one_result(found: &TestLake, wanted: &TestLake, who: &str) {
    assert_same(
        &states(&found.models()),
        &states(&wanted.models()),
        &format!("states from {who}"),
    );
    assert_same(
        &bits(&found.paths()),
        &bits(&wanted.paths()),
        &format!("paths from {who}"),
    );
    assert_same(
        &without_runs(found.points()),
        &without_runs(wanted.points()),
        &format!("points from {who}"),
    );
    assert_same(
        &bits(&found.actuals()),
        &bits(&wanted.actuals()),
        &format!("actuals from {who}"),
    );
}

#[test]
fn threads_and_slices_change_no_byte() {
    let lake = prepared();
    let wanted = lake.copy();
    let report = wanted.job(&format!("--threads 1 --slices 1 backfill {REQUEST}"));
    assert_eq!(report.forecasts(), [2 * 6 * 32, 0, 0]);
    for flags in [
        "--threads 2",
        "--threads 8",
        "--threads 1 --slices 16",
        "--threads 8 --slices 16",
    ] {
        let found = lake.copy();
        found.job(&format!("{flags} backfill {REQUEST}"));
        assert_one_result(&found, &wanted, flags);
    }
}

#[test]
fn a_run_that_was_killed_and_finished_differently_changes_no_byte() {
    let lake = prepared();
    let wanted = lake.copy();
    wanted.job(&format!("--threads 2 backfill {REQUEST}"));
    for point in [
        "before_manifest",
        "after_manifest",
        "before_commit:forecast/distributions",
        "between_tables",
    ] {
        let found = lake.copy();
        found.crash(
            point,
            &format!("--threads 2 --slices 16 backfill {REQUEST}"),
        );
        found.job(&format!("--threads 8 --slices 16 backfill {REQUEST}"));
        assert_one_result(&found, &wanted, point);
        let other = lake.copy();
        other.crash(point, &format!("--threads 1 --slices 1 backfill {REQUEST}"));
        other.job(&format!("--threads 2 --slices 5 backfill {REQUEST}"));
        assert_one_result(
            &other,
            &wanted,
            &format!("{point}, finished in other slices"),
        );
    }
}

#[test]
fn neither_the_range_nor_the_other_units_of_a_run_change_a_forecast() {
    let lake = prepared();
    let wanted = lake.copy();
    wanted.job(&format!("backfill {REQUEST}"));
    // The same keys, a few dates and one model at a time, from models that are there already.
    let found = lake.copy();
    found.job(&format!("train {}", REQUEST.replace("--paths 60", "")));
    for (start, end) in [
        ("2021-01-11", "2021-01-20"),
        ("2020-12-20", "2021-01-02"),
        ("2021-01-03", "2021-01-10"),
    ] {
        for model in [
            "naive",
            "random_walk,with_index",
            "seasonal_naive,window_mean,linear_regression",
        ] {
            found.job(&format!(
                "forecast --commodity Sugar,Coffee --models {model} --start {start} --end {end} --frequency biweekly \
                 --model-version v1 --paths 60"
            ));
        }
    }
    assert_one_result(&found, &wanted, "many small runs");
}

#[test]
fn fewer_paths_are_the_first_of_many_and_another_seed_draws_others() {
    let market = Market::usual("Coffee", 1);
    let request = "backfill --commodity Coffee --models naive --start 2021-03-01 --end 2021-03-02 --frequency monthly \
                   --model-version v1 --paths";
    let [few, many, seeded] = ["", "", "--seed 7"].map(|flags| {
        let lake = TestLake::init(flags);
        lake.ingest(&market);
        lake
    });
    few.job(&format!("{request} 10"));
    many.job(&format!("{request} 40"));
    seeded.job(&format!("{request} 10"));
    let first_of_many = bits(&many.paths())
        .into_iter()
        .map(|(key, rows)| (key, rows[..10].to_vec()))
        .collect();
    assert_same(&bits(&few.paths()), &first_of_many, "the first ten paths");
    for (key, rows) in bits(&seeded.paths()) {
        assert_ne!(
            rows,
            bits(&few.paths())[&key],
            "{key:?} does not depend on the seed"
        );
    }
}

//! The future does not exist: nothing dated on or after D changes a byte of the forecast for D, or
//! of a model trained at D.

use chrono::NaiveDate;

use crate::lake::TestLake;
use crate::market::{ALL, Market, day, days, later};
use crate::tables::{Models, Paths, Points, assert_same, bits, states, without_runs};

const D: &str = "2021-06-16";
const MODELS: &str = "naive,random_walk,seasonal_naive,window_mean,linear_regression,mean,first,pivot,seasonal,trend";
const SETTINGS: &str = r#"
[models.mean]
family = "linear_regression"
covariates = ["vix", "temp_mean_c"]
[models.first]
family = "linear_regression"
covariates = ["temp_mean_c"]
regions = "first"
[models.pivot]
family = "linear_regression"
covariates = ["temp_mean_c@Bahia", "temp_mean_c@Minas"]
regions = "pivot"
[models.seasonal]
family = "linear_regression"
covariates = ["temp_mean_c"]
projection = "seasonal"
[models.trend]
family = "linear_regression"
covariates = ["vix"]
projection = "linear"
"#;

fn clean() -> Market {
    Market::usual("Coffee", 11)
        .with_weather("Coffee", &["Bahia", "Minas"], 12)
        .and(Market::usual("Sugar", 13))
        .with_index("vix", 14, 20.0)
}

/// Every value from D on is garbage.
fn garbage() -> Market {
    let mut count = 0;
    clean().change(
        |_, date| date >= day(D),
        |_, _| {
            count += 1;
            [Some(1e6), Some(0.0), Some(-37.63), None, Some(1e-9)][count % 5]
        },
    )
}

/// Nothing is there from D on.
fn deleted() -> Market {
    clean().only(|_, date| date < day(D))
}

/// From D on there are more days, more regions, more columns and another commodity.
fn added() -> Market {
    let mut market = clean().and(Market::walk("Upstart", 15, D, "2021-12-31"));
    for date in days(D, "2022-03-31") {
        market.set("Coffee", date, "close", 500.0);
        market.set_in("Coffee", date, "AAA", "temp_mean_c", -90.0);
        market.set_in("Coffee", date, "Zulia", "temp_mean_c", 90.0);
        market.set("Sugar", date, "from_the_future", 1.0);
        market.set_in("Sugar", date, ALL, "close", 3.0);
    }
    market
}

fn lake_of(market: &Market) -> TestLake {
    let lake = TestLake::new();
    lake.configure(SETTINGS);
    lake.ingest(market);
    lake
}

fn request(start: NaiveDate, end: NaiveDate) -> String {
    format!(
        "--commodity Coffee,Sugar --models naive,random_walk,seasonal_naive,window_mean,linear_regression \
         --start {start} --end {end} --frequency weekly --model-version v1"
    )
}

fn everything(lake: &TestLake) -> (Models, Paths, Points) {
    let mut results = (lake.models(), lake.paths(), without_runs(lake.points()));
    results.0.retain(|key, _| key.date <= day(D));
    results.1.retain(|key, _| key.date <= day(D));
    results.2.retain(|key, _| key.date <= day(D));
    results
}

fn assert_unchanged(
    found: &(Models, Paths, Points),
    wanted: &(Models, Paths, Points),
    poison: &str,
) {
    assert_same(
        &states(&found.0),
        &states(&wanted.0),
        &format!("states, {poison}"),
    );
    assert_same(
        &bits(&found.1),
        &bits(&wanted.1),
        &format!("paths, {poison}"),
    );
    assert_same(&found.2, &wanted.2, &format!("points, {poison}"));
    for (key, rows) in &wanted.1 {
        let (found, wanted) = (&found.1[key][0], &rows[0]);
        assert_eq!(
            (found.cutoff, &found.digest),
            (wanted.cutoff, &wanted.digest),
            "{key:?}, {poison}"
        );
    }
    for (key, rows) in &wanted.0 {
        let (found, wanted) = (&found.0[key][0], &rows[0]);
        assert_eq!(
            (found.cutoff, &found.digest, found.samples),
            (wanted.cutoff, &wanted.digest, wanted.samples),
            "{key:?}, {poison}"
        );
    }
}

#[test]
fn nothing_from_d_on_reaches_the_forecast_for_d_or_a_model_trained_at_d() {
    let coffee = format!(
        "--commodity Coffee --models {MODELS} --start {D} --end {D} --frequency monthly --model-version v1 --paths 50"
    );
    let sugar = request(day(D), day(D)).replace("Coffee,Sugar", "Sugar");
    let run = |market: &Market| {
        let lake = lake_of(market);
        lake.job(&format!("backfill {coffee}"));
        lake.job(&format!("backfill {sugar} --paths 50"));
        everything(&lake)
    };
    let wanted = run(&clean());
    assert_eq!(
        (wanted.0.len(), wanted.1.len(), wanted.2.len()),
        (15, 15, 15)
    );
    for (market, poison) in [
        (garbage(), "garbage"),
        (deleted(), "rows deleted"),
        (added(), "rows added"),
    ] {
        assert_unchanged(&run(&market), &wanted, poison);
    }
}

#[test]
fn a_model_trained_before_and_conditioned_up_to_d_sees_nothing_from_d_on() {
    let start = day("2021-06-08");
    let run = |market: &Market, end: NaiveDate| {
        let lake = lake_of(market);
        let output = lake.run(&format!("backfill {} --paths 50", request(start, end)));
        assert!(matches!(output.code, Some(0 | 3)), "{output}");
        everything(&lake)
    };
    let wanted = run(&clean(), day(D));
    assert_eq!(wanted.1.len(), 2 * 5 * 9);
    // One group serves all dates of a model: the dates after D must not reach back.
    assert_unchanged(&run(&clean(), later(day(D), 9)), &wanted, "more dates");
    for (market, poison) in [
        (garbage(), "garbage"),
        (deleted(), "rows deleted"),
        (added(), "rows added"),
    ] {
        assert_unchanged(&run(&market, later(day(D), 9)), &wanted, poison);
    }
}

#[test]
fn a_key_that_is_deleted_and_made_again_after_the_future_came_is_the_same() {
    let lake = lake_of(&deleted());
    let forecast = format!("{} --paths 50", request(day(D), day(D)));
    lake.job(&format!("backfill {forecast}"));
    let wanted = everything(&lake);
    lake.ingest(&added());
    lake.ingest(&garbage());
    lake.run(&format!(
        "delete --commodity Coffee,Sugar --models naive,random_walk,seasonal_naive,window_mean,linear_regression \
         --model-version v1 --start {D} --end {D}"
    ))
    .expect(0);
    assert!(lake.paths().is_empty());
    lake.job(&format!("backfill {forecast}"));
    assert_unchanged(&everything(&lake), &wanted, "made again");
}

#[test]
fn a_forecast_says_the_newest_date_that_reached_it() {
    // Covariates are known a day late, so the close of the day before is the newest.
    let lake = lake_of(&clean());
    lake.job(&format!(
        "backfill --commodity Coffee --models naive,mean --start 2021-06-14 --end {D} --frequency monthly --model-version v1 --paths 20"
    ));
    for (key, rows) in lake.paths() {
        let wanted = match key.date.to_string().as_str() {
            "2021-06-14" => day("2021-06-11"),
            "2021-06-15" => day("2021-06-14"),
            _ => day("2021-06-15"),
        };
        assert_eq!(rows[0].cutoff, Some(wanted), "{key:?}");
    }
}

#[test]
fn a_model_that_saw_the_day_it_forecasts_stops_the_job() {
    let lake = lake_of(&clean());
    let shape = "--commodity Coffee --models naive --frequency annually --model-version v1";
    lake.job(&format!("train {shape} --start {D} --end {D}"));
    lake.backdate_models(day("2021-03-01"));
    let versions = lake.data_versions();
    for command in ["forecast", "backfill"] {
        let line = format!("{command} {shape} --start 2021-03-01 --end 2021-03-03 --paths 20");
        let output = lake.run(&line).expect(2);
        for named in [
            "Coffee naive 2021-03-01",
            "Coffee naive 2021-03-03",
            "3 forecasts",
        ] {
            assert!(output.stderr.contains(named), "{output}");
        }
        assert_eq!(lake.data_versions(), versions);
    }
    // The day after all that the model saw is forecast as ever.
    lake.job(&format!(
        "forecast {shape} --start {D} --end {D} --paths 20"
    ));
}

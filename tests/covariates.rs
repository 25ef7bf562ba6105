//! Covariates: known a day late, carried a week at most, never zero, projected over the horizon.

use chrono::NaiveDate;

use crate::lake::{Report, TestLake};
use crate::market::{Market, day, days, earlier, is_weekday};
use crate::tables::{Key, Paths, assert_same, bits, keys, moments};
use crate::whole::assert_whole;

const SETTINGS: &str = r#"
[models.index]
family = "linear_regression"
covariates = ["vix"]
[models.currency]
family = "linear_regression"
covariates = ["vix", "brl_usd"]
[models.weather]
family = "linear_regression"
covariates = ["temp_mean_c"]
[models.weather_first]
family = "linear_regression"
covariates = ["temp_mean_c"]
regions = "first"
[models.weather_pivot]
family = "linear_regression"
covariates = ["temp_mean_c@Bahia", "temp_mean_c@Minas"]
regions = "pivot"
[models.slow]
family = "linear_regression"
covariates = ["vix"]
lag_days = 5
[models.brief]
family = "linear_regression"
covariates = ["vix"]
carry_days = 2
[models.unprojected]
family = "linear_regression"
covariates = ["vix"]
projection = "none"
[models.trend]
family = "linear_regression"
covariates = ["vix"]
projection = "linear"
[models.seasonal]
family = "linear_regression"
covariates = ["temp_mean_c"]
projection = "seasonal"
[models.absent]
family = "linear_regression"
covariates = ["vix", "no_such_column"]
"#;

/// A market whose closes follow the index of the day before, so that it matters.
fn market() -> Market {
    let mut market = Market::usual("Coffee", 141)
        .with_index("brl_usd", 142, 5.0)
        .with_index("vix", 143, 20.0);
    let closes: Vec<(NaiveDate, f64)> = days("2018-01-02", "2021-12-31")
        .filter(|date| is_weekday(*date))
        .map(|date| {
            (
                date,
                100.0 + 3.0 * (market.value("Coffee", earlier(date, 1), "vix") - 20.0),
            )
        })
        .collect();
    for (date, level) in closes {
        let noise = market.close("Coffee", date) / 100.0;
        market.set("Coffee", date, "close", level + noise);
    }
    market.with_weather("Coffee", &["Bahia", "Minas"], 144)
}

fn lake(market: &Market) -> TestLake {
    let lake = TestLake::new();
    lake.configure(SETTINGS);
    lake.ingest(market);
    lake
}

fn backfill(lake: &TestLake, models: &str, start: &str, end: &str) -> (Report, Paths) {
    let line = format!(
        "--json backfill --commodity Coffee --models {models} --start {start} --end {end} --frequency monthly --model-version v1 --paths 100"
    );
    let output = lake.run(&line);
    assert!(matches!(output.code, Some(0 | 3)), "{output}");
    (Report(output.json()), lake.paths())
}

#[test]
fn regressions_on_index_currency_and_weather_forecast() {
    let lake = lake(&market());
    let models = [
        "index",
        "currency",
        "weather",
        "weather_first",
        "weather_pivot",
        "slow",
        "brief",
        "trend",
        "seasonal",
    ];
    let (report, paths) = backfill(&lake, &models.join(","), "2021-03-01", "2021-03-05");
    assert_eq!(
        (report.trained(), report.forecasts()),
        ([9, 0, 0], [45, 0, 0]),
        "{report:?}"
    );
    assert_whole(
        &lake,
        &keys(&["Coffee"], &models, days("2021-03-01", "2021-03-05")),
        100,
    );
    // Each sees something else, so each says something else.
    let distinct: std::collections::BTreeSet<_> = bits(&paths).into_values().collect();
    assert_eq!(distinct.len(), 45);
}

#[test]
fn a_covariate_counts_from_the_day_after_its_date() {
    let plain = market();
    let d = day("2021-03-04");
    let (_, wanted) = backfill(
        &lake(&plain),
        "index,slow,linear_regression",
        "2021-03-01",
        "2021-03-12",
    );
    let mut changed = plain.clone();
    for region in ["ALL", "Bahia", "Minas"] {
        changed.set_in(
            "Coffee",
            d,
            region,
            "vix",
            plain.value("Coffee", d, "vix") + 2.0,
        );
    }
    let (_, found) = backfill(
        &lake(&changed),
        "index,slow,linear_regression",
        "2021-03-01",
        "2021-03-12",
    );
    let differs = |model: &str, date: &str| {
        let key = Key::new("Coffee", model, "v1", day(date));
        bits(&found)[&key] != bits(&wanted)[&key]
    };
    for date in days("2021-03-01", "2021-03-12") {
        assert!(
            !differs("linear_regression", &date.to_string()),
            "a model without covariates sees one on {date}"
        );
        assert!(
            date > d || !differs("index", &date.to_string()),
            "the index of {d} is known on {date}"
        );
    }
    assert!(
        differs("index", "2021-03-05"),
        "the index of {d} is not known the day after"
    );
    // With a lag of five days it counts from March 9 on.
    for (date, known) in [
        ("2021-03-05", false),
        ("2021-03-08", false),
        ("2021-03-09", true),
    ] {
        assert_eq!(differs("slow", date), known, "lag of five days, {date}");
    }
}

#[test]
fn no_value_dated_on_or_after_d_matters() {
    let d = "2021-03-04";
    let models = "index,currency,weather,weather_first,weather_pivot,trend,seasonal";
    let (_, wanted) = backfill(&lake(&market()), models, d, d);
    assert_eq!(wanted.len(), 7);
    let poisoned = market().change(|_, date| date >= day(d), |_, _| Some(1e7));
    let (_, found) = backfill(&lake(&poisoned), models, d, d);
    assert_same(
        &bits(&found),
        &bits(&wanted),
        "paths with a poisoned future",
    );
    let gone = market().only(|_, date| date < day(d));
    let (_, found) = backfill(&lake(&gone), models, d, d);
    assert_same(&bits(&found), &bits(&wanted), "paths without a future");
}

#[test]
fn a_value_is_carried_seven_days_and_is_then_missing_never_zero() {
    // No index after February 24.
    let silent = market().change(
        |_, date| date > day("2021-02-24"),
        |column, value| if column == "vix" { None } else { value },
    );
    let lake = lake(&silent);
    let (_, before) = backfill(&lake, "index,brief", "2021-02-22", "2021-02-23");
    assert_eq!(before.len(), 4);
    let (report, paths) = backfill(&lake, "index,brief", "2021-02-24", "2021-03-08");
    // Known a day late: newest for March 4 is March 3, seven days after; March 5 is beyond.
    let made = |model: &str| -> Vec<NaiveDate> {
        paths
            .keys()
            .filter(|key| key.model == model)
            .map(|key| key.date)
            .collect()
    };
    assert_eq!(
        made("index"),
        days("2021-02-22", "2021-03-04").collect::<Vec<_>>()
    );
    assert_eq!(
        made("brief"),
        days("2021-02-22", "2021-02-27").collect::<Vec<_>>()
    );
    let failures = report.failures();
    assert!(
        !failures.is_empty()
            && failures
                .iter()
                .all(|failure| failure[4] == "missing_covariate"),
        "{failures:?}"
    );
    for rows in paths.values() {
        let (mean, _) = moments(rows, 1);
        assert!(
            (60.0..140.0).contains(&mean),
            "a missing index was taken for a number: {mean}"
        );
    }
}

#[test]
fn a_covariate_that_is_not_projected_or_not_there_is_a_failure_that_names_it() {
    let lake = lake(&market());
    let (report, paths) = backfill(
        &lake,
        "unprojected,linear_regression",
        "2021-03-01",
        "2021-03-02",
    );
    assert_eq!(paths.len(), 2, "{report:?}");
    let failures = report.failures();
    assert!(
        failures
            .iter()
            .all(|[stage, _, model, _, class]| stage == "forecast"
                && model == "unprojected"
                && class == "missing_covariate"),
        "{failures:?}"
    );

    let told = report.0["failures"].to_string();
    assert!(told.contains("vix"), "which covariate is missing? {told}");

    let output = lake.run(
        "--json backfill --commodity Coffee --models absent,index --start 2021-03-01 --end 2021-03-02 --frequency monthly --model-version v1 --paths 100",
    );
    match output.code {
        Some(1) => assert!(output.refusal().0.contains("no_such_column"), "{output}"),
        Some(3) => {
            let messages = output.json()["failures"].to_string();
            assert!(
                messages.contains("no_such_column") && messages.contains("missing_covariate"),
                "{output}"
            );
            assert_eq!(lake.paths().len(), 4, "the other model forecasts");
        }
        _ => panic!("{output}"),
    }
}

#[test]
fn new_covariate_columns_arrive_by_ingest() {
    let lake = lake(&Market::usual("Coffee", 145));
    lake.configure(
        "[models.frost]\nfamily = \"linear_regression\"\ncovariates = [\"frost_index\"]\n",
    );
    lake.ingest(&Market::usual("Coffee", 145).with_index("frost_index", 146, 3.0));
    let (report, paths) = backfill(&lake, "frost,linear_regression", "2021-03-01", "2021-03-02");
    assert_eq!(report.forecasts(), [4, 0, 0], "{report:?}");
    let [with, without] = ["frost", "linear_regression"]
        .map(|model| Key::new("Coffee", model, "v1", day("2021-03-01")));
    assert_ne!(bits(&paths)[&with], bits(&paths)[&without]);
    let rows = lake.sql("SELECT count(frost_index) AS filled FROM silver.unified_data");
    assert!(
        rows[0]["filled"]
            .as_u64()
            .is_some_and(|filled| filled > 1000),
        "{rows:?}"
    );
}

#[test]
fn each_commodity_pivots_over_regions_of_its_own() {
    let coffee = Market::usual("Coffee", 71).with_weather("Coffee", &["Bahia", "Minas"], 72);
    let sugar = Market::usual("Sugar", 73).with_weather("Sugar", &["Punjab"], 74);
    let lake = TestLake::of(&coffee.and(sugar));
    lake.configure(
        "[models.pivot]\nfamily = \"linear_regression\"\ncovariates = [\"temp_mean_c\"]\nregions = \"pivot\"\n",
    );
    let job = |commodities: &str, end: &str| {
        lake.job(&format!(
            "backfill --commodity {commodities} --models pivot --start 2021-06-14 --end {end} \
             --frequency annually --model-version v1 --paths 20"
        ))
    };
    assert_eq!(job("Coffee", "2021-06-15").trained(), [1, 0, 0]);
    let both = job("Coffee,Sugar", "2021-06-16");
    assert_eq!((both.trained(), both.forecasts()), ([1, 1, 0], [4, 2, 0]));
    let found = lake.sql("SELECT commodity, parameters FROM trained_models ORDER BY commodity");
    for (row, regions) in found.iter().zip([&["@Bahia", "@Minas"][..], &["@Punjab"]]) {
        let parameters = row["parameters"].as_str().unwrap();
        assert_eq!(
            parameters.matches('@').count(),
            regions.len(),
            "{parameters}"
        );
        assert!(
            regions.iter().all(|region| parameters.contains(region)),
            "{parameters}"
        );
    }
}

//! Real prices: fourteen regions of coffee weather, and oil that cost less than nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::lake::{Report, TestLake, skip};
use crate::market::{day, days};
use crate::tables::{Key, keys, moments};
use crate::whole::assert_whole;

/// A file of the development data, or `None` and a word about it.
pub fn real(name: &str) -> Option<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data")
        .join(name);
    if path.exists() {
        return path.to_str().map(str::to_owned);
    }
    skip(&format!("there is no {}", path.display()));
    None
}

#[test]
fn a_quarter_of_coffee_with_and_without_covariates() {
    let Some(path) = real("unified_data.parquet") else {
        return;
    };
    let lake = TestLake::new();
    lake.configure(
        "[models.frost]\nfamily = \"linear_regression\"\ncovariates = [\"temp_mean_c\", \"vix\", \"brl_usd\"]\n",
    );
    lake.run(&format!("ingest {path}")).expect(0);
    let models = [
        "naive",
        "random_walk",
        "seasonal_naive",
        "window_mean",
        "linear_regression",
        "frost",
    ];
    let output = lake.run(&format!(
        "--json backfill --commodity Coffee --models {} --start 2020-10-01 --end 2020-12-31 --frequency monthly --model-version v1 --paths 200",
        models.join(",")
    ));
    assert!(matches!(output.code, Some(0 | 3)), "{output}");
    let report = Report(output.json());
    for [_, _, model, date, class] in report.failures() {
        assert!(
            model == "frost" && class == "missing_covariate",
            "{model} failed on {date}: {class}"
        );
    }
    let found: BTreeSet<Key> = lake.paths().into_keys().collect();
    for key in keys(&["Coffee"], &models[..5], days("2020-10-01", "2020-12-31")) {
        assert!(found.contains(&key), "{key:?} is missing");
    }
    assert!(
        found.iter().filter(|key| key.model == "frost").count() > 60,
        "{report:?}"
    );
    assert_whole(&lake, &found, 200);

    // Fourteen regions repeat the close; a forecast must not see fourteen observations a day.
    let rows = lake.sql("SELECT count(DISTINCT date) AS n FROM silver.unified_data WHERE commodity = 'Coffee' AND close IS NOT NULL AND date < DATE '2020-10-01'");
    let model = &lake.models()[&Key::new("Coffee", "naive", "v1", day("2020-10-01"))][0];
    assert_eq!(model.samples.map(i64::from), rows[0]["n"].as_i64());
}

#[test]
fn oil_below_zero_fails_no_run() {
    let Some(path) = real("energy_spot_eia_daily.parquet") else {
        return;
    };
    let lake = TestLake::new();
    lake.run(&format!(
        "ingest {path} --map commodity=series --map close=price"
    ))
    .expect(0);
    let low = lake.sql("SELECT min(close) AS low FROM silver.unified_data WHERE commodity LIKE 'WTI%' AND date BETWEEN DATE '2020-04-01' AND DATE '2020-06-30'");
    assert!(
        low[0]["low"].as_f64().is_some_and(|low| low < -30.0),
        "{low:?}"
    );
    let name =
        lake.sql("SELECT DISTINCT commodity FROM silver.unified_data WHERE commodity LIKE 'WTI%'")
            [0]["commodity"]
            .as_str()
            .unwrap()
            .to_owned();
    let models = [
        "naive",
        "random_walk",
        "seasonal_naive",
        "window_mean",
        "linear_regression",
    ];
    let output = lake.run(&format!(
        "--json backfill --commodity {name} --models {} --start 2020-02-01 --end 2020-05-31 --frequency monthly --model-version v1 --paths 200",
        models.join(",")
    ));
    assert!(matches!(output.code, Some(0 | 3)), "{output}");
    let report = Report(output.json());
    for [_, _, model, date, class] in report.failures() {
        assert!(
            class == "absurd" || class == "domain",
            "{model} failed on {date}: {class}"
        );
    }
    let found: BTreeSet<Key> = lake.paths().into_keys().collect();
    // Before the price fell, every path is far above zero. While it falls, a path below zero of a
    // series that was never below zero is refused as absurd; from April 21 on it no longer is.
    for key in keys(&[&name], &models, days("2020-02-01", "2020-03-05")).union(&keys(
        &[&name],
        &["naive"],
        days("2020-04-21", "2020-05-31"),
    )) {
        assert!(found.contains(key), "{key:?} is missing");
    }
    let [made, skipped, failed] = report.forecasts();
    assert_eq!(
        (made, skipped, failed),
        (found.len() as u64, 0, 5 * 121 - found.len() as u64)
    );
    assert_whole(&lake, &found, 200);
    // The day after settles where the price was.
    let key = Key::new(&name, "naive", "v1", day("2020-04-21"));
    assert!(
        moments(&lake.paths()[&key], 1).0 < -30.0,
        "the forecast starts from the newest close"
    );
}

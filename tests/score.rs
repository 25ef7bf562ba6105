//! How good models are: figures worked by hand, and those that were published.

use std::fmt::Write as _;

use crate::lake::TestLake;
use crate::real_data::real;

/// Four series of ten values; the last two of each are held out.
fn long_table() -> String {
    let mut text = "unique_id,ds,y\n".to_owned();
    for (id, values) in [
        (
            "climbing",
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0],
        ),
        ("resting", [5.0; 10]),
        (
            "turning",
            [4.0, 6.0, 4.0, 6.0, 4.0, 6.0, 4.0, 6.0, 4.0, 6.0],
        ),
    ] {
        for (time, value) in values.iter().enumerate() {
            writeln!(text, "{id},{time},{value}").unwrap();
        }
    }
    text
}

#[test]
fn figures_are_those_worked_by_hand() {
    let lake = TestLake::missing();
    let file = lake.file("long.csv", long_table());
    let output = lake
        .run(&format!(
            "--json score {file} --season-length 1 --horizon 2 --models naive,window_mean"
        ))
        .expect(3);
    let report = output.json();
    let models = report["models"].as_array().unwrap();
    let model = |key: &str| models.iter().find(|model| model["model"] == key).unwrap();
    let naive = model("naive");
    // climbing: 8 for 10 and 12, scale 1; turning: 6 for 4 and 6, scale 2; resting has no scale.
    let smape = (0.5 * (200.0 * 2.0 / 18.0 + 200.0 * 4.0 / 20.0) + 0.5 * 200.0 * 2.0 / 10.0) / 2.0;
    let mase = ((2.0 + 4.0) / 2.0 + (2.0 + 0.0) / 2.0 / 2.0) / 2.0;
    for (figure, expected) in [("smape", smape), ("mase", mase), ("owa", 1.0)] {
        let found = naive[figure].as_f64().unwrap();
        assert!(
            (found - expected).abs() < 1e-9,
            "{figure}: {found}, not {expected}"
        );
    }
    assert_eq!(
        (naive["series"].as_u64(), naive["failed"].as_u64()),
        (Some(2), Some(0))
    );
    assert_eq!(report["unscaled"], 1);
    assert!(naive["series_per_cpu_second"].as_f64().unwrap() > 0.0);
    // A window of thirty does not fit into eight values.
    assert_eq!(model("window_mean")["failed"], 3);
    assert_eq!(report["failures"][0]["error_class"], "too_short");
    assert!(
        !lake.path("lake").exists(),
        "the lake of a score is nobody else's"
    );
}

#[test]
fn what_cannot_be_scored_is_one_line_and_a_hint() {
    let lake = TestLake::missing();
    let file = lake.file("long.csv", long_table());
    for (line, needed) in [
        (
            format!("score {file} --horizon 0 --models naive"),
            "--horizon is 0",
        ),
        (
            format!("score {file} --horizon 20 --models naive"),
            "series `climbing`",
        ),
        (
            format!("score {file} --horizon 2 --models naiv"),
            "no model `naiv`",
        ),
        (
            format!("score {file} --value price --horizon 2 --models naive"),
            "no column `price`",
        ),
        (
            "score nowhere.csv --horizon 2 --models naive".to_owned(),
            "nowhere.csv",
        ),
    ] {
        let (error, _) = lake.run(&line).refusal();
        assert!(error.contains(needed), "{error}");
    }
}

#[test]
fn what_no_job_would_write_is_a_failure_and_what_is_left_out_is_told() {
    let lake = TestLake::missing();
    let text = long_table() + "short,0,1\nturning,10,\n";
    let file = lake.file("long.csv", text);
    let low = "[models.low]\nfamily = \"drill\"\nmode = \"negative\"\n".to_owned();
    let config = lake.file("low.toml", low);
    let line = format!("--config {config} score {file} --horizon 2 --models low,naive");
    let report = lake.run(&format!("--json {line}")).expect(3).json();
    let models = report["models"].as_array().unwrap();
    let failed = models
        .iter()
        .map(|model| (&model["model"], &model["failed"]));
    for (model, failed) in failed {
        assert_eq!(failed, if model == "low" { 3 } else { 0 }, "{model}");
    }
    assert_eq!(report["failures"][0]["error_class"], "absurd");
    assert_eq!(report["too_short"], serde_json::json!(["short"]));
    assert_eq!(report["without_value"], 1);
    let table = lake.run(&line).expect(3).stdout;
    for needed in [
        "1 series are too short for the horizon and left out: short",
        "1 rows have no value",
    ] {
        assert!(table.contains(needed), "{table}");
    }
}

/// The organisers' sMAPE and MASE of a method on a set.
fn published(text: &str, method: &str, set: &str) -> [f64; 2] {
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let row = lines.find(|row| row[0] == method).unwrap();
    ["sMAPE", "MASE"].map(|figure| {
        let name = format!("{figure}_{set}");
        row[header.iter().position(|found| **found == name).unwrap()]
            .parse()
            .unwrap()
    })
}

#[test]
fn benchmarks_of_the_m4_competition_score_what_was_published() {
    let Some(results) = real("m4_published_point_results.csv") else {
        return;
    };
    let results = std::fs::read_to_string(results).unwrap();
    let lake = TestLake::missing();
    for (file, set, season, horizon) in [
        ("m4_weekly.parquet", "Weekly", 1, 13),
        ("m4_hourly.parquet", "Hourly", 24, 48),
    ] {
        let Some(path) = real(file) else {
            return;
        };
        let report = lake
            .run(&format!(
                "--json score {path} --season-length {season} --horizon {horizon} --models naive,seasonal_naive --paths 20"
            ))
            .expect(0)
            .json();
        let figures = |value: &serde_json::Value| {
            ["smape", "mase"].map(|figure| value[figure].as_f64().unwrap())
        };
        let model = |key: &str| {
            let models = report["models"].as_array().unwrap();
            figures(models.iter().find(|model| model["model"] == key).unwrap())
        };
        for (method, found) in [
            ("Naive", model("naive")),
            ("sNaive", model("seasonal_naive")),
            ("Naive2", figures(&report["naive2"])),
        ] {
            for (found, expected) in found.iter().zip(published(&results, method, set)) {
                let rounded = (found * 1e3).round() / 1e3;
                assert!(
                    (rounded - expected).abs() < 1e-9,
                    "{set} {method}: {found}, not {expected}"
                );
            }
        }
    }
}

//! What the lake says of itself, and what can be asked of it.

use almanac_delta::TableName;
use chrono::NaiveDate;
use serde_json::{Value, json};

use crate::lake::TestLake;
use crate::market::{Market, earlier};

const REQUEST: &str = "--commodity Coffee,Sugar --models naive,random_walk --start 2021-03-01 --end 2021-03-10 --frequency monthly \
    --model-version v1 --paths 20";

fn lake() -> TestLake {
    let lake = TestLake::of(&Market::usual("Coffee", 151).and(Market::usual("Sugar", 152)));
    lake.job(&format!("backfill {REQUEST}"));
    lake
}

#[test]
fn status_shows_runs_failures_and_coverage() {
    let lake = lake();
    let report = lake.job(&format!(
        "backfill {}",
        REQUEST
            .replace("--end 2021-03-10", "--end 2021-03-12")
            .replace("Coffee,Sugar", "Coffee")
    ));
    for (first, last) in [("2021-03-04", "2021-03-05"), ("2021-03-07", "2021-03-07")] {
        lake.run(&format!("delete --commodity Sugar --models naive --model-version v1 --start {first} --end {last}"))
            .expect(0);
    }
    let status = lake.run("--json status").expect(0).json();
    let coverage = status["coverage"]
        .as_array()
        .unwrap_or_else(|| panic!("no coverage in {status}"));
    let of = |commodity: &str, model: &str| {
        let row = coverage
            .iter()
            .find(|row| {
                row["commodity"] == commodity
                    && row["model_name"] == model
                    && row["model_version"] == "v1"
            })
            .unwrap_or_else(|| panic!("no coverage of {commodity} {model} in {status}"));
        assert_eq!(row["live"], false, "{row}");
        (
            row["present"].as_u64().unwrap(),
            row["wanted"].as_u64().unwrap(),
            row["gaps"].clone(),
        )
    };
    let gap = |first: &str, last: &str| json!({"first_date": first, "last_date": last});
    assert_eq!(of("Coffee", "naive"), (12, 12, json!([])));
    assert_eq!(of("Sugar", "random_walk"), (10, 10, json!([])));
    let gaps = json!([
        gap("2021-03-04", "2021-03-05"),
        gap("2021-03-07", "2021-03-07")
    ]);
    assert_eq!(of("Sugar", "naive"), (7, 10, gaps));
    let runs = status["runs"]
        .as_array()
        .unwrap_or_else(|| panic!("no runs in {status}"));
    assert!(
        runs.iter()
            .any(|run| run["run_id"] == report.0["run_id"] && run["kind"] == "backfill"),
        "{status}"
    );

    let text = lake.run("status").expect(0).stdout;
    let gaps = "2021-03-07, 2021-03-04 … 2021-03-05";
    assert!(
        ["Coffee", "Sugar", "naive", "random_walk", "backfill", gaps]
            .iter()
            .all(|word| text.contains(word)),
        "{text}"
    );
    let run = report.0["run_id"].as_str().unwrap();
    let one = lake.run(&format!("--json status {run}")).expect(0).json();
    assert!(one.to_string().contains(run), "{one}");
    let (error, _) = lake.run("status no-such-run").refusal();
    assert!(error.contains("no-such-run"), "{error}");
}

/// The coverage of the one model that there is.
fn only_coverage(lake: &TestLake) -> Value {
    let status = lake.run("--json status").expect(0).json();
    match status["coverage"].as_array().map(Vec::as_slice) {
        Some([only]) => only.clone(),
        _ => panic!("not one model in {status}"),
    }
}

#[test]
fn a_live_model_is_wanted_up_to_today() {
    let lake = TestLake::new();
    let today = chrono::Utc::now().date_naive();
    let first = earlier(today, 1100).to_string();
    lake.ingest(&Market::walk(
        "Coffee",
        154,
        &first,
        &earlier(today, 1).to_string(),
    ));
    let of = |date: NaiveDate| {
        format!(
            "daily --commodity Coffee --models naive --model-version v1 --paths 20 --allow-stale --date {date}"
        )
    };
    lake.job(&of(earlier(today, 6)));
    lake.job(&of(earlier(today, 4)));
    let before = only_coverage(&lake);
    assert_eq!(
        (&before["present"], &before["wanted"], &before["live"]),
        (&json!(2), &json!(3), &json!(false)),
        "made later, wanted no longer: {before}"
    );

    // The forecast of today, and then none since the day before yesterday's.
    lake.job(&of(today));
    lake.job(&of(earlier(today, 2)));
    let live = only_coverage(&lake);
    // Midnight may have passed since.
    let now = chrono::Utc::now().date_naive();
    let late = (now - today).num_days();
    assert_eq!(
        (&live["present"], &live["wanted"], &live["live"]),
        (&json!(4), &json!(7 + late), &json!(late == 0)),
        "{live}"
    );
}

#[test]
fn a_model_that_failed_everywhere_is_wanted_and_not_present() {
    let lake = lake();
    lake.configure(
        "[models.panics]\nfamily = \"drill\"\n[models.panics.params]\nmode = \"panic\"\n",
    );
    lake.failing_job(&format!("backfill {REQUEST}").replace(
        "Coffee,Sugar --models naive,random_walk",
        "Coffee --models panics",
    ));
    let status = lake.run("--json status").expect(0).json();
    let row = status["coverage"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["model_name"] == "panics")
        .unwrap_or_else(|| panic!("{status}"));
    assert_eq!((&row["present"], &row["wanted"]), (&json!(0), &json!(10)));
    assert_eq!(
        row["gaps"],
        json!([{"first_date": "2021-03-01", "last_date": "2021-03-10"}])
    );
    assert!(row["first_date"].is_null(), "{row}");
}

#[test]
fn a_run_records_every_version_that_it_read() {
    let lake = TestLake::of(&Market::usual("Coffee", 155));
    let version = |table: TableName| lake.table(table).version();
    let data = version(TableName::UnifiedData);
    let report = lake.job(
        &format!("backfill {REQUEST}")
            .replace("Coffee,Sugar", "Coffee")
            .replace("--start 2021-03-01", "--start 2020-12-29"),
    );
    // Two years are two chunks; the second is planned on what the first has committed.
    let row = &lake.sql(&format!(
        "SELECT data_versions FROM job_runs WHERE run_id = '{}'",
        report.0["run_id"].as_str().unwrap()
    ))[0];
    let read: Value = serde_json::from_str(row["data_versions"].as_str().unwrap()).unwrap();
    assert_eq!(
        read,
        json!({
            "silver.unified_data": [data],
            "silver.calendar": [1],
            // Before the first chunk, and after each of its commits.
            "forecast.trained_models": [0, 1, 2],
            "forecast.distributions": [0, 1, 2],
            "forecast.point_forecasts": [0, 1],
        })
    );
}

#[test]
fn the_code_has_a_version_that_runs_and_models_carry() {
    let lake = lake();
    let printed = lake.run("--version").expect(0).stdout;
    let program = printed.trim();
    let (release, identity) = program
        .split_once('+')
        .unwrap_or_else(|| panic!("{printed}"));
    assert_eq!(release, concat!("almanac ", env!("CARGO_PKG_VERSION")));
    assert!(
        identity.len() == 16 && identity.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{printed}"
    );
    for query in [
        "SELECT DISTINCT code_version AS version FROM job_runs",
        "SELECT DISTINCT created_by AS version FROM trained_models",
    ] {
        assert_eq!(lake.sql(query), [json!({"version": program})], "{query}");
    }
}

#[test]
fn every_run_leaves_a_row_that_says_what_it_read_and_wrote() {
    let lake = lake();
    let rows = lake.sql("SELECT * FROM forecast.job_runs WHERE kind = 'backfill'");
    assert_eq!(rows.len(), 1);
    for column in [
        "run_id",
        "arguments",
        "started_at",
        "finished_at",
        "status",
        "engine",
        "code_version",
        "data_versions",
        "table_versions",
    ] {
        assert!(
            rows[0][column]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{column} of {}",
            rows[0]
        );
    }
    let json = |column: &str| -> Value {
        serde_json::from_str(rows[0][column].as_str().unwrap()).unwrap()
    };
    assert_eq!(
        json("table_versions")["forecast.point_forecasts"].as_u64(),
        Some(lake.table(TableName::PointForecasts).version())
    );
    assert!(
        json("data_versions")["silver.unified_data"].is_array(),
        "{}",
        rows[0]
    );
    assert!(
        json("arguments").to_string().contains("random_walk"),
        "{}",
        rows[0]
    );
}

#[test]
fn the_run_of_every_command_that_writes_can_be_asked_for() {
    let lake = lake();
    let more = lake.file("more.csv", Market::usual("Cocoa", 153).csv());
    let days = lake.file("days.csv", "date,is_open\n2021-07-07,false\n");
    for (line, kind, table) in [
        (
            format!("ingest {more}"),
            "ingest",
            Some("silver.unified_data"),
        ),
        (
            format!("holidays {days}"),
            "holidays",
            Some("silver.calendar"),
        ),
        ("optimize".to_owned(), "optimize", Some("forecast.job_runs")),
        ("vacuum".to_owned(), "vacuum", None),
    ] {
        if kind == "optimize" {
            // Two rows, two small files of one table.
            lake.job(&format!("train {}", REQUEST.replace(" --paths 20", "")));
        }
        let result = lake.run(&format!("--json {line}")).expect(0).json();
        let run = result["run_id"].as_str().unwrap();
        let status = lake.run(&format!("--json status {run}")).expect(0).json();
        let row = &status["runs"][0];
        assert_eq!(
            [&row["kind"], &row["status"]],
            [&json!(kind), &json!("succeeded")],
            "{row}"
        );
        assert_eq!(result["command"], *kind);
        let read = row["data_versions"].as_str().unwrap();
        assert!(kind == "holidays" || read.contains("["), "{line}: {read}");
        let counts = row["counts"].as_str().unwrap();
        let counts: Value = serde_json::from_str(counts).unwrap();
        for (name, count) in counts.as_object().unwrap() {
            assert!(count.is_u64(), "{line}: {name} of {counts}");
        }
        assert!(counts.as_object().unwrap().len() > 1, "{line}: {counts}");
        let versions = row["table_versions"].as_str().unwrap();
        let versions: Value = serde_json::from_str(versions).unwrap();
        if let Some(table) = table {
            assert!(versions[table].is_u64(), "{line}: {versions}");
        }
    }
    let runs = lake.sql("SELECT count(*) AS runs FROM job_runs");
    lake.run("vacuum --dry-run").expect(0);
    let bad = lake.file("bad.csv", "date,close\n2021-13-01,1\n");
    lake.run(&format!("ingest {bad} --commodity Cocoa"))
        .refusal();
    assert_eq!(lake.sql("SELECT count(*) AS runs FROM job_runs"), runs);
}

#[test]
fn every_table_can_be_queried_under_each_of_its_names() {
    let lake = lake();
    for table in TableName::ALL {
        let count = |name: &str| {
            lake.sql(&format!("SELECT count(*) AS n FROM {name}"))[0]["n"]
                .as_u64()
                .unwrap()
        };
        let rows: usize = lake.rows(table).iter().map(crate::tables::Rows::len).sum();
        let names = [
            table.sql_name().to_owned(),
            format!("commodity.{}", table.sql_name()),
        ];
        for name in names {
            assert_eq!(count(&name), rows as u64, "{name}");
        }
    }
    // The calendar is there to be joined with, whatever the lake does with it.
    let rows = lake.sql(
        "SELECT p.commodity, count(*) AS n, min(p.day_1) AS low, max(p.day_14) AS high \
         FROM forecast.distributions p JOIN forecast.trained_models m \
         ON p.commodity = m.commodity AND p.model_name = m.model_name AND p.model_version = m.model_version \
         WHERE NOT p.is_actuals AND p.forecast_start_date = DATE '2021-03-05' GROUP BY p.commodity ORDER BY p.commodity",
    );
    assert_eq!(
        rows.iter()
            .map(|row| row["n"].as_u64().unwrap())
            .collect::<Vec<_>>(),
        [40, 40]
    );
}

#[test]
fn sql_sums_what_the_files_hold() {
    let lake = lake();
    let rows = lake.sql(
        "SELECT commodity, model_name, CAST(forecast_start_date AS VARCHAR) AS day, count(*) AS paths, sum(CAST(day_7 AS DOUBLE)) AS total \
         FROM forecast.distributions WHERE NOT is_actuals GROUP BY 1, 2, 3",
    );
    let paths = lake.paths();
    assert_eq!(rows.len(), paths.len());
    for row in rows {
        let text = |name: &str| row[name].as_str().unwrap();
        let key = crate::tables::Key::new(
            text("commodity"),
            text("model_name"),
            "v1",
            crate::market::day(text("day")),
        );
        assert_eq!(row["paths"].as_u64(), Some(20));
        let total: f64 = paths[&key].iter().map(|path| path.day(7)).sum();
        assert!(
            (row["total"].as_f64().unwrap() / total - 1.0).abs() < 1e-12,
            "{key:?}"
        );
    }
}

#[test]
fn a_table_can_be_read_as_of_an_older_version() {
    let lake = lake();
    let before = lake.table(TableName::Distributions).version();
    lake.job(&format!(
        "backfill {}",
        REQUEST.replace("--model-version v1", "--model-version v2")
    ));
    let count = "SELECT count(*) AS n FROM forecast.distributions WHERE NOT is_actuals";
    let n = |output: crate::lake::Output| output.expect(0).json()[0]["n"].as_u64().unwrap();
    assert_eq!(n(lake.sql_with(count, &[])), 2 * 40 * 20);
    for table in ["distributions", "forecast.distributions"] {
        assert_eq!(
            n(lake.sql_with(count, &["--as-of", &format!("{table}={before}")])),
            40 * 20,
            "{table}"
        );
        assert_eq!(
            n(lake.sql_with(count, &["--as-of", &format!("{table}=0")])),
            0,
            "{table}"
        );
    }
    let (error, hint) = lake
        .sql_with(count, &["--as-of", "distributions=9999"])
        .refusal();
    assert!(error.contains("9999"), "{error} {hint}");
    let (error, _) = lake
        .sql_with(count, &["--as-of", "no_such_table=1"])
        .refusal();
    assert!(error.contains("no_such_table"), "{error}");
}

#[test]
fn users_can_train_in_sql() {
    let lake = lake();
    let rows = lake.sql(
        "SELECT commodity, train('random_walk', date, close) AS model FROM silver.unified_data \
         WHERE date < DATE '2021-03-01' GROUP BY commodity ORDER BY commodity",
    );
    assert_eq!(rows.len(), 2, "{rows:?}");
    let stored = lake.models();
    for row in &rows {
        let model = &row["model"];
        assert!(model["error_class"].is_null(), "{model}");
        let commodity = row["commodity"].as_str().unwrap();
        let key = crate::tables::Key::new(
            commodity,
            "random_walk",
            "v1",
            crate::market::day("2021-03-01"),
        );
        assert_eq!(
            model["state"].as_str().unwrap(),
            stored[&key][0].state,
            "the same fit as the job's"
        );
        assert_eq!(
            model["training_samples"].as_i64(),
            stored[&key][0].samples.map(i64::from)
        );
    }
    let rows = lake.sql(
        "SELECT train('no_such_family', date, close)['error_class'] AS class FROM silver.unified_data WHERE commodity = 'Coffee'",
    );
    assert_eq!(rows[0]["class"], "parameter");
}

#[test]
fn a_stored_forecast_can_be_made_again_in_sql() {
    let lake = lake();
    let model = "model_version = 'v1' AND model_name = 'random_walk' AND commodity = 'Coffee'";
    let made = lake.sql(&format!(
        "WITH newest AS (SELECT max(forecast_start_date) AS day FROM distributions WHERE {model}),
         model AS (SELECT parameters, fitted_model_json, training_date FROM trained_models, newest
                   WHERE {model} AND training_date <= newest.day ORDER BY training_date DESC LIMIT 1),
         closed AS (SELECT array_agg(date ORDER BY date) AS days FROM silver.calendar WHERE NOT is_open),
         rows AS (SELECT m.parameters, m.fitted_model_json, u.date, u.close, n.day, c.days
                  FROM silver.unified_data u, newest n, model m, closed c
                  WHERE u.commodity = 'Coffee' AND u.date < n.day),
         origins AS (SELECT unnest(forecast(parameters, fitted_model_json, date, close, NULL,
                                            make_array(day), days)) AS f FROM rows),
         drawn AS (SELECT draw(f['origin'], 'Coffee', 'random_walk', 'v1',
                               f['forecast_start_date'], 20) AS d FROM origins),
         points AS (SELECT unnest(d['points']) AS p FROM drawn),
         paths AS (SELECT unnest(d['paths']) AS p FROM drawn)
         SELECT (SELECT count(*) FROM paths, newest, distributions s WHERE {model}
                   AND s.forecast_start_date = newest.day AND s.path_id = p['path_id']
                   AND s.day_1 = p['day_1'] AND s.day_14 = p['day_14']) AS paths,
                (SELECT count(*) FROM points, newest, point_forecasts s WHERE {model}
                   AND s.forecast_start_date = newest.day AND s.day_ahead = p['day_ahead']
                   AND s.forecast_date = p['forecast_date'] AND s.q05 = p['q05']
                   AND s.forecast_mean = p['forecast_mean']) AS points"
    ));
    assert_eq!(made, [json!({"paths": 20, "points": 14})]);
}

#[test]
fn quantiles_of_stored_paths_are_those_of_the_point_forecasts() {
    let lake = lake();
    let found = lake.sql(
        "SELECT count(*) AS keys, sum(CASE WHEN p.q05 = d.q05 AND p.upper_95 = d.upper THEN 1 ELSE 0 END) AS equal
         FROM point_forecasts p JOIN (
             SELECT commodity, model_name, forecast_start_date, path_quantile(day_3, 0.05) AS q05,
                    path_quantile(day_3, 0.975) AS upper
             FROM distributions WHERE NOT is_actuals GROUP BY commodity, model_name, forecast_start_date) d
         ON p.commodity = d.commodity AND p.model_name = d.model_name
            AND p.forecast_start_date = d.forecast_start_date
         WHERE p.day_ahead = 3",
    );
    assert_eq!(found, [json!({"keys": 40, "equal": 40})]);
    let (error, _) = lake
        .sql_with("SELECT path_quantile(day_1, 1.5) FROM distributions", &[])
        .refusal();
    assert!(error.contains("1.5"), "{error}");
}

#[test]
fn an_origin_that_cannot_be_drawn_says_why() {
    let lake = lake();
    let query = |origin: &str| {
        lake.sql(&format!(
            "SELECT d['error_class'] AS class, d['paths'] IS NULL AS nothing, d IS NULL AS unknown FROM (
               SELECT draw({origin}, 'Coffee', 'naive', 'v1.0', DATE '2024-01-02', 5) AS d)"
        ))
    };
    let failed = json!({"class": "state_corrupt", "nothing": true, "unknown": false});
    assert_eq!(query("'no origin'"), [failed]);
    assert_eq!(query("NULL")[0]["unknown"], json!(true));
    let query = "SELECT draw('', 'Coffee', 'naive', 'v1.0', DATE '2024-01-02', 0)";
    let (error, _) = lake.sql_with(query, &[]).refusal();
    assert!(error.contains("0 paths"), "{error}");
}

#[test]
fn latest_forecasts_is_the_newest_whole_forecast_of_each_model() {
    let lake = lake();
    let rows = lake.sql(
        "SELECT commodity, model_name, model_version, count(*) AS n, CAST(max(forecast_start_date) AS VARCHAR) AS newest, \
         CAST(min(forecast_start_date) AS VARCHAR) AS oldest FROM forecast.latest_forecasts GROUP BY 1, 2, 3 ORDER BY 1, 2",
    );
    assert_eq!(rows.len(), 4, "{rows:?}");
    for row in rows {
        assert_eq!(
            (row["newest"].as_str(), row["oldest"].as_str()),
            (Some("2021-03-10"), Some("2021-03-10")),
            "{row}"
        );
        assert!(matches!(row["n"].as_u64(), Some(20 | 14)), "{row}");
    }
}

#[test]
fn sql_refuses_writes_and_names_what_is_wrong() {
    let lake = lake();
    let versions = lake.versions();
    for query in [
        "DELETE FROM forecast.distributions",
        "INSERT INTO forecast.job_runs SELECT * FROM forecast.job_runs",
        "DROP TABLE forecast.distributions",
        "CREATE TABLE x AS SELECT 1",
        "COPY (SELECT 1) TO 'x.csv'",
        "UPDATE forecast.trained_models SET is_active = false",
        "SELEC 1",
        "SELECT no_such_column FROM forecast.job_runs",
        "SELECT * FROM forecast.no_such_table",
    ] {
        let (error, _) = lake.sql_with(query, &[]).refusal();
        assert!(!error.is_empty());
    }
    for (query, advice) in [
        ("DROP TABLE forecast.distributions", "only read"),
        ("SELECT no_such_column FROM forecast.job_runs", "DESCRIBE"),
        ("SELECT * FROM forecast.no_such_table", "tables:"),
    ] {
        let (error, hint) = lake.sql_with(query, &[]).refusal();
        assert!(hint.contains(advice), "{query}: {error} {hint}");
    }
    let (error, hint) = lake
        .sql_with("SELECT * FROM forecast.distribution", &[])
        .refusal();
    assert!(
        format!("{error} {hint}").contains("distributions"),
        "{error} {hint}"
    );
    assert_eq!(lake.versions(), versions);
    assert!(!lake.path("x.csv").exists());
}

#[test]
fn models_lists_the_catalog_and_suggests_the_nearest() {
    let lake = TestLake::missing();
    lake.configure("[models.mine]\nfamily = \"window_mean\"\nsummary = \"my own\"\ncovariates = []\n[models.mine.params]\nwindow = 9\n");
    let text = lake.run("models").expect(0).stdout;
    for key in [
        "naive",
        "random_walk",
        "seasonal_naive",
        "window_mean",
        "linear_regression",
        "mine",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(key)),
            "{key} in {text}"
        );
    }
    let shown = lake.run("models show mine").expect(0).stdout;
    assert!(shown.contains("window") && shown.contains('9'), "{shown}");
    let json = lake.run("--json models").expect(0).json();
    assert!(json.to_string().contains("linear_regression"), "{json}");
    let (_, hint) = lake.run("models show random_wak").refusal();
    assert!(hint.contains("random_walk"), "{hint}");
}

#[test]
fn a_job_prints_its_report_on_stdout_and_nothing_else() {
    let lake = TestLake::of(&Market::usual("Coffee", 153));
    let request = REQUEST.replace("Coffee,Sugar", "Coffee");
    let output = lake.run(&format!("--json backfill {request}")).expect(0);
    assert_eq!(output.stderr, "", "{output}");
    let report = output.json();
    let counts = [
        "trained",
        "train_skipped",
        "train_failed",
        "forecasts",
        "forecast_skipped",
        "forecast_failed",
        "conflicts",
    ];
    assert!(counts.iter().all(|name| report[name].is_u64()), "{report}");
    assert!(
        ["run_id", "command", "status"]
            .iter()
            .all(|name| report[name].is_string()),
        "{report}"
    );
    assert!(
        report["failures"].is_array()
            && report["versions"].is_object()
            && report["seconds"].is_f64(),
        "{report}"
    );
    for line in [
        "status",
        "models",
        "optimize",
        "vacuum",
        "history distributions",
        "status --stale",
    ] {
        let output = lake.run(line).expect(0);
        assert_eq!(output.stderr, "", "{output}");
        assert!(
            !output.stdout.contains('\u{1b}'),
            "colors without a terminal: {output}"
        );
        let output = lake.run(&format!("--json {line}")).expect(0);
        output.json();
        assert_eq!(output.stderr, "", "{output}");
    }
    let logged = lake.run(&format!("-v backfill {request}")).expect(0);
    assert!(
        !logged.stderr.contains('\u{1b}'),
        "colors without a terminal: {logged}"
    );
}

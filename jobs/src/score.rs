//! `score`: how good and how fast models are on the series of a long table.
//!
//! The series become a lake of their own in a temporary folder, without what is held out, and the
//! models are trained and asked on it by the plans of any job. Points are measured as the M4
//! competition did; each model is compared with Naive 2 on the series that it forecast.

mod long_table;

use std::collections::BTreeMap;
use std::sync::Arc;

use almanac_delta::{Lake, LakeSettings, Layout, StoreLocation};
use almanac_udfs::forecasters::{Calendar, Day, accuracy, family};
use almanac_udfs::score::Actuals;
use almanac_udfs::spec::ModelSpec;
use arrow::array::{ArrayRef, Date32Array, Float64Array, RecordBatch, StringArray};
use serde_json::{Value, json};

use self::long_table::{Columns, LongSeries, LongTable};
use crate::cli::ScoreArgs;
use crate::context::Context;
use crate::error::JobError;
use crate::holidays::store_builtin;
use crate::ingest::ingest_rows;
use crate::produce::Production;
use crate::produce::scores::{Scored, Scores, scores};
use crate::report::{aligned, print, print_json};
use crate::runs::Status;
use crate::settings::Settings;

/// Series that share a partition of the lake.
const SERIES_PER_BUCKET: usize = 50;

/// Scores the models that were asked for, and prints how they did.
pub async fn score(settings: Settings, args: ScoreArgs) -> Result<Status, JobError> {
    for (name, found) in [
        ("--horizon", args.horizon),
        ("--season-length", args.season_length),
        ("--paths", args.paths),
    ] {
        if found == 0 {
            return Err(JobError::user(
                format!("{name} is 0"),
                "it must be at least 1",
            ));
        }
    }
    if args.model_season_length.contains(&0) {
        return Err(JobError::user(
            "--model-season-length has a 0",
            "a series without a season has one of 1",
        ));
    }
    let columns = Columns {
        id: args.id.clone(),
        time: args.time.clone(),
        value: args.value.clone(),
        split: args.split.clone(),
    };
    let (path, horizon) = (args.file.clone(), args.horizon);
    let read = move || long_table::read(&path, &columns, horizon);
    let table = tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| JobError::ours(error.to_string()))??;
    let series = &table.series;
    let folder = tempfile::tempdir().map_err(|error| {
        JobError::user(
            format!("no temporary folder: {error}"),
            "set TMPDIR to a folder with room",
        )
    })?;
    let uri = folder.path().to_string_lossy().into_owned();
    let settings = Settings {
        lake: StoreLocation::new(&uri),
        cluster: None,
        ..settings
    };
    let context = lake_of(settings, series).await?;
    let production = production(&context, &args, series)?;
    let days: BTreeMap<String, Day> = series
        .iter()
        .map(|series| (series.id.clone(), first_day(series)))
        .collect();
    let actuals = series
        .iter()
        .map(|s| (s.id.clone(), Actuals::new(&s.actual)))
        .collect();
    let scores = scores(&context, &production, &days, Arc::new(actuals)).await?;
    let report = Report::of(&args, &table, &production, &scores);
    if context.settings.json {
        print_json(&report.to_json(&scores))?;
    } else {
        report.print(&scores)?;
    }
    Ok(if scores.failures.is_empty() {
        Status::Succeeded
    } else {
        Status::Partial
    })
}

/// The day of a series' forecast: the one after its history.
fn first_day(series: &LongSeries) -> Day {
    series.dates.last().map_or(0, |last| last + 1)
}

/// A lake with the histories.
async fn lake_of(settings: Settings, series: &[LongSeries]) -> Result<Context, JobError> {
    let buckets = u32::try_from(series.len().div_ceil(SERIES_PER_BUCKET)).unwrap_or(u32::MAX);
    let lake_settings = LakeSettings {
        layout: Layout::Buckets(buckets),
        calendar: Calendar::Observed.name().to_owned(),
        minimum_history_days: 0,
        ..LakeSettings::default()
    };
    let lake = Lake::create(&settings.lake, lake_settings).await?;
    let context = Context::of(settings, lake).await?;
    let run = &context.stamp.run_id;
    store_builtin(&context.lake, vec![], run).await?;
    let ids: Vec<&str> = series
        .iter()
        .flat_map(|s| std::iter::repeat_n(s.id.as_str(), s.dates.len()))
        .collect();
    let dates = series.iter().flat_map(|s| s.dates.iter().copied());
    let values = series.iter().flat_map(|s| s.history.iter().copied());
    let columns: [(&str, ArrayRef); 3] = [
        ("date", Arc::new(Date32Array::from_iter_values(dates))),
        ("commodity", Arc::new(StringArray::from(ids))),
        ("close", Arc::new(Float64Array::from_iter_values(values))),
    ];
    let rows =
        RecordBatch::try_from_iter(columns).map_err(|error| JobError::ours(error.to_string()))?;
    ingest_rows(&context.lake, rows, run).await?;
    Ok(context)
}

/// What is trained and asked.
fn production(
    context: &Context,
    args: &ScoreArgs,
    series: &[LongSeries],
) -> Result<Production, JobError> {
    let seasons = match args.model_season_length.as_slice() {
        [] => vec![args.season_length],
        given => given.to_vec(),
    };
    let mut models = BTreeMap::new();
    for key in &args.models {
        let mut spec = context
            .settings
            .catalog
            .resolve(key, context.lake.settings())?;
        set_seasons(&mut spec, &seasons);
        // Half of the work of a fit, and nothing that is scored.
        spec.validate = false;
        models.insert(key.clone(), spec);
    }
    let days = series.iter().map(first_day);
    Ok(Production {
        commodities: series.iter().map(|series| series.id.clone()).collect(),
        models,
        own_specs: BTreeMap::new(),
        model_version: "score".to_owned(),
        start: days.clone().min().unwrap_or_default(),
        end: days.max().unwrap_or_default(),
        frequency: String::new(),
        paths: args.paths,
        horizon: args.horizon,
    })
}

/// Gives a model the seasons: all of them if it takes several, else the first.
fn set_seasons(spec: &mut ModelSpec, seasons: &[usize]) {
    let Some(family) = family(&spec.family) else {
        return;
    };
    for parameter in family.parameters() {
        match parameter.name {
            "season_lengths" => spec
                .params
                .insert(parameter.name.to_owned(), json!(seasons)),
            "season_length" => {
                let first = seasons.first().copied().unwrap_or(1);
                spec.params.insert(parameter.name.to_owned(), json!(first))
            }
            _ => None,
        };
    }
}

/// Figures of one model.
struct Line {
    model: String,
    smape: f64,
    mase: f64,
    owa: f64,
    crps: f64,
    coverage_80: f64,
    coverage_95: f64,
    series: usize,
    failed: usize,
    series_per_cpu_second: f64,
}

/// Figures of all models, and of what they are compared with.
struct Report {
    lines: Vec<Line>,
    /// sMAPE and MASE of Naive 2 on all series that can be scored.
    naive2: [f64; 2],
    /// Series whose history has no change from season to season by which errors could be scaled.
    unscaled: usize,
    /// Series too short for the horizon.
    too_short: Vec<String>,
    /// Rows without a value.
    without_value: usize,
}

/// What a series' errors are compared with.
struct Baseline<'a> {
    series: &'a LongSeries,
    scale: f64,
    naive2: [f64; 2],
}

impl Report {
    fn of(args: &ScoreArgs, table: &LongTable, production: &Production, scores: &Scores) -> Self {
        let season = args.season_length;
        let baselines: Vec<Baseline> = table
            .series
            .iter()
            .filter_map(|series| {
                let scale = accuracy::seasonal_scale(&series.history, season)?;
                let forecast = accuracy::naive2(&series.history, season, args.horizon);
                let actual = &series.actual;
                let naive2 = [
                    accuracy::smape(actual, &forecast),
                    accuracy::mase(actual, &forecast, scale),
                ];
                Some(Baseline {
                    series,
                    scale,
                    naive2,
                })
            })
            .collect();
        let lines = production
            .models
            .keys()
            .map(|model| line(model, &baselines, scores));
        Self {
            lines: lines.collect(),
            naive2: [0, 1].map(|figure| mean(baselines.iter().map(|b| b.naive2[figure]))),
            unscaled: table.series.len() - baselines.len(),
            too_short: table.too_short.clone(),
            without_value: table.without_value,
        }
    }

    fn to_json(&self, scores: &Scores) -> Value {
        let models: Vec<Value> = self
            .lines
            .iter()
            .map(|line| {
                json!({
                    "model": line.model, "smape": line.smape, "mase": line.mase, "owa": line.owa,
                    "crps": line.crps, "coverage_80": line.coverage_80,
                    "coverage_95": line.coverage_95, "series": line.series, "failed": line.failed,
                    "series_per_cpu_second": line.series_per_cpu_second,
                })
            })
            .collect();
        let [smape, mase] = self.naive2;
        json!({
            "command": "score", "models": models, "naive2": {"smape": smape, "mase": mase},
            "unscaled": self.unscaled, "too_short": self.too_short,
            "without_value": self.without_value, "failures": failures(scores),
        })
    }

    fn print(&self, scores: &Scores) -> Result<(), JobError> {
        let header = [
            "model", "sMAPE", "MASE", "OWA", "CRPS", "80 %", "95 %", "series", "failed", "series/s",
        ];
        let rows: Vec<Vec<String>> = self
            .lines
            .iter()
            .map(|line| {
                vec![
                    line.model.clone(),
                    format!("{:.3}", line.smape),
                    format!("{:.3}", line.mase),
                    format!("{:.3}", line.owa),
                    format!("{:.3}", line.crps),
                    format!("{:.1}", 100.0 * line.coverage_80),
                    format!("{:.1}", 100.0 * line.coverage_95),
                    line.series.to_string(),
                    line.failed.to_string(),
                    format!("{:.1}", line.series_per_cpu_second),
                ]
            })
            .collect();
        print(&aligned(&header, &rows))?;
        let [smape, mase] = self.naive2;
        print(&format!(
            "\nNaive 2, with which OWA compares: sMAPE {smape:.3}, MASE {mase:.3}. CRPS is scaled as MASE is; 80 % \
             and 95 % are\nthe shares of values within those intervals; series/s are fits with their point \
             forecasts per second of\nprocessor time."
        ))?;
        if self.unscaled > 0 {
            print(&format!(
                "{} series have no season before any value, or never change from one to the next: no error can be \
                 scaled, and they are not scored",
                self.unscaled
            ))?;
        }
        if !self.too_short.is_empty() {
            print(&format!(
                "{} series are too short for the horizon and left out: {}",
                self.too_short.len(),
                few(&self.too_short)
            ))?;
        }
        if self.without_value > 0 {
            print(&format!(
                "{} rows have no value: they are no observations, and those around them follow each other",
                self.without_value
            ))?;
        }
        let failures = failures(scores);
        if !failures.is_empty() {
            let columns = ["commodity", "model_name", "error_class", "message"];
            print(&format!(
                "\n{}",
                crate::report::titled("failures", &columns, &failures)
            ))?;
        }
        Ok(())
    }
}

/// The first of some names.
fn few(names: &[String]) -> String {
    const FEW: usize = 5;
    let more = if names.len() > FEW { ", …" } else { "" };
    format!("{}{more}", names[..names.len().min(FEW)].join(", "))
}

fn line(model: &str, baselines: &[Baseline], scores: &Scores) -> Line {
    let scored: Vec<(&Baseline, &Scored)> = baselines
        .iter()
        .filter_map(|baseline| {
            let key = (baseline.series.id.clone(), model.to_owned());
            Some((baseline, scores.scored.get(&key)?))
        })
        .collect();
    let average = |figure: &dyn Fn(&Baseline, &Scored) -> f64| {
        mean(
            scored
                .iter()
                .map(|(baseline, scored)| figure(baseline, scored)),
        )
    };
    let steps: usize = scored
        .iter()
        .map(|(baseline, _)| baseline.series.actual.len())
        .sum();
    let share = |covered: &dyn Fn(&Scored) -> u64| {
        scored
            .iter()
            .map(|(_, scored)| covered(scored))
            .sum::<u64>() as f64
            / steps as f64
    };
    let smape = average(&|b, scored| accuracy::smape(&b.series.actual, &scored.point));
    let mase = average(&|b, scored| accuracy::mase(&b.series.actual, &scored.point, b.scale));
    let [naive_smape, naive_mase] =
        [0, 1].map(|figure| average(&|baseline, _| baseline.naive2[figure]));
    Line {
        model: model.to_owned(),
        smape,
        mase,
        owa: 0.5 * (smape / naive_smape + mase / naive_mase),
        crps: average(&|baseline, scored| scored.crps / baseline.scale),
        coverage_80: share(&|scored| scored.covered_80),
        coverage_95: share(&|scored| scored.covered_95),
        series: scored.len(),
        failed: scores
            .failures
            .iter()
            .filter(|failure| failure.key.model_name == model)
            .count(),
        series_per_cpu_second: 1.0 / average(&|_, scored| scored.seconds),
    }
}

fn failures(scores: &Scores) -> Vec<Value> {
    let failures = scores.failures.iter().map(|failure| {
        json!({
            "commodity": failure.key.commodity, "model_name": failure.key.model_name,
            "error_class": failure.error_class, "message": failure.message,
        })
    });
    failures.collect()
}

/// The mean; NaN of nothing, which JSON writes as null.
fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

//! The `almanac` binary: reads the command line, runs one job, prints its result.

mod care;
mod catalog;
mod cli;
mod context;
mod daily;
mod error;
mod holidays;
mod ingest;
mod market;
#[cfg(test)]
mod one_stage;
mod produce;
mod quickstart;
mod report;
mod request;
mod runs;
mod settings;
mod sql;
mod stale;
mod status;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::process::ExitCode;

use almanac_delta::manifest::UnitKey;
use almanac_delta::{DeltaError, Lake, LakeSettings, Layout, TableName};
use almanac_udfs::forecasters::{Calendar, Forecaster, family, nearest};
use clap::Parser;
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use crate::cli::{
    BackfillArgs, Cli, Command, DailyArgs, IngestArgs, InitArgs, KeyArgs, ModelsCommand, RangeArgs,
};
use crate::context::{Context, Rows, parse_date, today};
use crate::error::JobError;
use crate::ingest::IngestRequest;
use crate::produce::{Only, Production, Stages, Tally};
use crate::report::{print, print_json, titled};
use crate::runs::{Run, Status};
use crate::settings::{Given, Settings};

/// Exit code when some units failed and the rest is committed.
const SOME_FAILED: u8 = 3;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misread(&error),
    };
    log(cli.verbose);
    quiet_unit_panics();
    if let Some(point) = &cli.crash_at {
        almanac_delta::observed::set_crash_point(point);
    }
    // The driver waits for stores and for the engine's own pool: two threads are plenty.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(JobError::ours(format!("cannot start: {error}"))),
    };
    match outcome {
        Ok(Status::Succeeded) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(SOME_FAILED),
        Err(error) => {
            error.report();
            ExitCode::from(error.exit_code())
        }
    }
}

/// Help and version are results; a mistaken command line is the user's to mend.
fn misread(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines
        .next()
        .unwrap_or("error: the command line makes no sense");
    let rest: Vec<&str> = lines.collect();
    let detail: Vec<&str> = rest
        .iter()
        .copied()
        .take_while(|line| !line.starts_with("Usage"))
        .collect();
    let tip = detail.iter().find_map(|line| line.strip_prefix("tip: "));
    let listed: Vec<&str> = detail
        .iter()
        .copied()
        .filter(|line| !line.starts_with("tip: "))
        .collect();
    eprintln!("{}", [first, &listed.join(", ")].join(" ").trim_end());
    eprintln!(
        "hint: {}",
        tip.unwrap_or("`almanac --help` and `almanac COMMAND --help` show what there is")
    );
    ExitCode::from(1)
}

fn log(verbose: u8) {
    let level = match verbose {
        0 => "almanac=warn,almanac_delta=warn,almanac_executor=warn,error",
        1 => "almanac=info,almanac_delta=info,almanac_executor=info,warn",
        _ => "debug",
    };
    // A conflict is an outcome here, not an error: delta-rs logs it as one.
    let filter = format!("{level},deltalake_core=off,delta_kernel=off,buoyant_kernel=off");
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// A panic on the engine's pool is caught at its unit's border and becomes that unit's failure;
/// only the others are printed.
fn quiet_unit_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() == Some(almanac_executor::runtime::POOL_THREAD) {
            tracing::debug!(%panic, "caught");
        } else {
            print(panic);
        }
    }));
}

async fn run(cli: Cli) -> Result<Status, JobError> {
    let settings = Settings::resolve(Given {
        lake: cli.lake,
        threads: cli.threads,
        slices: cli.slices,
        memory_limit_mib: cli.memory_limit_mib,
        config: cli.config,
        json: cli.json,
        quiet: cli.quiet,
    })?;
    match cli.command {
        Command::Quickstart => {
            let json = settings.json;
            let (result, status) = quickstart::quickstart(settings).await?;
            show_job(&result, json)?;
            if !json {
                print("\nwhat to try next")?;
                for next in result["next"].as_array().into_iter().flatten() {
                    print(&format!("  {}", next.as_str().unwrap_or_default()))?;
                }
            }
            Ok(status)
        }
        Command::Init(args) => init(settings, args).await,
        Command::Ingest(args) => ingest_files(settings, args).await,
        Command::Models(args) => models(&settings, args.show.as_ref()),
        Command::Train(args) => {
            range_job(
                settings,
                "train",
                args,
                Stages {
                    train: true,
                    forecast: false,
                    actuals_before: 0,
                },
            )
            .await
        }
        Command::Forecast(args) => {
            range_job(
                settings,
                "forecast",
                args,
                Stages {
                    train: false,
                    forecast: true,
                    actuals_before: 0,
                },
            )
            .await
        }
        Command::Backfill(args) => backfill(settings, args).await,
        Command::Daily(args) => daily_job(settings, args).await,
        Command::Status(args) => {
            let context = Context::open(settings).await?;
            if args.stale {
                status::stale_keys(&context).await?;
            } else {
                status::status(&context, args.run.as_deref()).await?;
            }
            Ok(Status::Succeeded)
        }
        Command::Sql(args) => {
            sql::sql(&Context::open(settings).await?, &args.query, &args.as_of).await?;
            Ok(Status::Succeeded)
        }
        Command::Optimize(args) => {
            care::optimize(&Context::open(settings).await?, &args.tables).await?;
            Ok(Status::Succeeded)
        }
        Command::Vacuum(args) => {
            care::vacuum(
                &Context::open(settings).await?,
                args.retention_hours,
                args.dry_run,
            )
            .await?;
            Ok(Status::Succeeded)
        }
        Command::History(args) => {
            care::history(&Context::open(settings).await?, &args.table, args.limit).await?;
            Ok(Status::Succeeded)
        }
        Command::Delete(args) => delete(settings, args).await,
    }
}

async fn init(settings: Settings, args: InitArgs) -> Result<Status, JobError> {
    let calendar: Calendar = args.calendar.parse().map_err(|_| {
        let known = Calendar::ALL.map(Calendar::name);
        let hint = nearest(&args.calendar, known.into_iter()).map_or_else(
            || format!("one of {}", known.join(", ")),
            |name| format!("did you mean `{name}`?"),
        );
        JobError::user(format!("no calendar `{}`", args.calendar), hint)
    })?;
    if args.buckets == Some(0) {
        return Err(JobError::user(
            "--buckets 0 leaves no bucket to put a series in",
            "about one bucket per 200 series",
        ));
    }
    let lake_settings = LakeSettings {
        layout: args.buckets.map_or(Layout::Commodity, Layout::Buckets),
        calendar: calendar.name().to_owned(),
        seed: args.seed,
        minimum_history_days: args.minimum_history_days,
        stale_after_days: args.stale_after_days,
        ..LakeSettings::default()
    };
    // Read before anything is made: a file that cannot be used leaves no lake behind.
    let overrides = match &args.holidays {
        Some(path) => holidays::read_file(path, &lake_settings.holidays).await?,
        None => vec![],
    };
    let run_id = uuid::Uuid::new_v4().to_string();
    let lake = match Lake::create(&settings.lake, lake_settings.clone()).await {
        // An init that died before it stored the calendar is completed.
        Err(DeltaError::AlreadyALake { uri }) => {
            let lake = Lake::open(&settings.lake).await?;
            let calendar = lake.table(TableName::Calendar).await?;
            if *lake.settings() != lake_settings || !calendar.files().is_empty() {
                return Err(DeltaError::AlreadyALake { uri }.into());
            }
            lake
        }
        outcome => outcome?,
    };
    holidays::store_builtin(&lake, overrides, &run_id).await?;
    if settings.json {
        print_json(&json!({"lake": settings.lake.uri, "settings": lake.settings()}))?;
    } else {
        print(&format!(
            "created a lake at {}\nnext: almanac --lake {} ingest FILE",
            settings.lake.uri, settings.lake.uri
        ))?;
    }
    Ok(Status::Succeeded)
}

async fn ingest_files(settings: Settings, args: IngestArgs) -> Result<Status, JobError> {
    let lake = Lake::open(&settings.lake).await?;
    let request = IngestRequest {
        files: args.files,
        map: args.map,
        commodity: args.commodity,
        region: args.region,
        rejects: args.rejects,
        allow_rejects: args.allow_rejects,
        run_id: uuid::Uuid::new_v4().to_string(),
    };
    let report = ingest::ingest(&lake, &request).await?;
    let result =
        serde_json::to_value(&report).map_err(|error| JobError::ours(error.to_string()))?;
    if settings.json {
        print_json(&result)?;
    } else {
        let count = |name: &str| result[name].to_string();
        print(&format!(
            "rows read {}, added {}, changed {}, unchanged {}, rejected {}",
            count("rows_read"),
            count("added"),
            count("changed"),
            count("unchanged"),
            count("rejected")
        ))?;
        if let Some(file) = result["rejects_file"].as_str() {
            print(&format!("rejected rows are in {file}"))?;
        }
        if report.changed > 0 {
            print(
                "stored values changed; `almanac status --stale` names what rests on the older ones",
            )?;
        }
    }
    Ok(Status::Succeeded)
}

fn models(settings: &Settings, show: Option<&ModelsCommand>) -> Result<Status, JobError> {
    let describe = |key: &str, model: &catalog::Model| {
        json!({
            "key": key, "family": model.spec.family, "summary": model.summary, "parameters": model.spec.params,
            "covariates": model.spec.covariates, "source": if model.custom { "settings file" } else { "built in" },
        })
    };
    match show {
        None => {
            let all: Vec<Value> = settings
                .catalog
                .iter()
                .map(|(key, model)| describe(key, model))
                .collect();
            if settings.json {
                print_json(&json!({"models": all}))?;
            } else {
                print(&titled(
                    "models",
                    &["key", "family", "parameters", "covariates", "summary"],
                    &all,
                ))?;
            }
        }
        Some(ModelsCommand::Show { key }) => {
            let model = settings.catalog.get(key)?;
            let mut shown = describe(key, model);
            let parameters = family(&model.spec.family)
                .map(Forecaster::parameters)
                .unwrap_or_default();
            let parameters: Vec<Value> = parameters
                .iter()
                .map(|parameter| json!({"name": parameter.name, "default": parameter.default, "help": parameter.help}))
                .collect();
            if settings.json {
                shown["accepts"] = json!(parameters);
                print_json(&shown)?;
            } else {
                print(&format!(
                    "{key}: {}\nfamily {}, set to {}\n",
                    model.summary, model.spec.family, shown["parameters"]
                ))?;
                print(&titled(
                    "parameters",
                    &["name", "default", "help"],
                    &parameters,
                ))?;
            }
        }
    }
    Ok(Status::Succeeded)
}

async fn of_range(context: &Context, args: &RangeArgs) -> Result<Production, JobError> {
    let range = (parse_date(&args.keys.start)?, parse_date(&args.keys.end)?);
    request::production(context, &args.keys.selection, &args.shape, range).await
}

fn arguments(production: &Production) -> Result<Value, JobError> {
    serde_json::to_value(production).map_err(|error| JobError::ours(error.to_string()))
}

async fn range_job(
    settings: Settings,
    command: &'static str,
    args: RangeArgs,
    stages: Stages,
) -> Result<Status, JobError> {
    let context = Context::open(settings).await?;
    let production = of_range(&context, &args).await?;
    let run = Run::begin(command, arguments(&production)?);
    let mut tally = Tally::default();
    let outcome = produce::run(&context, &production, stages, &Only::Missing, &mut tally).await;
    let (result, status) = run.end(&context, tally, outcome).await?;
    show_job(&result, context.settings.json)?;
    Ok(status)
}

async fn backfill(settings: Settings, args: BackfillArgs) -> Result<Status, JobError> {
    let context = Context::open(settings).await?;
    let production = of_range(&context, &args.range).await?;
    if args.dry_run {
        let dry = produce::dry_run(&context, &production).await?;
        let result =
            serde_json::to_value(&dry).map_err(|error| JobError::ours(error.to_string()))?;
        if context.settings.json {
            print_json(&result)?;
        } else {
            print(&format!(
                "would train {} ({} there), would forecast {} ({} there)",
                dry.would_train, dry.train_skipped, dry.would_forecast, dry.forecast_skipped
            ))?;
            for (commodity, model, day) in &dry.trainings {
                print(&format!("  train {commodity} {model} {day}"))?;
            }
        }
        return Ok(Status::Succeeded);
    }
    let run = Run::begin("backfill", arguments(&production)?);
    let mut tally = Tally::default();
    let outcome = if args.revise {
        produce::replace::revise(&context, &production, &mut tally).await
    } else {
        let only = if args.refit_failed {
            failed_units(&context, &production).await?
        } else {
            Only::Missing
        };
        produce::run(
            &context,
            &production,
            Stages {
                train: true,
                forecast: true,
                actuals_before: 0,
            },
            &only,
            &mut tally,
        )
        .await
    };
    let (result, status) = run.end(&context, tally, outcome).await?;
    show_job(&result, context.settings.json)?;
    Ok(status)
}

/// Units with a recorded failure. Those that succeeded later are present, and so skipped.
async fn failed_units(context: &Context, production: &Production) -> Result<Only, JobError> {
    let query = format!(
        "SELECT DISTINCT stage, commodity, model_name, date FROM job_failures WHERE model_version = '{}'",
        production.model_version.replace('\'', "''")
    );
    let mut failed: BTreeSet<(String, UnitKey)> = BTreeSet::new();
    for batch in sql::rows(context, &query, &[]).await? {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            // A freshness failure is a forecast that was not tried.
            let stage = rows.text("stage", row)?.replace("freshness", "forecast");
            failed.insert((stage, rows.key(&production.model_version, "date", row)?));
        }
    }
    Ok(Only::Failed(failed))
}

async fn daily_job(settings: Settings, args: DailyArgs) -> Result<Status, JobError> {
    let day = args
        .date
        .as_deref()
        .map_or_else(|| Ok(today()), parse_date)?;
    let context = Context::open(settings).await?;
    let production =
        request::production(&context, &args.selection, &args.shape, (day, day)).await?;
    let run = Run::begin("daily", arguments(&production)?);
    let mut tally = Tally::default();
    let outcome = daily::run(&context, &production, args.allow_stale, &mut tally).await;
    let (mut result, status) = run.end(&context, tally, outcome).await?;
    result["cadence"] = json!(daily::cadence(&context, &production).await?);
    if context.settings.json {
        print_json(&result)?;
    } else {
        print(&daily::summary(&result, &production))?;
    }
    Ok(status)
}

async fn delete(settings: Settings, args: KeyArgs) -> Result<Status, JobError> {
    let context = Context::open(settings).await?;
    let shape = cli::ShapeArgs {
        paths: 1,
        horizon: 1,
        frequency: "monthly".to_owned(),
    };
    let range = (parse_date(&args.start)?, parse_date(&args.end)?);
    let production = request::production(&context, &args.selection, &shape, range).await?;
    let run = Run::begin("delete", arguments(&production)?);
    let mut tally = Tally::default();
    let deleted = care::delete(&context, &production, &mut tally).await;
    let (outcome, deleted) = match deleted {
        Ok(deleted) => (Ok(()), deleted),
        Err(error) => (Err(error), Value::Null),
    };
    let (mut result, status) = run.end(&context, tally, outcome).await?;
    result["deleted"] = deleted["deleted"].clone();
    if context.settings.json {
        print_json(&result)?;
    } else {
        print(&format!(
            "deleted {} forecasts; they can be made again",
            result["deleted"]
        ))?;
    }
    Ok(status)
}

/// A job's result.
fn show_job(result: &Value, json: bool) -> Result<(), JobError> {
    if json {
        return print_json(result);
    }
    let count = |name: &str| result[name].as_u64().unwrap_or(0);
    print(&format!(
        "{} {} in {:.1} s (run {})",
        result["command"].as_str().unwrap_or_default(),
        result["status"].as_str().unwrap_or_default(),
        result["seconds"].as_f64().unwrap_or(0.0),
        result["run_id"].as_str().unwrap_or_default()
    ))?;
    print(&format!(
        "  models     trained {:>8}   skipped {:>8}   failed {:>6}",
        count("trained"),
        count("train_skipped"),
        count("train_failed")
    ))?;
    print(&format!(
        "  forecasts  made    {:>8}   skipped {:>8}   failed {:>6}",
        count("forecasts"),
        count("forecast_skipped"),
        count("forecast_failed")
    ))?;
    for (name, label) in [
        ("actuals", "actuals written"),
        ("points_rebuilt", "point forecasts rebuilt"),
        ("revised", "keys replaced"),
        ("conflicts", "lost races"),
    ] {
        if count(name) > 0 {
            print(&format!("  {label} {}", count(name)))?;
        }
    }
    let failures = result["failures"].as_array().cloned().unwrap_or_default();
    if !failures.is_empty() {
        const SHOWN: usize = 20;
        let shown: Vec<Value> = failures.iter().take(SHOWN).cloned().collect();
        print(&titled(
            "failures",
            &[
                "stage",
                "commodity",
                "model_name",
                "date",
                "error_class",
                "message",
            ],
            &shown,
        ))?;
        if failures.len() > SHOWN {
            print(&format!(
                "… and {} more: `almanac status {}`",
                failures.len() - SHOWN,
                result["run_id"].as_str().unwrap_or_default()
            ))?;
        }
    }
    Ok(())
}

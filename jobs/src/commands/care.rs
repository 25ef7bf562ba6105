//! `optimize`, `vacuum` and `history`: table care.

use std::time::Duration;

use almanac_delta::care::check_retention;
use serde_json::{Value, json};

use crate::care;
use crate::cli::{HistoryArgs, OptimizeArgs, VacuumArgs};
use crate::context::Context;
use crate::error::JobError;
use crate::produce::Tally;
use crate::report::{merged, print, print_json, titled};
use crate::runs::{Run, Status};
use crate::settings::Settings;

/// Merges small files.
pub async fn optimize(settings: Settings, args: OptimizeArgs) -> Result<Status, JobError> {
    let context = Context::open_here(settings).await?;
    let tables = care::tables(&args.tables)?;
    let names: Vec<&str> = tables.iter().map(|table| table.sql_name()).collect();
    let (run, mut tally) = Run::begin(&context, "optimize", json!({"tables": names})).await?;
    let optimized = care::optimize(&context, &tables, &mut tally).await;
    ended(&context, run, tally, optimized, self::optimized).await
}

/// What `optimize` did, for people.
pub(super) fn optimized(result: &Value) -> String {
    let columns = ["table", "files_merged", "files_written", "version"];
    table("optimized", &columns, result)
}

/// Removes what nothing needs any more.
pub async fn vacuum(settings: Settings, args: VacuumArgs) -> Result<Status, JobError> {
    let context = Context::open_here(settings).await?;
    let retention = Duration::from_secs(args.retention_hours.saturating_mul(3600));
    check_retention(retention)?;
    if args.dry_run {
        let found = care::vacuum(&context, retention, true, &mut Tally::default()).await?;
        return shown(&context, json!({}), found, removed);
    }
    let arguments = json!({"retention_hours": args.retention_hours});
    let (run, mut tally) = Run::begin(&context, "vacuum", arguments).await?;
    let removed = care::vacuum(&context, retention, false, &mut tally).await;
    ended(&context, run, tally, removed, self::removed).await
}

/// What `vacuum` did or would do, for people. A dry run has no run.
pub(super) fn removed(result: &Value) -> String {
    let title = if result.get("run_id").is_some() {
        "removed"
    } else {
        "would be removed"
    };
    table(title, &["table", "files", "log_files", "bytes"], result)
}

/// Shows a table's versions.
pub async fn history(settings: Settings, args: HistoryArgs) -> Result<Status, JobError> {
    let context = Context::open_here(settings).await?;
    let table = care::tables(&[args.table])?[0];
    let versions = care::history(&context, table, args.limit).await?;
    let columns = [
        "version",
        "at",
        "operation",
        "files_added",
        "files_removed",
        "rows_added",
        "run_id",
    ];
    shown(&context, json!({}), versions, |result| {
        self::table(table.sql_name(), &columns, result)
    })
}

async fn ended(
    context: &Context,
    run: Run,
    mut tally: Tally,
    done: Result<Vec<Value>, JobError>,
    for_people: impl Fn(&Value) -> String,
) -> Result<Status, JobError> {
    let (outcome, rows) = match done {
        Ok(rows) => (Ok(()), rows),
        Err(error) => (Err(error), vec![]),
    };
    for name in [
        "files_merged",
        "files_written",
        "files",
        "log_files",
        "bytes",
    ] {
        let of_tables: Vec<u64> = rows.iter().filter_map(|row| row[name].as_u64()).collect();
        if !of_tables.is_empty() {
            let sum: u64 = of_tables.iter().sum();
            tally.counts.insert(name.to_owned(), sum.into());
        }
    }
    let (summary, _) = run.end(context, tally, outcome).await?;
    shown(context, summary, rows, for_people)
}

fn shown(
    context: &Context,
    result: Value,
    rows: Vec<Value>,
    for_people: impl Fn(&Value) -> String,
) -> Result<Status, JobError> {
    let result = merged(result, json!({"result": rows}));
    if context.settings.json {
        print_json(&result)?;
    } else {
        print(&for_people(&result))?;
    }
    Ok(Status::Succeeded)
}

fn table(title: &str, columns: &[&str], result: &Value) -> String {
    let rows = result["result"].as_array().map_or(&[][..], Vec::as_slice);
    titled(title, columns, rows)
}

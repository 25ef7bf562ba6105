//! The record of a run: an open run while it is at work, then a row in `job_runs`, and a row in
//! `job_failures` for each failed unit.

use std::sync::Arc;
use std::time::Instant;

use almanac_delta::open_run::OpenRun;
use almanac_delta::rows::write_rows;
use almanac_delta::tables::{job_failures, job_runs};
use almanac_delta::{Claim, CommitKind, CommitRequest, TableName};
use almanac_udfs::forecasters::date;
use arrow::array::{
    ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use chrono::Utc;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::code::PROGRAM;
use crate::context::Context;
use crate::error::JobError;
use crate::produce::{FailureRecord, Landed, Tally, land};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Every unit succeeded or was skipped.
    Succeeded,
    /// Some units failed, the rest is committed.
    Partial,
    /// The run stopped.
    Failed,
}

impl Status {
    /// The word in `job_runs`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

/// A run under way.
pub struct Run {
    command: &'static str,
    arguments: Value,
    started: Instant,
}

impl Run {
    /// Begins a run of a command with an empty tally, and makes it known: whatever becomes of the
    /// process, `status` tells of it.
    pub async fn begin(
        context: &Context,
        command: &'static str,
        arguments: Value,
    ) -> Result<(Self, Tally), JobError> {
        context.lake.require_conditional_put().await?;
        let tally = Tally::of_request(context);
        let open = OpenRun {
            run_id: context.stamp.run_id.clone(),
            kind: command.to_owned(),
            arguments,
            started_at_micros: context.stamp.at_micros,
            engine: context.engine.name(),
            code_version: PROGRAM.to_owned(),
        };
        open.put(context.lake.store().as_ref()).await?;
        let run = Self {
            command,
            arguments: open.arguments,
            started: Instant::now(),
        };
        Ok((run, tally))
    }

    /// Records the run and its failures, and returns the result that the command prints.
    pub async fn end(
        self,
        context: &Context,
        mut tally: Tally,
        outcome: Result<(), JobError>,
    ) -> Result<(Value, Status), JobError> {
        context.bar.finish();
        // What a stage failed at comes before what that cost the next one.
        let stage = |failure: &FailureRecord| {
            let order = ["freshness", "train", "forecast"];
            order.iter().position(|stage| *stage == failure.stage)
        };
        tally
            .failures
            .sort_by(|a, b| stage(a).cmp(&stage(b)).then_with(|| a.cmp(b)));
        tally.failures.dedup();
        let status = match &outcome {
            Err(_) => Status::Failed,
            Ok(()) if tally.failures.is_empty() => Status::Succeeded,
            Ok(()) => Status::Partial,
        };
        let message = outcome.as_ref().err().map(ToString::to_string);
        let recorded = self
            .record(context, &mut tally, status, message.as_deref())
            .await;
        if recorded.is_ok() {
            let store = context.lake.store();
            // A run with a row is not open, whatever stays of it; what stays is swept later.
            if let Err(error) = OpenRun::remove(store.as_ref(), &context.stamp.run_id).await {
                tracing::warn!(%error, "the run's object stays until vacuum");
            }
        }
        // Why the run stopped matters more than that its record could not be written either.
        outcome?;
        recorded?;
        Ok((self.summary(context, &tally, status)?, status))
    }

    fn summary(&self, context: &Context, tally: &Tally, status: Status) -> Result<Value, JobError> {
        let mut summary =
            serde_json::to_value(tally).map_err(|error| JobError::ours(error.to_string()))?;
        summary["run_id"] = json!(context.stamp.run_id);
        summary["command"] = json!(self.command);
        summary["status"] = json!(status.word());
        summary["seconds"] = json!(self.started.elapsed().as_secs_f64());
        summary["planning"] =
            json!({"bytes_read": tally.planning_bytes, "seconds": tally.planning_seconds});
        Ok(summary)
    }

    async fn record(
        &self,
        context: &Context,
        tally: &mut Tally,
        status: Status,
        message: Option<&str>,
    ) -> Result<(), JobError> {
        if !tally.failures.is_empty() {
            let rows = failures(context, &tally.failures)?;
            append(context, TableName::JobFailures, &rows, tally).await?;
        }
        let now = Utc::now().timestamp_micros();
        let text = |value: String| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
        let instant = |micros: i64| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC"))
        };
        let count = |value: u64| -> ArrayRef {
            Arc::new(Int64Array::from(vec![
                i64::try_from(value).unwrap_or(i64::MAX),
            ]))
        };
        let columns: Vec<(&str, ArrayRef)> = vec![
            (job_runs::RUN_ID, text(context.stamp.run_id.clone())),
            (job_runs::KIND, text(self.command.to_owned())),
            (job_runs::ARGUMENTS, text(self.arguments.to_string())),
            (job_runs::STARTED_AT, instant(context.stamp.at_micros)),
            (job_runs::FINISHED_AT, instant(now)),
            (job_runs::STATUS, text(status.word().to_owned())),
            (job_runs::TRAINED, count(tally.trained)),
            (job_runs::TRAIN_SKIPPED, count(tally.train_skipped)),
            (job_runs::TRAIN_FAILED, count(tally.train_failed)),
            (job_runs::FORECASTS, count(tally.forecasts)),
            (job_runs::FORECAST_SKIPPED, count(tally.forecast_skipped)),
            (job_runs::FORECAST_FAILED, count(tally.forecast_failed)),
            (job_runs::COUNTS, text(tally.other_counts().to_string())),
            (job_runs::ENGINE, text(context.engine.name())),
            (job_runs::CODE_VERSION, text(PROGRAM.to_owned())),
            (
                job_runs::DATA_VERSIONS,
                text(json!(tally.versions_read).to_string()),
            ),
            (
                job_runs::TABLE_VERSIONS,
                text(json!(tally.versions).to_string()),
            ),
            (
                job_runs::MESSAGE,
                Arc::new(StringArray::from(vec![message])),
            ),
        ];
        let rows = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .map_err(|error| JobError::ours(error.to_string()))?;
        append(context, TableName::JobRuns, &rows, tally).await
    }
}

fn failures(context: &Context, failures: &[FailureRecord]) -> Result<RecordBatch, JobError> {
    let texts = |of: fn(&FailureRecord) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(failures.iter().map(of)))
    };
    let now = vec![Utc::now().timestamp_micros(); failures.len()];
    let run = std::iter::repeat_n(context.stamp.run_id.as_str(), failures.len());
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            job_failures::RUN_ID,
            Arc::new(StringArray::from_iter_values(run)),
        ),
        (job_failures::STAGE, texts(|failure| &failure.stage)),
        (job_failures::COMMODITY, texts(|failure| &failure.commodity)),
        (
            job_failures::MODEL_NAME,
            texts(|failure| &failure.model_name),
        ),
        (
            job_failures::MODEL_VERSION,
            texts(|failure| &failure.model_version),
        ),
        (
            job_failures::DATE,
            Arc::new(
                failures
                    .iter()
                    .map(|failure| date::parse(&failure.date))
                    .collect::<Date32Array>(),
            ),
        ),
        (
            job_failures::ERROR_CLASS,
            texts(|failure| &failure.error_class),
        ),
        (job_failures::MESSAGE, texts(|failure| &failure.message)),
        (
            job_failures::FAILED_AT,
            Arc::new(TimestampMicrosecondArray::from(now).with_timezone("UTC")),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .map_err(|error| JobError::ours(error.to_string()))
}

async fn append(
    context: &Context,
    table: TableName,
    rows: &RecordBatch,
    tally: &mut Tally,
) -> Result<(), JobError> {
    let run_id = context.stamp.run_id.as_str();
    let mut first = None;
    loop {
        let snapshot = context.lake.table(table).await?;
        // A commit that was given up as lost may have landed after all: these rows have no key by
        // which they would be missed or found twice, so it is looked for by its run.
        let since = *first.get_or_insert(snapshot.version());
        let newer = usize::try_from(snapshot.version() - since).unwrap_or(usize::MAX);
        let landed = snapshot.history(newer).await?;
        let landed = landed
            .iter()
            .find(|commit| commit.run_id.as_deref() == Some(run_id));
        if let Some(commit) = landed {
            tally.committed(table, commit.version);
            return Ok(());
        }
        let request = CommitRequest {
            operation: CommitKind::Append,
            adds: write_rows(&context.lake, snapshot.def(), rows).await?,
            removes: vec![],
            // One that lands only now is then in the way of the next.
            claims: vec![Claim::keys(table, run_id, "")],
            run_id: run_id.to_owned(),
            attempt_id: Uuid::new_v4().to_string(),
            new_columns: vec![],
        };
        match land(context, &snapshot, request, tally).await? {
            Landed::Yes => return Ok(()),
            Landed::PlanAgain => {}
        }
    }
}

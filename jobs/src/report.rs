//! Results for people and for machines.

use std::time::Instant;

use almanac_executor::Progress;
use arrow::array::RecordBatch;
use arrow::json::ArrayWriter;
use arrow::util::pretty::pretty_format_batches;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::error::JobError;

/// Writes to standard output. A reader that went away is no error of ours.
pub fn print(text: &str) -> Result<(), JobError> {
    use std::io::Write;
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(JobError::ours(format!("cannot write the result: {error}")))
        }
        _ => Ok(()),
    }
}

/// Rows as a table, or as a JSON array of objects.
pub fn print_rows(batches: &[RecordBatch], json: bool) -> Result<(), JobError> {
    if json {
        return print(&rows_as_json(batches)?);
    }
    let table =
        pretty_format_batches(batches).map_err(|error| JobError::ours(error.to_string()))?;
    print(&table.to_string())
}

/// Rows as a JSON array of objects.
pub fn rows_as_json(batches: &[RecordBatch]) -> Result<String, JobError> {
    let failed = |error: arrow::error::ArrowError| JobError::ours(error.to_string());
    let mut writer = ArrayWriter::new(vec![]);
    writer
        .write_batches(&batches.iter().collect::<Vec<_>>())
        .map_err(failed)?;
    writer.finish().map_err(failed)?;
    String::from_utf8(writer.into_inner()).map_err(|error| JobError::ours(error.to_string()))
}

/// Columns of texts, aligned, with a header.
pub fn aligned(header: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([header[column].len()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(header.to_vec())];
    lines.extend(
        rows.iter()
            .map(|row| line(row.iter().map(String::as_str).collect())),
    );
    lines.join("\n")
}

/// JSON objects as a titled table.
pub fn titled(title: &str, columns: &[&str], rows: &[Value]) -> String {
    let cell = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|name| cell(&row[*name])).collect())
        .collect();
    format!("{title}\n{}", aligned(columns, &rows))
}

/// A run's summary with a command's own result laid over it.
pub fn merged(mut summary: Value, own: Value) -> Value {
    if let (Value::Object(summary), Value::Object(own)) = (&mut summary, own) {
        summary.extend(own);
    }
    summary
}

/// A JSON object on one line.
pub fn print_json(value: &Value) -> Result<(), JobError> {
    print(&value.to_string())
}

/// A job's result.
pub fn print_job(result: &Value, json: bool) -> Result<(), JobError> {
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
    let failures = result["failures"].as_array().map_or(&[][..], Vec::as_slice);
    if !failures.is_empty() {
        const SHOWN: usize = 20;
        let folded = folded(failures);
        print(&failures_table(
            "failures",
            &folded[..folded.len().min(SHOWN)],
        ))?;
        if folded.len() > SHOWN {
            print(&format!(
                "… and {} more lines: `almanac status {}`",
                folded.len() - SHOWN,
                result["run_id"].as_str().unwrap_or_default()
            ))?;
        }
    }
    Ok(())
}

/// Failures as a titled table.
pub fn failures_table(title: &str, failures: &[Value]) -> String {
    let columns = [
        "stage",
        "commodity",
        "model_name",
        "date",
        "error_class",
        "message",
    ];
    titled(title, &columns, failures)
}

/// Failures of one unit after another that differ in their dates only, as one line: the dates from
/// the first to the last, how many they are, and what the first one said.
pub fn folded(failures: &[Value]) -> Vec<Value> {
    let alike = |a: &Value, b: &Value| {
        let columns = ["run_id", "stage", "commodity", "model_name", "error_class"];
        columns.iter().all(|column| a[*column] == b[*column])
    };
    failures
        .chunk_by(alike)
        .map(|chunk| {
            let mut line = chunk[0].clone();
            let dates = || chunk.iter().filter_map(|failure| failure["date"].as_str());
            if let (true, Some(first), Some(last)) = (chunk.len() > 1, dates().min(), dates().max())
            {
                line["date"] = format!("{first} … {last} ({} dates)", chunk.len()).into();
            }
            line
        })
        .collect()
}

/// A bar on standard error that counts slices; silent when that is no terminal.
pub struct Bar {
    bar: ProgressBar,
    quiet: bool,
    started: Instant,
}

impl Bar {
    /// A bar without length.
    pub fn new(quiet: bool) -> Self {
        let target = if quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) =
            ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} slices, {elapsed}")
        {
            bar.set_style(style);
        }
        Self {
            bar,
            quiet,
            started: Instant::now(),
        }
    }

    /// Begins a stage of `slices` slices, which are added to those of the stages before it.
    pub fn stage(&self, label: String, slices: usize) {
        tracing::info!(
            slices,
            seconds = self.started.elapsed().as_secs_f64(),
            "{label}"
        );
        self.bar.inc_length(slices as u64);
        self.bar.set_message(label);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Bar {
    fn slice_done(&self) {
        self.bar.inc(1);
    }

    fn waiting(&self, reason: &str) {
        if !self.quiet {
            self.bar.suspend(|| eprintln!("{reason}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn failures_that_differ_in_their_dates_only_are_one_line() {
        let failure = |model: &str, date: &str, class: &str| json!({"stage": "forecast", "model_name": model, "date": date, "error_class": class, "message": date});
        let all = [
            failure("a", "2024-01-02", "stale"),
            failure("a", "2024-01-03", "stale"),
            failure("a", "2024-01-05", "stale"),
            failure("a", "2024-01-06", "domain"),
            failure("b", "2024-01-07", "domain"),
        ];
        let mut first = all[0].clone();
        first["date"] = json!("2024-01-02 … 2024-01-05 (3 dates)");
        assert_eq!(folded(&all), [first, all[3].clone(), all[4].clone()]);
        assert!(folded(&[]).is_empty());
    }
}

//! An error of a task, on its way to the person at the other end.
//!
//! Ballista carries errors as text that each layer wraps once more. Ours go as one JSON object
//! between two marks, which the driver finds again in whatever has been put around it.

use std::fmt::Formatter;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};

use crate::error::{Blame, EngineError};

const OPEN: &str = "⟦almanac ";
const CLOSE: &str = "⟧";

/// What the driver has to know of a task's error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// For people, one line.
    pub message: String,
    /// What to do, where there is something.
    pub hint: Option<String>,
    /// Who can mend it.
    pub blame: Blame,
    /// Whether another round would fail the same way.
    pub is_final: bool,
}

impl Failure {
    fn of(error: EngineError) -> Self {
        let exhausted = matches!(
            &error,
            EngineError::Query(error)
                if matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
        );
        let (blame, hint) = match &error {
            EngineError::Lake(error) if error.may_pass() => (Blame::Store, error.hint()),
            EngineError::Lake(error) if error.is_user_fixable() => (Blame::User, error.hint()),
            _ if exhausted => (
                Blame::User,
                Some(
                    "give executors more with `almanac cluster executor --memory-limit-mib`"
                        .to_owned(),
                ),
            ),
            _ => (Blame::Ours, None),
        };
        Self {
            message: error.to_string(),
            hint,
            blame,
            is_final: error.is_final(),
        }
    }
}

/// A task's error as text that [`found_in`] finds again.
pub(crate) fn told(error: DataFusionError) -> DataFusionError {
    let failure = Failure::of(EngineError::from(error));
    let text = serde_json::to_string(&failure)
        .unwrap_or_else(|error| format!("an error that cannot be told: {error}"));
    DataFusionError::Execution(format!("{OPEN}{text}{CLOSE}"))
}

/// A plan whose errors are told. It lives in an executor only, and never travels.
#[derive(Debug)]
pub(crate) struct TellingExec {
    input: Arc<dyn ExecutionPlan>,
}

impl TellingExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        Self { input }
    }
}

impl DisplayAs for TellingExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "TellingExec")
    }
}

impl ExecutionPlan for TellingExec {
    fn name(&self) -> &str {
        "Telling"
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }
    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }
    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(children.swap_remove(0))))
    }
    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context).map_err(told)?;
        let schema = input.schema();
        let rows = input.map_err(told);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// The error that a job ended with, from Ballista's text.
pub(crate) fn found_in(text: &str) -> EngineError {
    // `{:?}` on the way escapes quotes, once a layer.
    let inner = text
        .split_once(OPEN)
        .and_then(|(_, rest)| Some(rest.split_once(CLOSE)?.0));
    let failure = inner.and_then(|inner| {
        let mut inner = inner.to_owned();
        for _ in 0..4 {
            if let Ok(failure) = serde_json::from_str::<Failure>(&inner) {
                return Some(failure);
            }
            inner = inner.replace("\\\"", "\"").replace("\\\\", "\\");
        }
        None
    });
    match failure {
        Some(failure) => EngineError::Remote {
            message: failure.message,
            hint: failure.hint,
            blame: failure.blame,
            is_final: failure.is_final,
        },
        None => EngineError::Task(text.split_whitespace().collect::<Vec<_>>().join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use almanac_delta::DeltaError;

    #[test]
    fn an_error_is_found_again_in_what_is_wrapped_around_it() {
        let full = DeltaError::StoreFull {
            uri: "forecast/\"odd\"/a.parquet".to_owned(),
            reason: "no\nroom".to_owned(),
        };
        let (message, hint) = (full.to_string(), full.hint());
        let told = told(DataFusionError::External(Box::new(full)));
        for text in [
            format!("Job failed due to stage 1 failed: {told}"),
            format!("{:?}", format!("DataFusionError({told:?})")),
        ] {
            match found_in(&text) {
                EngineError::Remote {
                    message: found,
                    hint: what,
                    blame,
                    is_final,
                } => {
                    assert_eq!((found, what), (message.clone(), hint.clone()));
                    assert!(blame == Blame::User && is_final);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_is_not_ours_is_a_lost_task() {
        let error = found_in("Executor 1 lost:\n  transport error");
        assert!(!error.is_final());
        assert_eq!(
            error.to_string(),
            "a task stopped: Executor 1 lost: transport error"
        );
    }
}

//! A large schedule, as an object beside the lake's manifests instead of in every task.
//!
//! A plan is sent to each task whole. Where its units take more than [`INLINE_BYTES`] they are put
//! under `_almanac/payloads/` once, and the plan carries their address; a process reads them once.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use almanac_delta::DeltaError;
use almanac_delta::care::PAYLOADS;
use almanac_delta::write::WriteExec;
use almanac_udfs::assign::AssignUnits;
use almanac_udfs::operator::{OperatorExec, RowOperator, Task};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, internal_err};
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::error::EngineError;

/// Units up to this size travel in the plan itself.
const INLINE_BYTES: usize = 1 << 20;

/// Where a plan's units are. Each plan has an object of its own, though its content may be that of
/// another: it is removed when the plan has run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct StoredUnits {
    /// The object store, as a registry names it.
    store_url: String,
    /// The object within it.
    path: String,
    sha256: String,
}

/// [`AssignUnits`] over units that are read when it runs.
impl RowOperator for StoredUnits {
    const NAME: &'static str = "StoredUnits";

    fn output_schema(&self, input: &Schema) -> Result<Schema> {
        // Without units it has the schema that it has with any.
        let empty = AssignUnits {
            units: Arc::default(),
            closed: Arc::default(),
        };
        empty.output_schema(input)
    }

    fn describe(&self) -> String {
        self.path.clone()
    }

    fn run(
        &self,
        input: SendableRecordBatchStream,
        output: SchemaRef,
        task: Task,
    ) -> Result<SendableRecordBatchStream> {
        let (units, schema) = (self.clone(), Arc::clone(&output));
        let rows = async move {
            let assign = read(&units, &task.context).await?;
            assign.run(input, output, task)
        };
        let rows = futures::stream::once(rows).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// Objects that a plan put down, to be removed when it has run.
pub(crate) struct Offloaded {
    pub plan: Arc<dyn ExecutionPlan>,
    store: Option<Arc<dyn ObjectStore>>,
    objects: Vec<Path>,
}

impl Offloaded {
    /// Removes the objects. What cannot be removed falls to `vacuum`.
    pub(crate) async fn remove(self) {
        for path in &self.objects {
            if let Some(store) = &self.store
                && let Err(error) = store.delete(path).await
            {
                tracing::warn!(%path, %error, "a plan's units were not removed; vacuum will");
            }
        }
    }
}

/// The plan with large payloads put down as objects under the lake that it writes to.
///
/// # Errors
/// When the store refuses them.
pub(crate) async fn offload(
    plan: Arc<dyn ExecutionPlan>,
    runtime: &RuntimeEnv,
) -> Result<Offloaded, EngineError> {
    let mut bodies = vec![];
    let lake = lake_of(&plan);
    let moved = plan.transform(|node| {
        let (Some(assign), Some((store_url, root))) =
            (node.downcast_ref::<OperatorExec<AssignUnits>>(), &lake)
        else {
            return Ok(Transformed::no(node));
        };
        let body = serde_json::to_vec(&assign.operator)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        if body.len() <= INLINE_BYTES {
            return Ok(Transformed::no(node));
        }
        let sha256: String = Sha256::digest(&body)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let path = Path::parse(format!(
            "{root}/{PAYLOADS}/{sha256}-{}.json",
            Uuid::new_v4()
        ))?;
        let units = StoredUnits {
            store_url: store_url.clone(),
            path: path.to_string(),
            sha256,
        };
        bodies.push((path, body));
        let input = Arc::clone(node.children()[0]);
        Ok(Transformed::yes(
            Arc::new(OperatorExec::try_new(input, units)?) as _,
        ))
    })?;
    let mut offloaded = Offloaded {
        plan: moved.data,
        store: None,
        objects: vec![],
    };
    for (path, body) in bodies {
        let Some((store_url, _)) = &lake else { break };
        let store = runtime.object_store(ObjectStoreUrl::parse(store_url)?)?;
        store
            .put(&path, body.into())
            .await
            .map_err(|error| DeltaError::store(format!("put {path}"), error))?;
        tracing::debug!(%path, "large units are an object");
        offloaded.store = Some(store);
        offloaded.objects.push(path);
    }
    Ok(offloaded)
}

/// Store and root of the lake that a plan writes to.
fn lake_of(plan: &Arc<dyn ExecutionPlan>) -> Option<(String, String)> {
    if let Some(write) = plan.downcast_ref::<WriteExec>() {
        return Some((write.spec.store_url.clone(), write.spec.root.clone()));
    }
    plan.children().into_iter().find_map(lake_of)
}

/// Units that this process has read and still uses.
static READ: LazyLock<Mutex<HashMap<String, Weak<AssignUnits>>>> = LazyLock::new(Mutex::default);

async fn read(units: &StoredUnits, context: &TaskContext) -> Result<Arc<AssignUnits>> {
    let known =
        |read: &HashMap<String, Weak<AssignUnits>>| read.get(&units.sha256).and_then(Weak::upgrade);
    if let Some(found) = known(&READ.lock().unwrap_or_else(PoisonError::into_inner)) {
        return Ok(found);
    }
    let url = ObjectStoreUrl::parse(&units.store_url)?;
    let store = context.runtime_env().object_store(url)?;
    let path = Path::parse(&units.path)?;
    let external = |error: object_store::Error| {
        let error = DeltaError::store(format!("read {path}"), error);
        DataFusionError::External(Box::new(error))
    };
    let body = store.get(&path).await.map_err(external)?;
    let body = body.bytes().await.map_err(external)?;
    let sha256: String = Sha256::digest(&body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if sha256 != units.sha256 {
        return internal_err!("{path} is not what its name says: its hash is {sha256}");
    }
    let parsed: AssignUnits = serde_json::from_slice(&body)
        .map_err(|error| DataFusionError::External(Box::new(error)))?;
    let parsed = Arc::new(parsed);
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    read.retain(|_, units| units.strong_count() > 0);
    read.insert(units.sha256.clone(), Arc::downgrade(&parsed));
    Ok(parsed)
}

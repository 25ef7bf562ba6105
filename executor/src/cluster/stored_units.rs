//! A large schedule, as an object beside the lake's manifests instead of in every task.
//!
//! A plan is sent to each task whole. Where its units take more than [`INLINE_BYTES`] they are put
//! under `_almanac/payloads/` once, and the plan carries their address; a process reads them once.

use std::collections::HashMap;
use std::fmt::Formatter;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use almanac_delta::DeltaError;
use almanac_delta::care::PAYLOADS;
use almanac_delta::write::WriteExec;
use almanac_udfs::assign::AssignUnits;
use almanac_udfs::operator::{OperatorExec, RowOperator};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredUnits {
    /// The object store, as a registry names it.
    store_url: String,
    /// The object within it.
    path: String,
    sha256: String,
}

impl StoredUnits {
    pub(crate) const NAME: &'static str = "StoredUnits";
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
            Arc::new(StoredUnitsExec::try_new(input, units)?) as _,
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

/// [`AssignUnits`] over units that are read when it runs.
#[derive(Debug)]
pub(crate) struct StoredUnitsExec {
    input: Arc<dyn ExecutionPlan>,
    pub units: StoredUnits,
    properties: Arc<PlanProperties>,
}

impl StoredUnitsExec {
    pub(crate) fn try_new(input: Arc<dyn ExecutionPlan>, units: StoredUnits) -> Result<Self> {
        // Without units it has the schema and the partitioning that it has with any.
        let empty = AssignUnits {
            units: Arc::default(),
            closed: Arc::default(),
        };
        let outline = OperatorExec::try_new(Arc::clone(&input), empty)?;
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(outline.schema()),
            outline.properties().partitioning.clone(),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Ok(Self {
            input,
            units,
            properties,
        })
    }
}

impl DisplayAs for StoredUnitsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredUnitsExec: {}", self.units.path)
    }
}

impl ExecutionPlan for StoredUnitsExec {
    fn name(&self) -> &str {
        StoredUnits::NAME
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
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
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }
    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.swap_remove(0);
        Ok(Arc::new(Self::try_new(input, self.units.clone())?))
    }
    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let memory = MemoryConsumer::new(format!("{}[{partition}]", StoredUnits::NAME))
            .register(context.memory_pool());
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let (units, schema) = (self.units.clone(), self.schema());
        let output = Arc::clone(&schema);
        let rows = async move {
            let assign = read(&units, &context).await?;
            assign.run(input, output, memory)
        };
        let rows = futures::stream::once(rows).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

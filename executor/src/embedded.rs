//! DataFusion in this process: plans on the caller's runtime, work on a pool of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use almanac_delta::store::Stores;
use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::{GreedyMemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, collect};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::num::NonZeroUsize;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use crate::engine::{Engine, Progress};
use crate::error::EngineError;
use crate::runtime;
use crate::session::{job_config, query_config, require_one_stage, state};

/// How the embedded engine is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedSettings {
    /// Slices that run at the same time, and threads of the pool.
    pub threads: usize,
    /// Bytes that queries may hold.
    pub memory_bytes: usize,
}

/// The embedded engine.
#[derive(Debug)]
pub struct Embedded {
    settings: EmbeddedSettings,
    runtime_env: Arc<RuntimeEnv>,
    /// One permit for each slice that may run, whatever runs at the same time.
    slots: Arc<Semaphore>,
    /// `None` only while it is being dropped.
    pool: Option<Runtime>,
    bytes_queried: AtomicU64,
}

/// Bytes that the scans of a plan have read.
fn bytes_scanned(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let own = plan
        .metrics()
        .and_then(|metrics| metrics.sum_by_name("bytes_scanned"));
    let below: u64 = plan.children().into_iter().map(bytes_scanned).sum();
    below + own.map_or(0, |bytes| bytes.as_usize() as u64)
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // A runtime must not block where it is dropped: that may be inside another.
        if let Some(pool) = self.pool.take() {
            pool.shutdown_background();
        }
    }
}

impl Embedded {
    /// Starts the pool. Stores are asked on the runtime that this is called on, never on the pool.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn start(settings: EmbeddedSettings) -> Result<Self, EngineError> {
        const NAMED_CONSUMERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);
        let pool = runtime::pool(settings.threads.max(1))?;
        let memory = TrackConsumersPool::new(
            GreedyMemoryPool::new(settings.memory_bytes),
            NAMED_CONSUMERS,
        );
        let runtime_env = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(memory))
            .with_object_store_registry(Arc::new(Stores::new()))
            .build_arc()?;
        Ok(Self {
            slots: Arc::new(Semaphore::new(settings.threads.max(1))),
            settings,
            runtime_env,
            pool: Some(pool),
            bytes_queried: AtomicU64::new(0),
        })
    }

    /// The environment that plans are made and run in.
    pub(crate) fn runtime_env(&self) -> Arc<RuntimeEnv> {
        Arc::clone(&self.runtime_env)
    }

    fn pool(&self) -> Result<&Runtime, EngineError> {
        self.pool
            .as_ref()
            .ok_or_else(|| EngineError::Task("the engine has stopped".to_owned()))
    }

    async fn run_partitions(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        session: &SessionState,
        progress: &dyn Progress,
    ) -> Result<(), EngineError> {
        let context = session.task_ctx();
        let pool = self.pool()?;
        let mut running: FuturesUnordered<_> =
            (0..plan.properties().partitioning.partition_count())
                .map(|partition| {
                    let (plan, context, slots) = (
                        Arc::clone(&plan),
                        Arc::clone(&context),
                        Arc::clone(&self.slots),
                    );
                    pool.spawn(async move {
                        // The semaphore is never closed, so a permit always comes.
                        let _slot = slots.acquire_owned().await;
                        let mut stream = plan.execute(partition, context)?;
                        while let Some(batch) = stream.next().await {
                            batch?;
                        }
                        Ok::<_, datafusion::error::DataFusionError>(())
                    })
                })
                .collect();
        let mut first: Option<EngineError> = None;
        while let Some(ended) = running.next().await {
            match ended {
                Ok(Ok(())) => progress.slice_done(),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a slice failed");
                    first.get_or_insert_with(|| error.into());
                }
                Err(error) => {
                    first.get_or_insert_with(|| EngineError::Task(error.to_string()));
                }
            }
        }
        first.map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Engine for Embedded {
    fn name(&self) -> String {
        format!("embedded, {} threads", self.settings.threads)
    }

    async fn run(
        &self,
        plan: LogicalPlan,
        slices: usize,
        progress: &dyn Progress,
    ) -> Result<(), EngineError> {
        let session = state(job_config(slices), Arc::clone(&self.runtime_env))?;
        let physical = session.create_physical_plan(&plan).await?;
        require_one_stage(&physical)?;
        self.run_partitions(physical, &session, progress).await
    }

    async fn query(&self, plan: LogicalPlan) -> Result<Vec<RecordBatch>, EngineError> {
        let session = self.query_state()?;
        let physical = session.create_physical_plan(&plan).await?;
        let context = session.task_ctx();
        let rows = self
            .pool()?
            .spawn(collect(Arc::clone(&physical), context))
            .await;
        self.bytes_queried
            .fetch_add(bytes_scanned(&physical), Ordering::Relaxed);
        Ok(rows.map_err(|error| EngineError::Task(error.to_string()))??)
    }

    fn query_state(&self) -> Result<SessionState, EngineError> {
        Ok(state(
            query_config(self.settings.threads.max(1)),
            Arc::clone(&self.runtime_env),
        )?)
    }

    fn bytes_queried(&self) -> u64 {
        self.bytes_queried.load(Ordering::Relaxed)
    }
}

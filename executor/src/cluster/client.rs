//! The engine that sends jobs to a cluster.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use ballista_core::serde::protobuf::execute_query_params::Query;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    CancelJobParams, ExecuteQueryParams, GetJobStatusParams, KeyValuePair, PartitionLocation,
    RemoveSessionParams, execute_query_failure_result, execute_query_result, job_status,
};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::PhysicalPlanNode;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};
use uuid::Uuid;

use super::ClusterAddress;
use super::codec::OperatorCodec;
use super::control::Control;
use super::failure;
use super::identity::Identity;
use super::results;
use super::scheduler::{ExecutorState, QueryState, QueryStatus, agree};
use super::session::{self, MESSAGE_BYTES};
use super::stored_units::offload;
use super::tls::{Tls, Transport};
use crate::embedded::{Embedded, EmbeddedSettings};
use crate::engine::{Engine, Progress};
use crate::error::EngineError;
use crate::session::{job_config, query_config, require_one_stage, state};
use crate::sql;

/// How long work may stand still, with executors there, before it is sent out anew: longer than it
/// takes to notice that one is lost.
const STANDSTILL: Duration = Duration::from_secs(30);
/// How long a scheduler that does not answer is asked again before the job is given up.
const SCHEDULER_PATIENCE: Duration = Duration::from_secs(8);
/// How long a scheduler may not know a job before it is believed: a job that it has accepted waits for
/// its turn among the scheduler's events, unseen (ballista-scheduler 55, `submit_plan` posts an event).
const UNKNOWN: Duration = Duration::from_secs(5);
/// How long nothing runs before it is said that the job waits.
const WAITING: Duration = Duration::from_secs(2);
/// How often a query is run again whose results may have been touched by the loss of an executor.
const SQL_ROUNDS: usize = 3;

/// How a cluster is reached.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// The scheduler.
    pub address: ClusterAddress,
    /// This process's identity, when the cluster is encrypted.
    pub tls: Option<Tls>,
    /// The code's version.
    pub code: String,
    /// The engine in this process, for planning: what is missing is asked of one snapshot, by one
    /// process, which nothing can be lost of.
    pub planning: EmbeddedSettings,
}

/// Runs jobs, and ad-hoc queries, on a cluster.
pub struct Cluster {
    address: ClusterAddress,
    transport: Transport,
    control: Control,
    planning: Embedded,
    /// Queries that are on the cluster.
    running: Mutex<BTreeSet<String>>,
    interrupted: AtomicBool,
}

impl Cluster {
    /// Connects, and compares versions, functions and settings.
    ///
    /// # Errors
    /// When no scheduler answers, or scheduler or an executor is of another version.
    pub async fn connect(settings: ClusterSettings) -> Result<Arc<Self>, EngineError> {
        let planning = Embedded::start(settings.planning)?;
        let identity = Identity::new(&settings.code, &planning.query_state()?);
        let transport = Transport::new(identity.agent(), settings.tls.as_ref())?;
        let control = Control::over(&settings.address, &transport).await?;
        agree(
            &control.greeting,
            &identity,
            "this command",
            &settings.address,
        )?;
        Ok(Arc::new(Self {
            address: settings.address,
            transport,
            control,
            planning,
            running: Mutex::default(),
            interrupted: AtomicBool::new(false),
        }))
    }

    /// Takes the work of this process off the cluster; everything that is asked of the engine from
    /// now on ends with [`EngineError::Interrupted`].
    pub async fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
        let running: Vec<String> = self.running().iter().cloned().collect();
        for id in running {
            self.cancel(&id).await;
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> Result<(), EngineError> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(EngineError::Interrupted);
        }
        Ok(())
    }

    fn scheduler(&self) -> SchedulerGrpcClient<Channel> {
        SchedulerGrpcClient::new(self.control.channel())
            .max_encoding_message_size(MESSAGE_BYTES)
            .max_decoding_message_size(MESSAGE_BYTES)
    }

    /// What an answer that is none means: the scheduler is gone, or it does not want to.
    fn refused(&self, status: &Status) -> EngineError {
        match status.code() {
            Code::FailedPrecondition => EngineError::cluster(
                status.message().to_owned(),
                "scheduler, executors and commands of a cluster must be of one version",
            ),
            // What a connection that breaks is turned into.
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Unknown => {
                EngineError::SchedulerLost {
                    address: self.address.to_string(),
                    reason: super::tls::causes(status),
                }
            }
            _ => EngineError::Refused {
                reason: status.message().to_owned(),
            },
        }
    }

    async fn cancel(&self, id: &str) {
        let params = CancelJobParams {
            job_id: id.to_owned(),
        };
        if let Err(error) = self.scheduler().cancel_job(params).await {
            tracing::warn!(%error, id, "the work on the cluster was not cancelled");
        }
    }

    /// Puts a plan on the cluster; the name it has there.
    async fn submit(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        state: &SessionState,
    ) -> Result<String, EngineError> {
        let codec = OperatorCodec::default();
        let mut bytes = vec![];
        PhysicalPlanNode::try_from_physical_plan(plan, &codec)?.try_encode(&mut bytes)?;
        let settings = state.config().options().entries();
        let query = ExecuteQueryParams {
            query: Some(Query::PhysicalPlan(bytes)),
            settings: settings
                .into_iter()
                .map(|entry| KeyValuePair {
                    key: entry.key,
                    value: entry.value,
                })
                .collect(),
            session_id: state.session_id().to_owned(),
            operation_id: Uuid::new_v4().to_string(),
        };
        let mut request = tonic::Request::new(query);
        ballista_core::version::insert_version_header(request.metadata_mut());
        let answer = self.scheduler().execute_query(request).await;
        let answer = answer.map_err(|status| self.refused(&status))?.into_inner();
        match answer.result {
            Some(execute_query_result::Result::Success(success)) => {
                self.running().insert(success.job_id.clone());
                // The interruption may have looked just before the name was known.
                if self.check().is_err() {
                    self.cancel(&success.job_id).await;
                }
                Ok(success.job_id)
            }
            Some(execute_query_result::Result::Failure(refused)) => {
                let reason = match refused.failure {
                    Some(
                        execute_query_failure_result::Failure::PlanParsingFailure(text)
                        | execute_query_failure_result::Failure::SqlParsingFailure(text)
                        | execute_query_failure_result::Failure::SessionNotFound(text),
                    ) => text,
                    None => "no reason was given".to_owned(),
                };
                Err(EngineError::Refused { reason })
            }
            None => Err(EngineError::Refused {
                reason: "the answer is empty".to_owned(),
            }),
        }
    }

    /// Has the scheduler forget a session, which it would keep for good.
    fn forget(&self, session: &str) {
        let mut scheduler = self.scheduler();
        let params = RemoveSessionParams {
            session_id: session.to_owned(),
        };
        tokio::spawn(async move {
            if let Err(error) = scheduler.remove_session(params).await {
                tracing::debug!(%error, "a session is not forgotten");
            }
        });
    }

    /// Follows a plan to its end.
    async fn watch(&self, id: &str, progress: &dyn Progress) -> Result<QueryState, EngineError> {
        let mut seen = 0;
        let mut stages = 0;
        let mut moved = Instant::now();
        let mut answered = Instant::now();
        let mut known = Instant::now();
        let mut said = false;
        loop {
            self.check()?;
            let path = format!("/almanac/v1/queries/{id}?done={seen}");
            let mut state: QueryState = match self.control.get(&path).await {
                Ok(state) => state,
                Err(error @ EngineError::SchedulerLost { .. })
                    if answered.elapsed() < SCHEDULER_PATIENCE =>
                {
                    tracing::info!(%error, "asking again");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            answered = Instant::now();
            // The graph of a job that has ended may be gone already.
            stages = stages.max(state.stages);
            state.stages = stages;
            // Ballista would now do again what the lost executor had done, too
            // (`RunningStage::reset_tasks`), and may hand rows on twice. What is done has a manifest;
            // the rest is sent out anew.
            let fewer = state.status == QueryStatus::Running && state.tasks_done < seen;
            if state.disturbed || fewer {
                self.cancel(id).await;
                return Err(EngineError::Task("an executor was lost".to_owned()));
            }
            for _ in seen..state.tasks_done {
                progress.slice_done();
            }
            if state.tasks_done != seen || state.tasks_running > 0 {
                moved = Instant::now();
                said = false;
            }
            seen = state.tasks_done.max(seen);
            match state.status {
                QueryStatus::Ended => return Ok(state),
                QueryStatus::Unknown if known.elapsed() > UNKNOWN => {
                    // If it waits after all, the scheduler comes to this after it.
                    self.cancel(id).await;
                    return Err(EngineError::Task(
                        "the scheduler has been started anew and knows nothing of the job"
                            .to_owned(),
                    ));
                }
                QueryStatus::Unknown => continue,
                QueryStatus::Queued | QueryStatus::Running => known = Instant::now(),
            }
            if moved.elapsed() > WAITING && state.tasks_running == 0 {
                let executors: Vec<ExecutorState> =
                    self.control.get("/almanac/v1/executors").await?;
                if !std::mem::replace(&mut said, true) {
                    progress.waiting(&waiting(&self.address, &executors));
                }
                // Who waits for executors waits as long as it takes; who waits although they are
                // there, and nothing runs, waits for something that was lost.
                if executors.is_empty() {
                    moved = Instant::now().checked_sub(WAITING).unwrap_or(moved);
                } else if moved.elapsed() > STANDSTILL && state.tasks_waiting == 0 {
                    self.cancel(id).await;
                    return Err(EngineError::Task(format!(
                        "nothing has moved for {} s on the cluster",
                        STANDSTILL.as_secs()
                    )));
                }
            }
        }
    }

    /// Where the results of an ended plan are, or why there are none.
    async fn outcome(&self, id: &str) -> Result<Vec<PartitionLocation>, EngineError> {
        let params = GetJobStatusParams {
            job_id: id.to_owned(),
        };
        let found = self.scheduler().get_job_status(params).await;
        let found = found.map_err(|status| self.refused(&status))?.into_inner();
        match found.status.and_then(|status| status.status) {
            Some(job_status::Status::Successful(job)) => Ok(job.partition_location),
            Some(job_status::Status::Failed(job)) => {
                self.check()?;
                Err(failure::found_in(&job.error))
            }
            _ => Err(EngineError::Task(
                "the job ended, and the scheduler does not say how".to_owned(),
            )),
        }
    }

    async fn to_its_end(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        state: &SessionState,
        progress: &dyn Progress,
    ) -> Result<(QueryState, Vec<PartitionLocation>), EngineError> {
        self.check()?;
        let id = self.submit(plan, state).await?;
        tracing::debug!(id, "on the cluster");
        let ended = async {
            let ended = self.watch(&id, progress).await?;
            Ok((ended, self.outcome(&id).await?))
        };
        let ended = ended.await;
        self.running().remove(&id);
        self.forget(state.session_id());
        ended
    }

    fn job_state(&self, slices: usize) -> Result<SessionState, EngineError> {
        let config = session::config(job_config(slices), &self.transport);
        Ok(state(config, self.planning.runtime_env())?)
    }

    async fn executors(&self) -> Result<Vec<ExecutorState>, EngineError> {
        self.control.get("/almanac/v1/executors").await
    }

    /// The rows of a query that reads tables.
    async fn distributed(&self, plan: LogicalPlan) -> Result<Vec<RecordBatch>, EngineError> {
        let cores: u32 = self
            .executors()
            .await?
            .iter()
            .map(|executor| executor.cores)
            .sum();
        let config = session::for_stages(session::config(
            query_config((cores as usize).max(2)),
            &self.transport,
        ));
        let state = session::with_stage_rules(state(config, self.planning.runtime_env())?);
        let physical = state.create_physical_plan(&plan).await?;
        let mut last = None;
        for round in 1..=SQL_ROUNDS {
            // A stage that is run again after the loss of an executor can hand the same rows on
            // twice (ballista-scheduler 55, `execution_graph.rs`: `output_locations` are extended
            // and never cleared): such a query ends with an error, and is run again as a whole.
            let done = async {
                let (_, locations) = self
                    .to_its_end(Arc::clone(&physical), &state, &Quiet)
                    .await?;
                results::fetch(locations, &self.address, &self.transport).await
            };
            match done.await {
                Ok(rows) => return Ok(rows),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    self.check()?;
                    tracing::info!(%error, round, "the query is run again");
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or(EngineError::Interrupted))
    }
}

/// Nobody watches a query.
struct Quiet;

impl Progress for Quiet {
    fn slice_done(&self) {}
    fn waiting(&self, reason: &str) {
        tracing::warn!("{reason}");
    }
}

fn waiting(address: &ClusterAddress, executors: &[ExecutorState]) -> String {
    if executors.is_empty() {
        return format!(
            "waiting: no executor is connected to {address}; start one with `almanac cluster executor --scheduler {}`",
            address.authority()
        );
    }
    let cores: u32 = executors.iter().map(|executor| executor.cores).sum();
    format!(
        "waiting: all {cores} cores of the {} executors at {address} are at work on other jobs",
        executors.len()
    )
}

#[async_trait]
impl Engine for Cluster {
    fn name(&self) -> String {
        format!("cluster {}", self.address)
    }

    async fn run(
        &self,
        plan: LogicalPlan,
        slices: usize,
        progress: &dyn Progress,
    ) -> Result<(), EngineError> {
        let state = self.job_state(slices)?;
        let physical = state.create_physical_plan(&plan).await?;
        require_one_stage(&physical)?;
        let tasks = physical.output_partitioning().partition_count();
        let offloaded = offload(physical, state.runtime_env()).await?;
        let ended = self
            .to_its_end(Arc::clone(&offloaded.plan), &state, progress)
            .await;
        offloaded.remove().await;
        let (ended, _) = ended?;
        if ended.stages != 1 {
            return Err(EngineError::NotOneStage {
                operator: format!("{} stages on the cluster", ended.stages),
            });
        }
        tracing::debug!(
            tasks,
            stages = ended.stages,
            "a job's plan has run on the cluster"
        );
        Ok(())
    }

    async fn query(&self, plan: LogicalPlan) -> Result<Vec<RecordBatch>, EngineError> {
        self.check()?;
        self.planning.query(plan).await
    }

    fn query_state(&self) -> Result<SessionState, EngineError> {
        self.planning.query_state()
    }

    async fn rows(&self, plan: LogicalPlan) -> Result<Vec<RecordBatch>, EngineError> {
        if sql::reads_tables(&plan)? {
            self.distributed(plan).await
        } else {
            self.query(plan).await
        }
    }

    fn bytes_queried(&self) -> u64 {
        self.planning.bytes_queried()
    }
}

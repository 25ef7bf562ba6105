//! The scheduler's process: Ballista's scheduler, its proxy to results, and our JSON routes, on one
//! port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use almanac_delta::store::Stores;
use arrow_flight::flight_service_server::FlightServiceServer;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use ballista_core::JobId;
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::extension::BallistaConfigGrpcEndpoint;
use ballista_core::flight_proxy_service::BallistaFlightProxyService;
use ballista_core::serde::protobuf::failed_task::FailedReason;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpcServer;
use ballista_core::serde::protobuf::{job_status, task_status};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::{SchedulerConfig, TaskDistributionPolicy};
use ballista_scheduler::scheduler_process::create_scheduler;
use ballista_scheduler::scheduler_server::SchedulerServer;
use ballista_scheduler::state::execution_stage::ExecutionStage;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;
use tonic::service::interceptor::InterceptedService;
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Status};

use super::ClusterAddress;
use super::codec::OperatorCodec;
use super::identity::Identity;
use super::session::{self, MESSAGE_BYTES};
use super::tls::{Tls, Transport};
use crate::error::EngineError;
use crate::session::{query_config, state};

/// Seconds without a heartbeat after which an executor is lost. Executors send one each second.
pub(crate) const EXECUTOR_TIMEOUT_SECONDS: u64 = 5;
/// Seconds between looks for lost executors.
const EXPIRY_SECONDS: u64 = 1;
/// Seconds that the state of an ended job is kept.
const KEPT_SECONDS: u64 = 600;
/// Seconds that results stay on executors, for clients to fetch.
const RESULTS_SECONDS: u64 = 120;
/// How long a question that waits for a change is held.
const HELD: Duration = Duration::from_secs(1);

/// How a scheduler runs.
#[derive(Debug, Clone)]
pub struct SchedulerSettings {
    /// Where it listens.
    pub bind: SocketAddr,
    /// Its identity, when the cluster is encrypted.
    pub tls: Option<Tls>,
    /// Whether a public address without TLS is meant.
    pub insecure: bool,
    /// The code's version.
    pub code: String,
}

type Server = SchedulerServer<LogicalPlanNode, PhysicalPlanNode>;

/// Refuses to listen where others can connect, unless they must show a certificate.
pub(crate) fn refuse_public(
    bind: SocketAddr,
    encrypted: bool,
    insecure: bool,
) -> Result<(), EngineError> {
    if bind.ip().is_loopback() || encrypted {
        return Ok(());
    }
    if insecure {
        tracing::warn!(%bind, "listening on a public address WITHOUT TLS: whoever reaches it can run plans and read results");
        return Ok(());
    }
    Err(EngineError::cluster(
        format!(
            "{bind} can be reached from other machines, and whoever reaches it can run plans and read results"
        ),
        "give --tls-ca, --tls-cert and --tls-key; or bind a loopback address; or say --insecure if the network itself is closed",
    ))
}

/// Listens; the address tells the port when any was asked for.
pub(crate) fn listen(bind: SocketAddr) -> Result<(TcpIncoming, SocketAddr), EngineError> {
    let refused = |error: std::io::Error| {
        EngineError::cluster(
            format!("cannot listen at {bind}: {error}"),
            "choose another address with --bind",
        )
    };
    // A server's own setting does not reach connections of a listener that it was given
    // (tonic 0.14, `serve_with_incoming`), and without it every small answer waits 40 ms.
    let incoming = TcpIncoming::bind(bind)
        .map_err(refused)?
        .with_nodelay(Some(true));
    let bound = incoming.local_addr().map_err(refused)?;
    Ok((incoming, bound))
}

/// Runs a scheduler until `stop` ends, with further routes beside its own. `ready` is told the
/// address once it listens.
///
/// # Errors
/// When the address is taken or public, or the certificate is of no use.
pub async fn scheduler(
    settings: SchedulerSettings,
    routes: Router,
    ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), EngineError> {
    let plain = state(query_config(2), Arc::new(RuntimeEnv::default()))?;
    let identity = Arc::new(Identity::new(&settings.code, &plain));
    let transport = Transport::new(identity.agent(), settings.tls.as_ref())?;
    refuse_public(settings.bind, transport.is_encrypted(), settings.insecure)?;
    let mut server = transport.server()?;
    let (listener, bound) = listen(settings.bind)?;

    let (work, _) = watch::channel(0u64);
    let scheduler = ballista(bound, &transport, work.clone()).await?;
    let own = Router::new()
        .route("/almanac/v1/identity", get(tell_identity))
        .route("/almanac/v1/executors", get(tell_executors))
        .route("/almanac/v1/queries/{id}", get(tell_query))
        .route("/almanac/v1/work", get(tell_work))
        .with_state(Arc::new(Told {
            identity: Arc::clone(&identity),
            scheduler: scheduler.clone(),
            work,
        }));
    let agent = identity.agent();
    let code = identity.code.clone();
    let check = move |request: Request<()>| -> Result<Request<()>, Status> {
        let said = request.metadata().get("user-agent");
        let said = said.and_then(|said| said.to_str().ok()).unwrap_or_default();
        // tonic puts its own name behind ours.
        if said.split(' ').next() == Some(agent.as_str()) {
            return Ok(request);
        }
        Err(Status::failed_precondition(format!(
            "this scheduler runs almanac {code}; code, functions and settings of its cluster must be equal"
        )))
    };
    let grpc = SchedulerGrpcServer::new(scheduler)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    let hook = Arc::new(BallistaConfigGrpcEndpoint::new(transport.hook()));
    let proxy = BallistaFlightProxyService::new(
        MESSAGE_BYTES,
        MESSAGE_BYTES,
        transport.is_encrypted(),
        Some(hook),
    );
    let proxy = FlightServiceServer::new(proxy)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    let mut services = RoutesBuilder::default();
    services
        .add_service(InterceptedService::new(grpc, check.clone()))
        .add_service(InterceptedService::new(proxy, check));
    let all = services
        .routes()
        .into_axum_router()
        .merge(own)
        .merge(routes);
    ready(bound);
    server
        .add_routes(Routes::from(all))
        .serve_with_incoming_shutdown(listener, stop)
        .await
        .map_err(|error| EngineError::Task(super::tls::causes(&error)))
}

async fn ballista(
    bound: SocketAddr,
    transport: &Transport,
    work: watch::Sender<u64>,
) -> Result<Server, EngineError> {
    let sessions = session::config(query_config(2), transport);
    // A scan is decoded with the client of its store (datafusion-proto 55), though nothing is read here.
    let stores = RuntimeEnvBuilder::new()
        .with_object_store_registry(Arc::new(Stores::new()))
        .build_arc()?;
    let config = SchedulerConfig {
        bind_host: bound.ip().to_string(),
        bind_port: bound.port(),
        external_host: bound.ip().to_string(),
        scheduling_policy: TaskSchedulingPolicy::PullStaged,
        task_distribution: TaskDistributionPolicy::RoundRobin,
        executor_timeout_seconds: EXECUTOR_TIMEOUT_SECONDS,
        expire_dead_executor_interval_seconds: EXPIRY_SECONDS,
        executor_termination_grace_period: 0,
        // The driver decides how long it waits for executors, and says so.
        no_executors_grace_period_seconds: KEPT_SECONDS,
        finished_job_state_clean_up_interval_seconds: KEPT_SECONDS,
        finished_job_data_clean_up_interval_seconds: RESULTS_SECONDS,
        grpc_server_max_decoding_message_size: MESSAGE_BYTES as u32,
        grpc_server_max_encoding_message_size: MESSAGE_BYTES as u32,
        grpc_client_max_message_size: MESSAGE_BYTES as u32,
        enable_embedded_flight_proxy: true,
        use_tls: transport.is_encrypted(),
        override_create_grpc_client_endpoint: Some(transport.hook()),
        override_config_producer: Some(Arc::new(move || sessions.clone())),
        override_session_builder: Some(Arc::new(move |config| state(config, Arc::clone(&stores)))),
        override_physical_codec: Some(Arc::new(OperatorCodec::default())),
        on_work_available: Some(Arc::new(move |_| work.send_modify(|count| *count += 1))),
        ..SchedulerConfig::default()
    };
    let started = async {
        let cluster = BallistaCluster::new_from_config(&config).await?;
        create_scheduler(cluster, Arc::new(config)).await
    };
    started
        .await
        .map_err(|error| EngineError::Task(format!("the scheduler does not start: {error}")))
}

struct Told {
    identity: Arc<Identity>,
    scheduler: Server,
    work: watch::Sender<u64>,
}

async fn tell_identity(State(told): State<Arc<Told>>) -> Json<Identity> {
    Json(told.identity.as_ref().clone())
}

/// An executor as the scheduler knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExecutorState {
    pub id: String,
    pub host: String,
    pub port: u16,
    pub cores: u32,
    /// Seconds since it was last heard of.
    pub silent_seconds: u64,
}

async fn tell_executors(State(told): State<Arc<Told>>) -> Response {
    match executors(&told.scheduler).await {
        Ok(executors) => Json(executors).into_response(),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

async fn executors(scheduler: &Server) -> Result<Vec<ExecutorState>, String> {
    let known = scheduler.state.executor_manager.get_executors_state().await;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let mut executors: Vec<_> = known
        .map_err(|error| error.to_string())?
        .into_iter()
        .map(|(executor, heard, _)| ExecutorState {
            id: executor.id,
            host: executor.host,
            port: executor.port,
            cores: executor.specification.vcores,
            silent_seconds: now.saturating_sub(heard.unwrap_or_default()).as_secs(),
        })
        .filter(|executor| executor.silent_seconds <= EXECUTOR_TIMEOUT_SECONDS)
        .collect();
    executors.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(executors)
}

/// A job's plan as the scheduler runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueryState {
    pub status: QueryStatus,
    /// Stages of its graph, once it has one.
    pub stages: usize,
    pub tasks_done: usize,
    pub tasks_running: usize,
    pub tasks_waiting: usize,
    /// Whether a task or a stage has been lost: what else there is may be there twice.
    pub disturbed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum QueryStatus {
    /// The scheduler has not heard of it yet, or has forgotten it.
    Unknown,
    Queued,
    Running,
    /// The answer, or the error, is to be had from Ballista.
    Ended,
}

#[derive(Deserialize)]
struct Seen {
    /// Tasks that the asker knows to be done: the answer waits until there are more.
    done: Option<usize>,
}

async fn tell_query(
    State(told): State<Arc<Told>>,
    Path(id): Path<String>,
    Query(seen): Query<Seen>,
) -> Response {
    const LOOK: Duration = Duration::from_millis(2);
    let id = JobId::from(id);
    let until = tokio::time::Instant::now() + HELD;
    let (mut stages, mut disturbed) = (0, false);
    loop {
        let mut state = match query(&told.scheduler, &id).await {
            Ok(state) => state,
            Err(error) => return refusal(StatusCode::INTERNAL_SERVER_ERROR, &error),
        };
        stages = stages.max(state.stages);
        state.stages = stages;
        // A task that is lost and done again between two looks of the asker is told all the same.
        disturbed |= state.disturbed;
        state.disturbed = disturbed;
        let going_on = state.status != QueryStatus::Ended;
        let counted = state.status != QueryStatus::Unknown;
        let more = counted && seen.done.is_none_or(|done| state.tasks_done != done);
        let news = disturbed || more;
        if !going_on || news || tokio::time::Instant::now() >= until {
            return Json(state).into_response();
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn query(scheduler: &Server, id: &JobId) -> Result<QueryState, String> {
    let tasks = &scheduler.state.task_manager;
    let mut state = QueryState {
        status: QueryStatus::Unknown,
        stages: 0,
        tasks_done: 0,
        tasks_running: 0,
        tasks_waiting: 0,
        disturbed: false,
    };
    if let Some(job) = tasks.get_running_job_cache().get(id) {
        let graph = job.execution_graph.read().await;
        state.status = QueryStatus::Running;
        if matches!(
            graph.status().status,
            Some(job_status::Status::Successful(_) | job_status::Status::Failed(_))
        ) {
            state.status = QueryStatus::Ended;
        }
        state.stages = graph.stages().len();
        for stage in graph.stages().values() {
            match stage {
                ExecutionStage::Running(stage) => {
                    let (mut done, mut running) = (0, 0);
                    for info in &stage.task_infos {
                        match info.task_status {
                            task_status::Status::Successful(_) => done += 1,
                            task_status::Status::Running(_) => running += 1,
                            // An error of the task itself ends the job, with its words.
                            task_status::Status::Failed(ref failed) => {
                                state.disturbed |= !matches!(
                                    failed.failed_reason,
                                    Some(FailedReason::ExecutionError(_))
                                );
                            }
                        }
                    }
                    state.disturbed |= stage.stage_attempt_num > 0;
                    state.tasks_done += done;
                    state.tasks_running += running;
                    state.tasks_waiting += stage.partitions.saturating_sub(done + running);
                }
                ExecutionStage::Successful(stage) => {
                    state.tasks_done += stage.partitions;
                    state.disturbed |= stage.stage_attempt_num > 0;
                }
                ExecutionStage::Resolved(stage) => state.tasks_waiting += stage.partitions,
                ExecutionStage::UnResolved(_) | ExecutionStage::Failed(_) => {}
            }
        }
        return Ok(state);
    }
    let status = tasks
        .get_job_status(id)
        .await
        .map_err(|error| error.to_string())?;
    state.status = match status.and_then(|status| status.status) {
        None => QueryStatus::Unknown,
        Some(job_status::Status::Queued(_) | job_status::Status::Running(_)) => QueryStatus::Queued,
        Some(job_status::Status::Failed(_) | job_status::Status::Successful(_)) => {
            let all = tasks
                .get_all_jobs()
                .await
                .map_err(|error| error.to_string())?;
            let own = all.iter().find(|job| job.job_id == *id);
            state.stages = own.map_or(0, |job| job.num_stages);
            QueryStatus::Ended
        }
    };
    Ok(state)
}

#[derive(Deserialize)]
struct Since {
    since: u64,
}

/// Answers when there is more work than `since`, or after a while.
async fn tell_work(
    State(told): State<Arc<Told>>,
    Query(Since { since }): Query<Since>,
) -> Json<u64> {
    let mut work = told.work.subscribe();
    let more = tokio::time::timeout(HELD, work.wait_for(|count| *count != since)).await;
    drop(more);
    Json(*told.work.borrow())
}

fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

/// Compares this process with a scheduler.
///
/// # Errors
/// Naming the first difference.
pub(crate) fn agree(
    theirs: &Identity,
    own: &Identity,
    own_name: &str,
    address: &ClusterAddress,
) -> Result<(), EngineError> {
    match own.difference(own_name, theirs, &format!("the scheduler at {address}")) {
        None => Ok(()),
        Some(difference) => Err(EngineError::cluster(
            difference,
            "scheduler, executors and commands of a cluster must be of one version",
        )),
    }
}

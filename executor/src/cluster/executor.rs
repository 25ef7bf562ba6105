//! An executor's process: asks the scheduler for tasks, runs them, and serves their results.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use almanac_delta::store::Stores;
use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::JobId;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_core::serde::BallistaCodec;
use ballista_core::serde::BallistaLogicalExtensionCodec;
use ballista_core::serde::protobuf::executor_grpc_server::{ExecutorGrpc, ExecutorGrpcServer};
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    CancelTasksParams, CancelTasksResult, ExecutorRegistration, ExecutorStatus,
    ExecutorStoppedParams, HeartBeatParams, LaunchMultiTaskParams, LaunchMultiTaskResult,
    LaunchTaskParams, LaunchTaskResult, RemoveJobDataParams, RemoveJobDataResult,
    StopExecutorParams, StopExecutorResult, executor_status,
};
use ballista_executor::execution_engine::{
    DefaultExecutionEngine, ExecutionEngine, QueryStageExecutor,
};
use ballista_executor::execution_loop::poll_loop;
use ballista_executor::executor::Executor;
use ballista_executor::executor_process::{ExecutorProcessConfig, structure_executor_metadata};
use ballista_executor::flight_service::BallistaFlightService;
use ballista_executor::health::ExecutorHealth;
use ballista_executor::metrics::ExecutorMetricsCollector;
use datafusion::execution::memory_pool::{GreedyMemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};
use datafusion::prelude::SessionConfig;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tokio::sync::{Notify, Semaphore};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::ClusterAddress;
use super::codec::OperatorCodec;
use super::control::Control;
use super::failure::TellingExec;
use super::identity::Identity;
use super::scheduler::{agree, listen, refuse_public};
use super::session::{self, MESSAGE_BYTES};
use super::tls::{Tls, Transport, causes};
use crate::error::EngineError;
use crate::session::{query_config, state};

/// How often the scheduler hears of this executor, whatever its cores are doing.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long tasks may go on once the process is asked to stop.
const DRAIN: Duration = Duration::from_secs(25);
/// When the loop is woken once more after the end of a task.
const LOOKED_AGAIN: Duration = Duration::from_millis(5);
/// How long the end of the last tasks may take to be reported.
const REPORTED: Duration = Duration::from_millis(500);
/// How long a scheduler is waited for at the start: they are often started together.
const SCHEDULER_WAIT: Duration = Duration::from_secs(60);

/// How an executor runs.
#[derive(Debug, Clone)]
pub struct ExecutorSettings {
    /// The scheduler it works for.
    pub scheduler: ClusterAddress,
    /// Where it serves results.
    pub bind: SocketAddr,
    /// The host under which others reach it; its bind address when there is none.
    pub advertise: Option<String>,
    /// Tasks that run at the same time.
    pub cores: usize,
    /// Bytes that its tasks may hold together.
    pub memory_bytes: usize,
    /// Where results of tasks lie, in a folder for each executor of a machine.
    pub work_dir: PathBuf,
    /// Its identity, when the cluster is encrypted.
    pub tls: Option<Tls>,
    /// Whether a public address without TLS is meant.
    pub insecure: bool,
    /// The code's version.
    pub code: String,
}

/// Runs an executor until `stop` ends; then it takes no more tasks, finishes those that it has, and
/// tells the scheduler. `ready` is called once it works.
///
/// # Errors
/// When the scheduler does not answer or is of another version, or the address is taken or public.
pub async fn executor(
    settings: ExecutorSettings,
    ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), EngineError> {
    let functions = state(query_config(2), Arc::new(RuntimeEnv::default()))?;
    let identity = Identity::new(&settings.code, &functions);
    let transport = Transport::new(identity.agent(), settings.tls.as_ref())?;
    refuse_public(settings.bind, transport.is_encrypted(), settings.insecure)?;
    let mut stop = std::pin::pin!(stop);
    let control = tokio::select! {
        control = waited_for(&settings.scheduler, &transport) => control?,
        () = &mut stop => return Ok(()),
    };
    agree(
        &control.greeting,
        &identity,
        "this executor",
        &settings.scheduler,
    )?;

    let mut server = transport.server()?;
    let (listener, bound) = listen(settings.bind)?;
    let work_dir = own_folder(&settings.work_dir, bound)?;
    let memory = TrackConsumersPool::new(
        GreedyMemoryPool::new(settings.memory_bytes),
        NonZeroUsize::MIN.saturating_add(4),
    );
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(memory))
        .with_object_store_registry(Arc::new(Stores::new()))
        .with_temp_file_path(&work_dir)
        .build_arc()?;
    let metadata = structure_executor_metadata(
        &Arc::new(ExecutorProcessConfig {
            external_host: Some(settings.advertise.unwrap_or_else(|| bound.ip().to_string())),
            port: bound.port(),
            grpc_port: bound.port(),
            ..ExecutorProcessConfig::default()
        }),
        u32::try_from(settings.cores).unwrap_or(u32::MAX),
    );
    let woken = Arc::new(Notify::new());
    let wake = Arc::clone(&woken);
    let config = session::config(query_config(2), &transport);
    let executor = Arc::new(Executor::new(
        metadata.clone(),
        &work_dir,
        Arc::new(move |_: &SessionConfig| Ok::<Arc<RuntimeEnv>, _>(Arc::clone(&runtime))),
        Arc::new(move || config.clone()),
        Arc::new(BallistaFunctionRegistry::from(&functions)),
        Arc::new(Waker(Arc::clone(&woken))),
        settings.cores,
        Arc::new(Telling(DefaultExecutionEngine::new())),
    ));
    let flight = FlightServiceServer::new(BallistaFlightService::new(work_dir))
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    let orders = ExecutorGrpcServer::new(Orders(Arc::clone(&executor)));
    let results = tokio::spawn(
        server
            .add_service(flight)
            .add_service(orders)
            .serve_with_incoming(listener),
    );
    let scheduler = SchedulerGrpcClient::new(control.channel())
        .max_encoding_message_size(MESSAGE_BYTES)
        .max_decoding_message_size(MESSAGE_BYTES);
    let cores = Arc::new(Semaphore::new(settings.cores));
    let codec: BallistaCodec<LogicalPlanNode, PhysicalPlanNode> = BallistaCodec::new(
        Arc::new(BallistaLogicalExtensionCodec::default()),
        Arc::new(OperatorCodec::default()),
    );
    let mut polling = tokio::spawn(poll_loop(
        scheduler.clone(),
        executor,
        codec,
        Some(Arc::clone(&woken)),
        Some(Arc::clone(&cores)),
        ExecutorHealth::new(),
    ));
    let beating = tokio::spawn(heartbeats(scheduler.clone(), metadata.clone()));
    let listening = tokio::spawn(listen_for_work(control.clone(), woken));
    let watching = watch_identity(&control, &identity, &settings.scheduler);
    ready(bound);

    let ended = tokio::select! {
        () = &mut stop => Ok(()),
        error = watching => Err(error),
        ended = &mut polling => Err(EngineError::Task(format!("the executor stopped: {ended:?}"))),
        ended = results => Err(EngineError::Task(match ended {
            Ok(Err(error)) => format!("the executor cannot serve results: {}", causes(&error)),
            other => format!("the executor stopped serving results: {other:?}"),
        })),
    };
    if ended.is_ok() {
        // Whoever holds all cores keeps the loop from asking for more.
        let all = u32::try_from(settings.cores).unwrap_or(u32::MAX);
        let held = tokio::time::timeout(DRAIN, cores.acquire_many(all)).await;
        if held.is_ok() {
            // The loop reports what has ended when it is woken, and takes nothing more.
            wake.notify_one();
            tokio::time::sleep(REPORTED).await;
        } else {
            tracing::warn!(
                "tasks are still running after {} s and are given up",
                DRAIN.as_secs()
            );
        }
        polling.abort();
        beating.abort();
        listening.abort();
        let told = ExecutorStoppedParams {
            executor_id: metadata.id,
            reason: "it was asked to stop".to_owned(),
        };
        let mut scheduler = scheduler;
        if let Err(error) = scheduler.executor_stopped(told).await {
            tracing::warn!(%error, "the scheduler was not told that this executor stops");
        }
    }
    ended
}

/// The folder of the executor at this address, empty: what an earlier process left there is of jobs
/// that are over.
fn own_folder(work_dir: &FsPath, bound: SocketAddr) -> Result<String, EngineError> {
    let address = bound.to_string().replace([':', '[', ']'], "-");
    let own = work_dir.join(format!("executor-{address}"));
    let emptied = match std::fs::remove_dir_all(&own) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => std::fs::create_dir_all(&own),
    };
    emptied.map_err(|error| {
        EngineError::cluster(
            format!("cannot use {}: {error}", own.display()),
            "choose another folder with --work-dir",
        )
    })?;
    Ok(own.display().to_string())
}

async fn waited_for(
    address: &ClusterAddress,
    transport: &Transport,
) -> Result<Control, EngineError> {
    const PAUSE: Duration = Duration::from_millis(200);
    let until = tokio::time::Instant::now() + SCHEDULER_WAIT;
    let mut told = false;
    loop {
        match Control::over(address, transport).await {
            Ok(control) => return Ok(control),
            Err(error) if tokio::time::Instant::now() > until => return Err(error),
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "waiting for the scheduler");
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn heartbeats(mut scheduler: SchedulerGrpcClient<Channel>, metadata: ExecutorRegistration) {
    let mut tick = tokio::time::interval(HEARTBEAT);
    loop {
        tick.tick().await;
        let beat = HeartBeatParams {
            executor_id: metadata.id.clone(),
            metrics: vec![],
            status: Some(ExecutorStatus {
                status: Some(executor_status::Status::Active(String::new())),
            }),
            metadata: Some(metadata.clone()),
        };
        if let Err(error) = scheduler.heart_beat_from_executor(beat).await {
            tracing::debug!(%error, "no heartbeat");
        }
    }
}

/// Wakes the loop when the scheduler has new work, so that it need not ask many times a second.
async fn listen_for_work(control: Control, woken: Arc<Notify>) {
    const PAUSE: Duration = Duration::from_millis(500);
    let mut since = 0;
    loop {
        match control
            .get::<u64>(&format!("/almanac/v1/work?since={since}"))
            .await
        {
            Ok(count) => {
                if count != since {
                    woken.notify_one();
                }
                since = count;
            }
            Err(error) => {
                tracing::debug!(%error, "the scheduler does not tell of work");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Ends when the scheduler has come back as another version: it refuses what this one says.
async fn watch_identity(
    control: &Control,
    identity: &Identity,
    address: &ClusterAddress,
) -> EngineError {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        // A scheduler that does not answer may be back at once.
        let Ok(theirs) = control.identity().await else {
            continue;
        };
        if let Err(error) = agree(&theirs, identity, "this executor", address) {
            return error;
        }
    }
}

/// What the scheduler orders under the pull policy: that tasks end. All else it is asked for.
struct Orders(Arc<Executor>);

#[tonic::async_trait]
impl ExecutorGrpc for Orders {
    async fn cancel_tasks(
        &self,
        request: Request<CancelTasksParams>,
    ) -> Result<Response<CancelTasksResult>, Status> {
        let mut cancelled = true;
        for task in request.into_inner().task_infos {
            let (stage, id) = (task.stage_id as usize, task.task_id as usize);
            let found = self.0.cancel_task(task.job_id.into(), stage, id).await;
            cancelled &= found.map_err(|error| Status::internal(error.to_string()))?;
        }
        Ok(Response::new(CancelTasksResult { cancelled }))
    }

    async fn launch_task(
        &self,
        _: Request<LaunchTaskParams>,
    ) -> Result<Response<LaunchTaskResult>, Status> {
        Err(Status::unimplemented("this executor asks for its tasks"))
    }

    async fn launch_multi_task(
        &self,
        _: Request<LaunchMultiTaskParams>,
    ) -> Result<Response<LaunchMultiTaskResult>, Status> {
        Err(Status::unimplemented("this executor asks for its tasks"))
    }

    async fn stop_executor(
        &self,
        _: Request<StopExecutorParams>,
    ) -> Result<Response<StopExecutorResult>, Status> {
        Err(Status::unimplemented(
            "an executor that was given up may come back",
        ))
    }

    async fn remove_job_data(
        &self,
        _: Request<RemoveJobDataParams>,
    ) -> Result<Response<RemoveJobDataResult>, Status> {
        Err(Status::unimplemented("this executor asks what to remove"))
    }
}

/// Wakes the loop when a task has ended, so that its end is reported at once.
struct Waker(Arc<Notify>);

impl ExecutorMetricsCollector for Waker {
    fn record_stage(&self, _: &JobId, _: usize, _: usize, _: Arc<dyn QueryStageExecutor>) {
        let woken = Arc::clone(&self.0);
        tokio::spawn(async move {
            // The status is put in the loop's queue right after this call, by the thread that would
            // mostly run this next; where another one does, it is looked for again.
            woken.notify_one();
            tokio::time::sleep(LOOKED_AGAIN).await;
            woken.notify_one();
        });
    }
}

/// Runs stages as Ballista does, with errors that the driver can read.
struct Telling(DefaultExecutionEngine);

impl ExecutionEngine for Telling {
    fn create_query_stage_exec(
        &self,
        job_id: JobId,
        stage_id: usize,
        task_id: usize,
        global_output_partition_ids: Vec<usize>,
        plan: Arc<dyn ExecutionPlan>,
        work_dir: &str,
        config: &SessionConfig,
    ) -> datafusion::error::Result<Arc<dyn QueryStageExecutor>> {
        // The root writes what its input yields; errors are told in between.
        let telling = plan
            .children()
            .into_iter()
            .map(|input| Arc::new(TellingExec::new(Arc::clone(input))) as Arc<dyn ExecutionPlan>)
            .collect();
        self.0.create_query_stage_exec(
            job_id,
            stage_id,
            task_id,
            global_output_partition_ids,
            replace_children_if_necessary(plan, telling)?,
            work_dir,
            config,
        )
    }
}

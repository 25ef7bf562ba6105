//! The command line: every flag and its help, and nothing else.

mod job_line;
mod mistake;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use uuid::Uuid;

pub use job_line::{Flag, FlagKind, JobLine};
pub use mistake::Mistake;

/// The command line of this process, or the code to leave with when it asks for help or makes no
/// sense; what there is to say is said then.
pub fn parse() -> Result<Cli, ExitCode> {
    let parsed = Cli::command().try_get_matches().and_then(|matches| {
        let mut cli = Cli::from_arg_matches(&matches)?;
        if let (Command::Submit(submit), Some((_, matches))) =
            (&mut cli.command, matches.subcommand())
        {
            submit.arguments = job_line::arguments(matches);
        }
        Ok(cli)
    });
    parsed.map_err(|error| mistake::answer(&error))
}

/// Forecast distributions for many series with many models, every day.
#[derive(Debug, Parser)]
#[command(
    name = "almanac",
    version = crate::code::VERSION,
    max_term_width = 100,
    after_help = "Example:\n  almanac quickstart"
)]
pub struct Cli {
    /// The lake: a folder or s3://bucket/prefix [default: ./lake]
    #[arg(long, global = true, env = "ALMANAC_LAKE", value_name = "URI")]
    pub lake: Option<String>,
    /// Threads of the embedded engine [default: all cores]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// Slices that a chunk of work is cut into [default: from the amount of work]
    #[arg(long, global = true, value_name = "N")]
    pub slices: Option<usize>,
    /// Memory that queries may use [default: 4096]
    #[arg(long, global = true, value_name = "MIB")]
    pub memory_limit_mib: Option<usize>,
    /// Settings file [default: ./almanac.toml when it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Run plans on a cluster: df://HOST:PORT of its scheduler [default: in this process]
    #[arg(long, global = true, env = "ALMANAC_CLUSTER", value_name = "URL")]
    pub cluster: Option<String>,
    /// Certificates (PEM) of the authority that the cluster's processes trust
    #[arg(long, global = true, env = "ALMANAC_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// This process's certificate (PEM)
    #[arg(long, global = true, env = "ALMANAC_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, global = true, env = "ALMANAC_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress bars and no notices
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Log what is done; twice for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Die at a named point, to rehearse crashes
    #[arg(long, global = true, env = "ALMANAC_CRASH_AT", hide = true)]
    pub crash_at: Option<String>,
    /// The run's id, when what starts the process has to know it
    #[arg(long, global = true, value_name = "UUID", hide = true)]
    pub run_id: Option<Uuid>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a lake from a synthetic market, train, backfill, and say what to try next
    #[command(after_help = "Example:\n  almanac --lake ./lake quickstart")]
    Quickstart,
    /// Create a lake's tables
    #[command(after_help = "Example:\n  almanac --lake ./lake init --calendar trading")]
    Init(InitArgs),
    /// Load CSV or Parquet into silver.unified_data
    #[command(
        after_help = "Example:\n  almanac ingest prices.csv --map close=settle --commodity Coffee"
    )]
    Ingest(IngestArgs),
    /// List the models, or show one
    #[command(after_help = "Example:\n  almanac models show random_walk")]
    Models(ModelsArgs),
    #[command(flatten)]
    Job(JobCommand),
    /// Show runs, failures and coverage
    #[command(after_help = "Example:\n  almanac status --stale")]
    Status(StatusArgs),
    /// Query the lake
    #[command(
        after_help = "Example:\n  almanac sql 'SELECT * FROM silver.unified_data LIMIT 5'\n  almanac sql 'SELECT count(*) FROM distributions' --as-of distributions=3"
    )]
    Sql(SqlArgs),
    /// Show a table's versions
    #[command(after_help = "Example:\n  almanac history distributions --limit 5")]
    History(HistoryArgs),
    /// Say on which days the market is open or closed
    #[command(
        after_help = "Example:\n  almanac holidays days.csv\n\nThe file has the columns date and is_open, and calendar for a calendar other than the\nlake's. Days that it does not name stay as they are."
    )]
    Holidays(HolidaysArgs),
    /// Run a process of a cluster: its scheduler, or an executor
    #[command(
        after_help = "Example:\n  almanac cluster scheduler --bind 127.0.0.1:50050\n  almanac cluster executor --scheduler 127.0.0.1:50050 --bind 127.0.0.1:50051 --vcores 2"
    )]
    Cluster(ClusterArgs),
    /// Delete forecasts, whole keys, so that they can be made again
    #[command(
        after_help = "Example:\n  almanac delete --commodity Coffee --models random_walk \\\n    --start 2020-01-01 --end 2020-01-31 --model-version v1.0"
    )]
    Delete(KeyArgs),
    /// Hand a job to a driver beside the cluster's scheduler, and leave
    #[command(
        after_help = "Example:\n  almanac --lake s3://prices/lake --cluster df://scheduler:50050 submit backfill --commodity Coffee \\\n    --models random_walk --start 2016-01-01 --end 2021-12-31 --frequency monthly --model-version v1.0"
    )]
    Submit(SubmitArgs),
    /// List submitted jobs, follow one, or cancel it
    #[command(
        after_help = "Example:\n  almanac --cluster df://scheduler:50050 jobs\n  almanac --cluster df://scheduler:50050 jobs show 1kb2x9d0a"
    )]
    Jobs(JobsArgs),
    /// Measure how good and how fast models are on the series of a file
    #[command(
        after_help = "Example:\n  almanac score sales.parquet --id unique_id --time ds --value y --season-length 52 --horizon 13 \\\n    --models auto_ets,scum\n\nThe last --horizon values of each series are held out, or its rows whose split is `test`. Always runs\nin this process, on a lake in a temporary folder."
    )]
    Score(ScoreArgs),
    /// Run the job that a file describes
    #[command(
        after_help = "Example:\n  almanac run deploy/jobs/daily-coffee.toml --date 2024-02-29\n\ndocs/jobs.md says what may stand in the file."
    )]
    Run(RunArgs),
}

/// The jobs: work on a lake that a command, a file or a submission can ask for.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Train at every date that the cadence asks for
    #[command(
        after_help = "Example:\n  almanac train --commodity Coffee --models naive,random_walk \\\n    --start 2020-01-01 --end 2020-12-31 --frequency quarterly --model-version v1.0"
    )]
    Train(TrainArgs),
    /// Forecast every date of a range with the models there are
    #[command(
        after_help = "Example:\n  almanac forecast --commodity Coffee --models random_walk \\\n    --start 2020-01-01 --end 2020-01-31 --model-version v1.0"
    )]
    Forecast(RangeArgs),
    /// Train, then forecast, over a range; what exists is skipped
    #[command(
        after_help = "Example:\n  almanac backfill --commodity Coffee,Sugar --models random_walk \\\n    --start 2016-01-01 --end 2021-12-31 --frequency semiannually --model-version v1.0"
    )]
    Backfill(BackfillArgs),
    /// Do what is due today
    #[command(
        after_help = "Example:\n  almanac daily --commodity Coffee,Sugar --models naive,random_walk \\\n    --frequency monthly --model-version v1.0"
    )]
    Daily(DailyArgs),
    /// Merge small data files
    #[command(after_help = "Example:\n  almanac optimize distributions")]
    Optimize(OptimizeArgs),
    /// Remove files that no version within the retention needs, and logs older than 30 days
    #[command(after_help = "Example:\n  almanac vacuum --dry-run")]
    Vacuum(VacuumArgs),
}

/// Arguments of `cluster`.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// Which process
    #[command(subcommand)]
    pub process: ClusterProcess,
}

/// Subcommands of `cluster`.
#[derive(Debug, Subcommand)]
pub enum ClusterProcess {
    /// Schedule plans
    #[command(after_help = "Example:\n  almanac cluster scheduler --bind 127.0.0.1:50050")]
    Scheduler(SchedulerArgs),
    /// Run tasks
    #[command(
        after_help = "Example:\n  almanac cluster executor --scheduler 127.0.0.1:50050 --bind 127.0.0.1:50051 --vcores 2"
    )]
    Executor(ExecutorArgs),
}

/// Where a process of a cluster listens.
#[derive(Debug, Args)]
pub struct ListenArgs {
    /// Listen on a public address without TLS: only where the network itself is closed
    #[arg(long)]
    pub insecure: bool,
    /// Folder for the process's own files
    #[arg(long, value_name = "DIR", default_value = "almanac-work")]
    pub work_dir: PathBuf,
}

/// Arguments of `cluster scheduler`.
#[derive(Debug, Args)]
pub struct SchedulerArgs {
    /// Address to listen at
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:50050")]
    pub bind: SocketAddr,
    /// Submitted jobs that run at the same time
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub drivers: usize,
    /// How it listens
    #[command(flatten)]
    pub listen: ListenArgs,
}

/// Arguments of `cluster executor`.
#[derive(Debug, Args)]
pub struct ExecutorArgs {
    /// The scheduler
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:50050")]
    pub scheduler: String,
    /// Address to serve results at; port 0 for any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:50051")]
    pub bind: SocketAddr,
    /// Host under which others reach it [default: the address of --bind]
    #[arg(long, value_name = "HOST")]
    pub advertise: Option<String>,
    /// Tasks that run at the same time [default: all cores]
    #[arg(long, value_name = "N")]
    pub vcores: Option<usize>,
    /// How it listens
    #[command(flatten)]
    pub listen: ListenArgs,
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// What a step is: trading, daily or observed
    #[arg(long, default_value = "trading")]
    pub calendar: String,
    /// Partition by N hash buckets instead of by commodity, for thousands of series
    #[arg(long, value_name = "N")]
    pub buckets: Option<u32>,
    /// CSV of date,is_open that overrides the built-in US exchange holidays
    #[arg(long, value_name = "FILE")]
    pub holidays: Option<PathBuf>,
    /// Seed of every simulation
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Calendar days of history that a model needs
    #[arg(long, default_value_t = 730, value_name = "N")]
    pub minimum_history_days: u32,
    /// Days without an observation after which a series is stale
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub stale_after_days: u32,
}

/// Arguments of `ingest`.
#[derive(Debug, Args)]
pub struct IngestArgs {
    /// CSV or Parquet files
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Our column from theirs, such as close=price; `_=NAME` leaves a column out
    #[arg(long, value_name = "OURS=THEIRS", value_parser = pair)]
    pub map: Vec<(String, String)>,
    /// Commodity of every row, for files without that column
    #[arg(long)]
    pub commodity: Option<String>,
    /// Region of every row, for files without that column [default: ALL]
    #[arg(long)]
    pub region: Option<String>,
    /// Where rejected rows go [default: FILE.rejects.csv here]
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Load the good rows even when others are rejected
    #[arg(long)]
    pub allow_rejects: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((ours, theirs)) if !ours.is_empty() && !theirs.is_empty() => {
            Ok((ours.to_owned(), theirs.to_owned()))
        }
        _ => Err("must be OURS=THEIRS".to_owned()),
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

/// Arguments of `score`.
#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// CSV or Parquet file with a row for each series and time
    pub file: PathBuf,
    /// Its column that names the series
    #[arg(long, value_name = "COLUMN", default_value = "unique_id")]
    pub id: String,
    /// Its column of days, timestamps or whole numbers
    #[arg(long, value_name = "COLUMN", default_value = "ds")]
    pub time: String,
    /// Its column of values
    #[arg(long, value_name = "COLUMN", default_value = "y")]
    pub value: String,
    /// Its column that says `train` or `test`, if it has one
    #[arg(long, value_name = "COLUMN", default_value = "split")]
    pub split: String,
    /// Values in a season, by which errors are scaled and which models are told
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub season_length: usize,
    /// Seasons that models are told instead; those that take one take the first
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    pub model_season_length: Vec<usize>,
    /// Values that are forecast
    #[arg(long, value_name = "N")]
    pub horizon: usize,
    /// Catalog keys, separated by commas
    #[arg(long, required = true, value_delimiter = ',', value_name = "KEY,…")]
    pub models: Vec<String>,
    /// Sample paths of each forecast, for CRPS and coverage
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub paths: usize,
}

/// Arguments of `holidays`.
#[derive(Debug, Args)]
pub struct HolidaysArgs {
    /// CSV of date,is_open
    pub file: PathBuf,
}

/// Arguments of `models`.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// `show KEY` for one model
    #[command(subcommand)]
    pub show: Option<ModelsCommand>,
}

/// Subcommands of `models`.
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// Show one model's parameters
    #[command(after_help = "Example:\n  almanac models show linear_regression")]
    Show {
        /// Its key
        key: String,
    },
}

/// Which keys: commodities, models and their version.
#[derive(Debug, Clone, Args)]
pub struct SelectionArgs {
    /// Commodities, separated by commas; '*' for all
    #[arg(long, required = true, value_delimiter = ',', value_name = "NAME,…")]
    pub commodity: Vec<String>,
    /// Catalog keys, separated by commas
    #[arg(long, required = true, value_delimiter = ',', value_name = "KEY,…")]
    pub models: Vec<String>,
    /// Version that the models are stored under
    #[arg(long, default_value = "v1.0")]
    pub model_version: String,
}

/// Arguments of `delete`.
#[derive(Debug, Clone, Args)]
pub struct KeyArgs {
    /// Which keys
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// First date, YYYY-MM-DD
    #[arg(long)]
    pub start: String,
    /// Last date, YYYY-MM-DD
    #[arg(long)]
    pub end: String,
}

/// What a forecast is made of.
#[derive(Debug, Clone, Args)]
pub struct ShapeArgs {
    /// Sample paths of each forecast
    #[arg(long, default_value_t = Self::default().paths)]
    pub paths: usize,
    /// Days ahead, at most 14
    #[arg(long, default_value_t = Self::default().horizon)]
    pub horizon: usize,
}

impl Default for ShapeArgs {
    fn default() -> Self {
        Self {
            paths: 2000,
            horizon: 14,
        }
    }
}

/// When a model is fitted anew.
#[derive(Debug, Clone, Args)]
pub struct CadenceArgs {
    /// How often models are refitted: daily, weekly, biweekly, monthly, quarterly, semiannually, annually
    #[arg(long, default_value = "monthly")]
    pub frequency: String,
}

/// Arguments of `train`.
#[derive(Debug, Clone, Args)]
pub struct TrainArgs {
    /// Which keys
    #[command(flatten)]
    pub keys: KeyArgs,
    /// When
    #[command(flatten)]
    pub cadence: CadenceArgs,
}

/// Arguments of `forecast`.
#[derive(Debug, Clone, Args)]
pub struct RangeArgs {
    /// Which keys
    #[command(flatten)]
    pub train: TrainArgs,
    /// What is made
    #[command(flatten)]
    pub shape: ShapeArgs,
}

/// Arguments of `backfill`.
#[derive(Debug, Args)]
pub struct BackfillArgs {
    /// Which keys, and what is made
    #[command(flatten)]
    pub range: RangeArgs,
    /// Say what would be done, and do nothing
    #[arg(long, conflicts_with_all = ["refit_failed", "revise"])]
    pub dry_run: bool,
    /// Only units with a recorded failure
    #[arg(long, conflicts_with = "revise")]
    pub refit_failed: bool,
    /// Make again, in one commit, the keys that rest on older input
    #[arg(long)]
    pub revise: bool,
}

/// Arguments of `daily`.
#[derive(Debug, Args)]
pub struct DailyArgs {
    /// Which keys
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// What is made
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// When models are trained
    #[command(flatten)]
    pub cadence: CadenceArgs,
    /// The day [default: today, UTC]
    #[arg(long)]
    pub date: Option<String>,
    /// Forecast even without the last expected close
    #[arg(long)]
    pub allow_stale: bool,
}

/// Arguments of `submit`.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// Show the driver's log until the job ends; its exit code is this command's
    #[arg(long, global = true)]
    pub follow: bool,
    /// The job
    #[command(subcommand)]
    pub job: JobCommand,
    /// The job as its driver is given it: set from the command line as a whole.
    #[arg(skip)]
    pub arguments: Vec<String>,
}

/// Arguments of `jobs`.
#[derive(Debug, Args)]
pub struct JobsArgs {
    /// Jobs to list
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub limit: usize,
    /// What to do with one job
    #[command(subcommand)]
    pub command: Option<JobsCommand>,
}

/// Subcommands of `jobs`.
#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// Show a job's log until it ends, then its result; its exit code is this command's
    #[command(
        after_help = "Example:\n  almanac --cluster df://scheduler:50050 jobs show 1kb2x9d0a --no-follow"
    )]
    Show {
        /// Its id
        id: String,
        /// Show what there is, and do not wait
        #[arg(long)]
        no_follow: bool,
    },
    /// Cancel a job: one that waits never begins, one at work is told to end
    #[command(
        after_help = "Example:\n  almanac --cluster df://scheduler:50050 jobs cancel 1kb2x9d0a"
    )]
    Cancel {
        /// Its id
        id: String,
    },
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The job file
    pub file: PathBuf,
    /// The job's --date, in place of the file's
    #[arg(long)]
    pub date: Option<String>,
    /// An argument in place of the file's, such as paths=500
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// One run
    pub run: Option<String>,
    /// Name the keys that rest on older input
    #[arg(long)]
    pub stale: bool,
}

/// Arguments of `sql`.
#[derive(Debug, Args)]
pub struct SqlArgs {
    /// The query
    pub query: String,
    /// Read a table at a version
    #[arg(long, value_name = "TABLE=VERSION", value_parser = version_pair)]
    pub as_of: Vec<(String, u64)>,
}

fn version_pair(text: &str) -> Result<(String, u64), String> {
    let (table, version) = text.split_once('=').ok_or("must be TABLE=VERSION")?;
    let version = version
        .parse()
        .map_err(|_| format!("`{version}` is no version number"))?;
    Ok((table.to_owned(), version))
}

/// Arguments of `optimize`.
#[derive(Debug, Args)]
pub struct OptimizeArgs {
    /// Tables [default: all]
    pub tables: Vec<String>,
}

/// Arguments of `vacuum`.
#[derive(Debug, Args)]
pub struct VacuumArgs {
    /// Keep what any version of the last N hours needs; at least 168
    #[arg(long, default_value_t = 168, value_name = "N")]
    pub retention_hours: u64,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// The table
    pub table: String,
    /// Versions to show
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
}

//! A bucket with lakes in it, driven through the built binary.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path as FsPath;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use serde_json::Value;
use tempfile::TempDir;

use super::http::ask;
use super::proxy::Proxy;
use super::server;
use crate::lake::{BINARY, Output, Report, Running, TestLake, finish, runtime};
use crate::market::Market;

/// The access key of every test.
pub const KEY: &str = "AKIDOFTHETESTS";
/// Its secret, which must be seen nowhere.
pub const SECRET: &str = "hush/hush+SECRETofTHEtests";
/// The session token, which must be seen nowhere either.
pub const TOKEN: &str = "TOKENofTHEtests//0123456789==";

/// A lake in a bucket of its own.
pub struct Bucket {
    /// Files that are ingested.
    folder: Arc<TempDir>,
    name: String,
    prefix: String,
    /// Where the server listens.
    server: u16,
    /// Where commands go: to the server, or to a proxy before it.
    endpoint: u16,
    /// Variables that commands see on top.
    variables: BTreeMap<&'static str, String>,
}

impl Bucket {
    /// An empty bucket, or `None` where no server can be started.
    pub fn new() -> Option<Self> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let server = server::port()?;
        let name = format!("bucket-{}", MADE.fetch_add(1, Ordering::SeqCst));
        let (status, body) = ask(server, "PUT", &format!("/{name}")).expect("the server answers");
        assert_eq!(status, 200, "a bucket is made: {body}");
        Some(Self {
            folder: Arc::new(tempfile::tempdir().expect("a temporary folder")),
            name,
            prefix: "a lake/of tests".to_owned(),
            server,
            endpoint: server,
            variables: BTreeMap::new(),
        })
    }

    /// A bucket with a lake that holds this market.
    pub fn of(market: &Market) -> Option<Self> {
        let bucket = Self::new()?;
        bucket.fill(market);
        Some(bucket)
    }

    /// Makes the lake and ingests the market.
    #[track_caller]
    pub fn fill(&self, market: &Market) {
        self.run("init").expect(0);
        let path = self.file("market.csv", &market.csv());
        self.run(&format!("ingest {path}")).expect(0);
    }

    /// The same bucket and another lake in it.
    pub fn beside(&self, prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            ..self.again()
        }
    }

    /// The same lake through a proxy.
    pub fn through(&self, proxy: &Proxy) -> Self {
        self.at(proxy.port())
    }

    /// The same lake at another port of this machine.
    pub fn at(&self, endpoint: u16) -> Self {
        Self {
            endpoint,
            ..self.again()
        }
    }

    /// The same lake, with a variable for every command.
    pub fn with(&self, name: &'static str, value: &str) -> Self {
        let mut bucket = self.again();
        bucket.variables.insert(name, value.to_owned());
        bucket
    }

    fn again(&self) -> Self {
        Self {
            folder: Arc::clone(&self.folder),
            name: self.name.clone(),
            prefix: self.prefix.clone(),
            server: self.server,
            endpoint: self.endpoint,
            variables: self.variables.clone(),
        }
    }

    /// Where the server listens.
    pub fn server(&self) -> u16 {
        self.server
    }

    /// The lake's URI.
    pub fn uri(&self) -> String {
        format!("s3://{}/{}", self.name, self.prefix)
    }

    /// Writes a file to ingest; gives its path as text.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).expect("a file");
        path.to_str().expect("a path of text").to_owned()
    }

    /// The variables that lead a process to the bucket.
    pub fn environment(&self) -> BTreeMap<&'static str, String> {
        let mut variables = BTreeMap::from([
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_SESSION_TOKEN", TOKEN.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            (
                "AWS_ENDPOINT_URL",
                format!("http://127.0.0.1:{}", self.endpoint),
            ),
        ]);
        variables.extend(self.variables.clone());
        variables
    }

    /// The command line of these arguments; a space separates arguments.
    pub fn command(&self, line: &str) -> Command {
        self.command_of(&line.split_whitespace().collect::<Vec<_>>())
    }

    fn command_of(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("ALMANAC_") || text.starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(self.folder.path())
            .envs(self.environment())
            .args(["--lake", &self.uri()])
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, line: &str) -> Output {
        finish(&mut self.command(line))
    }

    /// Starts a command.
    pub fn start(&self, line: &str) -> Running {
        Running::start(line, &mut self.command(line))
    }

    /// Runs a job that must succeed; its report.
    #[track_caller]
    pub fn job(&self, line: &str) -> Report {
        Report(self.run(&format!("--json {line}")).expect(0).json())
    }

    /// Runs a query; its rows as JSON objects.
    #[track_caller]
    pub fn sql(&self, query: &str) -> Vec<Value> {
        let output = finish(&mut self.command_of(&["--json", "sql", query])).expect(0);
        match output.json() {
            Value::Array(rows) => rows,
            _ => panic!("not an array of rows\n{output}"),
        }
    }

    /// The bucket as it is, without almanac.
    pub fn store(&self) -> AmazonS3 {
        AmazonS3Builder::new()
            .with_bucket_name(&self.name)
            .with_endpoint(format!("http://127.0.0.1:{}", self.server))
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_access_key_id(KEY)
            .with_secret_access_key(SECRET)
            .build()
            .expect("a client")
    }

    /// The keys of all objects of the lake, from the root of the bucket.
    pub fn keys(&self) -> Vec<Path> {
        let prefix = Path::parse(&self.prefix).expect("a prefix");
        let store = self.store();
        let objects: Vec<_> = runtime()
            .block_on(store.list(Some(&prefix)).try_collect())
            .expect("the bucket is listed");
        objects.into_iter().map(|object| object.location).collect()
    }

    /// All objects of the lake.
    pub fn objects(&self) -> Vec<(Path, Vec<u8>)> {
        let store = self.store();
        let bytes = |key: &Path| -> Vec<u8> {
            runtime().block_on(async {
                let object = store.get(key).await.expect("the object is there");
                object.bytes().await.expect("the object is read").to_vec()
            })
        };
        self.keys()
            .into_iter()
            .map(|key| {
                let content = bytes(&key);
                (key, content)
            })
            .collect()
    }

    /// The lake as a folder: what a reader finds in the bucket now.
    pub fn download(&self) -> TestLake {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (key, content) in self.objects() {
            let path = key
                .as_ref()
                .strip_prefix(&format!("{}/", self.prefix))
                .expect("a key under the lake's prefix");
            let path = folder.path().join("lake").join(FsPath::new(path));
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder is made");
            fs::write(path, content).expect("an object is written down");
        }
        TestLake::at(folder.path())
    }
}

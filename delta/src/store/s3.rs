//! A bucket of S3, or of what speaks its protocol.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::client::SpawnedReqwestConnector;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientConfigKey, CopyOptions, Error, GetOptions, GetResult, GetResultPayload,
    ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, Result, RetryConfig, WriteMultipart,
};
use tokio::runtime::Handle;
use url::{Host, Url};

use super::failure::{S3Failure, Trouble};

/// Objects of more bytes go up in parts of [`PART`] bytes: a request must end within its timeout
/// whatever the size of a file, and one part is sent again rather than all of it.
const PARTS_FROM: usize = 16 << 20;
const PART: usize = 8 << 20;
/// Parts of one object on their way at the same time.
const PARTS_AT_ONCE: usize = 4;
/// How often a request is made whose answer was lost, and that the client does not repeat by itself.
const TRIES: u32 = 4;
/// Keys in one request to delete, as many as S3 takes.
const DELETED_AT_ONCE: usize = 1000;
/// Where Amazon's own endpoint is meant.
const AMAZON: &str = "Amazon S3";

/// How long a store may take to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// For the first requests of a command: a wrong name or key must show within seconds, and
    /// nothing is lost by giving up. Four tries and ten seconds outlast a hiccup.
    Opening,
    /// For work. Stores ask for slower requests by failing (503) for some seconds at a time, and a
    /// failed request costs a slice its work; but a store that fails for a minute on end is down,
    /// and the default of three minutes for each request would add up to hours.
    Working,
}

impl Patience {
    fn retries(self) -> RetryConfig {
        let (max_retries, seconds, pause) = match self {
            Self::Opening => (3, 8, 1),
            Self::Working => (8, 60, 8),
        };
        RetryConfig {
            backoff: BackoffConfig {
                max_backoff: Duration::from_secs(pause),
                ..BackoffConfig::default()
            },
            max_retries,
            retry_timeout: Duration::from_secs(seconds),
        }
    }

    /// Time for one request and for making its connection; `AWS_TIMEOUT` and
    /// `AWS_CONNECT_TIMEOUT` say otherwise.
    fn timeouts(self) -> (&'static str, &'static str) {
        match self {
            Self::Opening => ("5s", "2s"),
            Self::Working => ("30s", "5s"),
        }
    }
}

/// A bucket.
///
/// Three things are added to the client's own: a create-if-absent put whose answer was lost is made
/// again (everything that almanac puts so can tell its own object from another's), big objects go up
/// in parts, and errors are told without the store's own words (see [`S3Failure`]).
#[derive(Clone)]
pub(crate) struct S3 {
    client: AmazonS3,
    bucket: String,
    /// For messages.
    endpoint: String,
    /// Whether requests are signed, which takes credentials.
    signed: bool,
}

impl S3 {
    /// The bucket, with what this process's environment says of endpoint, region and credentials:
    /// every variable that [`AmazonS3Builder::from_env`] knows, empty ones left out. Requests are
    /// made on `io`, so that threads which compute do not keep them waiting.
    pub(crate) fn connect(
        bucket: &str,
        patience: Patience,
        io: Option<Handle>,
    ) -> std::result::Result<Self, S3Failure> {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::from_variables(bucket, patience, io, variables)
    }

    fn from_variables(
        bucket: &str,
        patience: Patience,
        io: Option<Handle>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> std::result::Result<Self, S3Failure> {
        let (timeout, connect_timeout) = patience.timeouts();
        let mut builder = AmazonS3Builder::new()
            .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), timeout)
            .with_config(
                AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout),
                connect_timeout,
            );
        for (name, value) in variables {
            if !name.starts_with("AWS_") || value.is_empty() {
                continue;
            }
            // Variables of other programs (AWS_PROFILE, AWS_PAGER, …) are no keys.
            if let Ok(key) = name.to_ascii_lowercase().parse() {
                builder = builder.with_config(key, value);
            }
        }
        let endpoint = endpoint(&builder)?;
        if endpoint.is_plain {
            builder = builder.with_allow_http(true);
        }
        if let Some(io) = io {
            builder = builder.with_http_connector(SpawnedReqwestConnector::new(io));
        }
        let signed = !is_set(&builder, AmazonS3ConfigKey::SkipSignature);
        if signed {
            whole_pair(&builder)?;
        }
        let client = builder
            .with_bucket_name(bucket)
            .with_retry(patience.retries())
            // Commits rest on it, whatever the environment says.
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .build()
            .map_err(|_| {
                // Not the error's text: it repeats the variable's value.
                S3Failure::new(
                    Trouble::Endpoint,
                    "a variable that begins with AWS_ has a value that the S3 client does not take",
                )
            })?;
        Ok(Self {
            client,
            bucket: bucket.to_owned(),
            endpoint: endpoint.shown,
            signed,
        })
    }

    /// Makes sure that there are credentials, wherever they come from.
    pub(crate) async fn check_credentials(&self) -> std::result::Result<(), S3Failure> {
        if !self.signed {
            return Ok(());
        }
        match self.client.credentials().get_credential().await {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::debug!(error = %S3Failure::of(&error, "the source of credentials"), "no credentials");
                Err(S3Failure::new(
                    Trouble::Credentials,
                    "no credentials were found, neither in the environment nor from the machine's role",
                ))
            }
        }
    }

    fn plain(&self, error: Error) -> Error {
        plain(error, &self.endpoint)
    }

    /// Makes a create-if-absent put again whose answer was lost: the client does not, since it
    /// cannot know whose object it would then find there.
    async fn create(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let mut attempt = 1;
        loop {
            let put = self
                .client
                .put_opts(location, payload.clone(), opts.clone())
                .await;
            match put.map_err(|error| self.plain(error)) {
                Err(error) if attempt < TRIES && is_open(&error) => pause(attempt).await,
                result => return result,
            }
            attempt += 1;
        }
    }

    async fn put_in_parts(
        &self,
        location: &Path,
        payload: &PutPayload,
        opts: &PutOptions,
    ) -> Result<PutResult> {
        let mut attempt = 1;
        loop {
            match self.put_parts(location, payload, opts).await {
                // The end of an upload that was made twice finds no such upload the second time.
                Err(error) if attempt < TRIES && (is_open(&error) || is_absent(&error)) => {
                    pause(attempt).await;
                }
                result => return result,
            }
            attempt += 1;
        }
    }

    async fn put_parts(
        &self,
        location: &Path,
        payload: &PutPayload,
        opts: &PutOptions,
    ) -> Result<PutResult> {
        let opts = PutMultipartOptions {
            tags: opts.tags.clone(),
            attributes: opts.attributes.clone(),
            extensions: opts.extensions.clone(),
        };
        let upload = self.put_multipart_opts(location, opts).await?;
        let mut parts = WriteMultipart::new_with_chunk_size(upload, PART);
        for bytes in payload {
            if let Err(error) = parts.wait_for_capacity(PARTS_AT_ONCE).await {
                let error = self.plain(error);
                if let Err(left) = parts.abort().await {
                    let left = self.plain(left);
                    tracing::warn!(%location, error = %left, "parts of an upload stay in the bucket");
                }
                return Err(error);
            }
            parts.put(bytes.clone());
        }
        parts.finish().await.map_err(|error| self.plain(error))
    }
}

impl fmt::Display for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3({})", self.bucket)
    }
}

/// Never the client, which holds credentials.
impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3")
            .field("bucket", &self.bucket)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for S3 {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        match opts.mode {
            PutMode::Create => self.create(location, payload, opts).await,
            PutMode::Overwrite if payload.content_length() > PARTS_FROM => {
                self.put_in_parts(location, &payload, &opts).await
            }
            _ => {
                let put = self.client.put_opts(location, payload, opts).await;
                put.map_err(|error| self.plain(error))
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.client.put_multipart_opts(location, opts).await;
        upload.map_err(|error| self.plain(error))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let got = self.client.get_opts(location, options).await;
        let mut got = got.map_err(|error| self.plain(error))?;
        if let GetResultPayload::Stream(body) = got.payload {
            let endpoint = self.endpoint.clone();
            let body = body.map_err(move |error| plain(error, &endpoint)).boxed();
            got.payload = GetResultPayload::Stream(body);
        }
        Ok(got)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let got = self.client.get_ranges(location, ranges).await;
        got.map_err(|error| self.plain(error))
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .chunks(DELETED_AT_ONCE)
            .then(move |chunk| {
                let store = store.clone();
                async move { stream::iter(store.delete_all(chunk).await) }
            })
            .flatten()
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let endpoint = self.endpoint.clone();
        let listed = self.client.list(prefix);
        listed.map_err(move |error| plain(error, &endpoint)).boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let endpoint = self.endpoint.clone();
        let listed = self.client.list_with_offset(prefix, offset);
        listed.map_err(move |error| plain(error, &endpoint)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listed = self.client.list_with_delimiter(prefix).await;
        listed.map_err(|error| self.plain(error))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copied = self.client.copy_opts(from, to, options).await;
        copied.map_err(|error| self.plain(error))
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let renamed = self.client.rename_opts(from, to, options).await;
        renamed.map_err(|error| self.plain(error))
    }
}

impl S3 {
    /// Deletes some objects with one request, and again when its answer was lost: what is gone is
    /// deleted.
    async fn delete_all(&self, locations: Vec<Result<Path>>) -> Vec<Result<Path>> {
        let mut paths = Vec::with_capacity(locations.len());
        let mut results = vec![];
        for location in locations {
            match location {
                Ok(path) => paths.push(path),
                Err(error) => results.push(Err(error)),
            }
        }
        for attempt in 1..=TRIES {
            let wanted: Vec<_> = paths.iter().cloned().map(Ok).collect();
            let deleted = self.client.delete_stream(stream::iter(wanted).boxed());
            let deleted: Vec<Result<Path>> = deleted
                .map(|result| result.map_err(|error| self.plain(error)))
                .collect()
                .await;
            let open = deleted
                .iter()
                .any(|result| result.as_ref().is_err_and(is_open));
            if open && attempt < TRIES {
                pause(attempt).await;
                continue;
            }
            results.extend(deleted);
            break;
        }
        results
    }
}

/// Whether it is not known what became of a request, or the store asks for it again.
fn is_open(error: &Error) -> bool {
    S3Failure::find(error)
        .is_some_and(|failure| matches!(failure.trouble(), Trouble::CutOff | Trouble::Met))
}

fn is_absent(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. })
}

async fn pause(attempt: u32) {
    tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
}

/// The same error, of the same kind, without the store's own words.
fn plain(error: Error, endpoint: &str) -> Error {
    let failure = S3Failure::of(&error, endpoint);
    let no_bucket = failure.trouble() == Trouble::NoBucket;
    let source = Box::new(failure);
    match error {
        Error::NotFound { path, .. } if !no_bucket => Error::NotFound { path, source },
        Error::AlreadyExists { path, .. } => Error::AlreadyExists { path, source },
        Error::Precondition { path, .. } => Error::Precondition { path, source },
        Error::NotModified { path, .. } => Error::NotModified { path, source },
        Error::PermissionDenied { path, .. } => Error::PermissionDenied { path, source },
        Error::Unauthenticated { path, .. } => Error::Unauthenticated { path, source },
        _ => Error::Generic {
            store: "S3",
            source,
        },
    }
}

/// Whether a variable says yes, as the client reads it.
fn is_set(builder: &AmazonS3Builder, key: AmazonS3ConfigKey) -> bool {
    builder.get_config_value(&key).is_some_and(|value| {
        matches!(
            value.to_ascii_lowercase().as_str(),
            "1" | "true" | "on" | "yes" | "y"
        )
    })
}

/// Refuses half a pair of keys.
fn whole_pair(builder: &AmazonS3Builder) -> std::result::Result<(), S3Failure> {
    let is_there = |key| builder.get_config_value(&key).is_some();
    let (set, unset) = match (
        is_there(AmazonS3ConfigKey::AccessKeyId),
        is_there(AmazonS3ConfigKey::SecretAccessKey),
    ) {
        (true, false) => ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        (false, true) => ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
        _ => return Ok(()),
    };
    Err(S3Failure::new(
        Trouble::Credentials,
        format!("{set} is set and {unset} is not"),
    ))
}

struct Endpoint {
    /// For messages.
    shown: String,
    /// Whether it is http, and may be.
    is_plain: bool,
}

/// The endpoint that a builder will talk to.
///
/// Over http everyone on the way reads the data and can change it, so it must be asked for with
/// `AWS_ALLOW_HTTP=true`. What stays on this machine has no way to be read on.
fn endpoint(builder: &AmazonS3Builder) -> std::result::Result<Endpoint, S3Failure> {
    let told = |key| builder.get_config_value(&key);
    let text = told(AmazonS3ConfigKey::S3Endpoint).or_else(|| told(AmazonS3ConfigKey::Endpoint));
    let Some(text) = text else {
        return Ok(Endpoint {
            shown: AMAZON.to_owned(),
            is_plain: false,
        });
    };
    let refuse = |said: String| Err(S3Failure::new(Trouble::Endpoint, said));
    let Ok(url) = Url::parse(&text) else {
        return refuse("the endpoint is no URL".to_owned());
    };
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("the endpoint holds a user or a password".to_owned());
    }
    let shown = url.as_str().trim_end_matches('/').to_owned();
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return refuse(format!("the endpoint {shown} names no host")),
    };
    let allowed = is_set(
        builder,
        AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp),
    );
    match url.scheme() {
        "https" => Ok(Endpoint {
            shown,
            is_plain: false,
        }),
        "http" if allowed || is_loopback => Ok(Endpoint {
            shown,
            is_plain: true,
        }),
        "http" => refuse(format!("the endpoint {shown} is not encrypted")),
        _ => refuse(format!(
            "the endpoint {shown} is neither https:// nor http://"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(variables: &[(&str, &str)]) -> std::result::Result<S3, S3Failure> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        S3::from_variables("bucket", Patience::Opening, None, variables)
    }

    const KEYS: [(&str, &str); 2] = [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "HUSH"),
    ];

    fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        KEYS.into_iter().chain(more.iter().copied()).collect()
    }

    #[test]
    fn the_endpoint_of_the_service_wins_and_empty_variables_say_nothing() {
        let store = connect(&with(&[
            ("AWS_ENDPOINT_URL", "https://one.example"),
            ("AWS_ENDPOINT_URL_S3", "https://two.example/"),
        ]));
        assert_eq!(store.unwrap().endpoint, "https://two.example");
        let store = connect(&with(&[
            ("AWS_ENDPOINT_URL", ""),
            ("AWS_SESSION_TOKEN", ""),
        ]));
        assert_eq!(store.unwrap().endpoint, AMAZON);
    }

    #[test]
    fn plain_http_is_for_this_machine_or_on_demand() {
        for (endpoint, allow, wanted) in [
            ("http://127.0.0.1:9000", "", true),
            ("http://localhost:9000", "", true),
            ("http://[::1]:9000", "", true),
            ("http://minio.example:9000", "", false),
            ("http://minio.example:9000", "false", false),
            ("http://minio.example:9000", "true", true),
            ("https://minio.example:9000", "", true),
            ("minio.example:9000", "true", false),
        ] {
            let found = connect(&with(&[
                ("AWS_ENDPOINT_URL", endpoint),
                ("AWS_ALLOW_HTTP", allow),
            ]));
            assert_eq!(found.is_ok(), wanted, "{endpoint} {allow}: {found:?}");
            if let Err(failure) = found {
                assert_eq!(failure.trouble(), Trouble::Endpoint);
            }
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        let failure = connect(&with(&[("AWS_ENDPOINT_URL", "https://me:HUSH@s3.example")]));
        let failure = failure.unwrap_err();
        let store = connect(&with(&[("AWS_SESSION_TOKEN", "HUSH")])).unwrap();
        for shown in [
            format!("{failure:?} {failure}"),
            format!("{store:?} {store}"),
        ] {
            assert!(
                !shown.contains("HUSH") && !shown.contains("AKID"),
                "{shown}"
            );
        }
    }

    #[test]
    fn half_a_pair_of_keys_is_named() {
        let failure = connect(&KEYS[..1]).unwrap_err();
        assert_eq!(failure.trouble(), Trouble::Credentials);
        assert!(
            failure.to_string().contains("AWS_SECRET_ACCESS_KEY is not"),
            "{failure}"
        );
        let failure = connect(&KEYS[1..]).unwrap_err();
        assert!(
            failure.to_string().contains("AWS_ACCESS_KEY_ID is not"),
            "{failure}"
        );
    }

    #[test]
    fn a_value_that_makes_no_sense_is_not_repeated() {
        let failure = connect(&with(&[("AWS_UNSIGNED_PAYLOAD", "HUSH")])).unwrap_err();
        assert!(!failure.to_string().contains("HUSH"), "{failure}");
    }
}

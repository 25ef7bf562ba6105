//! Questions and orders to a scheduler, as JSON over its own port.

use http::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::{Service, ServiceExt};

use super::tls::{Tls, Transport, causes};
use super::{ClusterAddress, identity::Identity};
use crate::error::EngineError;

/// How long an answer may take; those that wait for something take a second.
const ANSWER: Duration = Duration::from_secs(20);
/// Where a scheduler says what it is.
const IDENTITY: &str = "/almanac/v1/identity";
/// Bytes of an answer.
const ANSWER_BYTES: usize = 64 << 20;

/// A connection to a scheduler.
#[derive(Clone)]
pub struct Control {
    address: ClusterAddress,
    channel: Channel,
    /// What the scheduler said of itself when it was greeted.
    pub(crate) greeting: Arc<Identity>,
}

impl Control {
    /// Connects to a scheduler of any version.
    ///
    /// # Errors
    /// When nothing answers there, or it refuses.
    pub async fn connect(address: &ClusterAddress, tls: Option<&Tls>) -> Result<Self, EngineError> {
        let transport = Transport::new("almanac/control".to_owned(), tls)?;
        Self::over(address, &transport).await
    }

    pub(crate) async fn over(
        address: &ClusterAddress,
        transport: &Transport,
    ) -> Result<Self, EngineError> {
        let endpoint = transport.endpoint(address)?;
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| unreachable(address, &causes(&error), transport.is_encrypted()))?;
        // A server that wants TLS accepts the connection first and refuses what is said on it.
        let greeting = ask(address, &channel, "GET", IDENTITY, None).await;
        let greeting = greeting.and_then(|found| understood(address, found));
        let greeting = greeting.map_err(|error| {
            let reason = error.to_string();
            let reason = reason.rsplit(": ").next().unwrap_or_default();
            unreachable(address, reason, transport.is_encrypted())
        })?;
        Ok(Self {
            address: address.clone(),
            channel,
            greeting: Arc::new(greeting),
        })
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) async fn identity(&self) -> Result<Identity, EngineError> {
        self.get(IDENTITY).await
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        understood(&self.address, self.call("GET", path, None).await?)
    }

    /// Asks, or orders; the answer's body.
    ///
    /// # Errors
    /// When the scheduler does not answer, or refuses: then with the words of its answer.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, EngineError> {
        ask(&self.address, &self.channel, method, path, body).await
    }
}

async fn ask(
    address: &ClusterAddress,
    channel: &Channel,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> Result<Value, EngineError> {
    let lost = |reason: String| EngineError::SchedulerLost {
        address: address.to_string(),
        reason,
    };
    let body = body.map_or_else(Body::empty, |body| {
        Body::new(http_body_util::Full::new(bytes::Bytes::from(
            body.to_string(),
        )))
    });
    let request = http::Request::builder()
        .method(Method::from_bytes(method.as_bytes()).map_err(|error| lost(error.to_string()))?)
        .uri(path)
        .header("content-type", "application/json")
        .body(body)
        .map_err(|error| lost(error.to_string()))?;
    let answer = async {
        let mut channel = channel.clone();
        let ready = channel
            .ready()
            .await
            .map_err(|error| lost(causes(&error)))?;
        let answer = ready
            .call(request)
            .await
            .map_err(|error| lost(causes(&error)))?;
        let status = answer.status();
        let body = http_body_util::Limited::new(answer.into_body(), ANSWER_BYTES);
        let body = http_body_util::BodyExt::collect(body)
            .await
            .map_err(|error| lost(error.to_string()))?
            .to_bytes();
        Ok::<_, EngineError>((status, body))
    };
    let (status, body) = tokio::time::timeout(ANSWER, answer)
        .await
        .map_err(|_| lost(format!("no answer in {} s", ANSWER.as_secs())))??;
    let parsed: Value = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
    if status.is_success() {
        return Ok(parsed);
    }
    let said = |key: &str| parsed[key].as_str().map(str::to_owned);
    Err(EngineError::Cluster {
        message: said("error").unwrap_or_else(|| format!("{} answers {status} to {path}", address)),
        hint: said("hint"),
    })
}

fn understood<T: DeserializeOwned>(
    address: &ClusterAddress,
    found: Value,
) -> Result<T, EngineError> {
    serde_json::from_value(found).map_err(|error| {
        EngineError::cluster(
            format!("{address} answers in a way that is not understood: {error}"),
            "scheduler, executors and this command must be of one version",
        )
    })
}

fn unreachable(address: &ClusterAddress, reason: &str, encrypted: bool) -> EngineError {
    let hint = if encrypted {
        "check the address, that the scheduler runs with TLS, and that both certificates come from the same authority"
    } else {
        "check the address and that `almanac cluster scheduler` runs there; a scheduler with TLS needs --tls-ca, --tls-cert and --tls-key"
    };
    EngineError::Unreachable {
        address: address.to_string(),
        reason: reason.to_owned(),
        hint: hint.to_owned(),
    }
}

//! Mutual TLS: one authority, and a certificate for each process that serves it as server and client.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ballista_core::extension::EndpointOverrideFn;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};

use super::ClusterAddress;
use crate::error::EngineError;

/// How long a peer may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent peer is asked this often whether it is there, and given up after the second figure.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(3));

/// The files of a process's identity, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authority that peers must be certified by.
    pub ca: PathBuf,
    /// This process's certificate, with its host names and addresses.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How this process connects and listens: its identity in every request, with or without TLS.
#[derive(Clone)]
pub(crate) struct Transport {
    /// What every request says of the sender: the hash of its identity.
    agent: String,
    tls: Option<Material>,
}

#[derive(Clone)]
struct Material {
    ca: Certificate,
    identity: Identity,
}

impl Transport {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read, or holds no PEM of its kind.
    pub(crate) fn new(agent: String, tls: Option<&Tls>) -> Result<Self, EngineError> {
        // Both of the tree's providers of cryptography are linked in, so rustls chooses none itself.
        // A second call finds the first one's choice, which is the same.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let tls = tls.map(Material::read).transpose()?;
        Ok(Self { agent, tls })
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// An endpoint at an address.
    ///
    /// # Errors
    /// When the address or the certificate makes no sense.
    pub(crate) fn endpoint(&self, address: &ClusterAddress) -> Result<Endpoint, EngineError> {
        self.at(&address.authority()).map_err(|error| {
            EngineError::cluster(
                format!("cannot connect to {address}: {error}"),
                "check the address and the certificate",
            )
        })
    }

    fn at(&self, authority: &str) -> Result<Endpoint, tonic::transport::Error> {
        let scheme = if self.is_encrypted() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{authority}"))?
            .user_agent(self.agent.clone())?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1)
            .keep_alive_while_idle(true);
        match &self.tls {
            None => Ok(endpoint),
            Some(material) => endpoint.tls_config(
                ClientTlsConfig::new()
                    .ca_certificate(material.ca.clone())
                    .identity(material.identity.clone()),
            ),
        }
    }

    /// The hook through which Ballista's own connections are made like ours. It hands over
    /// endpoints with `http://`, whatever it was told of TLS (ballista-executor 55,
    /// `start_executor_process`), so only their authority is kept.
    pub(crate) fn hook(&self) -> EndpointOverrideFn {
        let transport = self.clone();
        Arc::new(move |endpoint| {
            let authority = endpoint.uri().authority().map(ToString::to_string);
            let authority = authority.ok_or("an endpoint without a host")?;
            Ok(transport.at(&authority)?)
        })
    }

    /// A server that refuses who is not certified, when TLS is on.
    ///
    /// # Errors
    /// When the certificate and the key do not belong together.
    pub(crate) fn server(&self) -> Result<Server, EngineError> {
        let server = Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE.0))
            .http2_keepalive_timeout(Some(KEEP_ALIVE.1));
        let Some(material) = &self.tls else {
            return Ok(server);
        };
        let config = ServerTlsConfig::new()
            .identity(material.identity.clone())
            .client_ca_root(material.ca.clone());
        server.tls_config(config).map_err(|error| {
            EngineError::cluster(
                format!("the TLS certificate cannot be used: {}", causes(&error)),
                "--tls-cert must be the certificate of --tls-key, both PEM",
            )
        })
    }
}

impl Material {
    fn read(tls: &Tls) -> Result<Self, EngineError> {
        let cert = pem(&tls.cert, "--tls-cert", "CERTIFICATE")?;
        Ok(Self {
            ca: Certificate::from_pem(pem(&tls.ca, "--tls-ca", "CERTIFICATE")?),
            identity: Identity::from_pem(cert, pem(&tls.key, "--tls-key", "PRIVATE KEY")?),
        })
    }
}

fn pem(path: &Path, flag: &str, kind: &str) -> Result<Vec<u8>, EngineError> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|error| {
        EngineError::cluster(
            format!("cannot read {shown}: {error}"),
            format!("{flag} names a PEM file"),
        )
    })?;
    if String::from_utf8_lossy(&text).contains(&format!("{kind}-----")) {
        return Ok(text);
    }
    Err(EngineError::cluster(
        format!("{shown} holds no PEM {}", kind.to_lowercase()),
        format!("{flag} names a PEM file"),
    ))
}

/// An error with all its causes on one line: the outermost of gRPC says only `transport error`.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

//! [`Cluster`]: the Kubernetes API as a person's kubeconfig reaches it. Requests one by one, JSON in and out, no watching.
//!
//! It starts no process: who logs in by a program (`exec`) goes through `kubectl proxy` and `--server`.

mod kubeconfig;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::{Method, Request};
use ureq::tls::{ClientCert, RootCerts, TlsConfig};

pub use kubeconfig::KubeconfigError;
use kubeconfig::{Access, Identity};

/// Why the cluster could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The kubeconfig does not lead anywhere.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// No answer.
    #[error("{server} does not answer: {error}")]
    Unreachable {
        /// The API server.
        server: String,
        /// Why.
        error: Box<ureq::Error>,
    },
    /// A refusal, in the server's own words.
    #[error("{method} {path}: {status}: {message}")]
    Refused {
        /// What was asked.
        method: Method,
        /// Of what.
        path: String,
        /// HTTP status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// Not JSON.
    #[error("{path}: the answer is not that of a Kubernetes API: {error}")]
    Answer {
        /// What was asked for.
        path: String,
        /// Why.
        error: Box<ureq::Error>,
    },
}

/// How a person says which cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// `--kubeconfig`; without: what `KUBECONFIG` says, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`.
    pub context: Option<String>,
    /// `--server`: this URL and nothing else, as `kubectl proxy` gives it.
    pub server: Option<String>,
}

/// A cluster that can be asked.
pub struct Cluster {
    agent: Agent,
    server: String,
    authorization: Option<String>,
}

/// One field manager for all that is applied.
const FIELD_MANAGER: &str = "towpathctl";

impl Cluster {
    /// Reads how to reach it; asks nothing yet.
    ///
    /// # Errors
    /// [`ClusterError::Kubeconfig`].
    pub fn open(choice: &Choice) -> Result<Cluster, ClusterError> {
        let access = Access::read(choice)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
        if !access.authorities.is_empty() {
            tls = tls.root_certs(RootCerts::Specific(Arc::new(access.authorities)));
        }
        let mut authorization = None;
        match access.identity {
            Identity::Nobody => {}
            Identity::Token(token) => authorization = Some(format!("Bearer {token}")),
            Identity::Certificate { chain, key } => {
                tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, key)))
            }
        }
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .proxy(None)
            .user_agent(concat!("towpathctl/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(Duration::from_secs(30)));
        Ok(Cluster { agent: config.build().into(), server: access.server, authorization })
    }

    /// What is there; `None` where nothing is.
    ///
    /// # Errors
    /// Any refusal but 404.
    pub fn find(&self, path: &str) -> Result<Option<Value>, ClusterError> {
        match self.send(Method::GET, path, None) {
            Err(ClusterError::Refused { status: 404, .. }) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// The items of a list.
    ///
    /// # Errors
    /// Any refusal.
    pub fn list(&self, path: &str) -> Result<Vec<Value>, ClusterError> {
        let mut answer = self.send(Method::GET, path, None)?;
        Ok(match answer["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        })
    }

    /// Puts a whole object in the place of the one it was made from: `metadata.resourceVersion` says which.
    ///
    /// # Errors
    /// 409 when somebody changed it meanwhile.
    pub fn replace(&self, path: &str, object: &Value) -> Result<Value, ClusterError> {
        self.send(Method::PUT, path, Some(("application/json", object)))
    }

    /// Server-side apply: makes it, or brings what it names to be so. `kubectl apply --server-side --force-conflicts`
    ///
    /// # Errors
    /// Any refusal.
    pub fn apply(&self, path: &str, object: &Value) -> Result<Value, ClusterError> {
        let path = format!("{path}?fieldManager={FIELD_MANAGER}&force=true");
        self.send(Method::PATCH, &path, Some(("application/apply-patch+yaml", object)))
    }

    /// Deletes it; what is gone already is no error.
    ///
    /// # Errors
    /// Any refusal but 404.
    pub fn delete(&self, path: &str) -> Result<(), ClusterError> {
        match self.send(Method::DELETE, path, None) {
            Ok(_) | Err(ClusterError::Refused { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn send(&self, method: Method, path: &str, body: Option<(&str, &Value)>) -> Result<Value, ClusterError> {
        let unreachable =
            |source: ureq::Error| ClusterError::Unreachable { server: self.server.clone(), error: Box::new(source) };
        let mut request = Request::builder().method(method.clone()).uri(format!("{}{path}", self.server));
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        if let Some((kind, _)) = body {
            request = request.header("Content-Type", kind);
        }
        let text = body.map(|(_, value)| value.to_string()).unwrap_or_default();
        let request = request.header("Accept", "application/json").body(text);
        let request = request.map_err(|error| unreachable(error.into()))?;
        let mut response = self.agent.run(request).map_err(unreachable)?;
        let status = response.status().as_u16();
        let words = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_string();
        let words = words.map_err(|source| ClusterError::Answer { path: path.to_owned(), error: Box::new(source) })?;
        let value: Result<Value, _> = serde_json::from_str(&words);
        if status >= 400 {
            let message = value.ok().and_then(|value| Some(value.get("message")?.as_str()?.to_owned()));
            let message = message.unwrap_or(words);
            return Err(ClusterError::Refused { method, path: path.to_owned(), status, message });
        }
        value.map_err(|error| {
            let error = Box::new(ureq::Error::Io(error.into()));
            ClusterError::Answer { path: path.to_owned(), error }
        })
    }
}

/// All Nodes of 15,000, at 20 KB each, whole.
const LONGEST_ANSWER: u64 = 512 << 20;

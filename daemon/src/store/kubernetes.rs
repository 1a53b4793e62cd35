//! The Kubernetes store: leases are annotations on Node objects, under flannel's names and in flannel's words, and the subnets are
//! the Nodes' podCIDRs, so that flannel nodes and ours share one cluster.
//!
//! ```text
//!   GET   /api/v1/nodes?watch=1&sendInitialEvents=true        all Nodes, then what changes (watch, register)
//!   PATCH /api/v1/nodes/NAME/status                           own annotations and NetworkUnavailable (publication)
//!   POST  /api/v1/namespaces/default/events                   what an operator should find there (report)
//!   GET   /api/v1/namespaces/NAMESPACE/pods/NAME              once: on which node this is
//! ```
//!
//! With `--peer-objects=leases` the first is of the own Node and of those without the label of `lease_object`, and there are
//!
//! ```text
//!   GET   /apis/coordination.k8s.io/v1/namespaces/NS/leases   what the others say in objects of their own (watch, register)
//!   PATCH /apis/coordination.k8s.io/v1/…/leases/NAME          what we do (publication)
//! ```
//!
//! Nothing is ever removed at the end of the process. The network's configuration is not here: see `--net-config-path`.
//!
//! This file is the three activities side by side, in one task; what they share is one mouth (`Events`) and what is seen of
//! the own Node (`Sight`).

mod access;
mod annotations;
mod client;
mod clock;
mod decision;
mod failure;
mod kubeconfig;
mod lease_object;
mod lines;
mod object;
mod peers;
mod publication;
mod register;
mod report;
mod sight;
mod tls;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use ipam::NodeName;
use serde::Deserialize;
use tokio::sync::Mutex;

use self::access::Access;
pub use self::access::{AccessError, cluster};
pub use self::client::Patience;
use self::client::{Client, Question};
use self::failure::Failure;
use self::publication::Publication;
use self::register::{Collection, Register};
use self::report::{Report, Said};
use self::sight::Sight;
use self::watch::{Progress, Watcher};
use super::events::Events;
use super::talk::{Counted, StoreEnd};
use crate::config::{KubernetesSettings, OwnPod};

/// A cluster network's leases on the Node objects of a Kubernetes API.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    settings: KubernetesSettings,
    node: NodeName,
    patience: Patience,
}

impl Kubernetes {
    /// The store that the settings name, for this node.
    pub fn new(settings: &KubernetesSettings, node: &NodeName) -> Kubernetes {
        Kubernetes { settings: settings.clone(), node: node.clone(), patience: Patience::default() }
    }

    /// The same with another patience.
    pub fn with_patience(self, patience: Patience) -> Kubernetes {
        Kubernetes { patience, ..self }
    }

    /// See [`Store::run`](super::Store::run).
    pub async fn run(self, end: StoreEnd) {
        let (settings, node, out) = (&self.settings, &self.node, end.events.clone());
        let events = Mutex::new(Events::new(end.events));
        let (sight, seen) = tokio::sync::watch::channel(Sight::default());
        let client = || Client::new(settings, self.patience, &end.counted);
        let register = Mutex::new(Register::new((settings, node), &events, &sight, &end.counted));
        let followed = Collection::all(&settings.peers);
        let watch = |collection| {
            let watcher = followed.contains(&collection).then(|| Watcher {
                client: client(),
                asking: client(),
                collection,
                node,
                prefix: &settings.annotations,
                peers: &settings.peers,
                place: settings.place(),
                register: &register,
                events: &events,
                wishes: end.wishes.clone(),
                progress: Progress::default(),
            });
            async {
                if let Some(watcher) = watcher {
                    watcher.run().await;
                }
            }
        };
        let nodes = async { tokio::join!(watch(Collection::Nodes), watch(Collection::OtherNodes)) };
        let rest = async { tokio::join!(watch(Collection::OwnNode), watch(Collection::Leases)) };
        let (wishes, standing, place) = (end.wishes.clone(), end.standing, settings.place());
        let publication =
            Publication { client: client(), node, settings, place, events: &events, sight: &sight, wishes, standing };
        let said = Said::default();
        let report = Report { client: client(), node, sight: seen, occurrences: end.occurrences, said };
        tokio::select! {
            _ = async { tokio::join!(nodes, rest, publication.run(), report.run()) } => {}
            () = out.closed() => {}
        }
    }
}

/// Whether it is known how to reach the API server: the kubeconfig and what it names, as they are now.
///
/// # Errors
/// [`AccessError`].
pub fn check(settings: &KubernetesSettings) -> Result<(), AccessError> {
    Access::find(settings).map(drop)
}

/// Why the own pod did not say on which node it runs.
#[derive(Debug, thiserror::Error)]
pub enum NodeNameUnknown {
    /// The environment does not name the pod.
    #[error("the own pod is not known: set POD_NAME and POD_NAMESPACE, or NODE_NAME (all from the downward API)")]
    NoPod,
    /// The API does not say.
    #[error(
        "{place}: pod {namespace}/{name} cannot be read, so the name of this node is not known: {why}; set NODE_NAME"
    )]
    Unanswered {
        /// Where the API is.
        place: String,
        /// The pod's namespace.
        namespace: String,
        /// The pod.
        name: String,
        /// Why.
        why: String,
    },
}

/// How long the own pod is asked for.
const POD_PATIENCE: Duration = Duration::from_secs(5);

/// The node that the own pod runs on. Asked once, and answered or given up within some seconds.
///
/// # Errors
/// When the API does not say.
pub async fn node_name(settings: &KubernetesSettings) -> Result<NodeName, NodeNameUnknown> {
    let OwnPod { namespace, name } = settings.own_pod.clone().ok_or(NodeNameUnknown::NoPod)?;
    let asked = tokio::time::timeout(POD_PATIENCE, pods_node(settings, &namespace, &name)).await;
    let asked = asked.unwrap_or(Err(Failure::Silence(POD_PATIENCE)));
    asked.map_err(|failure| {
        let (place, why) = (settings.place(), failure.to_string());
        NodeNameUnknown::Unanswered { place, namespace, name, why }
    })
}

async fn pods_node(settings: &KubernetesSettings, namespace: &str, name: &str) -> Result<NodeName, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Spec {
        node_name: Option<String>,
    }
    #[derive(Deserialize)]
    struct Pod {
        spec: Spec,
    }
    let mut client = Client::new(settings, Patience::default(), &Arc::new(Counted::default()));
    let question = Question::get(format!("/api/v1/namespaces/{namespace}/pods/{name}"));
    let body = client.ask(&question).await?.whole(16 << 20).await?;
    let pod: Pod = serde_json::from_slice(&body).map_err(|error| Failure::Unreadable(error.to_string()))?;
    let node = pod.spec.node_name.ok_or_else(|| Failure::Unreadable("the pod has no node".to_owned()))?;
    NodeName::new(&node).map_err(|error| Failure::Unreadable(error.to_string()))
}

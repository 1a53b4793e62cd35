//! [`Settings`]: the configuration as it is used. Plain typed data; every value in it is valid.
//!
//! How a value is written, and where it came from, is `meant`'s and `written`'s business.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use backends::Instance;
use backends::LinkName;
use backends::cluster::{OwnSubnetRoute, UnclaimedAddresses};
use backends::masquerade::Firewall;
use ipam::{NodeName, Stack};

use super::kube::{AnnotationPrefix, ApiUrl};
use super::pattern::Pattern;
use crate::host_settings::HostSettings;
use crate::installation::InstallationSettings;
use crate::labels::Labels;
use crate::secret::Secret;
use crate::store::kubernetes;
use crate::subnet_file::PodMode;
use crate::tunnel_keys::KeySettings;

/// Everything that the command line and the environment say, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// This node's name in the store, in logs and in `towpathctl`.
    pub node: NodeName,
    /// Where leases are kept.
    pub store: StoreSettings,
    /// How the uplink is chosen.
    pub interface: InterfaceWish,
    /// What tells this daemon's kernel objects from another daemon's on the same node.
    pub instance: Instance,
    /// What other programs read: network, subnet, MTU.
    pub subnet_file: PathBuf,
    /// The last known state of the store, this instance's own.
    pub state_file: PathBuf,
    /// net-conf.json as a file; the kubernetes store alone takes it from there.
    pub net_config_path: PathBuf,
    /// What the container runtime is given; `None`: nothing.
    pub installation: Option<InstallationSettings>,
    /// Masquerade and forwarding: which rules are wanted.
    pub firewall: Firewall,
    /// How often the kernel is compared as a whole, without any event.
    pub resync: Duration,
    /// Whether the own subnet has a blackhole route under its pods' routes.
    pub own_subnet_route: OwnSubnetRoute,
    /// Whether packets to addresses of no node are refused here.
    pub unclaimed: UnclaimedAddresses,
    /// The address that masqueraded packets get, per family; else it is the outgoing interface's.
    pub masquerade_address: Option<Stack<IpAddr>>,
    /// `--bgp-as`
    pub bgp_as: Option<u32>,
    /// `--node-labels`
    pub labels: Labels,
    /// What the plugin hangs pods on.
    pub pods: PodMode,
    /// Where WireGuard's keys come from.
    pub keys: KeySettings,
    /// Where health and metrics are served; `None`: nowhere.
    pub healthz: Option<SocketAddr>,
    /// The unix socket that `towpathctl` talks to.
    pub status_socket: PathBuf,
    /// How long before its end a lease is renewed: 1 to 1439 minutes.
    pub lease_renew_margin: Duration,
    /// What is logged, and how.
    pub logging: Logging,
}

/// Where leases are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSettings {
    /// A directory on this host, or one that all nodes share.
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// etcd, API version 3.
    Etcd(EtcdSettings),
    /// The Kubernetes API: annotations on Node objects.
    Kubernetes(KubernetesSettings),
}

/// How the Kubernetes API is reached, and what is done there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesSettings {
    /// `--kube-api-url`; it overrides the server of the kubeconfig.
    pub api_url: Option<ApiUrl>,
    /// Where the kubelet tells a pod that the API server is (`KUBERNETES_SERVICE_HOST`, `KUBERNETES_SERVICE_PORT`).
    pub service: Option<ApiUrl>,
    /// `--kubeconfig-file`; without both: as the pod finds it (in-cluster).
    pub kubeconfig: Option<PathBuf>,
    /// What flannel's annotations begin with.
    pub annotations: AnnotationPrefix,
    /// Whether the condition NetworkUnavailable of the own Node is kept.
    pub keeps_condition: bool,
    /// What is watched to know the other nodes.
    pub peers: PeerObjects,
    /// The own pod, where nobody named the node: it says on which node it runs.
    pub own_pod: Option<OwnPod>,
}

/// What is watched to know the other nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PeerObjects {
    /// All Node objects, as flannel does.
    #[default]
    Nodes,
    /// The objects `leases.coordination.k8s.io` of a namespace, one for each node that has this setting, and the Nodes of the
    /// others.
    Leases {
        /// Where they are.
        namespace: String,
    },
}

/// A pod by its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPod {
    /// `POD_NAMESPACE`.
    pub namespace: String,
    /// `POD_NAME`.
    pub name: String,
}

/// How etcd is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSettings {
    /// URLs, at least one, all `http` or all `https`.
    pub endpoints: Vec<String>,
    /// What all keys begin with, without a slash at its end: `/coreos.com/network`.
    pub prefix: String,
    /// Certificates.
    pub tls: TlsFiles,
    /// User name and password; `None`: no authentication.
    pub user: Option<EtcdUser>,
}

/// Who we are to etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdUser {
    /// The name.
    pub name: String,
    /// The password.
    pub password: Secret,
}

/// PEM files for TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Who may vouch for the server; without it the system's own list.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key.
    pub client: Option<ClientCertificate>,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

/// How the uplink is chosen: in this order, the first that finds something.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InterfaceWish {
    /// `--iface`, in order.
    pub interfaces: Vec<InterfaceId>,
    /// `--iface-regex`, in order.
    pub patterns: Vec<Pattern>,
    /// `--iface-can-reach`.
    pub can_reach: Option<IpAddr>,
    /// `--public-ip`, `--public-ipv6`.
    pub public: Option<Stack<IpAddr>>,
}

/// What names an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceId {
    /// The interface that has this address.
    Address(IpAddr),
    /// The interface of this name.
    Name(LinkName),
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logging {
    /// One line of text or one JSON object each.
    pub format: LogFormat,
    /// The least severe that is shown.
    pub level: LogLevel,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// The least severe messages that are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Only what failed.
    Error,
    /// And what is not as it should be.
    Warn,
    /// And what changed.
    #[default]
    Info,
    /// And why.
    Debug,
    /// And every step.
    Trace,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        })
    }
}

impl KubernetesSettings {
    /// Where it is, for people.
    pub fn place(&self) -> String {
        match (&self.api_url, &self.kubeconfig) {
            (Some(url), _) => format!("kubernetes {url}"),
            (None, Some(path)) => format!("kubernetes by {}", path.display()),
            (None, None) => "kubernetes, in-cluster".to_owned(),
        }
    }
}

impl StoreSettings {
    /// Which store it is, in one line: what another store's memory is told from ours by. Shows no secret.
    pub fn identity(&self) -> String {
        match self {
            StoreSettings::Directory { path } => format!("directory {}", path.display()),
            StoreSettings::Etcd(etcd) => format!("etcd {} {}", etcd.prefix, etcd.endpoints.join(",")),
            StoreSettings::Kubernetes(kubernetes) => format!("kubernetes {}", kubernetes.annotations.as_str()),
        }
    }

    /// The same, and for Kubernetes which cluster it is: told by who may vouch for its API server, for an address says
    /// nothing (every cluster's is 10.96.0.1). Reads the authority's certificates.
    pub fn cluster_identity(&self) -> String {
        match self {
            StoreSettings::Kubernetes(kubernetes) => format!("{} {}", self.identity(), kubernetes::cluster(kubernetes)),
            StoreSettings::Directory { .. } | StoreSettings::Etcd(_) => self.identity(),
        }
    }

    /// Whether the network's configuration comes from the store; else from `--net-config-path`.
    pub fn keeps_network(&self) -> bool {
        !matches!(self, StoreSettings::Kubernetes(_))
    }

    /// Whether the store assigns subnets by itself; else nodes take them.
    pub fn assigns(&self) -> bool {
        matches!(self, StoreSettings::Kubernetes(_))
    }

    /// What is asked of the host: where there are services, pods of one bridge may be each other's.
    pub fn host_settings(&self) -> HostSettings {
        match self {
            StoreSettings::Kubernetes(_) => HostSettings::RoutersAndBridges,
            StoreSettings::Directory { .. } | StoreSettings::Etcd(_) => HostSettings::Routers,
        }
    }
}

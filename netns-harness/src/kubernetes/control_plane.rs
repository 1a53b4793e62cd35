//! [`ControlPlane`]: etcd and kube-apiserver in a namespace of the lab, and if wanted the controllers and the scheduler.
//! It has no nodes but those that somebody makes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipam::Stack;
use ipnet::IpNet;

use crate::etcd::Etcd;
use crate::kubernetes::authority::{Authority, Validity};
use crate::kubernetes::identity::{Identity, Proof, kubeconfig};
use crate::kubernetes::launch::Launch;
use crate::kubernetes::{Kubectl, NodeObject, Programs};
use crate::lab::Lab;
use crate::prerequisites::{Tool, require};
use crate::process::Process;
use crate::station::Station;

const DAEMON_ACCOUNT: &str = include_str!("daemon-account.yaml");
const LEASE_OBJECTS: &str = include_str!("lease-objects.yaml");

/// A control plane. Clones are the same.
#[derive(Clone)]
pub struct ControlPlane {
    inner: Arc<Inner>,
}

struct Inner {
    station: Station,
    programs: Programs,
    authority: Authority,
    kubectl: Kubectl,
    options: ControlPlaneOptions,
    etcd: Etcd,
    api_server: Process,
    controllers: Option<Process>,
    scheduler: Option<Process>,
}

/// How a control plane is started.
#[derive(Clone, Debug)]
pub struct ControlPlaneOptions {
    /// Which etcd is behind it.
    pub etcd: EtcdVersion,
    /// With it the controllers run, and give each Node its part of this: a /24, a /64.
    pub pod_network: Option<Stack<IpNet>>,
    /// Where services have their addresses; the first family is the main one.
    pub services: Stack<IpNet>,
    /// Whether pods are given to nodes.
    pub scheduler: bool,
    /// More flags for kube-apiserver; a later one wins over the lab's own.
    pub api_flags: Vec<String>,
    /// More flags for kube-controller-manager.
    pub controller_flags: Vec<String>,
}

/// Which etcd is behind an API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtcdVersion {
    /// 3.6, which came with this Kubernetes.
    Current,
    /// Debian's 3.4. It cannot report its progress, so that a streaming list (`sendInitialEvents`) ends with an ERROR event of
    /// code 500: what a client must be able to live with.
    Debian,
}

impl Default for ControlPlaneOptions {
    /// A current etcd, services in 10.96.0.0/16 and fd96::/112, neither controllers nor scheduler.
    fn default() -> ControlPlaneOptions {
        let services =
            Stack::Dual { v4: net([10, 96, 0, 0].into(), 16), v6: net([0xfd96, 0, 0, 0, 0, 0, 0, 0].into(), 112) };
        ControlPlaneOptions {
            etcd: EtcdVersion::Current,
            pod_network: None,
            services,
            scheduler: false,
            api_flags: Vec::new(),
            controller_flags: Vec::new(),
        }
    }
}

impl Lab {
    /// Starts a control plane on the switch, which every node reaches at 192.0.2.1 and 2001:db8::1; ready when this returns.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub fn control_plane(&self, options: &ControlPlaneOptions) -> Result<ControlPlane> {
        ControlPlane::start(self.switch(), options)
    }
}

impl ControlPlane {
    /// Starts one on a node, whose wire may be cut; ready when this returns.
    ///
    /// # Errors
    /// When the programs are not built, or one does not come up: with the end of its log.
    pub fn start(station: &Station, options: &ControlPlaneOptions) -> Result<ControlPlane> {
        let programs = Programs::built()?;
        require(Tool::Openssl)?;
        let authority = Authority::create(station.directory().join("pki"))?;
        let launch = Launch { station, programs: &programs, authority: &authority, options };
        launch.certify(Validity::Days(1))?;
        let etcd = launch.etcd()?;
        let api_server = launch.api_server()?;
        let administrator = launch.kubeconfig(&Identity::administrator())?;
        let kubectl = Kubectl::new(station, &programs, administrator);
        launch.wait_ready(&api_server, &kubectl)?;
        let controllers = options.pod_network.as_ref().map(|pods| launch.controllers(pods)).transpose()?;
        let scheduler = options.scheduler.then(|| launch.scheduler()).transpose()?;
        let inner = Inner {
            station: station.clone(),
            kubectl,
            options: options.clone(),
            etcd,
            api_server,
            controllers,
            scheduler,
            programs,
            authority,
        };
        Ok(ControlPlane { inner: Arc::new(inner) })
    }

    /// The URL, as `--kube-api-url` takes it.
    ///
    /// # Errors
    /// When its station has lost its address.
    pub fn url(&self) -> Result<String> {
        self.launch().url()
    }

    /// The certificate of the authority behind the server's, PEM.
    pub fn authority(&self) -> PathBuf {
        self.inner.authority.file("ca.crt")
    }

    /// kubectl as the administrator.
    pub fn kubectl(&self) -> &Kubectl {
        &self.inner.kubectl
    }

    /// kubectl as somebody else.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn kubectl_as(&self, identity: &Identity) -> Result<Kubectl> {
        Ok(Kubectl::new(&self.inner.station, &self.inner.programs, self.kubeconfig(identity)?))
    }

    /// A kubeconfig file with a client certificate; the same one when it is asked for again.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn kubeconfig(&self, identity: &Identity) -> Result<PathBuf> {
        self.launch().kubeconfig(identity)
    }

    /// A kubeconfig file `NAME.kubeconfig` with a token.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn token_kubeconfig(&self, name: &str, token: &str) -> Result<PathBuf> {
        let path = self.inner.station.directory().join(format!("{name}.kubeconfig"));
        std::fs::write(&path, kubeconfig(&self.url()?, &self.authority(), &Proof::Token(token)))?;
        Ok(path)
    }

    /// A kubeconfig file for daemons: a service account `kube-flannel/towpath` with what flannel's manifest allows, and a token of
    /// it. The account is made if it is not there.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn daemon_kubeconfig(&self) -> Result<PathBuf> {
        self.kubectl().apply(DAEMON_ACCOUNT)?;
        let token = self.service_account_token("kube-flannel", "towpath")?;
        self.token_kubeconfig("towpath", &token)
    }

    /// Lets them keep Lease objects in the namespace of that account, for `--peer-objects=leases`.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub fn allow_lease_objects(&self) -> Result<()> {
        self.kubectl().apply(LEASE_OBJECTS).map(drop)
    }

    /// A new token of a service account, good for an hour. `kubectl create token`.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn service_account_token(&self, namespace: &str, name: &str) -> Result<String> {
        Ok(self.kubectl().run(&format!("create token {name} -n {namespace} --duration=1h"))?.trim().to_owned())
    }

    /// Writes a network's configuration for daemons outside of pods, which have it from the ConfigMap otherwise.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configuration_file(&self, configuration: &str) -> Result<PathBuf> {
        let path = self.inner.station.directory().join("net-conf.json");
        std::fs::write(&path, configuration)?;
        Ok(path)
    }

    /// Creates a Node object.
    ///
    /// # Errors
    /// When there is one of that name.
    pub fn create_node(&self, node: &NodeObject) -> Result<()> {
        self.create_nodes(std::slice::from_ref(node))
    }

    /// Creates many Node objects, some hundred in a second.
    ///
    /// # Errors
    /// As [`ControlPlane::create_node`].
    pub fn create_nodes(&self, nodes: &[NodeObject]) -> Result<()> {
        // No kubectl takes longer than the minute that it has.
        for part in nodes.chunks(1000) {
            let items: Vec<_> = part.iter().map(NodeObject::to_json).collect();
            let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items });
            self.kubectl().feed(["create", "-f", "-"], &list.to_string())?;
        }
        Ok(())
    }

    /// The API as the administrator, by HTTP without TLS at this address of [`ControlPlane::station`]: for what makes more requests
    /// than kubectl can be started for. `kubectl proxy`; ready when this returns, to be called once.
    ///
    /// # Errors
    /// When the proxy does not come up.
    pub fn plain_http(&self) -> Result<SocketAddr> {
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8001);
        let mut command = self.inner.programs.command("kubectl");
        command.arg("--kubeconfig").arg(self.kubectl().kubeconfig());
        command.args(["proxy", "--address=127.0.0.1", "--port=8001", "--accept-hosts=.*"]).env("KUBERC", "off");
        let proxy = self.inner.station.start("kubectl-proxy", command)?;
        proxy.wait_ready(Duration::from_secs(30), || {
            let page = self.inner.station.get(address, "/readyz")?;
            ensure!(page.status == 200, "/readyz says {page:?}");
            Ok(address)
        })
    }

    /// kube-apiserver: kill it, pause it (`Signal::STOP`), look into its log. To start it again, see [`ControlPlane::restart`].
    pub fn api_server(&self) -> &Process {
        &self.inner.api_server
    }

    /// Starts kube-apiserver (again), with etcd as it is, and waits until it serves.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&self) -> Result<()> {
        self.inner.api_server.restart()?;
        self.wait_ready()
    }

    /// Waits until `/readyz` says ok.
    ///
    /// # Errors
    /// What it says instead, with the end of its log.
    pub fn wait_ready(&self) -> Result<()> {
        self.launch().wait_ready(&self.inner.api_server, &self.inner.kubectl)
    }

    /// etcd; its data stays when it is killed and started again.
    pub fn etcd(&self) -> &Etcd {
        &self.inner.etcd
    }

    /// kube-controller-manager, when there is a pod network.
    pub fn controllers(&self) -> Option<&Process> {
        self.inner.controllers.as_ref()
    }

    /// kube-scheduler, when it was wanted.
    pub fn scheduler(&self) -> Option<&Process> {
        self.inner.scheduler.as_ref()
    }

    /// Makes etcd forget everything but the present. A watch from an older version is then answered with 410 as soon as the API
    /// server does not remember it either: after [`ControlPlane::restart`].
    ///
    /// # Errors
    /// What etcdctl (package etcd-client) says.
    pub fn compact(&self) -> Result<()> {
        let text = self.etcd().ctl(&["endpoint", "status", "-w", "json"])?;
        let status: serde_json::Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let revision = status[0]["Status"]["header"]["revision"].as_i64().with_context(|| text.clone())?;
        self.etcd().ctl(&["compact", "--physical", &revision.to_string()]).map(drop)
    }

    /// Gives kube-apiserver another certificate. It notices by itself within a minute, or at [`ControlPlane::restart`]; kubectl
    /// does not talk to one that has expired.
    ///
    /// # Errors
    /// What openssl says.
    pub fn certify(&self, validity: Validity) -> Result<()> {
        self.launch().certify(validity)
    }

    /// Where it runs, and keeps the log of each component.
    pub fn station(&self) -> &Station {
        &self.inner.station
    }

    /// The ends of the logs of all components.
    pub fn log_tails(&self, lines: usize) -> String {
        let Inner { etcd, api_server, controllers, scheduler, .. } = &*self.inner;
        let members = etcd.members().iter().map(|member| &member.process);
        let processes = members.chain([api_server]).chain(controllers).chain(scheduler);
        processes.fold(String::new(), |text, process| {
            format!("{text}--- {} ({}):\n{}\n", process.name(), process.log_path().display(), process.log_tail(lines))
        })
    }

    fn launch(&self) -> Launch<'_> {
        let Inner { station, programs, authority, options, .. } = &*self.inner;
        Launch { station, programs, authority, options }
    }
}

/// A prefix whose length fits its family.
fn net(address: IpAddr, length: u8) -> IpNet {
    IpNet::new_assert(address, length)
}

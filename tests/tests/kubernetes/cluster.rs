//! [`Cluster`]: lab nodes with daemons, and the API server that holds their Node objects.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::kubernetes::{ControlPlane, ControlPlaneOptions, NodeObject};
use netns_harness::{Binaries, Daemon, DaemonOptions, Lab, Node, Pod, Store, wait_for};
use serde_json::Value;

/// On a busy machine of two cores things take longer; in a quiet one all of them take milliseconds.
pub const LIMIT: Duration = Duration::from_secs(40);

/// One family, everything else as it comes.
pub const NETWORK: &str = r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}"#;

/// Nodes with daemons on one API server.
pub struct Cluster {
    /// The programs.
    pub binaries: Binaries,
    /// Who the daemons are to the API.
    pub kubeconfig: PathBuf,
    /// net-conf.json, as it would be mounted.
    pub configuration: PathBuf,
    /// The API server.
    pub api: ControlPlane,
    /// The lab; it ends last.
    pub lab: Lab,
}

impl Cluster {
    /// An API server without nodes.
    pub fn new(name: &str) -> Result<Cluster> {
        let lab = Lab::new(name)?;
        let api = lab.control_plane(&ControlPlaneOptions::default())?;
        let kubeconfig = api.daemon_kubeconfig()?;
        let configuration = api.configuration_file(NETWORK)?;
        Ok(Cluster { binaries: Binaries::built()?, kubeconfig, configuration, api, lab })
    }

    /// A node of the lab with a Node object that has the podCIDR 10.244.NUMBER.0/24.
    pub fn node(&self, name: &str, number: u8) -> Result<Node> {
        let node = self.lab.node(name)?;
        self.register(&node, number)?;
        Ok(node)
    }

    /// Creates the Node object of a node.
    pub fn register(&self, node: &Node, number: u8) -> Result<()> {
        let pod_cidr = format!("10.244.{number}.0/24").parse()?;
        self.api.create_node(&NodeObject::of(node)?.pod_cidr(pod_cidr))
    }

    /// Starts a daemon with these flags more.
    pub fn start(&self, node: &Node, flags: &[&str]) -> Result<Daemon> {
        let (kubeconfig, configuration) = (self.kubeconfig.clone(), self.configuration.clone());
        let options = DaemonOptions::new(Store::Kubernetes { kubeconfig, configuration });
        node.towpathd(&self.binaries, &flags.iter().fold(options, |options, flag| options.flag(*flag)))
    }

    /// A node with a Node object and a daemon, which is ready.
    pub fn join(&self, name: &str, number: u8) -> Result<Daemon> {
        let daemon = self.start(&self.node(name, number)?, &[])?;
        daemon.wait_ready(LIMIT)?;
        Ok(daemon)
    }

    /// Writes net-conf.json anew, as an editor does.
    pub fn configure(&self, text: &str) -> Result<()> {
        let draft = self.configuration.with_extension("new");
        std::fs::write(&draft, text)?;
        Ok(std::fs::rename(draft, &self.configuration)?)
    }

    /// The Node object.
    pub fn object(&self, name: &str) -> Result<Value> {
        self.api.kubectl().json(&format!("get node {name}"))
    }

    /// A flannel annotation of a Node object.
    pub fn annotation(&self, node: &str, key: &str) -> Result<String> {
        let object = self.object(node)?;
        let value = &object["metadata"]["annotations"][format!("flannel.alpha.coreos.com/{key}")];
        Ok(value.as_str().with_context(|| format!("no {key}: {object}"))?.to_owned())
    }

    /// Waits until the condition NetworkUnavailable has this status and says this.
    pub fn wait_condition(&self, node: &str, status: &str, saying: &str) -> Result<()> {
        self.api.kubectl().wait_json(&format!("get node {node}"), LIMIT, |object| {
            let conditions = object["status"]["conditions"].as_array().context("no conditions")?;
            let condition = conditions.iter().find(|it| it["type"] == "NetworkUnavailable").context("no condition")?;
            let message = condition["message"].as_str().unwrap_or_default();
            ensure!(condition["status"] == status && message.contains(saying), "{condition}");
            Ok(())
        })
    }

    /// Waits for an Event on a Node, and gives its message.
    pub fn wait_event(&self, node: &str, reason: &str) -> Result<String> {
        let words = format!("get events -n default --field-selector involvedObject.name={node},reason={reason}");
        wait_for(&format!("the Event {reason} on {node}"), LIMIT, || {
            let events = self.api.kubectl().json(&words)?;
            Ok(events["items"][0]["message"].as_str().context("none")?.to_owned())
        })
    }

    /// Two pods that the plugin made can talk.
    pub fn wait_talk(&self, one: &Pod, other: &Pod) -> Result<()> {
        wait_for("the two to talk", LIMIT, || one.reach(other, Family::V4)).map(drop)
    }

    /// A pod of a node, made by the project's own plugin.
    pub fn pod(&self, daemon: &Daemon, name: &str) -> Result<Pod> {
        daemon.node().pod(&daemon.plugin(&self.binaries)?, name)
    }
}

/// Waits until `/readyz` answers with this status and a body that has this text.
pub fn wait_page(daemon: &Daemon, status: u16, text: &str) -> Result<String> {
    wait_for(&format!("/readyz {status} with `{text}`"), LIMIT, || {
        let page = daemon.get("/readyz")?;
        ensure!(page.status == status && page.body.contains(text), "{page:?}");
        Ok(page.body)
    })
}

/// The tunnel's routes to peers' pods.
pub fn routes(node: &Node) -> Result<Vec<String>> {
    let text = node.run(["ip", "-4", "route", "show", "proto", "84"])?;
    let mut routes: Vec<String> = text.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect();
    routes.sort();
    Ok(routes)
}

/// Waits until these are all the tunnel's routes.
pub fn wait_routes(node: &Node, expected: &[&str]) -> Result<()> {
    wait_for(&format!("{}'s routes", node.name()), LIMIT, || {
        let found = routes(node)?;
        ensure!(found == expected, "{found:?}, not {expected:?}");
        Ok(())
    })
}

/// The file of a daemon's memory.
pub fn state_file(daemon: &Daemon) -> Result<PathBuf> {
    let files = std::fs::read_dir(daemon.node().directory().join("state"))?;
    let files = files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
    let whole = files.into_iter().find(|file| file.extension().is_some_and(|ending| ending == "json"));
    whole.context("no state file yet")
}

/// Waits until what the daemon knows is on disk: its own lease, and leases of these subnets.
pub fn wait_remembered(daemon: &Daemon, subnets: &[&str]) -> Result<()> {
    wait_for("the state file to know the own lease, and these", LIMIT, || {
        let text = std::fs::read_to_string(state_file(daemon)?)?;
        ensure!(subnets.iter().all(|subnet| text.contains(subnet)), "not all of {subnets:?} in {text}");
        ensure!(!text.contains("\"own\":null") && text.contains("checksum"), "{text}");
        Ok(())
    })
}

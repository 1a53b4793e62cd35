//! [`Ground`]: a cluster with our image on every node, and what every test asks of it. One at a time on this machine.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netns_harness::kubernetes::{Cluster, ClusterOptions};
use netns_harness::{Lab, Station, wait_for};
use serde_json::{Value, json};

/// On a busy machine of two cores; on a quiet one all of it takes seconds.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Our image, by the name that the manifest has.
pub const IMAGE: &str = concat!("localhost/towpath:v", env!("CARGO_PKG_VERSION"));

/// A cluster takes a gigabyte, and both cores.
static TURN: Mutex<()> = Mutex::new(());

/// A cluster of a lab, in the order in which they end.
pub struct Ground {
    /// The cluster.
    pub cluster: Cluster,
    /// Its lab.
    pub lab: Lab,
    _turn: MutexGuard<'static, ()>,
}

/// Waits until no other test has a cluster, or counts packets.
pub fn turn() -> MutexGuard<'static, ()> {
    // Another test's failure is none of this one's.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ground {
    /// Starts a cluster when it is its turn, without a pod network.
    pub fn start(name: &str, mut options: ClusterOptions) -> Result<Ground> {
        let turn = turn();
        options.images.push(image()?);
        let lab = Lab::new(name)?;
        let cluster = lab.cluster(&options)?;
        Ok(Ground { cluster, lab, _turn: turn })
    }

    /// `kubectl WORDS`.
    pub fn kubectl(&self, words: &str) -> Result<String> {
        self.cluster.kubectl().run(words)
    }

    /// An object or a list of them: `get pods -A`.
    pub fn json(&self, words: &str) -> Result<Value> {
        self.cluster.kubectl().json(words)
    }

    /// Waits until every node has a daemon that is ready, of the template that was last applied, and is Ready itself.
    pub fn wait_network(&self) -> Result<()> {
        let settled = self.cluster.wait_rollout("-n kube-flannel ds/kube-flannel-ds", LIMIT);
        self.explained(settled.and_then(|()| self.cluster.wait_nodes_ready(LIMIT)))
    }

    /// Waits for what the cluster is to become, and tells what it was instead.
    pub fn wait<T>(&self, what: &str, look: impl FnMut() -> Result<T>) -> Result<T> {
        self.explained(self.cluster.or_explain(wait_for(what, LIMIT, look)))
    }

    /// Adds what the daemons say to an error.
    pub fn explained<T>(&self, seen: Result<T>) -> Result<T> {
        seen.map_err(|error| {
            let words = "logs -n kube-flannel -l app=flannel --all-containers --prefix --tail=20 --request-timeout=5s";
            error.context(self.kubectl(words).unwrap_or_else(|error| format!("no logs: {error:#}")))
        })
    }

    /// Applies a pod that answers on port 8080 of its own address, on a node.
    pub fn run_pod(&self, name: &str, node: &str) -> Result<()> {
        self.cluster.apply(&pod(name, node).to_string()).map(drop)
    }

    /// [`Ground::run_pod`], and waits for it.
    pub fn pod(&self, name: &str, node: &str) -> Result<Station> {
        self.run_pod(name, node)?;
        self.explained(self.cluster.wait_pods_ready(name, LIMIT))?;
        self.cluster.station(name)
    }

    /// Runs a command in the daemon's container on a node.
    pub fn in_daemon(&self, node: &str, words: &[&str]) -> Result<String> {
        let pods =
            self.cluster.pods(&format!("-n kube-flannel -l app=flannel --field-selector spec.nodeName={node}"))?;
        let pod = pods.first().with_context(|| format!("no daemon on {node}"))?;
        self.cluster.exec(&format!("-n kube-flannel {pod}"), words)
    }

    /// No container of the cluster was ever started twice.
    pub fn check_no_restarts(&self) -> Result<()> {
        let pods = self.json("get pods -A")?;
        for pod in pods["items"].as_array().context("no list")? {
            let name = &pod["metadata"]["name"];
            for container in pod["status"]["containerStatuses"].as_array().into_iter().flatten() {
                let before = &container["lastState"]["terminated"];
                ensure!(container["restartCount"] == 0, "{name}: {} ended: {before}", container["name"]);
            }
        }
        Ok(())
    }
}

/// A pod with a server, on a node whatever the scheduler and taints say.
pub fn pod(name: &str, node: &str) -> Value {
    let container = json!({
        "name": "web",
        "image": "localhost/podtool:1",
        "args": ["serve", ":8080"],
        "env": [{ "name": "NODE", "value": node }],
        "readinessProbe": { "httpGet": { "path": "/", "port": 8080 }, "periodSeconds": 1 },
    });
    let spec = json!({
        "nodeName": node,
        "terminationGracePeriodSeconds": 1,
        "tolerations": [{ "operator": "Exists" }],
        "containers": [container],
    });
    let metadata = json!({ "name": name, "labels": { "app": "web" } });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A text of the repository.
pub fn text(path: &str) -> Result<String> {
    std::fs::read_to_string(repository(path)).with_context(|| path.to_owned())
}

/// The archive that `make image` writes.
pub fn image() -> Result<PathBuf> {
    let named = std::env::var_os("TOWPATH_IMAGE").map(PathBuf::from);
    let image = named.unwrap_or_else(|| repository("dist/image/towpath-amd64.tar"));
    ensure!(image.is_file(), "no image in {}: run `make image`", image.display());
    Ok(image)
}

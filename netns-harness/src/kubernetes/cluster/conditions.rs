//! What tests wait for and ask of a [`Cluster`]. Whatever does not come true in time is told with what the cluster says about
//! itself and with the ends of the logs.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ipam::Stack;
use serde_json::Value;

use super::Cluster;
use crate::station::Station;
use crate::wait_for;

/// Two busy cores.
const REGISTRATION_LIMIT: Duration = Duration::from_secs(90);
const LOG_LINES: usize = 15;
/// What one lacks the others mostly lack too.
const PODS_EXPLAINED: usize = 4;

impl Cluster {
    /// `kubectl apply -f -`.
    ///
    /// # Errors
    /// As [`crate::kubernetes::Kubectl::run`].
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.kubectl().apply(manifest)
    }

    /// Runs a command in a pod's first container and gives its standard output. `kubectl exec POD -- …`; the pod may be
    /// `ds/web` or `-n other web` too.
    ///
    /// # Errors
    /// What the command says.
    pub fn exec(&self, pod: &str, words: &[&str]) -> Result<String> {
        let pod = pod.split_whitespace().collect::<Vec<_>>();
        let all = [&["exec", "--request-timeout=30s"], pod.as_slice(), &["--"], words].concat();
        self.kubectl().words(all)
    }

    /// Waits until every node is Ready.
    ///
    /// # Errors
    /// What is not.
    pub fn wait_nodes_ready(&self, limit: Duration) -> Result<()> {
        self.wait_all("get nodes", limit, |node| {
            ensure!(has_condition(node, "Ready"), "{} is not Ready", name(node));
            Ok(())
        })
    }

    /// Waits until there is a pod and every pod that is not being removed is Ready; words such as `-n web -l app=web`.
    ///
    /// # Errors
    /// What is not.
    pub fn wait_pods_ready(&self, words: &str, limit: Duration) -> Result<()> {
        self.wait_all(&format!("get pods {words}"), limit, |pod| {
            let leaves = !pod["metadata"]["deletionTimestamp"].is_null();
            ensure!(leaves || has_condition(pod, "Ready"), "{} is not Ready", name(pod));
            Ok(())
        })
    }

    /// Waits until a DaemonSet or Deployment is as it was last applied, everywhere: `-n kube-flannel ds/towpath`.
    ///
    /// # Errors
    /// What is missing.
    pub fn wait_rollout(&self, words: &str, limit: Duration) -> Result<()> {
        let look = || self.kubectl().run(&format!("rollout status --timeout=5s {words}")).map(drop);
        self.or_explain(wait_for(&format!("the rollout of {words}"), limit, look))
    }

    /// The names of the pods that `kubectl get pods WORDS` lists.
    ///
    /// # Errors
    /// As [`crate::kubernetes::Kubectl::run`].
    pub fn pods(&self, words: &str) -> Result<Vec<String>> {
        let list = self.kubectl().json(&format!("get pods {words}"))?;
        Ok(items(&list).iter().map(|pod| name(pod).to_owned()).collect())
    }

    /// A pod that runs, as a station of the lab: traffic can be counted from and to it, commands of the machine run in its network.
    /// Words such as `-n web web-5xk2p`. What is asked of it after the pod's end is not answered.
    ///
    /// # Errors
    /// When it does not run.
    pub fn station(&self, words: &str) -> Result<Station> {
        let pod = self.kubectl().json(&format!("get pod {words}"))?;
        let machine = self.machine(pod["spec"]["nodeName"].as_str().context("the pod has no node")?)?;
        let container = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap_or_default();
        let container =
            container.strip_prefix("containerd://").with_context(|| format!("{} does not run", name(&pod)))?;
        let tasks = machine.run(["ctr", "-n", "k8s.io", "tasks", "list"])?;
        let task =
            tasks.lines().find(|line| line.starts_with(container)).and_then(|line| line.split_whitespace().nth(1));
        let task = task.with_context(|| format!("containerd knows no task of {}", name(&pod)))?;
        // Numbered as the machine does, whose /proc this is.
        let file = machine.path(&format!("/proc/{task}/ns/net"))?;
        let station = Station::adopt(machine.ground(), name(&pod), &file)?;
        let addresses = pod["status"]["podIPs"].as_array().map_or(&[] as &[Value], Vec::as_slice);
        let addresses = addresses.iter().filter_map(|address| address["ip"].as_str()?.parse::<IpAddr>().ok());
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.partition(IpAddr::is_ipv4);
        station.set_addresses(Stack::from_options(v4.first().copied(), v6.first().copied()));
        Ok(station)
    }

    /// Adds what the cluster says about itself to an error.
    ///
    /// # Errors
    /// The one that came in.
    pub fn or_explain<T>(&self, seen: Result<T>) -> Result<T> {
        seen.map_err(|error| {
            let explanation = self.explain();
            error.context(explanation)
        })
    }

    /// Nodes, pods, the last events, what pods that are not Ready say, the ends of the logs.
    pub fn explain(&self) -> String {
        let events = self.ask("get events -A --sort-by=.lastTimestamp");
        let events: Vec<&str> = events.lines().rev().take(LOG_LINES).collect();
        let mut text = format!("{}\n{}\n", self.ask("get nodes,pods -A -o wide"), events.join("\n"));
        text += &self.explain_pods();
        if let Some(control_plane) = self.control_plane() {
            text += &control_plane.log_tails(LOG_LINES);
        }
        self.machines()
            .iter()
            .fold(text, |text, machine| format!("{text}=== {}\n{}", machine.name(), machine.log_tails(LOG_LINES)))
    }

    /// What Kubernetes knows of pods that are not Ready and nobody is removing, and the ends of their own logs.
    fn explain_pods(&self) -> String {
        let list = match self.kubectl().json("get pods -A --request-timeout=5s") {
            Ok(list) => list,
            Err(error) => return format!("{error:#}\n"),
        };
        let waited = |pod: &&Value| !has_condition(pod, "Ready") && pod["metadata"]["deletionTimestamp"].is_null();
        items(&list).iter().filter(waited).take(PODS_EXPLAINED).fold(String::new(), |text, pod| {
            let of = format!("-n {} {}", pod["metadata"]["namespace"].as_str().unwrap_or_default(), name(pod));
            let described = self.ask(&format!("describe pod {of}"));
            let log = self.ask(&format!("logs {of} --all-containers --tail={LOG_LINES}"));
            format!("{text}--- {of}:\n{described}\n{log}\n")
        })
    }

    /// What kubectl says, or why it does not.
    fn ask(&self, words: &str) -> String {
        let said = self.kubectl().run(&format!("{words} --request-timeout=5s"));
        said.unwrap_or_else(|error| format!("{error:#}"))
    }

    /// Waits until each machine has its Node object.
    pub(super) fn wait_registered(&self) -> Result<()> {
        let look = || {
            let list = self.kubectl().json("get nodes")?;
            for machine in self.machines() {
                let there = items(&list).iter().any(|node| name(node) == machine.name());
                ensure!(there, "{} is not registered", machine.name());
            }
            Ok(())
        };
        self.or_explain(wait_for("all nodes to be registered", REGISTRATION_LIMIT, look))
    }

    fn wait_all(&self, words: &str, limit: Duration, right: impl Fn(&Value) -> Result<()>) -> Result<()> {
        let look = || {
            let list = self.kubectl().json(words)?;
            if items(&list).is_empty() {
                bail!("there is none");
            }
            items(&list).iter().try_for_each(&right)
        };
        self.or_explain(wait_for(&format!("`kubectl {words}` to show it"), limit, look))
    }
}

/// One object that was asked for by its name is no list.
fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map_or(std::slice::from_ref(list), Vec::as_slice)
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn has_condition(object: &Value, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
}

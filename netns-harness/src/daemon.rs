//! [`Daemon`]: towpathd on a node, each with its own files below the node's directory.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cni::{Plugin, towpath_configuration};
use crate::http::Page;
use crate::node::Node;
use crate::process::Process;

/// Where a daemon answers, inside its node's namespace.
const HEALTH: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// The directory with the programs under test.
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
}

/// How a daemon is started.
#[derive(Clone, Debug)]
pub struct DaemonOptions {
    /// Where leases are kept.
    pub store: Store,
    /// More flags, `--name=value`; a later one wins over the lab's own.
    pub flags: Vec<String>,
    /// More variables of the environment.
    pub environment: Vec<(String, String)>,
}

/// Where leases are kept.
#[derive(Clone, Debug)]
pub enum Store {
    /// In a directory, see [`crate::Lab::store_directory`].
    Directory(PathBuf),
    /// In etcd: its endpoints, separated by commas.
    Etcd(String),
    /// In Node objects of a Kubernetes; the node needs one of its own name.
    Kubernetes {
        /// Whom the daemon is, see [`crate::kubernetes::ControlPlane::daemon_kubeconfig`].
        kubeconfig: PathBuf,
        /// The network's configuration, `net-conf.json`.
        configuration: PathBuf,
    },
}

/// A daemon on a node. Clones are the same daemon.
#[derive(Clone)]
pub struct Daemon {
    process: Process,
    node: Node,
    files: Files,
}

/// Where a daemon keeps what.
#[derive(Clone, Debug)]
struct Files {
    subnet_file: PathBuf,
    status_socket: PathBuf,
    ledger: PathBuf,
}

impl Binaries {
    /// Those in a directory.
    pub fn at(directory: impl Into<PathBuf>) -> Binaries {
        Binaries { directory: directory.into() }
    }

    /// Those that cargo built beside the running program, or those in `$TOWPATH_BIN_DIR`.
    ///
    /// # Errors
    /// When the running program's own place is unknown.
    pub fn built() -> Result<Binaries> {
        if let Some(directory) = std::env::var_os("TOWPATH_BIN_DIR") {
            return Ok(Binaries::at(directory));
        }
        let own = std::env::current_exe()?;
        // A test is target/PROFILE/deps/NAME-HASH, a program target/PROFILE/NAME.
        let mut directories = own.ancestors().skip(1).filter(|directory| !directory.ends_with("deps"));
        Ok(Binaries::at(directories.next().context("this program has no directory")?))
    }

    /// A program's file.
    ///
    /// # Errors
    /// When it is not there: how to build it.
    pub fn find(&self, name: &str) -> Result<PathBuf> {
        let file = self.directory.join(name);
        ensure!(
            file.is_file(),
            "{} is not there: build it first (make build, or cargo build -p towpathd -p towpath -p towpathctl)",
            file.display()
        );
        Ok(std::path::absolute(file)?)
    }
}

impl DaemonOptions {
    /// A store, and nothing else unusual.
    pub fn new(store: Store) -> DaemonOptions {
        DaemonOptions { store, flags: Vec::new(), environment: Vec::new() }
    }

    /// With one more flag.
    pub fn flag(mut self, flag: impl Into<String>) -> DaemonOptions {
        self.flags.push(flag.into());
        self
    }
}

impl Node {
    /// Starts towpathd here: node name, subnet file, state, key and sockets of its own, health on 127.0.0.1:8081.
    ///
    /// # Errors
    /// When it is not built or cannot be executed; not when it has trouble later (see [`Daemon::wait_ready`]).
    pub fn towpathd(&self, binaries: &Binaries, options: &DaemonOptions) -> Result<Daemon> {
        let files = Files {
            subnet_file: self.directory().join("subnet.env"),
            status_socket: self.directory().join("status.sock"),
            ledger: self.directory().join("ledger"),
        };
        let mut command = Command::new(binaries.find("towpathd")?);
        command.arg(format!("--node-name={}", self.name()));
        command.arg(format!("--subnet-file={}", files.subnet_file.display()));
        command.arg(format!("--status-socket={}", files.status_socket.display()));
        command.arg(format!("--wireguard-key-file={}", self.directory().join("wgkey").display()));
        command.arg(format!("--state-directory={}", self.directory().join("state").display()));
        command.arg(format!("--healthz-ip={}", HEALTH.ip())).arg(format!("--healthz-port={}", HEALTH.port()));
        command.arg("--ip-masq=true");
        match &options.store {
            Store::Directory(path) => {
                command.arg("--store=directory").arg(format!("--store-directory={}", path.display()))
            }
            Store::Etcd(endpoints) => command.arg("--store=etcd").arg(format!("--etcd-endpoints={endpoints}")),
            Store::Kubernetes { kubeconfig, configuration } => {
                command.arg("--kube-subnet-mgr").arg(format!("--kubeconfig-file={}", kubeconfig.display()));
                command.arg(format!("--net-config-path={}", configuration.display()))
            }
        };
        command.args(&options.flags).envs(options.environment.iter().cloned());
        let process = self.start("towpathd", command)?;
        Ok(Daemon { process, node: self.clone(), files })
    }
}

impl Daemon {
    /// Waits until `/readyz` says yes.
    ///
    /// # Errors
    /// The reason in its last answer, or how the daemon ended; with the end of its log.
    pub fn wait_ready(&self, limit: Duration) -> Result<()> {
        self.process.wait_ready(limit, || {
            let page = self.get("/readyz")?;
            ensure!(page.status == 200, "/readyz says {}: {}", page.status, page.body.trim());
            Ok(())
        })
    }

    /// Gets `/healthz`, `/readyz` or `/metrics`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn get(&self, path: &str) -> Result<Page> {
        self.node.get(HEALTH, path)
    }

    /// The sum of a metric over all its labels (Prometheus text); `None` when there is no such metric.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn metric(&self, name: &str) -> Result<Option<f64>> {
        Ok(sum(&self.get("/metrics")?.body, name))
    }

    /// The project's own plugin, for pods of this node.
    ///
    /// # Errors
    /// When it is not built.
    pub fn plugin(&self, binaries: &Binaries) -> Result<Plugin> {
        Ok(Plugin::new(binaries.find("towpath")?, self.plugin_configuration()))
    }

    /// The configuration that [`Daemon::plugin`] uses, to be changed by those who want another.
    pub fn plugin_configuration(&self) -> Value {
        towpath_configuration(&self.files.subnet_file, &self.files.ledger)
    }

    /// Where the daemon writes `subnet.env`.
    pub fn subnet_file(&self) -> &Path {
        &self.files.subnet_file
    }

    /// Where the daemon answers `towpathctl`.
    pub fn status_socket(&self) -> &Path {
        &self.files.status_socket
    }

    /// The node it runs on.
    pub fn node(&self) -> &Node {
        &self.node
    }
}

/// The sum of a metric's samples in a page of Prometheus text (without timestamps).
fn sum(page: &str, name: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let same = rest.starts_with('{') || rest.starts_with(' ');
        if same { rest.rsplit_once(' ')?.1.parse::<f64>().ok() } else { None }
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// Log, signals, restart are the process's.
impl Deref for Daemon {
    type Target = Process;
    fn deref(&self) -> &Process {
        &self.process
    }
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn a_metric_is_the_sum_over_its_labels_and_of_no_other_name() {
        let page = "# HELP x_total X.\nx_total{a=\"1 2\"} 3\nx_total{a=\"b\"} 4\nx_total_more 8\ny 0\n";
        assert_eq!((sum(page, "x_total"), sum(page, "y"), sum(page, "z")), (Some(7.0), Some(0.0), None));
    }
}

//! [`Machine`]: a node as a machine of its own: a root, processes, a container runtime, services that start at boot; one process
//! tree in namespaces. It does not know what Kubernetes is.

use std::ffi::OsStr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Pid;

use crate::cgroup;
use crate::kubernetes::Programs;
use crate::node::Node;
use crate::prerequisites::{Tool, require};
use crate::process::Process;
use crate::wait_for;

const INIT: &str = include_str!("machine/init.sh");
const SYSTEMCTL: &str = include_str!("machine/systemctl.sh");
const POWER_OFF: &str = include_str!("machine/power-off.sh");
const CONTAINERD: &str = include_str!("machine/containerd.toml");

const START_LIMIT: Duration = Duration::from_secs(60);
/// Some hundred megabytes on a busy disk.
const IMPORT_LIMIT: Duration = Duration::from_secs(180);
/// The path inside, whoever started the test from wherever.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A node that is a machine. Clones are the same one. Network, wire and directory are the [`Node`]'s.
#[derive(Clone)]
pub struct Machine {
    node: Node,
    init: Process,
    services: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Machine {
    /// Makes a machine of a node of the lab, with containerd running and these image archives imported.
    ///
    /// # Errors
    /// When containerd, runc or the reference plugins are not installed, or the kernel refuses a mount.
    pub(super) fn start(node: &Node, programs: &Programs, images: &[PathBuf]) -> Result<Machine> {
        [Tool::Containerd, Tool::Runc].into_iter().try_for_each(require)?;
        // As somebody who prepares a machine for Kubernetes does.
        for family in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/default/forwarding"] {
            node.set_sysctl(family, "1")?;
        }
        let here = node.directory();
        std::fs::write(here.join("init"), INIT)?;
        std::fs::write(here.join("systemctl"), SYSTEMCTL)?;
        std::fs::write(here.join("power-off"), POWER_OFF)?;
        let hosts: Vec<_> = node.addresses()?.values().map(|address| format!("{address} {}", node.name())).collect();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child=SIGKILL", "--propagation=slave"]);
        command.arg("sh").arg(here.join("init")).env_clear();
        command.env("PATH", SEARCH_PATH).env("NAME", node.name()).env("HOSTS", hosts.join("\n"));
        command.env("HERE", here).env("LAB", node.ground().directory()).env("PROGRAMS", programs.directory());
        command.env("CGROUP", cgroup_of(node));
        let init = node.start("init", command)?;
        init.wait_log(&format!("{} is up", node.name()), START_LIMIT)?;
        let machine = Machine { node: node.clone(), init, services: Arc::default() };
        machine.write("/etc/lab/containerd.toml", CONTAINERD)?;
        machine.service("containerd", "exec containerd -c /etc/lab/containerd.toml")?;
        machine.wait_containerd()?;
        images.iter().try_for_each(|archive| machine.import(archive))?;
        Ok(machine)
    }

    /// Imports an archive of images, docker's or OCI's, for Kubernetes to find. `ctr -n k8s.io images import FILE`.
    ///
    /// # Errors
    /// What `ctr` says.
    pub fn import(&self, archive: &Path) -> Result<()> {
        ensure!(archive.is_file(), "no image at {}", archive.display());
        let mut inside = archive.to_owned();
        if !archive.starts_with(self.node.ground().directory()) {
            // The machine may not see where it lies.
            inside = self.node.directory().join("image.tar");
            std::fs::copy(archive, &inside)?;
        }
        let inside = inside.to_str().with_context(|| format!("{} is no text", inside.display()))?;
        let imported = self.run_long("import", &["ctr", "-n", "k8s.io", "images", "import", inside], IMPORT_LIMIT);
        imported.with_context(|| format!("importing {}", archive.display())).map(drop)
    }

    /// Adds a service, which starts now and at every boot: a shell script that ends in `exec`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn service(&self, name: &str, script: &str) -> Result<()> {
        self.describe_service(name, script)?;
        self.run(["systemctl", "start", name]).map(drop)
    }

    /// Adds a service that somebody else starts.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn describe_service(&self, name: &str, script: &str) -> Result<()> {
        self.write(&format!("/etc/lab/{name}"), script)?;
        let mut services = self.services.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !services.iter().any(|service| service == name) {
            services.push(name.to_owned());
        }
        Ok(())
    }

    /// A command as it is to be started from outside to run inside.
    pub fn command<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Command {
        let mut command = Command::new("nsenter");
        // Without an init there is nothing to enter, which nsenter says of process 0.
        let pid = self.pid().map_or(0, |pid| pid.as_raw_nonzero().get());
        command.args(["-t", &pid.to_string(), "--mount", "--pid", "--uts", "--ipc", "--net", "--root", "--wd", "--"]);
        command.args(words).env_clear().env("PATH", SEARCH_PATH).env("HOME", "/var/tmp").env("TERM", "dumb");
        command
    }

    /// Runs a command inside to its end and gives its standard output.
    ///
    /// # Errors
    /// Its exit status and standard error, when the status is not 0; when it does not end within a minute.
    pub fn run<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Result<String> {
        self.feed(words, "")
    }

    /// Like [`Machine::run`], with text on standard input.
    ///
    /// # Errors
    /// As [`Machine::run`].
    pub fn feed<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>, input: &str) -> Result<String> {
        let words: Vec<W> = words.into_iter().collect();
        let output = self.node.output(self.command(&words), input)?;
        let said = words.iter().map(|word| word.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ");
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "`{said}` on {} ended with {}: {}", self.name(), output.status, error.trim());
        Ok(out.into_owned())
    }

    /// Runs a command inside that may take long; its output is in `NAME.log` of the node's directory.
    ///
    /// # Errors
    /// The end of its log, when its status is not 0 or it takes longer than `limit`.
    pub fn run_long(&self, name: &str, words: &[&str], limit: Duration) -> Result<String> {
        let process = self.node.start(name, self.command(words))?;
        let status = process.wait(limit).and_then(|status| {
            ensure!(status.success(), "ended with {status}");
            Ok(())
        });
        status.with_context(|| {
            format!("`{}` on {}; its log ends:\n{}", words.join(" "), self.name(), process.log_tail(30))
        })?;
        Ok(process.log_of_this_run())
    }

    /// A file inside, as a path outside: to be read, written, looked for.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn path(&self, inside: &str) -> Result<PathBuf> {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()?.as_raw_nonzero()));
        Ok(root.join(inside.trim_start_matches('/')))
    }

    /// Writes a file inside, with the directories above it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, inside: &str, text: &str) -> Result<()> {
        let path = self.path(inside)?;
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {inside} on {}", self.name()))
    }

    /// Reads a file inside.
    ///
    /// # Errors
    /// When it is not there.
    pub fn read(&self, inside: &str) -> Result<String> {
        std::fs::read_to_string(self.path(inside)?).with_context(|| format!("{inside} on {}", self.name()))
    }

    /// All that a power cut takes: processes, mounts, /run, cgroups, links but eth0, routes, rules, connections. The disk stays.
    ///
    /// # Errors
    /// When it cannot be told apart from a machine that runs.
    pub fn power_off(&self) -> Result<()> {
        let script = self.node.directory().join("power-off");
        self.run(["sh".as_ref(), script.as_os_str()])?;
        // The kubelet looks at each that it finds for three seconds, and there are none after a boot.
        cgroup::clear(&self.cgroup())
    }

    /// Starts the services, containerd first, as a machine does that is switched on.
    ///
    /// # Errors
    /// When containerd does not come up.
    pub fn boot(&self) -> Result<()> {
        let services = self.services.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        for service in services {
            self.run(["systemctl", "start", &service])?;
            if service == "containerd" {
                self.wait_containerd()?;
            }
        }
        Ok(())
    }

    /// [`Machine::power_off`] and [`Machine::boot`].
    ///
    /// # Errors
    /// As those.
    pub fn reboot(&self) -> Result<()> {
        self.power_off()?;
        self.boot()
    }

    /// The directory with the logs of its services, `NAME.log`, and of its pods.
    pub fn logs(&self) -> PathBuf {
        self.node.directory().join("log")
    }

    /// The ends of the logs of its services.
    pub fn log_tails(&self, lines: usize) -> String {
        let services = self.services.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        services.iter().fold(String::new(), |text, service| {
            let path = self.logs().join(format!("{service}.log"));
            let log = std::fs::read(&path).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let all: Vec<&str> = log.lines().collect();
            let tail = all[all.len().saturating_sub(lines)..].join("\n");
            format!("{text}--- {} ({}):\n{tail}\n", service, path.display())
        })
    }

    /// PID 1 of the machine, as the outside numbers it: the child of the `unshare` that made its namespaces.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pid(&self) -> Result<Pid> {
        let parent = self.init.pid()?.as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
        let child = children.split_whitespace().next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        child.with_context(|| format!("{} has no init", self.name()))
    }

    /// The cgroup of all its pods, below the root of each hierarchy.
    pub(super) fn cgroup(&self) -> String {
        cgroup_of(&self.node)
    }

    /// The node of the lab that it is: its wire, its addresses, its namespace.
    pub fn node(&self) -> &Node {
        &self.node
    }

    fn wait_containerd(&self) -> Result<()> {
        let what = format!("containerd on {}", self.name());
        wait_for(&what, START_LIMIT, || self.run(["ctr", "version"])).map(drop)
    }
}

/// Below the lab's, by which it is found and removed.
fn cgroup_of(node: &Node) -> String {
    format!("{}/{}", node.ground().id(), node.name())
}

/// Name, addresses, wire and directory are the node's. What is run by the node's own functions sees the machine's network
/// and the outside's files.
impl Deref for Machine {
    type Target = Node;
    fn deref(&self) -> &Node {
        &self.node
    }
}

//! The daemon beside a real etcd: start, restart, processor time, memory, and how long a lease takes to the kernel.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netns_harness::{Binaries, Etcd, EtcdOptions, Lab, Node, Process};

use crate::figures::{Bound, goal, heading, in_millis, median, note};
use crate::latency;
use crate::preload::preload;
use crate::ready::{ReadySocket, idle, usage};

/// Everything about one daemon and one etcd.
pub fn measure() -> Result<()> {
    let lab = Lab::new("benchdaemon")?;
    let etcd = lab.etcd(&EtcdOptions { flags: vec!["--unsafe-no-fsync".into()] })?;
    let node = lab.node("worker")?;
    heading("A first start with etcd beside it (exec to READY=1)");
    first_starts(&etcd, &node)?;
    for (peers, megabytes) in [(5_000, 20.0), (15_000, 30.0)] {
        heading(&format!("{peers} peers in etcd"));
        with_peers(&etcd, &node, peers, megabytes)?;
    }
    heading("A lease appears in etcd until its route is in another node's kernel");
    let prefix = "/latency/network";
    preload(&etcd, prefix, ("vxlan", 0))?;
    let daemon = Started::new(&node, &etcd, prefix)?;
    daemon.wait_ready()?;
    latency::measure(&etcd, &node, prefix)?;
    daemon.end()
}

fn first_starts(etcd: &Etcd, node: &Node) -> Result<()> {
    let mut times = Vec::new();
    for i in 0..7 {
        let prefix = format!("/first{i}/network");
        preload(etcd, &prefix, ("vxlan", 0))?;
        let daemon = Started::new(node, etcd, &prefix)?;
        times.push(in_millis(daemon.wait_ready()?));
        daemon.end()?;
    }
    note("the median of seven", median(times.clone()), "ms");
    goal("on a quiet machine (flannel: 200 to 255 ms)", median(times), Bound::AtMost(60.0));
    Ok(())
}

fn with_peers(etcd: &Etcd, node: &Node, peers: u32, megabytes: f64) -> Result<()> {
    let prefix = format!("/{peers}/network");
    preload(etcd, &prefix, ("vxlan", peers))?;
    let daemon = Started::new(node, etcd, &prefix)?;
    note("exec to ready", in_millis(daemon.wait_ready()?), "ms");
    let routes = node.run(["ip", "route", "show", "proto", "84"])?.lines().count();
    ensure!(routes == peers as usize, "{routes} routes for {peers} peers");
    let cpu = usage(&daemon.process)?.cpu;
    idle(Duration::from_secs(3))?;
    let rss = usage(&daemon.process)?.rss;
    note("processor time from nothing (flannel, 5,000: 3.2 s)", cpu, "s");
    if peers == 5_000 {
        goal("against flannel's 3.2 s", cpu / 3.2, Bound::AtMost(0.05));
    }
    goal("resident memory three seconds later, MB", rss, Bound::AtMost(megabytes));
    daemon.process.kill()?;
    let again = Started::new(node, etcd, &prefix)?;
    note("restart: exec to ready", in_millis(again.wait_ready()?), "ms");
    goal("restart: changes to the kernel", again.metric("towpath_kernel_changes_total")?, Bound::AtMost(0.0));
    let before = usage(&again.process)?.cpu;
    idle(Duration::from_secs(5))?;
    note("idle: processor time in five seconds", (usage(&again.process)?.cpu - before) * 1000.0, "ms");
    again.end()
}

/// A daemon that was told where to say that it is ready.
pub struct Started {
    process: Process,
    ready: ReadySocket,
    began: Instant,
    node: Node,
}

impl Started {
    /// Starts it.
    pub fn new(node: &Node, etcd: &Etcd, prefix: &str) -> Result<Started> {
        let directory = node.directory();
        let ready = ReadySocket::bind(directory)?;
        let mut command = Command::new(Binaries::built()?.find("towpathd")?);
        command.env("NOTIFY_SOCKET", ready.path()).args(["--node-name=n", "--ip-masq=true", "--healthz-port=8081"]);
        command.arg(format!("--etcd-endpoints={}", etcd.endpoints()?)).arg(format!("--etcd-prefix={prefix}"));
        command.arg(format!("--subnet-file={}", directory.join("subnet.env").display()));
        command.arg(format!("--state-directory={}", directory.join(prefix.replace('/', "-")).display()));
        command.arg(format!("--status-socket={}", directory.join("status").display()));
        let began = Instant::now();
        let process = node.start("towpathd", command)?;
        Ok(Started { process, ready, began, node: node.clone() })
    }

    /// How long it took to be ready.
    pub fn wait_ready(&self) -> Result<Duration> {
        self.ready.wait(&self.process, self.began)
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A metric without labels.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let page = self.node.get(([127, 0, 0, 1], 8081).into(), "/metrics")?;
        let line = page.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no {name}"))?.parse()?)
    }

    /// Ends the daemon and takes what it left, so that the next begins from nothing.
    fn end(self) -> Result<()> {
        self.process.kill()?;
        self.node.ip("link del flannel.1")?;
        std::fs::remove_file(self.node.directory().join("subnet.env"))?;
        Ok(())
    }
}

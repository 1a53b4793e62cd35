//! The daemon on a real API server with thousands of Node objects: start, memory, how long a change takes to the kernel, what comes
//! over the wire for it, and a minute of a hundred changes a second. Beside it a client that only reads and decodes.

mod burst;
mod objects;
mod reaction;
mod traffic;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netns_harness::kubernetes::{ControlPlane, ControlPlaneOptions, Crowd, NodeObject};
use netns_harness::{Binaries, Daemon, DaemonOptions, Lab, Node, Store};

use crate::bare_client::BareClient;
use crate::figures::{Bound, goal, heading, in_millis, median, note};
use crate::ready::{ReadySocket, idle, usage};

/// Subnets from here on are never the crowd's.
const OURS: u32 = 60_000;
const STARTS: usize = 9;

/// A control plane with a crowd, and the node that is looked at.
struct Ground {
    api: ControlPlane,
    crowd: Crowd,
    node: Node,
    bare: BareClient,
    lab: Lab,
}

/// Everything about one daemon and one API server.
pub fn measure() -> Result<()> {
    let lab = Lab::new("benchkube")?;
    let api = lab.control_plane(&ControlPlaneOptions::default())?;
    let node = lab.node("worker")?;
    api.create_node(&NodeObject::of(&node)?.pod_cidr(Crowd::subnet(OURS).into()))?;
    api.daemon_kubeconfig()?;
    let (crowd, bare) = (Crowd::new(&api)?, BareClient::new(&api, &node)?);
    let mut ground = Ground { api, crowd, node, bare, lab };
    heading("A start beside a warm API server (exec to READY=1)");
    first_starts(&ground)?;
    image()?;
    for (nodes, megabytes) in [(5_000, 20.0), (15_000, 30.0)] {
        heading(&format!("{nodes} Node objects"));
        ground.fill(nodes)?;
        starts(&ground, megabytes)?;
        if nodes == 5_000 {
            let daemon = Started::new(&ground, &ground.node)?;
            daemon.wait_ready()?;
            reaction::measure(&ground)?;
            traffic::measure(&ground, &daemon.daemon)?;
            burst::measure(&ground, &daemon.daemon)?;
            daemon.end()?;
            objects::measure(&ground)?;
        }
    }
    Ok(())
}

impl Ground {
    fn fill(&mut self, nodes: u32) -> Result<()> {
        let missing = nodes as usize - self.crowd.numbers().count();
        let began = Instant::now();
        self.crowd.grow(nodes)?;
        note("created in a second", missing as f64 / began.elapsed().as_secs_f64(), "Nodes");
        let listed = self.bare.list()?;
        ensure!(listed.nodes == nodes as usize + 1, "{} Nodes", listed.nodes);
        note("one Node in the list", listed.bytes as f64 / listed.nodes as f64, "bytes");
        Ok(())
    }
}

fn first_starts(ground: &Ground) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..7 {
        let daemon = Started::new(ground, &ground.node)?;
        times.push(in_millis(daemon.wait_ready()?));
        daemon.end()?;
    }
    goal("the median of seven, ms", median(times), Bound::AtMost(1000.0));
    Ok(())
}

fn image() -> Result<()> {
    let file = std::env::var("TOWPATH_IMAGE").context("TOWPATH_IMAGE names no image: run this with make bench")?;
    let size = std::fs::metadata(&file).with_context(|| file.clone())?.len();
    goal("the image, MB", size as f64 / 1e6, Bound::AtMost(12.0));
    Ok(())
}

/// Starts from nothing, and the bare client's list, in turn.
fn starts(ground: &Ground, megabytes: f64) -> Result<()> {
    let peers = ground.crowd.numbers().count();
    let [mut ours, mut bare, mut cpu, mut rss, mut peak] = [const { Vec::new() }; 5];
    for _ in 0..STARTS {
        bare.push(ground.bare.list()?.millis);
        let daemon = Started::new(ground, &ground.node)?;
        ours.push(in_millis(daemon.wait_ready()?));
        let routes = ground.node.run(["ip", "route", "show", "proto", "84"])?.lines().count();
        ensure!(routes == peers, "{routes} routes for {peers} peers");
        cpu.push(usage(&daemon.daemon)?.cpu);
        idle(Duration::from_secs(3))?;
        let used = usage(&daemon.daemon)?;
        rss.push(used.rss);
        peak.push(used.peak);
        daemon.end()?;
    }
    note("the bare client lists and decodes", median(bare.clone()), "ms");
    note("exec to ready, every route in the kernel", median(ours.clone()), "ms");
    let ratio = ours.iter().zip(&bare).map(|(ours, bare)| ours / bare).collect();
    goal("against the bare client", median(ratio), Bound::AtMost(1.5));
    note("processor time for it", median(cpu), "s");
    note("the most memory meanwhile", median(peak), "MB");
    goal("resident memory three seconds later, MB", median(rss), Bound::AtMost(megabytes));
    Ok(())
}

/// A daemon that was told where to say that it is ready.
struct Started {
    daemon: Daemon,
    ready: ReadySocket,
}

impl Started {
    fn new(ground: &Ground, node: &Node) -> Result<Started> {
        Started::with_flags(ground, node, &[])
    }

    fn with_flags(ground: &Ground, node: &Node, flags: &[&str]) -> Result<Started> {
        let ready = ReadySocket::bind(node.directory())?;
        let configuration = format!(r#"{{"Network": "{}", "Backend": {{"Type": "vxlan"}}}}"#, Crowd::NETWORK);
        let store = Store::Kubernetes {
            kubeconfig: ground.api.daemon_kubeconfig()?,
            configuration: ground.api.configuration_file(&configuration)?,
        };
        let mut options = flags.iter().fold(DaemonOptions::new(store), |options, flag| options.flag(*flag));
        options.environment.push(("NOTIFY_SOCKET".into(), ready.path().display().to_string()));
        Ok(Started { daemon: node.towpathd(&Binaries::built()?, &options)?, ready })
    }

    fn wait_ready(&self) -> Result<Duration> {
        self.ready.wait(&self.daemon, self.daemon.started())
    }

    /// Ends the daemon and takes what it left, so that the next begins from nothing.
    fn end(self) -> Result<()> {
        self.daemon.kill()?;
        let node = self.daemon.node();
        node.ip("link del flannel.1")?;
        std::fs::remove_file(self.daemon.subnet_file())?;
        // What it knows is written a moment after it is ready.
        let state = node.directory().join("state");
        if state.exists() { Ok(std::fs::remove_dir_all(state)?) } else { Ok(()) }
    }
}

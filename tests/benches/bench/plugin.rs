//! One pod's wire: our plugin beside the reference chain of `bridge`, `host-local` and `portmap`, and beside the floor: a
//! static program that does nothing, and what the kernel alone takes. In turn, in one run.

mod alone;
mod burial;
mod crowd;
mod floor;
mod footprint;
mod runtime;
mod together;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use netns_harness::{Binaries, Lab, Node};
use serde_json::{Value, json};

use floor::Floor;
use runtime::{List, Pods};

/// Where Debian has the reference plugins (package containernetworking-plugins).
const REFERENCE: &str = "/usr/lib/cni";

/// What is compared.
pub struct Contest<'l> {
    lab: &'l Lab,
    node: Node,
    floor: Floor,
    towpath: PathBuf,
    no_op: PathBuf,
}

/// ADD and DEL: one at a time, eight at once, with the daemon, beside a thousand; and what they take.
pub fn measure() -> Result<()> {
    ensure!(
        Path::new(REFERENCE).join("bridge").exists(),
        "no {REFERENCE}/bridge: apt-get install containernetworking-plugins"
    );
    let lab = Lab::new("benchplugin")?;
    let node = lab.node("worker")?;
    let towpath = Binaries::built()?.find("towpath")?;
    let no_op = static_no_op(lab.directory())?;
    let contest = Contest { lab: &lab, floor: Floor::new(&node)?, node, towpath, no_op };
    let mut pods = Pods::of(&lab);
    alone::measure(&contest, &mut pods)?;
    together::measure(&contest, &mut pods)?;
    burial::measure(&contest, &mut pods)?;
    crowd::measure(&contest, &mut pods)?;
    footprint::measure(&contest, &mut pods)
}

impl Contest<'_> {
    /// Our plugin, which is all that is needed.
    fn ours(&self, more: &Value) -> List {
        List::one(&self.towpath, self.bridged(&self.node, ("towpath", "cni0"), more))
    }

    /// The reference chain.
    fn theirs(&self, more: &Value) -> List {
        let at = |name: &str| Path::new(REFERENCE).join(name);
        let bridge = self.bridged(&self.node, ("bridge", "cni1"), more);
        let portmap =
            json!({"cniVersion": "1.0.0", "name": "bridge", "type": "portmap", "capabilities": {"portMappings": true}});
        List(vec![(at("bridge"), bridge), (at("portmap"), portmap)])
    }

    fn bridged(&self, node: &Node, (kind, bridge): (&str, &str), more: &Value) -> Value {
        let subnet = if kind == "bridge" { "10.9.0.0/16" } else { "10.7.0.0/16" };
        let ipam =
            json!({"type": "host-local", "dataDir": node.directory().join(kind), "ranges": [[{"subnet": subnet}]]});
        let mut configuration = json!({"cniVersion": "1.0.0", "name": kind, "type": kind, "bridge": bridge, "isGateway": true,
            "isDefaultGateway": true, "hairpinMode": true, "mtu": 1450, "ipam": ipam});
        for (key, value) in more.as_object().into_iter().flatten() {
            configuration[key] = value.clone();
        }
        configuration
    }
}

/// The cheapest thing that can be executed in our plugin's place.
fn static_no_op(directory: &Path) -> Result<PathBuf> {
    let (source, program) = (directory.join("no_op.rs"), directory.join("no_op"));
    std::fs::write(&source, "fn main() {}")?;
    let mut rustc = Command::new("rustc");
    rustc.args(["-O", "-C", "target-feature=+crt-static", "-C", "panic=abort", "-o"]).arg(&program).arg(&source);
    ensure!(rustc.status().context("rustc")?.success(), "rustc did not make a static program");
    Ok(program)
}

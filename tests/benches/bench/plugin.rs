//! One pod's wire: our plugin's ADD and DEL, the reference chain's, and the floor (a static program that does nothing, and
//! the kernel's own work by netlink), in turn.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use netns_harness::{Attachment, Binaries, Lab, Node, Plugin, Station, Verb, wait_for};
use serde_json::json;

use crate::figures::{Bound, goal, heading, median, millis, note};

const ROUNDS: usize = 60;
const REFERENCE: &str = "/usr/lib/cni/bridge";

/// ADD and DEL.
pub fn measure() -> Result<()> {
    let lab = Lab::new("benchplugin")?;
    let node = lab.node("worker")?;
    heading("ADD and DEL of a pod on a bridge (median, alternating)");
    let ipam = |directory: &str| {
        json!({"type": "host-local", "dataDir": node.directory().join(directory), "ranges": [[{"subnet": "10.9.0.0/16"}]],
               "routes": [{"dst": "0.0.0.0/0"}]})
    };
    let configuration = |kind: &str, bridge: &str, directory: &str| {
        json!({"cniVersion": "1.0.0", "name": "bench", "type": kind, "bridge": bridge, "isGateway": true,
               "isDefaultGateway": true, "hairpinMode": true, "mtu": 1450, "ipam": ipam(directory)})
    };
    let ours = Plugin::new(Binaries::built()?.find("towpath")?, configuration("towpath", "cni0", "ours"));
    let reference = Path::new(REFERENCE).exists();
    let theirs = Plugin::new(REFERENCE, configuration("bridge", "cni1", "theirs"));
    let [mut add, mut del, mut their_add, mut their_del, mut nothing, mut floor] = [const { Vec::new() }; 6];
    for round in 0..ROUNDS {
        let pod = lab.station(&format!("p{round}"))?;
        let (a, d) = one(&node, &ours, &pod)?;
        add.push(a);
        del.push(d);
        if reference && round % 4 == 0 {
            let pod = lab.station(&format!("r{round}"))?;
            let (a, d) = one(&node, &theirs, &pod)?;
            their_add.push(a);
            their_del.push(d);
        }
        // VERSION is the plugin's own start and end without any work for a pod.
        nothing.push(millis(|| ours.ask(&node, Verb::Version, &Attachment::new(&pod, "none"))).0);
        floor.push(kernel_alone(&node, &lab, round)?);
    }
    let least = median(nothing.clone()) + median(floor.clone());
    note("ADD, ours", median(add.clone()), "ms");
    note("DEL, ours", median(del), "ms");
    note("the plugin's VERSION (exec, nothing to do)", median(nothing), "ms");
    note("the kernel's own work of an ADD by netlink", median(floor), "ms");
    goal("ADD against start + kernel", median(add.clone()) / least, Bound::AtMost(1.5));
    if reference {
        note("ADD, bridge + host-local", median(their_add.clone()), "ms");
        note("DEL, bridge + host-local", median(their_del), "ms");
        goal("ADD, times faster than bridge + host-local", median(their_add) / median(add), Bound::AtLeast(3.0));
    } else {
        println!("  no reference: {REFERENCE} is not installed (package containernetworking-plugins)");
    }
    Ok(())
}

fn one(node: &Node, plugin: &Plugin, pod: &Station) -> Result<(f64, f64)> {
    let attachment = Attachment::new(pod, pod.name());
    let (add, result) = millis(|| plugin.call(node, Verb::Add, &attachment));
    let attachment = attachment.with_previous(&result.context("ADD")?);
    let (del, done) = millis(|| plugin.call(node, Verb::Del, &attachment));
    done.context("DEL")?;
    Ok((add, del))
}

/// Veth with its far end born inside, port, up, address and routes: what no plugin can do without.
fn kernel_alone(node: &Node, lab: &Lab, round: usize) -> Result<f64> {
    let pod = lab.station(&format!("k{round}"))?;
    let time = crate::plugin::floor::wire(node, &pod)?;
    wait_for("the end of the link", Duration::from_secs(5), || node.ip("link del floor0").map(drop))?;
    Ok(time)
}

//! One pod's wire: our plugin's ADD and DEL, the reference chain's, and the floor (a static program that does nothing, and
//! the kernel's own work by netlink), in turn.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use backends::LinkName;
use ipam::Mac;
use kernel::netns::Netns;
use kernel::pod::{Bridge, Inside, Others, Promiscuity, Terms, Way, Wire, attach};
use netns_harness::{Attachment, Binaries, Lab, Node, Plugin, Station, Verb};
use serde_json::json;

use crate::figures::{Bound, goal, heading, median, millis, note};

const ROUNDS: usize = 60;
const REFERENCE: &str = "/usr/lib/cni/bridge";

/// ADD and DEL.
pub fn measure() -> Result<()> {
    let lab = Lab::new("benchplugin")?;
    let node = lab.node("worker")?;
    heading("ADD and DEL of a pod on a bridge (median, alternating)");
    let ipam = |directory: &str| json!({"type": "host-local", "dataDir": node.directory().join(directory), "ranges": [[{"subnet": "10.9.0.0/16"}]]});
    let configuration = |kind: &str, bridge: &str, directory: &str| {
        json!({"cniVersion": "1.0.0", "name": "bench", "type": kind, "bridge": bridge, "isGateway": true,
               "isDefaultGateway": true, "hairpinMode": true, "mtu": 1450, "ipam": ipam(directory)})
    };
    let ours = Plugin::new(Binaries::built()?.find("towpath")?, configuration("towpath", "cni0", "ours"));
    let no_op = Plugin::new(static_no_op(lab.directory())?, json!({"cniVersion": "1.0.0", "name": "n", "type": "n"}));
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
        let attachment = Attachment::new(&pod, "none");
        // What it answers is no CNI, which is what it is for.
        nothing.push(millis(|| no_op.ask(&node, Verb::Version, &attachment).err()).0);
        floor.push(kernel_alone(&node, &lab, round)?);
    }
    let least = median(nothing.clone()) + median(floor.clone());
    note("ADD, ours", median(add.clone()), "ms");
    note("DEL, ours", median(del), "ms");
    note("a static program that does nothing", median(nothing), "ms");
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

/// Bridge, veth with its far end born inside, port, up, address: what no plugin can do without.
fn kernel_alone(node: &Node, lab: &Lab, round: usize) -> Result<f64> {
    let pod = lab.station(&format!("k{round}"))?;
    let name = |text: &str| LinkName::new(text).expect("a name");
    let gateway = "10.8.0.1/16".parse()?;
    let bridge = Bridge {
        name: name("floor"),
        mac: Mac([2, 8, 0, 0, 0, 1]),
        mtu: Some(1450),
        gateways: vec![gateway],
        others: Others::Refused,
        kin: Vec::new(),
        promiscuity: Promiscuity::Left,
    };
    let way = Way::Bridged(bridge, Terms::default());
    let wire = Wire {
        host: name("floor0"),
        host_mac: Mac([2, 8, 0, 0, 0, 2]),
        alias: "bench".into(),
        pod: name("eth0"),
        pod_mac: Mac([2, 8, 0, 0, 0, 3]),
        mtu: Some(1450),
    };
    let inside = Inside { addresses: vec!["10.8.0.2/16".parse()?], ..Inside::default() };
    let path = pod.namespace().path().to_owned();
    let (time, attached) = node.namespace().within(move || {
        let netns = Netns::open(&path)?;
        Ok(millis(|| attach(&netns, &way, &wire, &inside)))
    })?;
    attached?;
    node.ip("link del floor0")?;
    Ok(time)
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

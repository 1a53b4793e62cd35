//! A WireGuard node behind a router that translates its address: it is spoken with from where it speaks, whatever its lease says.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipam::{Family, Stack};
use netns_harness::{Daemon, DaemonOptions, Node, Pace, Stream, in_guest, wait_for};

use crate::cluster::{Cluster, LIMIT};

const NETWORK: &str =
    r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "wireguard", "PersistentKeepaliveInterval": 1}}"#;

/// Octets of a packet that carries nothing: WireGuard's header and tag.
const KEEPALIVE: u64 = 32;

/// Puts a node behind another: its packets get that one's address and another port, and what nobody asked for is not let in.
fn hide(node: &Node, router: &Node) -> Result<()> {
    node.wire().remove()?;
    let name = node.namespace().name();
    router.ip(&format!("link add lan type veth peer name eth0 netns {name}"))?;
    router.ip("address add 10.9.0.1/24 dev lan")?;
    router.ip("link set lan up")?;
    router.set_sysctl("net/ipv4/ip_forward", "1")?;
    // Mappings that nobody uses end soon, as on a small router.
    for setting in ["udp_timeout", "udp_timeout_stream"] {
        router.set_sysctl(&format!("net/netfilter/nf_conntrack_{setting}"), "4")?;
    }
    ports(router, "40000-40999")?;
    node.ip("address add 10.9.0.2/24 dev eth0")?;
    node.ip("link set eth0 up")?;
    node.ip("route add default via 10.9.0.1")?;
    node.set_addresses(Some(Stack::V4("10.9.0.2".parse()?)));
    Ok(())
}

/// From which ports the router sends what it translates: another range is what a router does that was booted.
fn ports(router: &Node, range: &str) -> Result<()> {
    let nat = format!("type nat hook postrouting priority 100; oifname eth0 ip protocol udp masquerade to :{range}");
    let gate = "type filter hook input priority 0; iifname eth0 udp dport 51820 drop";
    let rules = format!("table ip home {{ chain nat {{ {nat}; }}; chain gate {{ {gate}; }}; }}");
    router
        .run(["sh", "-ec", &format!("nft delete table ip home 2>&1 || true; nft '{rules}'; conntrack -F 2>&1")])
        .map(drop)
}

/// Where the kernel sends to the only peer.
fn endpoint(daemon: &Daemon) -> Result<String> {
    let said = daemon.node().run(["wg", "show", "flannel-wg", "endpoints"])?;
    said.split_whitespace().nth(1).map(str::to_owned).with_context(|| format!("no peer: {said}"))
}

/// How many octets have come from the only peer.
fn received(daemon: &Daemon) -> Result<u64> {
    let said = daemon.node().run(["wg", "show", "flannel-wg", "transfer"])?;
    Ok(said.split_whitespace().nth(1).with_context(|| format!("no peer: {said}"))?.parse()?)
}

#[test]
fn a_node_behind_a_nat_is_reached_where_it_speaks_from_whatever_its_lease_says() -> Result<()> {
    in_guest(|| {
        let mut cluster = Cluster::on_directory("wgnat", NETWORK)?;
        let alpha = cluster.join("alpha")?;
        let (router, node) = (cluster.lab.node("router")?, cluster.lab.node("beta")?);
        hide(&node, &router)?;
        let outside = router.address(Family::V4)?.to_string();
        let public = format!("--public-ip={outside}");
        let beta = cluster.start(&node, |options: DaemonOptions| options.flag("--iface=eth0").flag(public))?;
        beta.wait_ready(LIMIT)?;
        cluster.wait_acquainted()?;
        let from = |range: &str| -> Result<()> {
            let seen = endpoint(&alpha)?;
            ensure!(seen.starts_with(&format!("{outside}:{range}")), "{seen}");
            Ok(())
        };
        // Its lease says port 51820, which the router lets nobody in by.
        wait_for("the node to be heard from", LIMIT, || from("40"))?;
        let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
        for (one, other) in [(0, 1), (1, 0)] {
            wait_for("the pods to talk", LIMIT, || pods[one].reach(&pods[other], Family::V4))?;
        }
        // Nothing of ours writes the lease's word over what was proven: not a look, a crash, or the lease published anew.
        let running =
            Stream::start(&pods[0], &pods[1], Family::V4, Pace { per_sec: 20, at_most: Duration::from_secs(200) })?;
        alpha.kill()?;
        alpha.restart()?;
        alpha.wait_ready(LIMIT)?;
        beta.stop()?;
        beta.restart()?;
        beta.wait_ready(LIMIT)?;
        let plan = cluster.binaries.find("towpathctl")?;
        let socket = format!("--socket={}", alpha.status_socket().display());
        let planned = alpha.node().run([plan.as_os_str(), "plan".as_ref(), socket.as_ref()])?;
        ensure!(!planned.contains("wg set"), "{planned}");
        from("40")?;
        running.wait_more(20, LIMIT)?;
        let report = running.stop()?;
        ensure!(report.lost() == 0, "{report:?}; {}", alpha.log_tail(20));
        // Longer than the router remembers: the packets that keep the way open are all there is.
        let (before, heard) = (endpoint(&alpha)?, received(&alpha)?);
        wait_for("eight packets of one a second that keep the way open", LIMIT, || {
            ensure!(received(&alpha)? >= heard + 8 * KEEPALIVE, "{heard}, and now {}", received(&alpha)?);
            Ok(())
        })?;
        pods[0].reach(&pods[1], Family::V4)?;
        assert_eq!(endpoint(&alpha)?, before);
        // The router forgets everything and takes other ports: the node is followed.
        ports(&router, "42000-42999")?;
        wait_for("the node to be heard from elsewhere", LIMIT, || from("42"))?;
        pods[0].reach(&pods[1], Family::V4).map(drop)
    })
}

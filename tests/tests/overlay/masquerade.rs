//! What users ask of masquerade beside flannel's rules, and of packets to addresses that nobody has.

use anyhow::{Context, Result, ensure};
use ipam::{Family, Stack};
use netns_harness::{Daemon, Pod, Station, wait_for};

use crate::cluster::{Cluster, DUAL, LIMIT, killed_and_back, subnets, wait_route};
use crate::host_gw::explained;
use crate::picture::Picture;
use crate::talk::source_seen;

/// An address that the node has besides.
const FIXED: &str = "192.0.2.240";

#[test]
fn pods_keep_their_addresses_or_get_another_where_it_is_asked_for() -> Result<()> {
    let mut cluster = Cluster::on_directory("masqask", DUAL)?;
    let node = cluster.lab.node("alpha")?;
    node.ip(&format!("address add {FIXED}/32 dev eth0"))?;
    let flags = [format!("--ip-masq-address={FIXED}"), "--ip-unreachable-route".to_owned()];
    let alpha = cluster.start(&node, |options| flags.into_iter().fold(options, |options, flag| options.flag(flag)))?;
    alpha.wait_ready(LIMIT)?;
    let beta = cluster.join("beta")?;
    cluster.wait_acquainted()?;
    let pod = cluster.pod(&alpha, "web")?;
    let outside = cluster.lab.switch();
    for (family, subnet) in subnets(&alpha)?.iter() {
        outside.ip(&format!("route add {subnet} via {}", node.address(family)?))?;
    }
    // At first as flannel has it, but for the address.
    let seen = |at: &Station, family| {
        source_seen(&pod, at, family).with_context(|| format!("to {} over {family}: {}", at.name(), alpha.log_tail(5)))
    };
    assert_eq!(seen(outside, Family::V4)?.to_string(), FIXED);
    assert_eq!(seen(outside, Family::V6)?, node.address(Family::V6)?, "of the other family nothing was said");
    assert_eq!(seen(beta.node(), Family::V4)?.to_string(), FIXED);

    // One family's outside; the other one's stays as it was.
    let asked = |text: &str| DUAL.replacen('{', &format!("{{{text}, "), 1);
    cluster.configure(&asked(&format!(r#""NonMasqueradeCIDRs": ["{}/32"]"#, outside.address(Family::V4)?)))?;
    wait_rules(&alpha, &[" return"], 8)?;
    assert_eq!(seen(outside, Family::V4)?, pod.address(Family::V4)?);
    assert_eq!(seen(outside, Family::V6)?, node.address(Family::V6)?);

    // The other nodes, those that come later too.
    cluster.configure(&asked(r#""NonMasqueradeNodes": true"#))?;
    wait_rules(&alpha, &[&format!("daddr {} return", beta.node().address(Family::V4)?)], 1)?;
    let gamma = cluster.join("gamma")?;
    cluster.wait_acquainted()?;
    for (peer, family) in [(&beta, Family::V4), (&gamma, Family::V4), (&beta, Family::V6), (&gamma, Family::V6)] {
        let kept = || {
            ensure!(seen(peer.node(), family)? == pod.address(family)?, "it sees the node");
            Ok(())
        };
        wait_for(&format!("{} to see the pod's own {family} address", peer.node().name()), LIMIT, kept)?;
    }
    assert_eq!(seen(cluster.lab.switch(), Family::V4)?.to_string(), FIXED);
    killed_and_back(&alpha, &Picture::of(alpha.node())?)?;
    let said = explained(&cluster, &alpha, "10.244.255.77")?;
    ensure!(said.contains("no node has a lease on it") && said.contains("present    route unreachable"), "{said}");
    nobody_s_addresses_are_refused(&alpha, &pod)
}

fn wait_rules(daemon: &Daemon, words: &[&str], count: usize) -> Result<()> {
    wait_for(&format!("{count} rules with {words:?}"), LIMIT, || {
        let picture = Picture::of(daemon.node())?;
        let rules: Vec<_> = picture.lines(words).into_iter().filter(|line| line.starts_with("nft ")).collect();
        ensure!(rules.len() == count, "{rules:#?}");
        Ok(())
    })
}

fn nobody_s_addresses_are_refused(daemon: &Daemon, pod: &Pod) -> Result<()> {
    let nobody = Stack::Dual { v4: "10.244.255.77", v6: "fd00:10:244:ffff::77" };
    for (family, address) in nobody.iter() {
        let said = pod.run(["sh", "-c", &format!("ping -c1 -W5 {address} || :")])?;
        let words = if family == Family::V4 { "Destination Host Unreachable" } else { "No route" };
        ensure!(said.contains(words), "{said}");
    }
    // What is somebody's has the longer prefix, and what another put there the better metric.
    daemon.node().ip("route add 10.244.0.0/16 via 192.0.2.1")?;
    let way = daemon.node().ip("route get 10.244.255.77")?;
    ensure!(way.contains("via 192.0.2.1"), "{way}");
    daemon.node().ip("route del unreachable 10.244.0.0/16 metric 4294967295")?;
    wait_route(daemon.node(), &"10.244.0.0/16".parse()?)
}

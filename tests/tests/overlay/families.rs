//! Two families, each for itself: what takes one from a node takes nothing from the other, not even over a restart, and is over when it is.

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Daemon, Pace, Stream, in_guest, wait_for};

use crate::cluster::{Cluster, DUAL, LIMIT, status, stream, subnets};

/// What takes a family from a node, and what gives it back.
const BREAKS: [(Family, &str, &str); 4] = [
    (Family::V6, "ip -6 address del OWN/64 dev eth0", "ip -6 address add OWN/64 dev eth0 nodad"),
    (
        Family::V6,
        "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
        "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0; \
         ip -6 address add OWN/64 dev eth0 nodad; ip -6 route add default via ROUTER dev eth0",
    ),
    (
        Family::V6,
        "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1",
        "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0; ip -6 address add OWN/64 dev eth0 nodad; ip -6 route add default via ROUTER dev eth0",
    ),
    (Family::V4, "ip address del OWN/24 dev eth0", "ip address add OWN/24 dev eth0; ip route add default via ROUTER"),
];

#[test]
fn what_takes_one_family_from_a_node_takes_nothing_from_the_other() -> Result<()> {
    let mut cluster = Cluster::on_directory("families", DUAL)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
    let node = alpha.node();
    let ctl = cluster.binaries.find("towpathctl")?.display().to_string();
    // Its exit status says whether the node is ready.
    let said = || node.run(["sh", "-c", &format!("{ctl} status --socket={}; true", alpha.status_socket().display())]);
    for (turn, (family, breaks, mends)) in BREAKS.into_iter().enumerate() {
        let (own, router) = (node.address(family)?.to_string(), cluster.lab.switch().address(family)?.to_string());
        let sh = |script: &str| node.run(["sh", "-ec", &script.replace("OWN", &own).replace("ROUTER", &router)]);
        let [other] =
            Family::ALL.into_iter().filter(|it| *it != family).collect::<Vec<_>>().try_into().unwrap_or([family]);
        let running = stream(&pods[0], &pods[1], other)?;
        sh(breaks)?;
        let named = format!("what {family} had last is kept");
        let is_named = || {
            let said = said()?;
            ensure!(said.contains(&named), "{said}");
            Ok(())
        };
        wait_for("what is lost to be named", LIMIT, is_named)?;
        running.wait_more(20, LIMIT)?;
        alpha.stop()?;
        alpha.restart()?;
        wait_for("it to be named after a restart, too", LIMIT, is_named)?;
        // Who comes meanwhile is met in the family that is there.
        let gamma = cluster.join(&format!("gamma{turn}"))?;
        let young = cluster.pod(&gamma, "web")?;
        wait_for("the young node to be met", LIMIT, || pods[0].reach(&young, other).and(young.reach(&pods[0], other)))?;
        running.wait_more(20, LIMIT)?;
        sh(mends)?;
        // What was switched off for all interfaces took the bridge's own address, which comes back with the next pod.
        let _next = cluster.pod(&alpha, &format!("next{turn}"))?;
        wait_for("the other family to be back", LIMIT, || pods[0].reach(&pods[1], family))?;
        wait_for("nothing to be named any more", LIMIT, || {
            let said = said()?;
            ensure!(said.starts_with("node       alpha, ready\ntowpathd"), "{said}");
            Ok(())
        })?;
        ensure!(
            !breaks.contains("all.disable") || alpha.log().contains("IPv6 is switched off on eth0"),
            "{}",
            alpha.log()
        );
        let report = running.stop()?;
        ensure!(report.lost() == 0, "{breaks}: {report:?}; {}", alpha.log());
    }
    Ok(())
}

/// Whatever carries packets in both families. WireGuard's devices carry theirs each over itself.
const BACKENDS: [&str; 3] = ["host-gw", "ipip", "wireguard"];

#[test]
fn nor_does_it_by_any_other_way_of_carrying_packets() -> Result<()> {
    in_guest(|| {
        for backend in BACKENDS {
            // What is refused to a device of ours, too: it is named, and of that family alone.
            one_family_goes(backend).with_context(|| backend.to_owned())?;
        }
        Ok(())
    })
}

fn one_family_goes(backend: &str) -> Result<()> {
    let network = DUAL.replace('}', &format!(r#", "Backend": {{"Type": "{backend}"}}}}"#));
    let mut cluster = Cluster::on_directory(&format!("half{}", backend.replace('-', "")), &network)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
    let node = alpha.node();
    for (family, breaks, mends) in BREAKS.into_iter().skip(1) {
        let (own, router) = (node.address(family)?.to_string(), cluster.lab.switch().address(family)?.to_string());
        let sh = |script: &str| node.run(["sh", "-ec", &script.replace("OWN", &own).replace("ROUTER", &router)]);
        let other = if family == Family::V4 { Family::V6 } else { Family::V4 };
        wait_for("both families", LIMIT, || {
            pods[0].reach(&pods[1], family).and(pods[0].reach(&pods[1], other)).map(drop)
        })?;
        let pace = Pace { per_sec: 50, at_most: std::time::Duration::from_secs(600) };
        let running = Stream::start(&pods[0], &pods[1], other, pace)?;
        sh(breaks)?;
        wait_for("what is lost to be named, and no more", LIMIT, || degraded(&cluster, &alpha, family))?;
        running.wait_more(20, LIMIT)?;
        alpha.kill()?;
        alpha.restart()?;
        wait_for("it to be named after a restart, too", LIMIT, || degraded(&cluster, &alpha, family))?;
        let gamma = cluster.join(&format!("g{}", cluster.daemons.len()))?;
        let young = cluster.pod(&gamma, "web")?;
        wait_for("the young node to be met", LIMIT, || pods[0].reach(&young, other).and(young.reach(&pods[0], other)))?;
        sh(mends)?;
        let _next = cluster.pod(&alpha, &format!("next{}", cluster.daemons.len()))?;
        wait_for("the other family to be back", LIMIT, || pods[0].reach(&pods[1], family))?;
        let report = running.stop()?;
        ensure!(report.lost() == 0, "{breaks}: {report:?}; {}", alpha.log());
    }
    Ok(())
}

/// A node is ready, and says what one family lacks.
fn degraded(cluster: &Cluster, daemon: &Daemon, family: Family) -> Result<()> {
    let said = status(cluster, daemon)?;
    let named = format!("what {family} had last is kept");
    ensure!(said.starts_with("node       alpha, ready\n           - degraded: ") && said.contains(&named), "{said}");
    Ok(())
}

#[test]
fn a_node_that_never_had_one_family_begins_with_the_other_and_takes_it_when_it_comes() -> Result<()> {
    for store in ["directory", "etcd"] {
        let mut cluster = match store {
            "etcd" => Cluster::on_etcd("growetcd", DUAL)?,
            _ => Cluster::on_directory("growdir", DUAL)?,
        };
        let alpha = cluster.join("alpha")?;
        let node = cluster.lab.node("beta")?;
        let (own, router) = (node.address(Family::V6)?, cluster.lab.switch().address(Family::V6)?);
        node.set_sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
        node.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        let beta = cluster.start(&node, |options| options)?;
        // Not at once: a router's advertisement may be on its way.
        wait_for("the reason", LIMIT, || {
            let page = beta.get("/readyz")?;
            ensure!(page.status != 200 && page.body.contains("net.ipv6.conf.eth0.disable_ipv6=0"), "{}", page.body);
            Ok(())
        })?;
        beta.wait_ready(LIMIT)?;
        let first = subnets(&beta)?;
        ensure!(first.families().eq([Family::V4]), "{first}");
        let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
        let running = stream(&pods[0], &pods[1], Family::V4)?;
        let said = status(&cluster, &beta)?;
        ensure!(said.contains("pods that start now get no IPv6 address"), "{said}");
        node.set_sysctl("net/ipv6/conf/all/disable_ipv6", "0")?;
        node.set_sysctl("net/ipv6/conf/default/disable_ipv6", "0")?;
        node.ip(&format!("-6 address add {own}/64 dev eth0 nodad"))?;
        node.ip(&format!("-6 route add default via {router} dev eth0"))?;
        wait_for("both families", LIMIT, || {
            let both = subnets(&beta)?;
            ensure!(both.get(Family::V4) == first.get(Family::V4) && both.has(Family::V6), "{both}");
            Ok(())
        })?;
        let young = cluster.pod(&beta, "young")?;
        wait_for("the pods to talk", LIMIT, || pods[0].reach(&young, Family::V6))?;
        running.wait_more(20, LIMIT)?;
        let report = running.stop()?;
        ensure!(report.lost() == 0, "{store}: {report:?}; {}", alpha.log());
    }
    Ok(())
}

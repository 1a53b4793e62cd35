//! Two families, each for itself: what takes one from a node takes nothing from the other, not even over a restart, and is over when it is.

use anyhow::{Result, ensure};
use ipam::Family;
use netns_harness::wait_for;

use crate::cluster::{Cluster, DUAL, LIMIT, stream};

/// What takes a family from a node, and what gives it back.
const BREAKS: [(Family, &str, &str); 3] = [
    (Family::V6, "ip -6 address del OWN/64 dev eth0", "ip -6 address add OWN/64 dev eth0 nodad"),
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
        wait_for("the other family to be back", LIMIT, || pods[0].reach(&pods[1], family))?;
        wait_for("nothing to be named any more", LIMIT, || {
            let said = said()?;
            ensure!(said.starts_with("node       alpha, ready\ntowpathd"), "{said}");
            Ok(())
        })?;
        let report = running.stop()?;
        ensure!(report.lost() == 0, "{breaks}: {report:?}; {}", alpha.log());
    }
    Ok(())
}

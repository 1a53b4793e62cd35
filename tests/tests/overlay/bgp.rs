//! The backend bgp: nodes tell each other of their pods by BGP, and send as they are told; and BIRD, as the routers of the rack, is told
//! and listened to.

use anyhow::{Context, Result, ensure};
use ipam::Family;
use ipnet::IpNet;
use netns_harness::{Bird, Daemon, Matrix, Node, Pod, wait_for};

use crate::cluster::{Cluster, LIMIT, counted, stream, subnets, wait_picture};
use crate::picture::Picture;

/// Both families, this backend, and whatever stands beside it.
fn network(backend: &str, beside: &str) -> String {
    format!(
        r#"{{"Network": "10.244.0.0/16", "IPv6Network": "fd00:10:244::/48", "EnableIPv6": true, "Backend": {backend}{beside}}}"#
    )
}

/// Routers of the rack, which come by themselves.
const RACK: &str = r#"[{"Range": "0.0.0.0/0", "AS": 65000, "Import": "accept", "Name": "rack", "GracefulRestart": 5}]"#;

/// A pod on each node.
pub fn pods(cluster: &Cluster, daemons: &[Daemon]) -> Result<Vec<Pod>> {
    daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect()
}

/// Waits until each reaches each.
pub fn wait_talk(pods: &[Pod]) -> Result<()> {
    let stations: Vec<_> = pods.iter().map(|pod| &**pod).collect();
    wait_for("the pods to talk", LIMIT, || Matrix::measure(&stations)?.check())
}

/// All that others announce is learnt again, and nothing had to be written for it.
pub fn settled_without_a_change(daemon: &Daemon, picture: &Picture) -> Result<()> {
    for family in ["IPv4", "IPv6"] {
        daemon.wait_log(&format!("all {family} routes are learnt"), LIMIT)?;
    }
    wait_picture(daemon.node(), picture)?;
    let changes = counted(daemon, "towpath_kernel_changes_total")?;
    ensure!(changes == 0.0, "{changes} changes: {}", daemon.log_tail(30));
    Ok(())
}

#[test]
fn pods_talk_in_both_families_and_a_restart_changes_nothing() -> Result<()> {
    let mut cluster = Cluster::on_directory("bgpmesh", &network(r#"{"Type": "bgp"}"#, ""))?;
    let daemons = cluster.join_all(["alpha", "beta", "gamma"])?;
    let pods = pods(&cluster, &daemons)?;
    wait_talk(&pods)?;
    let [alpha, beta, gamma] = &daemons;
    let picture = Picture::of(alpha.node())?;
    assert_eq!(picture.lines(&["nexthop", "dev eth0", "proto 84"]).len(), 4, "one per peer and family");
    // Killed in the middle of traffic, and back.
    let mut streams = Vec::new();
    for family in Family::ALL {
        streams.extend([stream(&pods[0], &pods[1], family)?, stream(&pods[2], &pods[0], family)?]);
    }
    alpha.kill()?;
    streams.iter().try_for_each(|stream| stream.wait_more(200, LIMIT))?;
    alpha.restart()?;
    alpha.wait_ready(LIMIT)?;
    settled_without_a_change(alpha, &picture)?;
    // A node leaves; of the others nobody's traffic notices.
    let lost = *subnets(gamma)?.get(Family::V4).context("a subnet")?;
    let (mut others, mut kept) = (Vec::new(), Vec::new());
    for (number, stream) in streams.into_iter().enumerate() {
        if number % 2 == 1 { others.push(stream) } else { kept.push(stream) }
    }
    for stream in others {
        let report = stream.stop()?;
        assert_eq!(report.lost(), 0, "{report:?}: {}\n{}", alpha.log(), gamma.log());
    }
    // Alive, it would take its lease again.
    gamma.stop()?;
    let file = lost.to_string().replace('/', "-") + ".json";
    std::fs::remove_file(cluster.directory()?.join("leases").join(&file)).with_context(|| file.clone())?;
    wait_for("the route to be gone", LIMIT, || {
        let routes = beta.node().run(["ip", "route", "show", "proto", "84"])?;
        ensure!(!routes.contains(&lost.to_string()), "{routes}");
        Ok(())
    })
    .with_context(|| beta.log())?;
    for stream in kept {
        stream.wait_more(50, LIMIT)?;
        let report = stream.stop()?;
        assert_eq!(report.lost(), 0, "{report:?}: {}", alpha.log());
    }
    Ok(())
}

#[test]
fn routers_of_the_rack_get_the_pods_and_what_both_announce_is_one_route_over_both() -> Result<()> {
    let backend = format!(r#"{{"Type": "bgp", "Peers": {RACK}}}"#);
    let mut cluster = Cluster::on_directory("bgprack", &network(&backend, ""))?;
    with_the_rack(&mut cluster)
}

#[test]
fn beside_vxlan_the_fabric_alone_is_spoken_to() -> Result<()> {
    let beside = format!(r#", "BGP": {{"Peers": {RACK}}}"#);
    let mut cluster = Cluster::on_directory("bgpbeside", &network(r#"{"Type": "vxlan"}"#, &beside))?;
    with_the_rack(&mut cluster)?;
    let alpha = cluster.daemons[0].clone();
    let routes = alpha.node().run(["ip", "route", "show", "proto", "84"])?;
    let peer = *subnets(&cluster.daemons[1])?.get(Family::V4).context("a subnet")?;
    ensure!(routes.lines().any(|line| line.contains(&peer.to_string()) && line.contains("flannel.1")), "{routes}");
    Ok(())
}

fn with_the_rack(cluster: &mut Cluster) -> Result<()> {
    let daemons = cluster.join_all(["alpha", "beta"])?;
    let routers = ["tora", "torb"].map(|name| rack(cluster.lab.node(name)?, &daemons));
    let routers: Vec<Bird> = routers.into_iter().collect::<Result<_>>()?;
    let pods = pods(cluster, &daemons)?;
    wait_talk(&pods)?;
    for daemon in &daemons {
        for subnet in subnets(daemon)?.values() {
            let told = || routers.iter().try_for_each(|router| wait_told(router, subnet));
            told().with_context(|| daemon.log_tail(30))?;
        }
        wait_over(daemon, ["198.51.100.0/24", "2001:db8:f::/48"], &routers)?;
    }
    // What a router must not say is refused with a sentence, and the rest is explained.
    let own = subnets(&daemons[0])?.get(Family::V4).context("a subnet")?.to_string();
    let status = ctl(cluster, &daemons[0], "status")?;
    ensure!(status.contains("10.0.0.0/8 is announced to this node, and its own pods'"), "{status}");
    let routes = daemons[0].node().run(["ip", "route", "show", "proto", "84"])?;
    ensure!(!routes.contains("10.0.0.0/8") && !routes.contains(&own), "{routes}");
    let said = ctl(cluster, &daemons[0], &format!("explain {}", pods[1].address(Family::V6)?))?;
    ensure!(said.contains(" dev ") && !said.contains("MISSING") && !said.contains("without a path"), "{said}");
    // From the fabric to a pod and back.
    for family in Family::ALL {
        let pod = pods[0].address(family)?.to_string();
        wait_for("a pod to answer the router", LIMIT, || routers[0].node.run(["ping", "-c1", "-W2", &pod]))?;
    }
    // A restart writes nothing, though not all have spoken at once.
    let alpha = &daemons[0];
    let picture = Picture::of(alpha.node())?;
    alpha.kill()?;
    alpha.restart()?;
    alpha.wait_ready(LIMIT)?;
    settled_without_a_change(alpha, &picture)?;
    // One router says that it goes.
    let [one, other] = routers.try_into().ok().context("two")?;
    one.ask("down")?;
    wait_for("routes over the other alone", LIMIT, || over(alpha, "198.51.100.0/24", &[&other]))?;
    [one, other].iter().try_for_each(|router| router.process.kill())
}

/// What `towpathctl` says.
pub fn ctl(cluster: &Cluster, daemon: &Daemon, words: &str) -> Result<String> {
    let program = cluster.binaries.find("towpathctl")?;
    let command = format!("{} {words} --socket={} || :", program.display(), daemon.status_socket().display());
    daemon.node().run(["sh", "-c", &command])
}

/// Waits until these prefixes lead over these routers.
fn wait_over(daemon: &Daemon, prefixes: [&str; 2], routers: &[Bird]) -> Result<()> {
    let routers: Vec<&Bird> = routers.iter().collect();
    for prefix in prefixes {
        wait_for(&format!("{prefix} over all routers"), LIMIT, || over(daemon, prefix, &routers))?;
    }
    Ok(())
}

fn over(daemon: &Daemon, prefix: &str, routers: &[&Bird]) -> Result<()> {
    let family = if prefix.contains(':') { Family::V6 } else { Family::V4 };
    let dash = if family == Family::V4 { "-4" } else { "-6" };
    let shown = daemon.node().run(["ip", dash, "route", "show", "proto", "84", "exact", prefix])?;
    ensure!(shown.matches("via ").count() == routers.len(), "{shown}: {}", daemon.log_tail(20));
    for router in routers {
        let gateway = format!("via {} ", router.node.address(family)?);
        ensure!(shown.contains(&gateway), "no {gateway} in {shown}");
    }
    Ok(())
}

/// BIRD, as a router of the rack and a neighbour of these.
pub fn rack(node: Node, daemons: &[Daemon]) -> Result<Bird> {
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        node.set_sysctl(key, "1")?;
    }
    let (own, own_v6) = (node.address(Family::V4)?, node.address(Family::V6)?);
    let mut config = format!(
        "router id {own};\nprotocol device {{}}\n\
         protocol kernel {{ ipv4 {{ export all; }}; }}\nprotocol kernel {{ ipv6 {{ export all; }}; }}\n\
         protocol static {{ ipv4; route 198.51.100.0/24 blackhole; route 10.0.0.0/8 blackhole; }}\n\
         protocol static {{ ipv6; route 2001:db8:f::/48 blackhole; }}\n"
    );
    for (number, daemon) in daemons.iter().enumerate() {
        let peer = daemon.node().address(Family::V4)?;
        config += &format!(
            "protocol bgp n{number} {{ local {own} as 65000; neighbor {peer} as 64512; connect delay time 1; connect retry time 1; \
             error wait time 1, 2; graceful restart on; hold time 9; ipv4 {{ import all; export where source = RTS_STATIC; }}; \
             ipv6 {{ import all; export where source = RTS_STATIC; next hop address {own_v6}; }}; }}\n"
        );
    }
    Bird::start(node, &config)
}

/// Waits until it sends to a node's pods.
fn wait_told(router: &Bird, subnet: &IpNet) -> Result<()> {
    let dash = if subnet.addr().is_ipv4() { "-4" } else { "-6" };
    wait_for(&format!("{} to be told of {subnet}", router.node.name()), LIMIT, || {
        let routes = router.node.run(["ip", dash, "route", "show", "exact", &subnet.to_string()])?;
        ensure!(routes.contains("proto bird"), "{routes}");
        Ok(())
    })
}

//! Pods' packets in datagrams of the daemon's own proxy: they talk, whatever becomes of the daemon, the device and the peers.

use std::io::{Read, Write};
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use ipam::Family;
use netns_harness::{Matrix, Pace, Station, Stream, wait_for};

use crate::cluster::{Cluster, LIMIT, nth, subnets, told, wait_counted, wait_picture};
use crate::picture::Picture;

const UDP: &str = r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "udp"}}"#;

/// A node's kernel without peers' routes: the way to all of them is one.
fn wait_talking(stations: &[&Station]) -> Result<()> {
    wait_for("the pods to talk", LIMIT, || Matrix::measure(stations)?.check())
}

#[test]
fn pods_of_three_nodes_talk_in_datagrams() -> Result<()> {
    let mut cluster = Cluster::on_directory("udp", UDP)?;
    let daemons = ["alpha", "beta", "gamma"].into_iter().map(|name| cluster.join(name)).collect::<Result<Vec<_>>>()?;
    let pods = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<Vec<_>>>()?;
    let stations: Vec<&Station> = pods.iter().map(|pod| &**pod).collect();
    wait_talking(&stations)?;
    for (daemon, pod) in daemons.iter().flat_map(|daemon| pods.iter().map(move |pod| (daemon, pod))) {
        daemon.node().reach(pod, Family::V4)?;
    }
    assert_eq!(told(&daemons[0], "FLANNEL_MTU")?, "1472");
    let (address, subnet) = (pods[1].address(Family::V4)?.to_string(), subnets(&daemons[0])?);
    pods[0].run(["ping", "-M", "do", "-c", "1", "-W", "5", "-s", "1444", &address])?;
    // What no node has comes back, and does not leave by another way.
    let nobody = pods[0].run(["ping", "-c", "1", "-W", "1", "10.244.255.1"]);
    ensure!(nobody.is_err(), "somebody answered for a node that there is not");
    let routes = daemons[0].node().ip("route show proto 84")?;
    ensure!(routes.trim() == "10.244.0.0/16 dev flannel0 scope link", "{routes}");
    let own = subnet.get(Family::V4).map(|subnet| nth(subnet, 0));
    let addresses = daemons[0].node().ip("-o address show dev flannel0")?;
    ensure!(own.is_some_and(|own| addresses.contains(&format!("{own}/32"))), "{addresses}");
    Ok(())
}

#[test]
fn connections_outlive_a_kill_and_a_restart_changes_nothing() -> Result<()> {
    let mut cluster = Cluster::on_directory("udpkill", UDP)?;
    let [alpha, beta] = [cluster.join("alpha")?, cluster.join("beta")?];
    let (from, to) = (cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?);
    wait_talking(&[&from, &to])?;
    let picture = Picture::of(alpha.node())?;
    let echo = SocketAddr::new(to.address(Family::V4)?, netns_harness::ECHO_PORT);
    let mut connection = from.connect(echo, LIMIT)?;
    let mut exchange = |text: &[u8; 6]| -> Result<()> {
        connection.write_all(text)?;
        let mut back = [0; 6];
        connection.read_exact(&mut back)?;
        ensure!(back == *text, "{back:?}");
        Ok(())
    };
    exchange(b"before")?;
    for _ in 0..3 {
        alpha.kill()?;
        picture.compare(&Picture::of(alpha.node())?)?;
        alpha.restart()?;
        alpha.wait_ready(LIMIT)?;
        exchange(b"behind")?;
        picture.compare(&Picture::of(alpha.node())?)?;
    }
    wait_talking(&[&from, &to])
}

#[test]
fn a_deleted_device_and_one_that_is_down_are_put_back_with_the_proxy_behind() -> Result<()> {
    let mut cluster = Cluster::on_directory("udpgone", UDP)?;
    let [alpha, beta] = [cluster.join("alpha")?, cluster.join("beta")?];
    let (from, to) = (cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?);
    wait_talking(&[&from, &to])?;
    let picture = Picture::of(alpha.node())?;
    let ways = [
        "link delete flannel0",
        "link set flannel0 down",
        "route delete 10.244.0.0/16",
        "link set flannel0 mtu 1200",
        "address flush dev flannel0",
    ];
    for way in ways {
        let repairs = crate::cluster::counted(&alpha, "towpath_repairs_total")?;
        alpha.node().ip(way)?;
        wait_counted(&alpha, "towpath_repairs_total", repairs)?;
        wait_picture(alpha.node(), &picture)?;
        wait_talking(&[&from, &to])?;
    }
    Ok(())
}

#[test]
fn the_port_and_the_backend_can_be_others_while_daemons_run() -> Result<()> {
    let mut cluster = Cluster::on_directory("udplive", UDP)?;
    let [alpha, beta] = [cluster.join("alpha")?, cluster.join("beta")?];
    let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
    let stations: [&Station; 2] = [&pods[0], &pods[1]];
    wait_talking(&stations)?;
    let stream = Stream::start(&pods[0], &pods[1], Family::V4, Pace { per_sec: 500, at_most: LIMIT * 20 })?;
    let host_gw = UDP.replace(r#""udp""#, r#""host-gw""#);
    let [usual, other] = [UDP.to_owned(), UDP.replace(r#""udp""#, r#""udp", "Port": 8999"#)];
    for configuration in [&other, &usual, &host_gw, &other] {
        cluster.configure(configuration)?;
        for daemon in [&alpha, &beta] {
            wait_for("the other port alone", LIMIT, || {
                let sockets = daemon.node().run(["ss", "-ulnH"])?;
                let listens = [(8285, &usual), (8999, &other)].map(|(port, of)| (port, of == configuration));
                let right = listens.iter().all(|(port, wanted)| sockets.contains(&format!(":{port} ")) == *wanted);
                ensure!(right, "{sockets}");
                let routes = daemon.node().ip("route show")?;
                ensure!((configuration == &host_gw) != routes.contains("10.244.0.0/16 dev"), "{routes}");
                Ok(())
            })?;
        }
        wait_talking(&stations)?;
    }
    let report = stream.stop()?;
    ensure!(report.lost() == 0, "{report:?}; {}", beta.log());
    Ok(())
}

#[test]
fn a_node_that_leaves_and_a_node_that_comes_are_known_to_the_proxy() -> Result<()> {
    let mut cluster = Cluster::on_directory("udppeers", UDP)?;
    let [alpha, beta] = [cluster.join("alpha")?, cluster.join("beta")?];
    let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
    wait_talking(&[&pods[0], &pods[1]])?;
    let gamma = cluster.join("gamma")?;
    let third = cluster.pod(&gamma, "web")?;
    wait_talking(&[&pods[0], &pods[1], &third])?;
    // Datagrams of any kind from the underlay harm nobody.
    let to = format!("{}", gamma.node().address(Family::V4)?);
    let flood = format!("for n in $(seq 200); do head -c $n /dev/urandom >/dev/udp/{to}/8285; done");
    alpha.node().run(["bash", "-c", &flood])?;
    wait_talking(&[&pods[0], &pods[1], &third])
}

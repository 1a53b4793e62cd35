//! A node on which flanneld ran becomes ours without losing a packet; and what stands in the way is said.

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Daemon, Node, here_and_in_guest, wait_for};

use crate::cluster::{Cluster, DUAL, LIMIT, SINGLE, nth, stream, subnets};
use crate::flannel::{Flannel, Published, key, numbered, read_published};
use crate::picture::Picture;

/// What tells one device from another.
fn identity(node: &Node, device: &str) -> Result<(u64, String)> {
    let links = node.json(["ip", "-j", "link", "show", device])?;
    let index = links[0]["ifindex"].as_u64().context("no index")?;
    Ok((index, links[0]["address"].as_str().context("no address")?.to_owned()))
}

/// What flanneld tells other programs.
fn write_subnet_file(flannel: &Flannel) -> Result<()> {
    let (v4, v6) = (flannel.subnets.get(Family::V4).context("4")?, flannel.subnets.get(Family::V6).context("6")?);
    let text = format!(
        "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET={}/24\nFLANNEL_IPV6_NETWORK=fd00:10:244::/48\n\
         FLANNEL_IPV6_SUBNET={}/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
        nth(v4, 1),
        nth(v6, 1)
    );
    Ok(std::fs::write(flannel.node.directory().join("subnet.env"), text)?)
}

#[test]
fn a_node_of_flannel_s_becomes_ours_without_losing_a_packet() -> Result<()> {
    here_and_in_guest(|| {
        let mut cluster = Cluster::on_etcd("takeover", DUAL)?;
        let etcd = cluster.etcd()?.clone();
        let (node, peer) = (cluster.lab.node("alpha")?, cluster.lab.node("legacy")?);
        let (ours, theirs) = (Flannel::start(&node, numbered(5)?, 5)?, Flannel::start(&peer, numbered(6)?, 6)?);
        for (flannel, other) in [(&ours, &theirs), (&theirs, &ours)] {
            flannel.publish(&etcd, 86400)?;
            flannel.learn(&other.published()?)?;
        }
        let stale = numbered(99)?.map(|family, subnet| Published {
            subnet: *subnet,
            public: if family == Family::V4 { [192, 0, 2, 99].into() } else { nth(subnet, 9) },
            mac: "62:00:00:00:00:99".to_owned(),
        });
        ours.learn(&stale)?;
        write_subnet_file(&ours)?;
        let pods = [ours.pod("web")?, theirs.pod("web")?];
        let before = ["flannel.1", "flannel-v6.1"].map(|device| identity(&node, device).ok());

        let streams = Family::ALL.map(|family| stream(&pods[1], &pods[0], family));
        let streams = streams.into_iter().collect::<Result<Vec<_>>>()?;
        let alpha = cluster.start(&node, |options| options)?;
        alpha.wait_ready(LIMIT)?;
        wait_clean(&node)?;
        for stream in streams {
            stream.wait_more(100, LIMIT)?;
            let report = stream.stop()?;
            assert_eq!(report.lost(), 0, "{report:?}; {}", alpha.log());
        }
        assert_eq!(
            ["flannel.1", "flannel-v6.1"].map(|device| identity(&node, device).ok()),
            before,
            "the same devices"
        );
        assert_eq!(subnets(&alpha)?, ours.subnets, "the same subnets");
        let published = read_published(&etcd, &alpha)?;
        assert_eq!(published.map(|_, it| it.mac.clone()), ours.macs, "under {}", key(&ours.subnets));
        Ok(())
    })
}

#[test]
fn a_node_of_ours_goes_back_to_flannel_without_losing_a_packet() -> Result<()> {
    let mut cluster = Cluster::on_etcd("goback", DUAL)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let etcd = cluster.etcd()?.clone();
    let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
    let streams = Family::ALL.map(|family| stream(&pods[1], &pods[0], family));
    let streams = streams.into_iter().collect::<Result<Vec<_>>>()?;
    let own = read_published(&etcd, &alpha)?;
    alpha.stop()?;
    // flanneld finds its devices as it wants them, with its MACs, and writes its entries over ours.
    let flannel =
        Flannel { node: alpha.node().clone(), subnets: subnets(&alpha)?, macs: own.map(|_, it| it.mac.clone()) };
    flannel.publish(&etcd, 86400)?;
    flannel.learn(&read_published(&etcd, &beta)?)?;
    for stream in streams {
        stream.wait_more(50, LIMIT)?;
        let report = stream.stop()?;
        assert_eq!(report.lost(), 0, "{report:?}");
    }
    let routes = Picture::of(alpha.node())?;
    assert_eq!(routes.lines(&["route unicast", " dev flannel", "proto boot"]).len(), 2, "{routes:#?}");
    Ok(())
}

/// Waits until everything on the tunnels is tagged, and the stale peer's is gone.
fn wait_clean(node: &Node) -> Result<()> {
    wait_for("everything to be ours", LIMIT, || {
        let picture = Picture::of(node)?;
        for kind in ["neigh ", "route unicast"] {
            let lines = picture.lines(&[kind, " dev flannel"]);
            let foreign: Vec<_> =
                lines.into_iter().filter(|line| !line.contains("proto 84") && !line.contains("proto kernel")).collect();
            ensure!(foreign.is_empty(), "{foreign:#?}");
        }
        let untagged =
            picture.lines(&["fdb ", " dev flannel"]).into_iter().filter(|line| !line.contains("extern_learn"));
        let links = picture.lines(&["link N flannel"]).into_iter().filter(|line| !line.contains("alias towpath "));
        let left: Vec<_> = untagged.chain(links).collect();
        ensure!(left.is_empty(), "{left:#?}");
        let stale = [picture.lines(&["10.244.99."]), picture.lines(&["62:00:00:00:00:99"])].concat();
        ensure!(stale.is_empty(), "{stale:#?}");
        Ok(())
    })
}

/// A node with one device of flannel's that somebody made in another way; the daemon on it.
fn found(cluster: &mut Cluster, device: &str) -> Result<(Daemon, (u64, String))> {
    let node = cluster.lab.node("alpha")?;
    node.run(["sh", "-ec", device])?;
    let before = identity(&node, "flannel.1")?;
    Ok((cluster.start(&node, |options| options)?, before))
}

#[test]
fn a_device_that_can_be_put_right_in_place_keeps_its_identity() -> Result<()> {
    let mut cluster = Cluster::on_directory("inplace", SINGLE)?;
    let device = "ip link add flannel.1 mtu 1280 type vxlan id 1 dev eth0 local 192.0.2.77 dstport 8472 learning";
    let (alpha, before) = found(&mut cluster, device)?;
    alpha.wait_ready(LIMIT)?;
    assert_eq!(identity(alpha.node(), "flannel.1")?, before);
    let picture = Picture::of(alpha.node())?;
    assert_eq!(picture.lines(&["link N flannel.1:", " mtu 1450 ", " local 192.0.2.11 ", " nolearning "]).len(), 1);
    Ok(())
}

#[test]
fn a_device_that_cannot_be_put_right_is_made_anew_with_its_mac() -> Result<()> {
    for (number, wrong) in
        ["id 2 dev eth0 dstport 8472", "id 1 dev eth0 dstport 4789", "external dstport 8472"].iter().enumerate()
    {
        let mut cluster = Cluster::on_directory(&format!("anew{number}"), SINGLE)?;
        let device =
            format!("ip link add flannel.1 address 62:00:00:00:00:01 type vxlan {wrong}; ip link set flannel.1 up");
        let (alpha, (index, mac)) = found(&mut cluster, &device)?;
        alpha.wait_ready(LIMIT).with_context(|| format!("after {wrong}"))?;
        let (new_index, new_mac) = identity(alpha.node(), "flannel.1")?;
        assert_ne!(new_index, index, "{wrong}");
        assert_eq!(new_mac, mac, "{wrong}");
        let picture = Picture::of(alpha.node())?;
        assert_eq!(picture.lines(&["link N flannel.1:", " vxlan id 1 ", " dstport 8472 "]).len(), 1, "{wrong}");
    }
    Ok(())
}

#[test]
fn somebody_else_s_bridge_of_our_name_is_left_alone_and_named() -> Result<()> {
    let mut cluster = Cluster::on_directory("bridge", SINGLE)?;
    let device = "ip link add flannel.1 type bridge; ip addr add 10.244.1.1/24 dev flannel.1; ip link set flannel.1 up; \
                  ip route add 10.244.7.0/24 via 10.244.1.9 dev flannel.1";
    let (alpha, before) = found(&mut cluster, device)?;
    let picture = Picture::of(alpha.node())?;
    let page = wait_for("a reason", LIMIT, || {
        let page = alpha.get("/readyz")?;
        ensure!(page.status == 503 && page.body.contains("flannel.1"), "{page:?}");
        Ok(page)
    })?;
    assert!(page.body.contains("another link has the name flannel.1"), "{}", page.body);
    alpha.wait_log("flannel.1", LIMIT)?;
    assert_eq!(identity(alpha.node(), "flannel.1")?, before);
    let now = Picture::of(alpha.node())?;
    assert_eq!(picture.less(&now), Vec::<&str>::new());
    // Once it is out of the way, all is well.
    alpha.node().ip("link delete flannel.1")?;
    alpha.wait_ready(LIMIT)?;
    Ok(())
}

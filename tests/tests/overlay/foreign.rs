//! What is not ours is never touched: through start, drift, restarts, another network and cleanup.

use anyhow::{Context, Result, ensure};
use netns_harness::{Daemon, Node, wait_for};

use crate::cluster::{Cluster, DUAL, LIMIT, wait_picture};
use crate::picture::Picture;

/// What other people have on a node, much of it like ours.
const OTHERS: &str = r#"
ip link add vx7 type vxlan id 7 dstport 4790 local 192.0.2.11 dev eth0 nolearning
ip link set vx7 alias "towpath of somebody else"
ip addr add 10.244.240.0/32 dev vx7
ip addr add 198.18.7.1/24 dev vx7
ip link set vx7 up
ip neigh add 198.18.7.9 lladdr 02:00:00:00:07:09 dev vx7 nud permanent
ip neigh add 198.18.7.8 lladdr 02:00:00:00:07:08 dev vx7 nud permanent protocol 84
bridge fdb add 02:00:00:00:07:09 dev vx7 dst 192.0.2.9 self permanent
bridge fdb add 02:00:00:00:07:08 dev vx7 dst 192.0.2.9 self permanent extern_learn
ip route add 198.18.8.0/24 via 198.18.7.9 dev vx7 onlink proto boot
ip route add 10.244.241.0/24 via 198.18.7.9 dev vx7 onlink proto 84
ip link add br7 type bridge
ip addr add 10.244.242.1/24 dev br7
ip link set br7 up
ip route add 198.51.100.0/24 via 192.0.2.1 proto static
ip route add 198.51.101.0/24 via 192.0.2.1 proto bgp metric 20
ip route add 198.51.102.0/24 via 192.0.2.1 proto 84
ip route add 10.244.243.0/24 via 192.0.2.1 proto bird
ip route add 10.244.244.0/24 via 192.0.2.1
ip route add blackhole 198.51.103.0/24 proto 84
ip route add unreachable 10.244.245.0/24 proto static
ip -6 route add 2001:db8:7::/48 via 2001:db8::1 proto static
ip -6 route add fd00:10:244:f00::/64 via 2001:db8::1 proto bgp
ip nexthop add id 7 via 192.0.2.1 dev eth0 proto static
ip nexthop add id 8 via 192.0.2.1 dev eth0 proto 84
ip route add 198.51.104.0/24 nhid 7 proto static
ip rule add from 198.51.100.7 lookup 77
ip route add default via 192.0.2.1 table 77 proto 84
ip addr add 198.51.100.7/32 dev lo
ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent
nft 'table ip nat { chain post { type nat hook postrouting priority srcnat; ip saddr 10.244.0.0/16 masquerade; }; }'
nft 'table inet towpath-like { chain forward { type filter hook forward priority filter; accept; }; }'
nft 'table ip6 filter { chain FORWARD { type filter hook forward priority filter; policy accept; }; }'
"#;

#[test]
fn other_people_s_things_stay_whatever_we_do() -> Result<()> {
    let mut cluster = Cluster::on_directory("foreign", DUAL)?;
    // The first node of a lab is 192.0.2.11.
    let node = cluster.lab.node("alpha")?;
    node.run(["sh", "-ec", OTHERS])?;
    let before = Picture::of(&node)?;
    let alpha = cluster.start(&node, |options| options)?;
    alpha.wait_ready(LIMIT)?;
    let beta = cluster.join("beta")?;
    cluster.wait_acquainted()?;
    untouched(&node, &before).context("after the start")?;
    let settled = Picture::of(&node)?;
    node.run([
        "sh",
        "-ec",
        "ip link delete flannel.1; ip nexthop flush proto 84 2>/dev/null || true; nft delete table inet towpath",
    ])?;
    node.ip("nexthop add id 8 via 192.0.2.1 dev eth0 proto 84")?;
    wait_picture(&node, &settled).context("after a repair")?;
    alpha.stop()?;
    alpha.restart()?;
    alpha.wait_ready(LIMIT)?;
    untouched(&node, &before).context("after a restart")?;
    cluster.configure(&DUAL.replace('}', r#", "Backend": {"Type": "vxlan", "VNI": 42}}"#))?;
    wait_for("the other network's device", LIMIT, || {
        let now = Picture::of(&node)?;
        ensure!(
            !now.lines(&["link", " flannel.42:"]).is_empty() && now.lines(&["link", " flannel.1:"]).is_empty(),
            "none"
        );
        Ok(())
    })?;
    untouched(&node, &before).context("after the network changed")?;
    beta.stop()?;
    alpha.stop()?;
    clean_up(&cluster, &alpha)?;
    before.compare(&Picture::of(&node)?).context("after the cleanup all that is ours is gone, and nothing else")
}

fn untouched(node: &Node, before: &Picture) -> Result<()> {
    let now = Picture::of(node)?;
    let missing = before.less(&now);
    ensure!(missing.is_empty(), "something is missing or different: {missing:#?}");
    Ok(())
}

fn clean_up(cluster: &Cluster, daemon: &Daemon) -> Result<()> {
    let ctl = cluster.binaries.find("towpathctl")?;
    let subnet_file = format!("--subnet-file={}", daemon.subnet_file().display());
    daemon.node().run([ctl.as_os_str(), "cleanup".as_ref(), "--yes".as_ref(), subnet_file.as_ref()]).map(drop)
}

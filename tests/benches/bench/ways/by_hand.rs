//! Two more nodes with pods, between which `ip`, `bridge` and `wg` make the devices and routes that a backend would.

use anyhow::Result;
use ipam::{Family, Stack};
use netns_harness::{Node, Pod, wait_for};

use crate::nodes::{LIMIT, Nodes, tenth, told};

/// How a hand makes it.
#[derive(Clone, Copy, Debug)]
pub enum Hand {
    Vxlan,
    /// And the outer packets not tracked, as ours are.
    VxlanUntracked,
    HostGw,
    Ipip,
    WireGuard,
}

/// A pod on each of two nodes without a daemon.
pub fn make(nodes: &Nodes, hand: Hand) -> Result<[Pod; 2]> {
    let mtu = told(&nodes.daemons[0], "FLANNEL_MTU")?;
    let (mut both, mut pods) = (Vec::new(), Vec::new());
    for number in [1, 2] {
        let node = nodes.lab.node(&format!("hand{number}"))?;
        let pod = node.bare_pod("pod", &Stack::V4(tenth(&format!("10.99.{number}.0/24").parse()?)))?;
        pod.ip(&format!("link set eth0 mtu {mtu}"))?;
        both.push(node);
        pods.push(pod);
    }
    for (own, peer) in [(0, 1), (1, 0)] {
        lead(&both[own], &both[peer], ((own + 1, peer + 1), (hand, &mtu)))?;
    }
    if matches!(hand, Hand::WireGuard) {
        introduce(&both)?;
    }
    wait_for("the pods to talk", LIMIT, || pods[0].reach(&pods[1], Family::V4))?;
    let mut pods = pods.into_iter();
    Ok([pods.next(), pods.next()].map(|pod| pod.expect("two were made")))
}

/// The way from one node to the other's pods, whose subnets have these numbers.
fn lead(own: &Node, peer: &Node, ((here, there), (hand, mtu)): ((usize, usize), (Hand, &str))) -> Result<()> {
    let (local, remote) = (own.address(Family::V4)?, peer.address(Family::V4)?);
    let subnet = format!("10.99.{there}.0/24");
    let run = |words: String| own.run(["sh", "-ec", &words]).map(drop);
    match hand {
        Hand::HostGw => run(format!("ip route add {subnet} via {remote}")),
        Hand::VxlanUntracked => {
            lead(own, peer, ((here, there), (Hand::Vxlan, mtu)))?;
            let outer = "udp dport 8472 @th,96,32 0x100";
            run(format!(
                "nft -f - <<END
                 table inet hand {{
                   chain prerouting {{ type filter hook prerouting priority raw; {outer} fib daddr type local notrack; }}
                   chain output {{ type filter hook output priority raw; {outer} notrack; }}
                 }}
                 END"
            ).replace("                 ", ""))
        }
        Hand::Vxlan => run(format!(
            "ip link add t0 address 02:00:00:00:99:0{here} mtu {mtu} type vxlan id 1 dstport 8472 local {local} dev eth0 nolearning
             ip link set t0 addrgenmode none up; ip address add 10.99.{here}.0/32 dev t0
             ip neigh add 10.99.{there}.0 lladdr 02:00:00:00:99:0{there} dev t0 nud permanent
             bridge fdb add 02:00:00:00:99:0{there} dev t0 dst {remote} self permanent
             ip route add {subnet} via 10.99.{there}.0 dev t0 onlink"
        )),
        Hand::Ipip => run(format!(
            "ip link add t0 mtu {mtu} type ipip local {local} ttl inherit nopmtudisc
             ip link set t0 addrgenmode none up; ip address add 10.99.{here}.0/32 dev t0
             ip route add {subnet} via {remote} dev t0 onlink"
        )),
        Hand::WireGuard => run(format!(
            "ip link add t0 mtu {mtu} type wireguard; wg genkey | wg set t0 listen-port 51820 private-key /dev/stdin
             ip link set t0 addrgenmode none up; ip address add 10.99.{here}.0/32 dev t0
             ip route add {subnet} dev t0 scope link"
        )),
    }
}

/// Tells each WireGuard device of the other.
fn introduce(nodes: &[Node]) -> Result<()> {
    for (own, peer) in [(0, 1), (1, 0)] {
        let key = nodes[peer].run(["wg", "show", "t0", "public-key"])?;
        let endpoint = nodes[peer].address(Family::V4)?;
        let subnet = format!("10.99.{}.0/24", peer + 1);
        let words = format!("wg set t0 peer {} endpoint {endpoint}:51820 allowed-ips {subnet}", key.trim());
        nodes[own].run(["sh", "-ec", &words])?;
    }
    Ok(())
}

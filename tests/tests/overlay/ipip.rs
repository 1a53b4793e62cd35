//! IPIP: pods' packets in IP, in both families; on the lab's second kernel, because not every machine's own has it. The others
//! are what flannel and Calico make of it, by hand.

use anyhow::{Context, Result, ensure};
use ipam::{Family, Stack};
use netns_harness::{Daemon, Matrix, Node, Pace, Pod, Signal, Station, Stream, in_guest, wait_for};

use crate::cluster::{
    Cluster, DUAL, LIMIT, PREFIX, counted, killed_and_back, nth, subnets, told, wait_counted, wait_picture, wait_route,
};
use crate::flannel::numbered;
use crate::picture::Picture;

const IPIP: &str = r#"{"Network": "10.244.0.0/16", "IPv6Network": "fd00:10:244::/48", "EnableIPv6": true,
    "Backend": {"Type": "ipip"}}"#;
const IPIP_V4: &str = r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "ipip"}}"#;

/// What somebody does, and the word with which the log says what was put back. `$4`, `$6` are a peer's pods.
const FAULTS: &[(&str, &str)] = &[
    ("ip link set flannel.ipip down", "flannel.ipip"),
    ("ip link set flannel.ipip mtu 1300", "flannel.ipip"),
    ("ip link set flannel.ipip type ipip local 192.0.2.99", "flannel.ipip"),
    ("ip tunnel change flannel.ipip mode ipip local 192.0.2.11 ttl 7 pmtudisc", "flannel.ipip"),
    ("ip link delete flannel.ipip", "flannel.ipip"),
    ("ip link delete flannel-v6.ipip", "flannel-v6.ipip"),
    ("ip link set flannel-v6.ipip mtu 1400 down", "flannel-v6.ipip"),
    ("ip nexthop flush proto 84", "nexthop"),
    ("ip route replace $4 dev flannel.ipip proto static", "$4"),
    ("ip -6 route del $6", "$6"),
    ("ip -6 route replace $6 encap ip6 src 2001:db8::11 dst 2001:db8::99 dev flannel-v6.ipip proto 84", "$6"),
    ("ip -6 route replace blackhole $6", "$6"),
    ("sysctl -qw net/ipv4/conf/flannel.ipip/rp_filter=1", "rp_filter"),
];

fn wait_talk(stations: &[&Station]) -> Result<()> {
    wait_for("all to talk", LIMIT, || Matrix::measure(stations)?.check())
}

#[test]
fn pods_talk_over_ipip_in_both_families_and_a_restart_changes_nothing() -> Result<()> {
    in_guest(|| {
        let mut cluster = Cluster::on_directory("ipip", IPIP)?;
        let daemons = cluster.join_all(["alpha", "beta", "gamma"])?;
        let pods: Vec<Pod> = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<_>>()?;
        wait_talk(&pods.iter().map(|pod| &**pod).collect::<Vec<_>>())?;
        let [alpha, beta, _] = &daemons;
        alpha.node().reach(&pods[1], Family::V4)?;
        alpha.node().reach(&pods[1], Family::V6)?;
        assert_eq!(told(alpha, "FLANNEL_MTU")?, "1460", "the least of 1500 - 20 and 1500 - 40");
        published(&cluster)?;
        large_packets(&pods)?;
        let picture = Picture::of(alpha.node())?;
        killed_and_back(alpha, &picture)?;
        let nets = subnets(beta)?;
        let net = |family| nets.get(family).map(ToString::to_string).unwrap_or_default();
        let fill = |text: &str| text.replace("$4", &net(Family::V4)).replace("$6", &net(Family::V6));
        for (fault, word) in FAULTS {
            let (before, said) = (counted(alpha, "towpath_repairs_total")?, alpha.log().len());
            alpha.signal(Signal::STOP)?;
            alpha.node().run(["sh", "-ec", &fill(fault)])?;
            alpha.signal(Signal::CONT)?;
            let repaired = || {
                wait_counted(alpha, "towpath_repairs_total", before)?;
                wait_picture(alpha.node(), &picture)?;
                ensure!(alpha.log()[said..].contains(&fill(word)), "the log does not say what it was");
                anyhow::Ok(())
            };
            repaired().with_context(|| format!("after `{}`: {}", fill(fault), alpha.log_tail(20)))?;
        }
        wait_talk(&pods.iter().map(|pod| &**pod).collect::<Vec<_>>())
    })
}

/// As flannel writes it: the type and no data.
fn published(cluster: &Cluster) -> Result<()> {
    for file in std::fs::read_dir(cluster.directory()?.join("leases"))? {
        let text = std::fs::read_to_string(file?.path())?;
        ensure!(text.contains("\"ipip\"") && !text.contains("Data"), "{text}");
    }
    Ok(())
}

/// A packet of the pods' MTU passes whole, and one more octet is said to be too much.
fn large_packets(pods: &[Pod]) -> Result<()> {
    for (family, headers) in [(Family::V4, 28), (Family::V6, 48)] {
        let address = pods[1].address(family)?.to_string();
        let ping = |payload: u32| pods[0].run(["ping", "-c1", "-W5", "-Mdo", &format!("-s{payload}"), &address]);
        ping(1460 - headers)?;
        ensure!(ping(1461 - headers).is_err(), "more than the MTU of {family}");
    }
    Ok(())
}

/// A node that is not ours, with one pod.
struct Stranger {
    node: Node,
    subnets: Stack<ipnet::IpNet>,
    pod: Pod,
}

impl Stranger {
    /// On a node beside the others.
    fn new(node: Node, number: u8) -> Result<Stranger> {
        let subnets = numbered(number)?;
        let pod = node.bare_pod("web", &subnets.map(|_, subnet| nth(subnet, 10)))?;
        Ok(Stranger { node, subnets, pod })
    }

    /// Its way to a peer: for IPv4 by a device that `making` makes, for IPv6 by a device for that peer alone.
    fn learn(&self, (device, making): (&str, &str), peer: &Daemon) -> Result<()> {
        let [(local4, peer4), (local6, peer6)] =
            [Family::V4, Family::V6].map(|family| (self.node.address(family), peer.node().address(family)));
        let (local4, peer4, local6, peer6) = (local4?, peer4?, local6?, peer6?);
        let (own, nets) = (self.subnets, subnets(peer)?);
        let (v4, v6) = (nets.get(Family::V4).context("IPv4")?, nets.get(Family::V6).context("IPv6")?);
        let first = own.get(Family::V4).map(|net| nth(net, 0)).context("IPv4")?;
        self.node.run(["sh", "-ec", &making.replace("$local", &local4.to_string())])?;
        self.node.ip(&format!("address add {first}/32 dev {device}"))?;
        self.node.ip(&format!("route add {v4} via {peer4} dev {device} onlink proto bird"))?;
        self.node.ip(&format!("link add six type ip6tnl mode ip6ip6 local {local6} remote {peer6} encaplimit none"))?;
        self.node.ip("link set six up")?;
        self.node.ip(&format!("-6 route add {v6} dev six")).map(drop)
    }

    /// Its lease, as flannel writes it.
    fn publish(&self, cluster: &Cluster) -> Result<()> {
        let (v4, v6) = (self.node.address(Family::V4)?, self.node.address(Family::V6)?);
        let value = format!(r#"{{"PublicIP":"{v4}","PublicIPv6":"{v6}","BackendType":"ipip"}}"#);
        cluster.etcd()?.ctl(&["put", &crate::flannel::key(&self.subnets), &value]).map(drop)
    }
}

#[test]
fn nodes_of_flannel_and_of_calico_s_making_talk_with_ours() -> Result<()> {
    in_guest(|| {
        let mut cluster = Cluster::on_etcd("ipippeers", IPIP)?;
        let alpha = cluster.join("alpha")?;
        let ours = cluster.pod(&alpha, "web")?;
        // flannel's own device; Calico's is the kernel's, and its routes come from BIRD.
        let makings = [
            (
                "legacy",
                "flannel.ipip",
                "ip link add flannel.ipip type ipip local $local nopmtudisc; ip link set flannel.ipip up",
            ),
            ("calico", "tunl0", "ip link set tunl0 mtu 1440 up"),
        ];
        for (number, (name, device, making)) in (177..).zip(makings) {
            let stranger = Stranger::new(cluster.lab.node(name)?, number)?;
            stranger.learn((device, making), &alpha)?;
            stranger.publish(&cluster)?;
            for subnet in stranger.subnets.values() {
                wait_route(alpha.node(), subnet)?;
            }
            wait_talk(&[&ours, &stranger.pod])?;
            // From host to pod, by the address of the subnet.
            wait_for("the hosts to reach pods", LIMIT, || {
                alpha.node().reach(&stranger.pod, Family::V4)?;
                stranger.node.reach(&ours, Family::V4)
            })?;
        }
        let left_alone = Picture::of(alpha.node())?;
        ensure!(!left_alone.lines(&["link N tunl0"]).iter().any(|line| line.contains("UP")), "{left_alone:#?}");
        Ok(())
    })
}

#[test]
fn a_node_of_flannel_s_on_ipip_becomes_ours_without_losing_a_packet() -> Result<()> {
    in_guest(|| {
        let mut cluster = Cluster::on_etcd("ipiptake", IPIP_V4)?;
        let beta = cluster.join("beta")?;
        let node = cluster.lab.node("alpha")?;
        let subnet: ipnet::IpNet = "10.244.5.0/24".parse()?;
        let local = node.address(Family::V4)?;
        node.ip(&format!("link add flannel.ipip type ipip local {local} nopmtudisc"))?;
        node.ip("address add 10.244.5.0/32 dev flannel.ipip")?;
        node.ip("link set flannel.ipip up")?;
        let via = beta.node().address(Family::V4)?;
        let theirs = subnets(&beta)?;
        let theirs = theirs.get(Family::V4).context("IPv4")?;
        node.ip(&format!("route add {theirs} via {via} dev flannel.ipip onlink"))?;
        node.ip("route add 10.244.99.0/24 via 192.0.2.99 dev flannel.ipip onlink")?;
        let lease = format!(r#"{{"PublicIP":"{local}","PublicIPv6":null,"BackendType":"ipip"}}"#);
        cluster.etcd()?.ctl(&["put", &format!("{PREFIX}/subnets/10.244.5.0-24"), &lease])?;
        std::fs::write(
            node.directory().join("subnet.env"),
            "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.5.1/24\nFLANNEL_MTU=1480\nFLANNEL_IPMASQ=true\n",
        )?;
        let pods = [node.bare_pod("web", &Stack::V4(nth(&subnet, 10)))?, cluster.pod(&beta, "web")?];
        wait_route(beta.node(), &subnet)?;
        let index = |node: &Node| node.run(["cat", "/proc/self/net/dev_snmp6/flannel.ipip"]);
        let number = |node: &Node| anyhow::Ok(index(node)?.lines().next().map(str::to_owned));
        let before = number(&node)?;
        wait_talk(&[&pods[0], &pods[1]])?;
        // A guest has one processor: with more, what is lost is lost in the receiver's buffer.
        let stream = Stream::start(&pods[1], &pods[0], Family::V4, Pace { per_sec: 100, at_most: LIMIT * 10 })?;
        stream.wait_more(20, LIMIT)?;
        let alpha = cluster.start(&node, |options| options)?;
        alpha.wait_ready(LIMIT)?;
        wait_route(&node, theirs)?;
        wait_for("the peer that is gone to be removed", LIMIT, || {
            let left = node.ip("route show 10.244.99.0/24")?;
            ensure!(left.is_empty(), "{left}");
            Ok(())
        })?;
        stream.wait_more(100, LIMIT)?;
        let report = stream.stop()?;
        assert_eq!(report.lost(), 0, "{report:?}; {}", alpha.log());
        assert_eq!(number(&node)?, before, "the same device");
        assert_eq!(subnets(&alpha)?.to_string(), "10.244.5.0/24");
        Ok(())
    })
}

/// Waits until a node's ways to a peer's pods lead out of this device.
fn wait_ways(node: &Node, nets: &Stack<ipnet::IpNet>, device: &str) -> Result<()> {
    wait_for(&format!("the ways out of {device}"), LIMIT, || {
        for net in nets.values() {
            let family = if net.addr().is_ipv4() { "-4" } else { "-6" };
            let routes = node.run(["ip", family, "route", "show", "exact", &net.to_string()])?;
            ensure!(routes.contains(&format!(" dev {device}")), "{routes}");
        }
        Ok(())
    })
}

#[test]
fn from_vxlan_to_ipip_and_back_no_packet_is_lost() -> Result<()> {
    in_guest(|| {
        let mut cluster = Cluster::on_directory("ipiplive", DUAL)?;
        let daemons = cluster.join_all(["alpha", "beta"])?;
        let pods = [cluster.pod(&daemons[0], "web")?, cluster.pod(&daemons[1], "web")?];
        wait_talk(&[&pods[0], &pods[1]])?;
        let pace = Pace { per_sec: 100, at_most: LIMIT * 20 };
        let streams = Family::ALL.map(|family| Stream::start(&pods[0], &pods[1], family, pace));
        let streams = streams.into_iter().collect::<Result<Vec<_>>>()?;
        for (network, device) in [(IPIP, "flannel.ipip"), (DUAL, "flannel.1"), (IPIP, "flannel.ipip")] {
            cluster.configure(network)?;
            for (own, other) in [(0, 1), (1, 0)] {
                let nets = subnets(&daemons[other])?;
                let v4 = nets.filter_map(|family, net| (family == Family::V4).then_some(*net)).context("IPv4")?;
                let v6 = nets.filter_map(|family, net| (family == Family::V6).then_some(*net)).context("IPv6")?;
                wait_ways(daemons[own].node(), &v4, device)?;
                wait_ways(daemons[own].node(), &v6, &device.replace("flannel", "flannel-v6"))?;
            }
        }
        for stream in streams {
            stream.wait_more(20, LIMIT)?;
            let report = stream.stop()?;
            assert_eq!(report.lost(), 0, "{report:?}; {}", daemons[0].log());
        }
        Ok(())
    })
}

/// Everything that is no packet of a pod, as the payload of protocols 4 and 41.
const BAD_PACKETS: &str = r#"
import os, socket, struct, sys
v4, v6, pod = sys.argv[1:4]
def inner4(src, dst, body=b'x' * 8, version=4, length=None, ttl=64, proto=17, ihl=5):
    length = 20 + len(body) if length is None else length
    head = struct.pack('!BBHHHBBH4s4s', version << 4 | ihl, 0, length, 1, 0, ttl, proto, 0, socket.inet_aton(src), socket.inet_aton(dst))
    total = sum(struct.unpack('!10H', head)); total = (total >> 16) + (total & 0xffff); total += total >> 16
    return head[:10] + struct.pack('!H', ~total & 0xffff) + head[12:] + body
nested = b''
for _ in range(40):
    nested = inner4('10.244.9.9', pod, nested, proto=4)
packets = [b'', b'\x45', os.urandom(19), os.urandom(1400), inner4('10.244.9.9', pod, length=65535), inner4('10.244.9.9', pod, length=3),
    inner4('10.244.9.9', pod, version=6), inner4('10.244.9.9', pod, ihl=15), inner4('10.244.9.9', pod, ttl=0), inner4('127.0.0.1', '127.0.0.1'),
    inner4(pod, pod), inner4('255.255.255.255', pod), inner4('10.244.9.9', '224.0.0.1'), inner4(v4, v4, proto=4), nested]
four = socket.socket(socket.AF_INET, socket.SOCK_RAW, 4)
six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 41)
for packet in packets + [os.urandom(n) for n in range(1, 300, 7)]:
    four.sendto(packet, (v4, 0))
    six.sendto(packet, (v6, 0))
    six.sendto(b'\x60' + packet[1:40].ljust(39, b'\xff') + packet[40:], (v6, 0))
"#;

#[test]
fn packets_that_are_none_harm_nobody() -> Result<()> {
    in_guest(|| {
        let mut cluster = Cluster::on_directory("ipipbad", IPIP)?;
        let daemons = cluster.join_all(["alpha", "beta"])?;
        let pods: Vec<Pod> = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<_>>()?;
        wait_talk(&[&pods[0], &pods[1]])?;
        let alpha = &daemons[0];
        let picture = Picture::of(alpha.node())?;
        let changes = counted(alpha, "towpath_kernel_changes_total")?;
        let stranger = cluster.lab.node("stranger")?;
        let [v4, v6] = [Family::V4, Family::V6].map(|family| alpha.node().address(family));
        let (v4, v6, pod) = (v4?.to_string(), v6?.to_string(), pods[0].address(Family::V4)?.to_string());
        stranger.run(["python3", "-c", BAD_PACKETS, &v4, &v6, &pod])?;
        wait_talk(&[&pods[0], &pods[1]])?;
        wait_picture(alpha.node(), &picture)?;
        assert_eq!(counted(alpha, "towpath_kernel_changes_total")?, changes);
        Ok(())
    })
}

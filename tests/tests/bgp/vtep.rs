//! A fabric as the other end of the nodes' VXLAN: packets between a pod and a host behind FRR's VTEP, where nobody but EVPN says how they find each other.

use anyhow::{Context, Result, ensure};
use ipam::Family::V4;
use netns_harness::{Binaries, Daemon, DaemonOptions, Lab, Pod, Station, Store, wait_for};

use crate::evpn::{VNI, fabric};
use crate::neighbour::frr::Frr;
use crate::neighbour::{LIMIT, Neighbour, OUR_AS, THEIR_AS, address};

/// A node with the daemon and a pod, and a fabric of one router, which has a host.
struct Site {
    daemon: Daemon,
    pod: Pod,
    frr: Frr,
    host: Station,
    binaries: Binaries,
    _lab: Lab,
}

impl Site {
    /// The host is in this network, of which FRR has the first address and the host the seventh, on one of FRR's links.
    fn new(name: &str, evpn: &str, (network, link): (&str, &str)) -> Result<Site> {
        let lab = Lab::new(name)?;
        let node = lab.node("node")?;
        let frr = fabric(&lab, &node, evpn)?;
        let own = address(frr.node(), V4);
        let peer = format!(
            r#"{{"Name": "leaf", "Address": "{own}", "AS": {THEIR_AS}, "Import": "accept", "Families": ["evpn"], "ConnectRetry": 1, "Required": true}}"#
        );
        let network_file = format!(
            r#"{{"Network": "10.244.0.0/16", "NonMasqueradeCIDRs": ["198.51.100.0/23"], "BGP": {{"AS": {OUR_AS}, "Peers": [{peer}]}},
                "Backend": {{"Type": "vxlan", "VNI": {VNI}, "Port": 4789}}}}"#
        );
        let binaries = Binaries::built()?;
        let options = DaemonOptions::new(Store::Directory(lab.store_directory(&network_file)?));
        let daemon = node.towpathd(&binaries, &options)?;
        let host = lab.station("host")?;
        frr.node().ip(&format!("link add tohost type veth peer name eth0 netns {}", host.namespace().name()))?;
        for words in ["link set tohost up", link] {
            frr.node().ip(words)?;
        }
        let gateway = if link.contains("master") { "br100" } else { "tohost" };
        frr.node().ip(&format!("address add {network}.1/24 dev {gateway}"))?;
        frr.node().set_sysctl("net/ipv4/ip_forward", "1")?;
        for words in [&format!("address add {network}.7/24 dev eth0"), "link set eth0 up", "link set lo up"] {
            host.ip(words)?;
        }
        daemon.wait_ready(LIMIT)?;
        let pod = node.pod(&daemon.plugin(&binaries)?, "web")?;
        Ok(Site { daemon, pod, frr, host, binaries, _lab: lab })
    }

    /// What `towpathctl` says.
    fn ctl(&self, words: &str) -> Result<String> {
        let program = self.binaries.find("towpathctl")?;
        let command = format!("{} {words} --socket={} || :", program.display(), self.daemon.status_socket().display());
        self.daemon.node().run(["sh", "-c", &command])
    }

    /// Waits until a command of the node's own says this.
    fn wait_node(&self, words: &str, text: &str) -> Result<()> {
        wait_for(&format!("`{words}` to say {text}"), LIMIT, || {
            let said = self.daemon.node().run(words.split(' '))?;
            ensure!(said.contains(text), "{said}: {}", self.daemon.log_tail(20));
            Ok(())
        })
    }

    fn wait_gone(&self, words: &str, text: &str) -> Result<()> {
        wait_for(&format!("`{words}` not to say {text}"), LIMIT, || {
            let said = self.daemon.node().run(words.split(' '))?;
            ensure!(!said.contains(text), "{said}: {}", self.daemon.log_tail(20));
            Ok(())
        })
    }

    /// Packets pass from either to the other, with their own addresses.
    fn wait_talk(&self, host: &str) -> Result<()> {
        let pod = self.pod.address(V4)?.to_string();
        for (from, to) in [(&*self.pod, host), (&self.host, pod.as_str())] {
            wait_for(&format!("{to} to answer"), LIMIT, || from.run(["ping", "-c1", "-W1", to])).with_context(
                || {
                    let look = |words: &[&str]| self.daemon.node().run(words).unwrap_or_default();
                    let (routes, fdb) = (look(&["ip", "route"]), look(&["bridge", "fdb"]));
                    format!("{routes}{fdb}{}", self.daemon.log_tail(20))
                },
            )?;
        }
        Ok(())
    }

    /// A restart in the middle writes nothing to the kernel and takes nothing from it.
    fn restart(&self) -> Result<()> {
        let shown = || -> Result<[String; 3]> {
            let run = |words: &str| self.daemon.node().run(words.split(' '));
            Ok([
                run("ip route show proto 84")?,
                run("ip neigh show nud permanent")?,
                run("bridge fdb show dev flannel.100")?,
            ])
        };
        let before = shown()?;
        self.daemon.kill()?;
        ensure!(shown()? == before, "{:?} is not {before:?}", shown()?);
        self.daemon.restart()?;
        self.daemon.wait_ready(LIMIT)?;
        self.daemon.wait_log("all EVPN routes are learnt", LIMIT)?;
        wait_for("the kernel to be as it was", LIMIT, || {
            ensure!(shown()? == before, "{:?} is not {before:?}", shown()?);
            Ok(())
        })?;
        let changes = self.daemon.metric("towpath_kernel_changes_total")?;
        ensure!(changes.unwrap_or(0.0) == 0.0, "{changes:?}: {}", self.daemon.log_tail(30));
        Ok(())
    }
}

#[test]
fn a_host_on_the_fabrics_bridge_and_a_pod_reach_each_other_by_mac_and_address() -> Result<()> {
    let site = Site::new("evpnmac", "", ("198.51.101", "link set tohost master br100"))?;
    let own = address(site.frr.node(), V4);
    // The host knows the pods' gateway in the overlay, and asks for it there: type 3 brings the question, type 2 the answer.
    let subnet = site.pod.address(V4)?.to_string();
    let net = subnet.rsplit_once('.').context("an address")?.0;
    site.host.ip(&format!("route add {net}.0/32 dev eth0"))?;
    site.host.ip(&format!("route add {net}.0/24 via {net}.0 dev eth0"))?;
    // FRR knows who is there when it has spoken.
    site.host.run(["ping", "-c1", "-W2", "198.51.101.1"])?;
    site.wait_node("ip route show proto 84", "198.51.101.7 ")?;
    site.wait_node("bridge fdb show dev flannel.100", &format!("dst {own} "))?;
    site.wait_talk("198.51.101.7")?;
    let said = site.ctl("bgp routes --family evpn")?;
    ensure!(said.contains("198.51.101.7") && said.contains("multicast"), "{said}");
    let said = site.ctl("bgp routes --explain 198.51.101.7/32")?;
    ensure!(said.contains("from leaf") && said.contains("best"), "{said}");
    let said = site.ctl("explain 198.51.101.7")?;
    ensure!(said.contains("flannel.100") && !said.contains("MISSING"), "{said}");
    site.restart()?;
    site.wait_talk("198.51.101.7")?;
    // The host goes, and with it all that there was for it.
    site.host.ip("link set eth0 down")?;
    site.frr.node().ip("link del tohost")?;
    wait_for("FRR's neighbours to be forgotten", LIMIT, || site.frr.node().ip("neigh flush dev br100"))?;
    site.wait_gone("ip route show proto 84", "198.51.101.7 ")?;
    site.wait_gone("ip neigh show dev flannel.100", "198.51.101.7 ")
}

#[test]
fn a_prefix_behind_the_fabrics_router_and_a_pod_reach_each_other_by_routes_alone() -> Result<()> {
    let site = Site::new("evpnnet", "advertise ipv4 unicast", ("198.51.100", "link set tohost up"))?;
    site.frr.told(&["configure terminal", &format!("vni {VNI}")])?;
    site.frr.configure(&["address-family ipv4 unicast", "network 198.51.100.0/24"])?;
    site.host.ip("route add default via 198.51.100.1")?;
    let own = address(site.frr.node(), V4);
    site.wait_node("ip route show proto 84", "198.51.100.0/24 ")?;
    site.wait_node("ip neigh show dev flannel.100", &format!("{own} "))?;
    site.wait_node("bridge fdb show dev flannel.100", &format!("dst {own} "))?;
    site.wait_talk("198.51.100.7")?;
    let said = site.ctl("bgp routes -o json")?;
    ensure!(said.contains(r#""family":"evpn""#) && said.contains(r#""prefix":"198.51.100.0/24""#), "{said}");
    // FRR forgets EVPN's routes when a session ends, graceful restart or not, and hears them again when we are back: the neighbour that they lead to, too.
    site.restart()?;
    site.wait_talk("198.51.100.7")?;
    // Another prefix stays when this one is taken back.
    site.frr.configure(&["address-family ipv4 unicast", "no network 198.51.100.0/24"])?;
    site.wait_gone("ip route show proto 84", "198.51.100.0/24 ")?;
    site.wait_node("ip route show proto 84", "10.80.0.0/16 ")?;
    site.restart()?;
    // The fabric ends what it has with us: nothing is left.
    site.frr.configure(&[&format!("no neighbor {} remote-as {OUR_AS}", address(site.daemon.node(), V4))])?;
    site.wait_gone("ip route show proto 84", "10.80.0.0/16 ")?;
    site.wait_gone("ip neigh show dev flannel.100", &format!("{own} "))?;
    site.wait_gone("bridge fdb show dev flannel.100", &format!("dst {own} "))
}

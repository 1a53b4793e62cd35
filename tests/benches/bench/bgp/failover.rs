//! A path of two dies without a word: every link keeps its carrier, and only BFD can tell. Packets to a destination behind both routers are numbered, and
//! the longest time without an answer is what counts.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Binaries, Bird, Daemon, DaemonOptions, ECHO_PORT, Lab, Node, Pace, Store, Stream, wait_for};

use super::PASSES;
use crate::figures::{Bound, goal, heading, in_millis, median, note};

const LIMIT: Duration = Duration::from_secs(60);
/// Behind both routers.
const DESTINATION: &str = "198.51.100.10";
const PACE: Pace = Pace { per_sec: 2000, at_most: Duration::from_secs(60) };

/// All rows: few prefixes, and so many that they cannot be rewritten in the time.
pub fn measure() -> Result<()> {
    for prefixes in [1, 20_000] {
        heading(&format!("One of two paths dies silently, BFD 3 × 50 ms, {prefixes} prefixes over both"));
        let fabric = Fabric::new(prefixes)?;
        let gaps = (0..PASSES).map(|_| fabric.dies()).collect::<Result<Vec<_>>>()?;
        note("longest time without a packet, least", gaps.iter().copied().fold(f64::INFINITY, f64::min), "ms");
        goal("longest time without a packet, median; aim: 160", median(gaps), Bound::AtMost(200.0));
    }
    Ok(())
}

/// A node with two routers, and somebody behind them who answers.
struct Fabric {
    node: Node,
    daemon: Daemon,
    routers: [Bird; 2],
    prefixes: u32,
    /// It ends last.
    lab: Lab,
}

impl Fabric {
    fn new(prefixes: u32) -> Result<Fabric> {
        let lab = Lab::new("benchbfd")?;
        let (node, sink) = (lab.node("alpha")?, lab.node("sink")?);
        let own = node.address(Family::V4)?;
        sink.ip(&format!("address add {DESTINATION}/32 dev lo"))?;
        sink.ip(&format!("route add {own} dev eth0 src {DESTINATION}"))?;
        sink.serve_echo()?;
        let via = sink.address(Family::V4)?.to_string();
        let routers =
            [router(lab.node("tora")?, &node, (&via, prefixes))?, router(lab.node("torb")?, &node, (&via, prefixes))?];
        let peers = routers.each_ref().map(|router| peer(&router.node)).into_iter().collect::<Result<Vec<_>>>()?;
        let network = format!(
            r#"{{"Network": "10.244.0.0/16", "Backend": {{"Type": "host-gw"}}, "BGP": {{"AS": 64512, "Peers": [{}]}}}}"#,
            peers.join(", ")
        );
        let options = DaemonOptions::new(Store::Directory(lab.store_directory(&network)?));
        let daemon = node.towpathd(&Binaries::built()?, &options)?;
        daemon.wait_ready(LIMIT)?;
        Ok(Fabric { node, daemon, routers, prefixes, lab })
    }

    /// The path that packets take dies; milliseconds until they take the other one.
    fn dies(&self) -> Result<f64> {
        self.wait_over_both()?;
        let to = SocketAddr::new(DESTINATION.parse()?, ECHO_PORT);
        let stream = Stream::towards(&self.node, to, PACE)?;
        stream.wait_more(1000, LIMIT)?;
        // Without the source the kernel would tell the way of other packets.
        let way = self.node.ip(&format!("route get {DESTINATION} from {}", self.node.address(Family::V4)?))?;
        let taken = |router: &&Bird| {
            router.node.address(Family::V4).is_ok_and(|address| way.contains(&format!("via {address} ")))
        };
        let dead = self.routers.iter().find(taken).with_context(|| format!("neither router in {way}"))?;
        self.lab.partition(&self.node, &dead.node)?;
        stream.wait_more(1000, LIMIT).with_context(|| self.daemon.log_tail(10))?;
        let report = stream.stop()?;
        self.lab.join(&self.node, &dead.node)?;
        // What came back late was lost; without any loss the packets took the other path.
        ensure!(report.lost() > 0, "no packet was lost: {report:?}");
        Ok(in_millis(report.longest_gap))
    }

    /// Until all prefixes lead over both routers, and both paths are watched.
    fn wait_over_both(&self) -> Result<()> {
        wait_for("all prefixes over both routers", LIMIT, || {
            let routes = self.node.run(["ip", "-o", "route", "show", "proto", "84"])?;
            let both = routes.lines().filter(|line| line.matches(" via ").count() == 2).count();
            ensure!(both > self.prefixes as usize, "{both} routes over both\n{}", self.daemon.log_tail(5));
            for router in &self.routers {
                ensure!(router.says("show bfd sessions", "Up"), "a path that is not watched");
            }
            Ok(())
        })
    }
}

fn peer(router: &Node) -> Result<String> {
    let address = router.address(Family::V4)?;
    let bfd = r#"{"Interval": 50, "Multiplier": 3}"#;
    Ok(format!(r#"{{"Address": "{address}", "AS": 65000, "Import": "accept", "ConnectRetry": 1, "BFD": {bfd}}}"#))
}

/// BIRD on a router that hands on what is for the destination.
fn router(node: Node, peer: &Node, (via, prefixes): (&str, u32)) -> Result<Bird> {
    node.set_sysctl("net/ipv4/ip_forward", "1")?;
    for name in ["all", "eth0"] {
        // The destination is on the link that packets come by.
        node.set_sysctl(&format!("net/ipv4/conf/{name}/send_redirects"), "0")?;
    }
    node.ip(&format!("route add 198.51.100.0/24 via {via}"))?;
    let (own, peer) = (node.address(Family::V4)?, peer.address(Family::V4)?);
    let mut config = format!(
        "router id {own};\nprotocol device {{}}\n\
         protocol bfd {{ interface \"eth0\" {{ min rx interval 50 ms; min tx interval 50 ms; multiplier 3; }}; }}\n\
         protocol bgp {{ local {own} as 65000; neighbor {peer} as 64512; bfd on; connect delay time 1; connect retry time 1;\n \
         error wait time 1, 2; ipv4 {{ import none; export where source = RTS_STATIC; next hop self; }}; }}\n\
         protocol static {{ ipv4; route 198.51.100.0/24 blackhole;\n"
    );
    for number in 0..prefixes {
        let address = std::net::Ipv4Addr::from_bits((16 << 24) + (number << 8));
        writeln!(config, " route {address}/24 blackhole;")?;
    }
    config.push_str("}\n");
    Bird::start(node, &config)
}

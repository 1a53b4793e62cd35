//! [`Router`]: FRR or BIRD on a node of the lab, with BFD towards its nodes and between the upper tiers: 300 ms × 5, which a machine with much
//! else to do keeps.
//!
//! Between leaves and spines there is none, but a short hold time: FRR and BIRD take the end of a program for that of its link when BFD ends with
//! it, and would keep nothing over a restart.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use anyhow::{Result, ensure};
use ipam::{Family, Stack};
use ipnet::IpNet;
use netns_harness::{Bird, Frr, Node, Process, Tool, require, wait_for};

use crate::cluster::LIMIT;

/// Milliseconds from one packet of BFD to the next, and how many in a row may be lost.
pub const BFD: (u32, u32) = (300, 5);

/// Which program it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// zebra, bfdd and bgpd, with graceful restart.
    Frr,
    /// BIRD, with graceful restart.
    Bird,
    /// BIRD, whose routes nobody keeps when it goes.
    Forgetful,
}

/// What a router is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program.
    pub program: Program,
    /// Its AS; its BGP identifier ends in it, too.
    pub asn: u32,
    /// The other routers.
    pub links: Vec<Link>,
    /// Where its nodes are, if it has any: its own addresses there.
    pub rack: Option<Stack<IpNet>>,
    /// The nodes there.
    pub nodes: Vec<Ipv4Addr>,
    /// Links on which it finds its nodes by their advertisements.
    pub unnumbered: Vec<String>,
    /// Its own addresses for everybody.
    pub hosts: Vec<IpNet>,
}

/// A link to another router.
#[derive(Clone, Debug)]
pub struct Link {
    /// Where this one is on it.
    pub own: Stack<IpAddr>,
    /// Where that one is.
    pub other: Stack<IpAddr>,
    /// That one's AS.
    pub asn: u32,
    /// Whether BFD watches it.
    pub watched: bool,
}

/// One that runs.
pub struct Router {
    /// Where.
    pub node: Node,
    /// What speaks BGP: of FRR's programs the one that ends and begins.
    pub speaker: Process,
    frr: Option<Frr>,
}

impl Router {
    /// Starts it; it answers when this returns.
    pub fn start(node: Node, plan: &Plan) -> Result<Router> {
        for host in &plan.hosts {
            node.ip(&format!("address add {host} dev lo"))?;
        }
        let router = match plan.program {
            Program::Frr => {
                let frr = frr(&node, &frr_config(plan))?;
                Router { node, speaker: frr.program("bgpd")?.clone(), frr: Some(frr) }
            }
            Program::Bird | Program::Forgetful => {
                let speaker = bird(&node, &bird_config(plan))?;
                Router { node, speaker, frr: None }
            }
        };
        wait_for("a router to answer", LIMIT, || router.ask(("show protocols", "show bgp summary")))?;
        Ok(router)
    }

    /// What BIRD, or else what FRR answers.
    pub fn ask(&self, (bird, frr): (&str, &str)) -> Result<String> {
        match &self.frr {
            Some(programs) => programs.ask(frr),
            None => Bird { node: self.node.clone(), process: self.speaker.clone() }.ask(bird),
        }
    }

    /// Waits until FRR's BFD hears nothing of a peer.
    pub fn misses(&self, peer: &str) -> Result<()> {
        wait_for(&format!("BFD to miss {peer}"), LIMIT, || {
            let said = self.ask(("", &format!("show bfd peer {peer}")))?;
            ensure!(!said.contains("Status: up"), "{said}");
            Ok(())
        })
    }

    /// How packets are sent: routes of its own making, without the numbers that the kernel gives.
    pub fn routes(&self) -> Result<Vec<String>> {
        let mut routes = Vec::new();
        for dash in ["-4", "-6"] {
            let shown = self.node.run(["ip", dash, "-o", "route", "show", "table", "main"])?;
            let learnt = |line: &&str| line.contains("proto bgp") || line.contains("proto bird");
            routes.extend(shown.lines().filter(learnt).map(|line| without_numbers(dash, line)));
        }
        routes.sort();
        Ok(routes)
    }

    /// An end of a link goes down, or up again; the other end loses its carrier.
    pub fn end(&self, link: &str, how: &str) -> Result<()> {
        self.node.ip(&format!("link set {link} {how}")).map(drop)
    }

    /// All links at once.
    pub fn power(&self, how: &str) -> Result<()> {
        let script = format!(
            "for link in $(ls /proc/sys/net/ipv4/conf); do case $link in all|default|lo) ;; *) ip link set $link {how};; esac; done"
        );
        self.node.run(["sh", "-ec", &script]).map(drop)
    }

    /// A link on which nothing passes and nobody notices.
    pub fn mute(&self, link: &str) -> Result<()> {
        let rules = format!(
            "table inet mute {{\nchain in {{\ntype filter hook prerouting priority -400\niifname \"{link}\" drop\n}}\n\
             chain out {{\ntype filter hook postrouting priority 400\noifname \"{link}\" drop\n}}\n}}\n"
        );
        self.node.feed(["nft", "-f", "-"], &rules).map(drop)
    }

    /// It passes again.
    pub fn hear(&self) -> Result<()> {
        self.node.run(["nft", "delete", "table", "inet", "mute"]).map(drop)
    }

    /// Packets of either family that it threw away because they had been under way for too long.
    pub fn circled(&self) -> Result<u64> {
        let seen = self.node.run(["nstat", "-asz", "IcmpOutTimeExcds", "Icmp6OutTimeExcds"])?;
        Ok(seen.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum())
    }
}

/// Parts of a route over several routers in one order, without identifiers of next hops.
fn without_numbers(dash: &str, line: &str) -> String {
    let mut parts = line.split('\\').map(|part| {
        let words: Vec<&str> = part.split_whitespace().collect();
        let number = |index: usize| index > 0 && matches!(words[index - 1], "nhid" | "expires");
        let kept = words.iter().enumerate().filter(|(index, word)| !number(*index) && **word != "nhid");
        // An interface's own address is another one with another card.
        let word = |word: &str| if word.starts_with("fe80:") { "fe80::" } else { word }.to_owned();
        kept.map(|(_, text)| word(text)).collect::<Vec<_>>().join(" ")
    });
    let head = parts.next().unwrap_or_default();
    let mut ways: Vec<String> = parts.collect();
    ways.sort();
    format!("{dash} {head} {}", ways.join(" "))
}

/// Told to recover what there was whenever it is not started for the first time.
fn bird(node: &Node, config: &str) -> Result<Process> {
    require(Tool::Bird)?;
    let place = |name: &str| node.directory().join(name).display().to_string();
    std::fs::write(place("bird.conf"), config)?;
    let mut command = Command::new("sh");
    command.args(["-c", "again=; [ -e \"$1\" ] && again=-R; touch \"$1\"; shift; exec bird -f $again \"$@\"", "sh"]);
    command.args([&place("ran"), "-c", &place("bird.conf"), "-s", &place("ctl"), "-P", &place("pid")]);
    node.start("bird", command)
}

fn bird_config(plan: &Plan) -> String {
    let Plan { asn, .. } = plan;
    let graceful = if plan.program == Program::Bird { "on" } else { "off" };
    let (interval, multiplier) = BFD;
    let session = format!(
        "local as {asn}; graceful restart {graceful}; hold time 3; connect delay time 1; connect retry time 1; error wait time 1, 2;"
    );
    let channels = |v6: &str| {
        format!("ipv4 {{ import all; export all; extended next hop; }}; ipv6 {{ import all; export all; {v6} }};")
    };
    let mut text = format!(
        "log stderr {{ info, warning, error, fatal, bug }};\nrouter id {};\nprotocol device {{ scan time 1; }}\n\
         protocol direct {{ ipv4; ipv6; interface \"lo\", \"rack\"; }}\n\
         protocol kernel {{ merge paths on; graceful restart on; ipv4 {{ import none; export where source = RTS_BGP; }}; }}\n\
         protocol kernel {{ merge paths on; graceful restart on; ipv6 {{ import none; export where source = RTS_BGP; }}; }}\n\
         protocol bfd {{ interface \"*\" {{ interval {interval} ms; idle tx interval 300 ms; multiplier {multiplier}; }}; }}\n",
        identifier(*asn)
    );
    for (number, link) in plan.links.iter().enumerate() {
        let bfd = if link.watched { "on" } else { "off" };
        for ((family, own), other) in link.own.iter().zip(link.other.values()) {
            let (dash, channel) = if family == Family::V4 { (4, "ipv4") } else { (6, "ipv6") };
            text += &format!(
                "protocol bgp l{number}v{dash} {{ {session} bfd {bfd}; source address {own}; neighbor {other} as {}; \
                 {channel} {{ import all; export all; }}; }}\n",
                link.asn
            );
        }
    }
    if let Some(rack) = &plan.rack {
        let v6 = rack.get(Family::V6).map(|net| format!("next hop address {};", net.addr())).unwrap_or_default();
        // One by one: those that come from a range it does not wait for when it recovers.
        for address in plan.nodes.iter() {
            text += &format!(
                "protocol bgp node{} {{ {session} bfd on; neighbor {address} external; {} }}\n",
                address.octets()[3],
                channels(&v6)
            );
        }
    }
    for link in &plan.unnumbered {
        text += &format!(
            "protocol radv {{ interface \"{link}\" {{ max ra interval 4; }}; }}\n\
             protocol bgp on_{link} {{ {session} bfd on; interface \"{link}\"; neighbor range fe80::/10 external; dynamic name \"{link}_\"; {} }}\n",
            channels("")
        );
    }
    text
}

/// zebra, bfdd and bgpd.
fn frr(node: &Node, config: &str) -> Result<Frr> {
    let (interval, multiplier) = BFD;
    let bfd = format!(
        "log stdout\nbfd\n profile fabric\n  detect-multiplier {multiplier}\n  transmit-interval {interval}\n  receive-interval {interval}\n exit\nexit\n"
    );
    // FRR 8.4 forgets to give the kernel a next-hop object again whose link was away.
    let zebra = "log stdout\nno zebra nexthop kernel enable\n";
    Frr::start(node.clone(), &[("zebra", zebra), ("bfdd", &bfd), ("bgpd", config)])
}

// FRR may take a link that comes back for a restart of its own: then it waits so long for everybody's routes before it passes any on, else minutes.
fn frr_config(plan: &Plan) -> String {
    let Plan { asn, .. } = plan;
    let mut text = format!(
        "log stdout informational\nrouter bgp {asn}\n bgp router-id {}\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
         bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n bgp graceful-restart select-defer-time 5\n \
         bgp bestpath as-path multipath-relax\n bgp log-neighbor-changes\n timers bgp 1 3\n",
        identifier(*asn)
    );
    let mut families = [String::new(), String::new()];
    let quick = |peer: &str| format!(" neighbor {peer} timers connect 1\n neighbor {peer} advertisement-interval 0\n");
    let watched = |peer: &str| quick(peer) + &format!(" neighbor {peer} bfd profile fabric\n");
    for link in &plan.links {
        for (place, address) in link.other.values().enumerate() {
            let peer = address.to_string();
            text += &format!(" neighbor {peer} remote-as {}\n", link.asn);
            text += &if link.watched { watched(&peer) } else { quick(&peer) };
            families[place] += &format!("  neighbor {peer} activate\n");
            if place == 1 {
                families[0] += &format!("  no neighbor {peer} activate\n");
            }
        }
    }
    let mut both = |peer: &str| {
        families.iter_mut().for_each(|lines| *lines += &format!("  neighbor {peer} activate\n"));
    };
    if let Some(rack) = &plan.rack {
        text += &format!(" neighbor NODES peer-group\n neighbor NODES remote-as external\n{}", watched("NODES"));
        for range in rack.values().map(IpNet::trunc).filter(|net| net.addr().is_ipv4()) {
            text += &format!(" bgp listen range {range} peer-group NODES\n");
        }
        both("NODES");
    }
    for link in &plan.unnumbered {
        text += &format!(" neighbor {link} interface remote-as external\n{}", watched(link));
        both(link);
    }
    let own = plan.hosts.iter().copied().chain(plan.rack.iter().flat_map(Stack::values).map(IpNet::trunc));
    for net in own {
        families[usize::from(net.addr().is_ipv6())] += &format!("  network {net}\n");
    }
    for (name, lines) in ["ipv4", "ipv6"].into_iter().zip(families) {
        text += &format!(" address-family {name} unicast\n{lines}  maximum-paths 8\n exit-address-family\n");
    }
    text + "exit\n"
}

fn identifier(asn: u32) -> String {
    format!("10.255.{}.{}", asn / 256 % 256, asn % 256)
}

//! [`Neighbour`]: BFD of somebody else in a node of the lab: BIRD's or FRR's.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use netns_harness::{Bird, Frr, Node, Process, wait_for};

use crate::ours::LIMIT;

/// Whom a neighbour watches.
#[derive(Clone, Copy)]
pub struct Peer {
    /// Its own address.
    pub local: IpAddr,
    /// The peer's.
    pub remote: IpAddr,
    /// How far that is.
    pub place: Place,
}

/// How far away.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    OnLink,
    Far,
}

/// A router of somebody else's.
pub enum Neighbour {
    Bird(Bird),
    /// bfdd, and all of FRR's programs.
    Frr(Process, Frr),
}

impl Neighbour {
    pub fn node(&self) -> &Node {
        match self {
            Neighbour::Bird(bird) => &bird.node,
            Neighbour::Frr(_, frr) => &frr.node,
        }
    }

    /// The program.
    pub fn process(&self) -> &Process {
        match self {
            Neighbour::Bird(bird) => &bird.process,
            Neighbour::Frr(bfdd, _) => bfdd,
        }
    }

    /// The state that it says its session is in, and everything else that it says of it.
    pub fn state(&self, peer: &Peer) -> Result<String> {
        match self {
            Neighbour::Bird(bird) => bird.ask("show bfd sessions"),
            Neighbour::Frr(_, frr) => {
                let far = if peer.place == Place::Far { " multihop" } else { "" };
                let local =
                    if peer.place == Place::Far { format!(" local-address {}", peer.local) } else { String::new() };
                frr.told(&[&format!("show bfd peer {}{far}{local}", peer.remote)])
            }
        }
    }

    /// Waits until it says that its session is so.
    pub fn until(&self, peer: &Peer, word: &str) -> Result<()> {
        wait_for(&format!("the neighbour to say {word}"), LIMIT, || {
            let said = self.state(peer)?;
            ensure!(said.contains(word), "{said}");
            Ok(())
        })
    }

    /// How it says that it is up.
    pub fn up(&self) -> &'static str {
        match self {
            Neighbour::Bird(_) => " Up ",
            Neighbour::Frr(..) => "Status: up",
        }
    }

    /// Somebody switches the session off.
    pub fn switch_off(&self, peer: &Peer) -> Result<()> {
        match self {
            Neighbour::Bird(bird) => bird.ask("disable bfd1").map(drop),
            Neighbour::Frr(_, frr) => frr.told(&["configure terminal", "bfd", &line(peer), "shutdown"]).map(drop),
        }
    }

    /// And on again.
    pub fn switch_on(&self, peer: &Peer) -> Result<()> {
        match self {
            Neighbour::Bird(bird) => bird.ask("enable bfd1").map(drop),
            Neighbour::Frr(_, frr) => frr.told(&["configure terminal", "bfd", &line(peer), "no shutdown"]).map(drop),
        }
    }

    /// Other intervals while it runs, in milliseconds.
    pub fn retime(&self, peer: &Peer, interval: u32) -> Result<()> {
        match self {
            Neighbour::Bird(bird) => bird.configure(&bird_config(peer, interval)),
            Neighbour::Frr(_, frr) => {
                let (transmit, receive) =
                    (format!("transmit-interval {interval}"), format!("receive-interval {interval}"));
                frr.told(&["configure terminal", "bfd", &line(peer), &transmit, &receive]).map(drop)
            }
        }
    }
}

fn bird_config(peer: &Peer, interval: u32) -> String {
    let Peer { local, remote, place } = peer;
    let how = format!("{{ interval {interval} ms; idle tx interval 300 ms; multiplier 3; }}");
    let which = match place {
        Place::OnLink => format!("dev \"eth0\" local {local}"),
        Place::Far => format!("local {local} multihop on"),
    };
    format!(
        "router id 192.0.2.99;\nprotocol device {{}}\n\
         protocol bfd bfd1 {{\n interface \"*\" {how};\n multihop {how};\n neighbor {remote} {which};\n}}\n"
    )
}

/// BIRD with one session of 3 × `interval` milliseconds.
pub fn bird(node: &Node, peer: &Peer, interval: u32) -> Result<Neighbour> {
    Bird::start(node.clone(), &bird_config(peer, interval)).map(Neighbour::Bird)
}

fn line(peer: &Peer) -> String {
    match peer.place {
        Place::OnLink => format!("peer {}", peer.remote),
        Place::Far => format!("peer {} multihop local-address {}", peer.remote, peer.local),
    }
}

/// FRR's bfdd, likewise.
pub fn frr(node: &Node, peer: &Peer, interval: u32) -> Result<Neighbour> {
    let (line, timing) = (line(peer), format!("  transmit-interval {interval}\n  receive-interval {interval}\n"));
    let ttl = if peer.place == Place::Far { "  minimum-ttl 250\n" } else { "" };
    let config = format!("log stdout\nbfd\n {line}\n{timing}{ttl}  no shutdown\n exit\nexit\n");
    let frr = Frr::start(node.clone(), &[("bfdd", &config)])?;
    wait_for("bfdd to answer", LIMIT, || frr.ask("show bfd peers"))?;
    Ok(Neighbour::Frr(frr.program("bfdd")?.clone(), frr))
}

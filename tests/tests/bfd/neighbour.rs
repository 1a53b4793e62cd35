//! [`Neighbour`]: BFD of somebody else in a node of the lab: BIRD's or FRR's.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use netns_harness::{Bird, Node, Process, wait_for};

use crate::ours::LIMIT;

/// Where FRR's programs lie in Debian.
const FRR: &str = "/usr/lib/frr";

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
    Frr(Router),
}

/// FRR.
pub struct Router {
    node: Node,
    directory: PathBuf,
    process: Process,
}

impl Neighbour {
    pub fn node(&self) -> &Node {
        match self {
            Neighbour::Bird(bird) => &bird.node,
            Neighbour::Frr(frr) => &frr.node,
        }
    }

    /// The program.
    pub fn process(&self) -> &Process {
        match self {
            Neighbour::Bird(bird) => &bird.process,
            Neighbour::Frr(frr) => &frr.process,
        }
    }

    /// The state that it says its session is in, and everything else that it says of it.
    pub fn state(&self, peer: &Peer) -> Result<String> {
        match self {
            Neighbour::Bird(bird) => bird.ask("show bfd sessions"),
            Neighbour::Frr(frr) => {
                let far = if peer.place == Place::Far { " multihop" } else { "" };
                let local =
                    if peer.place == Place::Far { format!(" local-address {}", peer.local) } else { String::new() };
                frr.vtysh(&[&format!("show bfd peer {}{far}{local}", peer.remote)])
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
            Neighbour::Frr(_) => "Status: up",
        }
    }

    /// Somebody switches the session off.
    pub fn switch_off(&self, peer: &Peer) -> Result<()> {
        match self {
            Neighbour::Bird(bird) => bird.ask("disable bfd1").map(drop),
            Neighbour::Frr(frr) => frr.vtysh(&["configure terminal", "bfd", &line(peer), "shutdown"]).map(drop),
        }
    }

    /// And on again.
    pub fn switch_on(&self, peer: &Peer) -> Result<()> {
        match self {
            Neighbour::Bird(bird) => bird.ask("enable bfd1").map(drop),
            Neighbour::Frr(frr) => frr.vtysh(&["configure terminal", "bfd", &line(peer), "no shutdown"]).map(drop),
        }
    }

    /// Other intervals while it runs, in milliseconds.
    pub fn retime(&self, peer: &Peer, interval: u32) -> Result<()> {
        match self {
            Neighbour::Bird(bird) => bird.configure(&bird_config(peer, interval)),
            Neighbour::Frr(frr) => {
                let (transmit, receive) =
                    (format!("transmit-interval {interval}"), format!("receive-interval {interval}"));
                frr.vtysh(&["configure terminal", "bfd", &line(peer), &transmit, &receive]).map(drop)
            }
        }
    }
}

impl Router {
    fn vtysh(&self, lines: &[&str]) -> Result<String> {
        let directory = self.directory.to_string_lossy();
        let mut words = vec!["vtysh", "--vty_socket", &directory];
        words.extend(lines.iter().flat_map(|line| ["-c", *line]));
        self.node.namespace().run(words)
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
    let there = std::path::Path::new(FRR).join("bfdd").is_file();
    ensure!(there, "FRR is missing. Run: apt-get install frr (or make deps)");
    let directory = node.directory().join("frr");
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join("zebra.conf"), "log stdout\n")?;
    let (line, timing) = (line(peer), format!("  transmit-interval {interval}\n  receive-interval {interval}\n"));
    let ttl = if peer.place == Place::Far { "  minimum-ttl 250\n" } else { "" };
    let config = format!("log stdout\nbfd\n {line}\n{timing}{ttl}  no shutdown\n exit\nexit\n");
    std::fs::write(directory.join("bfdd.conf"), config)?;
    node.namespace().run(["chown", "-R", "frr:frr", &directory.to_string_lossy()])?;
    let start = |name: &str, more: Option<String>| {
        let file = |ending: &str| directory.join(format!("{name}.{ending}"));
        let mut command = Command::new(format!("{FRR}/{name}"));
        command.args(["-u", "frr", "-g", "frr", "-z"]).arg(directory.join("zserv.api"));
        command.arg("--vty_socket").arg(&directory).arg("-i").arg(file("pid")).arg("-f").arg(file("conf"));
        command.args(more);
        node.start(name, command)
    };
    start("zebra", None)?;
    wait_for("zebra to listen", LIMIT, || {
        ensure!(directory.join("zserv.api").exists(), "no socket");
        Ok(())
    })?;
    let process = start("bfdd", Some(format!("--bfdctl={}", directory.join("bfdd.sock").display())))?;
    let router = Router { node: node.clone(), directory, process };
    wait_for("bfdd to answer", LIMIT, || router.vtysh(&["show bfd peers"]))?;
    Ok(Neighbour::Frr(router))
}

//! WHAT IS PROMISED of the BGP shell, with real sockets in namespaces and BIRD at the other end.
//!
//! It needs root and BIRD (`bird2`, which `make deps` installs).
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_types)]

mod bird;
mod keys;
mod monitoring;
mod paths;
mod sessions;
mod strangers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bgp::policy::Policy;
use bgp::rib::decision::Preferences;
use bgp::speaker::{PeerConfig, RemoteAs};
use ipnet::IpNet;
use netns_harness::Node;
use tokio::sync::oneshot;
use towpathd::bgp::learnt::{Learnt, NextHop};
use towpathd::bgp::liveness::{self, WatchEnd};
use towpathd::bgp::question::Question;
use towpathd::bgp::views::PeerView;
use towpathd::bgp::wish::{
    Announcement, Completeness, Distance, Monitoring, Necessity, Neighbour, NeighbourName, Origin, PORT, Place, Wish,
};
use towpathd::bgp::{self as shell, NodeEnd};

const LIMIT: Duration = Duration::from_secs(30);
const OURS: &str = "10.70.0.0/16";
const OURS_TOO: &str = "2001:db8:70::/48";

/// A speaker in a node of its own.
struct Speaker {
    end: NodeEnd,
    bfd: WatchEnd,
    wish: Wish,
    /// What it learnt, summed.
    learnt: BTreeMap<IpNet, Arc<BTreeSet<NextHop>>>,
    settled: Vec<bgp::wire::Family>,
}

fn v4(node: &Node) -> Ipv4Addr {
    match node.address(ipam::Family::V4).unwrap() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => unreachable!(),
    }
}

fn v6(node: &Node) -> IpAddr {
    node.address(ipam::Family::V6).unwrap()
}

/// A neighbour at an address, of AS 65002, with whom everything is exchanged.
fn neighbour(remote: IpAddr) -> Neighbour {
    let session = PeerConfig {
        import: Some(Arc::new(Policy::accept())),
        export: Some(Arc::new(Policy::accept())),
        connect_retry: Duration::from_secs(1),
        ..PeerConfig::new(remote, RemoteAs::Exactly(65002))
    };
    Neighbour {
        place: Place::Address { remote, local: None },
        port: PORT,
        session,
        authentication: None,
        distance: Distance::Direct,
        liveness: None,
        necessity: Necessity::Optional,
        origin: Origin::Configured,
    }
}

fn name(text: &str) -> NeighbourName {
    NeighbourName(text.to_owned())
}

fn hops(count: u8) -> NonZeroU8 {
    NonZeroU8::new(count).unwrap()
}

impl Speaker {
    /// One without neighbours, that listens and announces two prefixes.
    fn start(node: &Node) -> Result<Speaker> {
        Speaker::start_as(node, (65001, v4(node).octets(), [OURS, OURS_TOO]))
    }

    fn start_as(node: &Node, (asn, router_id, prefixes): (u32, [u8; 4], [&str; 2])) -> Result<Speaker> {
        let router_id = Ipv4Addr::from(router_id);
        let listen = ["0.0.0.0:179", "[::]:179"].map(|text| text.parse::<SocketAddr>().unwrap()).to_vec();
        let announced = prefixes.map(|net| (net.parse().unwrap(), Announcement::default())).into();
        let wish = Wish {
            asn,
            router_id,
            cluster: router_id,
            listen,
            neighbours: BTreeMap::new(),
            ranges: Vec::new(),
            announced,
            overlays: Vec::new(),
            completeness: Completeness::Complete,
            preferences: Preferences::default(),
            monitoring: Monitoring::default(),
        };
        let (end, speaker_end) = shell::talk();
        let (bfd_end, bfd) = liveness::talk();
        node.namespace().within(move || Ok(shell::start(speaker_end, bfd_end)?))?;
        let speaker = Speaker { end, bfd, wish, learnt: BTreeMap::new(), settled: Vec::new() };
        speaker.tell();
        Ok(speaker)
    }

    /// Tells the wish as it is now.
    fn tell(&self) {
        self.end.wish.send(Some(Arc::new(self.wish.clone()))).unwrap();
    }

    /// Wants a neighbour, from now on.
    fn want(&mut self, called: &str, neighbour: Neighbour) {
        self.wish.neighbours.insert(name(called), neighbour);
        self.tell();
    }

    /// Asks something.
    fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> T {
        let (to, answer) = oneshot::channel();
        self.end.questions.blocking_send(question(to)).unwrap();
        answer.blocking_recv().unwrap()
    }

    fn peers(&self) -> Vec<PeerView> {
        self.ask(Question::Peers)
    }

    /// A peer by its name.
    fn peer(&self, called: &str) -> Option<PeerView> {
        self.peers().into_iter().find(|peer| peer.name == called)
    }

    fn is_up(&self, called: &str) -> bool {
        self.peer(called).is_some_and(|peer| peer.state == "Established")
    }

    /// Hears what is learnt until something is so.
    fn until(&mut self, what: &str, mut so: impl FnMut(&mut Speaker) -> bool) -> Result<()> {
        let end = Instant::now() + LIMIT;
        loop {
            while let Ok(learnt) = self.end.learnt.try_recv() {
                match learnt {
                    Learnt::Routes(routes) => self.learnt.extend(routes),
                    Learnt::Fabric(_) | Learnt::Lost(_) => {}
                    Learnt::Settled(family) => self.settled.push(family),
                }
            }
            self.learnt.retain(|_, hops| !hops.is_empty());
            if so(self) {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("waited for {what}: {:#?}, learnt {:?}", self.peers(), self.learnt);
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    fn knows(&self, net: &str) -> bool {
        self.learnt.contains_key(&net.parse::<IpNet>().unwrap())
    }
}

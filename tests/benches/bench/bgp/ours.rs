//! Our speaker as a process of its own: this program again, which then is the daemon's thread that speaks BGP and nothing else, as the others' programs
//! are when they write no routes.

use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bgp::policy::Policy;
use bgp::speaker::{Direction, FamilyConfig, PeerConfig, RemoteAs};
use bgp::wire::Family;
use towpathd::bgp::liveness;
use towpathd::bgp::wish::{
    Completeness, Distance, Necessity, Neighbour, NeighbourName, Origin, PORT, Place, Range, Wish,
};

use super::router::Peers;
use super::session::{Peer, ROUTER, ROUTER_AS};

/// The word by which this program is told to be that.
pub const WORD: &str = "bgp-speaker";

/// Speaks until it is killed. The other word is how many peers there are, or that any may come.
pub fn speak(peers: &str) -> Result<()> {
    let peers = match peers {
        "any" => Peers::Any,
        count => Peers::Named(count.parse().context("how many peers")?),
    };
    let (mut node, end) = towpathd::bgp::talk();
    let (bfd, _watch) = liveness::talk();
    towpathd::bgp::start(end, bfd)?;
    node.wish.send(Some(Arc::new(wish(peers)))).context("nobody takes a wish")?;
    // What is learnt is taken and not looked at.
    while node.learnt.blocking_recv().is_some() {}
    bail!("the speaker ended")
}

fn wish(peers: Peers) -> Wish {
    let (named, any) = match peers {
        Peers::Named(count) => (count, Vec::new()),
        Peers::Any => {
            let prefix = "198.18.128.0/17".parse().expect("a prefix");
            let template = Neighbour {
                distance: Distance::Multihop(NonZeroU8::new(2).expect("not zero")),
                ..neighbour(Peer(0), RemoteAs::External)
            };
            (0, vec![Range { prefix, most: 10_000, template }])
        }
    };
    let neighbours = (0..named).map(Peer).map(|peer| {
        let name = NeighbourName(peer.address().to_string());
        (name, neighbour(peer, RemoteAs::Exactly(peer.asn())))
    });
    Wish {
        asn: ROUTER_AS,
        router_id: ROUTER,
        cluster: ROUTER,
        listen: vec![SocketAddr::from(([0; 4], PORT))],
        neighbours: neighbours.collect(),
        ranges: any,
        announced: Default::default(),
        overlays: Vec::new(),
        completeness: Completeness::Complete,
        preferences: Default::default(),
        monitoring: Default::default(),
    }
}

fn neighbour(peer: Peer, remote_as: RemoteAs) -> Neighbour {
    let address = peer.address().into();
    Neighbour {
        place: Place::Address { remote: address, local: None },
        port: PORT,
        session: PeerConfig {
            direction: Direction::Passive,
            hold_secs: 180,
            families: vec![FamilyConfig::plain(Family::IPV4)],
            graceful: None,
            import: Some(Arc::new(Policy::accept())),
            export: Some(Arc::new(Policy::accept())),
            ..PeerConfig::new(address, remote_as)
        },
        authentication: None,
        distance: Distance::Direct,
        liveness: None,
        necessity: Necessity::Optional,
        origin: Origin::Configured,
    }
}

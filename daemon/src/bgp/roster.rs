//! [`Roster`]: who has which number, where each is, and what is open to it. Two wishes compared say whom it touches.
//!
//! Does not open or close anything: it is the shell's memory of its peers.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use backends::state::LinkName;
use bgp::machine::collision::Side;
use bgp::rib::PeerId;
use bgp::speaker::PeerConfig;
use bgp::speaker::config::Reflects;
use ipnet::IpNet;
use tokio::task::AbortHandle;

use super::connection::Connection;
use super::stations;
use super::views::TrafficView;
use super::wish::{Neighbour, NeighbourName, Origin, Place, Range};

/// Numbers that were given back are not given again before so many others were.
const RESTING: usize = 64;

/// The last number of a peer; those above are of stations and of what they look at.
const HIGHEST: u16 = u16::MAX - stations::MOST - stations::MOST_SHADOWS;

/// A peer as the shell knows it.
#[derive(Debug)]
pub(super) struct Seat {
    pub name: NeighbourName,
    pub neighbour: Neighbour,
    /// Where it is: known for one with an address, learnt for one on a link.
    pub address: Option<IpAddr>,
    connections: [Option<Rc<Connection>>; 2],
    /// An attempt to connect that is under way.
    pub attempt: Option<AbortHandle>,
    /// Connections of ours that were signed since there was a session: which of several keys has its turn.
    pub attempts: usize,
    /// SendID and RecvID of the key that segments to it were signed with when last looked.
    pub signing: Option<(u8, u8)>,
    /// A connection of its own whose OPEN is waited for.
    pub waiting: Option<AbortHandle>,
    pub traffic: TrafficView,
    /// Why there is no session, in a sentence that was said already.
    pub trouble: Option<String>,
    /// All reasons that were said since there was one.
    pub said: BTreeSet<String>,
    /// When its link told last that it is elsewhere.
    pub found: Option<Duration>,
    /// Why there must be none for now: a key that cannot be had.
    pub locked: Option<String>,
    /// Whether the session was up when last heard of.
    pub up: bool,
}

fn place(side: Side) -> usize {
    match side {
        Side::Outgoing => 0,
        Side::Incoming => 1,
    }
}

impl Seat {
    fn new(name: NeighbourName, neighbour: Neighbour) -> Seat {
        let address = match neighbour.place {
            Place::Address { remote, .. } => Some(remote),
            Place::Link(_) => None,
        };
        Seat {
            name,
            neighbour,
            address,
            connections: [None, None],
            attempt: None,
            attempts: 0,
            signing: None,
            waiting: None,
            traffic: TrafficView::default(),
            trouble: None,
            said: BTreeSet::new(),
            found: None,
            locked: None,
            up: false,
        }
    }

    /// What is open to it on a side.
    pub fn connection(&self, side: Side) -> Option<&Rc<Connection>> {
        self.connections.get(place(side))?.as_ref()
    }

    /// Puts a connection there, or takes it away.
    pub fn put(&mut self, side: Side, connection: Option<Rc<Connection>>) -> Option<Rc<Connection>> {
        self.connections.get_mut(place(side)).and_then(|place| std::mem::replace(place, connection))
    }

    /// The link that it is on, if that was said.
    pub fn link(&self) -> Option<LinkName> {
        match self.neighbour.place {
            Place::Link(link) => Some(link),
            Place::Address { .. } => None,
        }
    }

    /// What its segments are signed for: itself, or where it may come from.
    pub fn signed_for(&self) -> Option<IpNet> {
        self.address.map(IpNet::from)
    }

    /// How a person would call it: its name and where it is.
    pub fn label(&self) -> String {
        match (self.address, self.link()) {
            (Some(address), None) if address.to_string() == self.name.0 => self.name.to_string(),
            (Some(address), None) => format!("{} ({address})", self.name),
            (Some(address), Some(link)) => format!("{} ({address}%{link})", self.name),
            (None, Some(link)) => format!("{} (on {link})", self.name),
            (None, None) => self.name.to_string(),
        }
    }
}

/// All peers.
#[derive(Debug, Default)]
pub(super) struct Roster {
    seats: BTreeMap<PeerId, Seat>,
    names: HashMap<NeighbourName, PeerId>,
    addresses: HashMap<IpAddr, PeerId>,
    /// Numbers that were given back, the longest ago first.
    free: VecDeque<u16>,
    highest: u16,
}

/// What a new wish means for the peers that there are.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// Those that are wanted no longer.
    pub removed: Vec<PeerId>,
    /// Those that are wanted otherwise: their sessions begin anew.
    pub changed: Vec<(PeerId, Neighbour)>,
    /// Those whose session stays while something beside it changes.
    pub kept: Vec<(PeerId, Neighbour)>,
    /// Those that are new.
    pub added: Vec<(NeighbourName, Neighbour)>,
}

impl Roster {
    /// Gives a peer a number; `None` when there are 49135 already.
    pub fn add(&mut self, name: NeighbourName, neighbour: Neighbour) -> Option<PeerId> {
        let rested = self.free.len() > RESTING || self.highest == HIGHEST;
        let number = match rested.then(|| self.free.pop_front()).flatten() {
            Some(number) => number,
            None => self.highest.checked_add(1).filter(|number| *number <= HIGHEST)?,
        };
        self.highest = self.highest.max(number);
        let id = PeerId(number);
        let seat = Seat::new(name.clone(), neighbour);
        self.addresses.extend(seat.address.filter(|address| !is_of_a_link(*address)).map(|address| (address, id)));
        self.names.insert(name, id);
        self.seats.insert(id, seat);
        Some(id)
    }

    /// Forgets a peer.
    pub fn remove(&mut self, id: PeerId) -> Option<Seat> {
        let seat = self.seats.remove(&id)?;
        self.names.remove(&seat.name);
        self.addresses.retain(|_, known| *known != id);
        self.free.push_back(id.0);
        Some(seat)
    }

    /// A peer.
    pub fn seat(&self, id: PeerId) -> Option<&Seat> {
        self.seats.get(&id)
    }

    /// A peer, to be changed.
    pub fn seat_mut(&mut self, id: PeerId) -> Option<&mut Seat> {
        self.seats.get_mut(&id)
    }

    /// All of them, by number.
    pub fn seats(&self) -> impl Iterator<Item = (PeerId, &Seat)> {
        self.seats.iter().map(|(id, seat)| (*id, seat))
    }

    /// The one with a name.
    pub fn named(&self, name: &NeighbourName) -> Option<PeerId> {
        self.names.get(name).copied()
    }

    /// Who is at an address; for one of a link alone, who is on that link.
    pub fn at(&self, remote: SocketAddr, link: Option<LinkName>) -> Option<PeerId> {
        if is_of_a_link(remote.ip()) {
            let on_it = |seat: &Seat| seat.link().is_some() && seat.link() == link;
            return self.seats.iter().find(|(_, seat)| on_it(seat)).map(|(id, _)| *id);
        }
        self.addresses.get(&remote.ip()).copied()
    }

    /// The range that a stranger may come from, if there is room in it.
    pub fn range<'w>(&self, ranges: &'w [Range], address: IpAddr) -> Result<&'w Range, Stranger> {
        let range = ranges.iter().find(|range| range.prefix.contains(&address)).ok_or(Stranger::Unknown)?;
        match self.members(range.prefix) < usize::from(range.most) {
            true => Ok(range),
            false => Err(Stranger::TooMany(range.prefix, range.most)),
        }
    }

    fn members(&self, prefix: IpNet) -> usize {
        self.seats.values().filter(|seat| seat.neighbour.origin == Origin::Range(prefix)).count()
    }

    /// What is to be done so that these are the peers. Those that came from a range stay while that range is the same.
    pub fn difference(&self, neighbours: &BTreeMap<NeighbourName, Neighbour>, ranges: &[Range]) -> Difference {
        let mut difference = Difference::default();
        for (id, seat) in &self.seats {
            let template = |prefix: &IpNet| {
                let range = ranges.iter().find(|range| range.prefix == *prefix)?;
                Some(member(range, seat.address?))
            };
            let wanted = match &seat.neighbour.origin {
                Origin::Range(prefix) => template(prefix),
                _ => neighbours.get(&seat.name).cloned(),
            };
            match wanted {
                None => difference.removed.push(*id),
                Some(wanted) if wanted == seat.neighbour => {}
                Some(wanted) if same_session(&seat.neighbour, &wanted) => difference.kept.push((*id, wanted)),
                Some(wanted) => difference.changed.push((*id, wanted)),
            }
        }
        let new = neighbours.iter().filter(|(name, _)| !self.names.contains_key(*name));
        difference.added = new.map(|(name, neighbour)| (name.clone(), neighbour.clone())).collect();
        difference
    }
}

/// Why a stranger is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// It is in no range.
    Unknown,
    /// Its range has as many as it may.
    TooMany(IpNet, u16),
}

/// A peer of a range.
pub(super) fn member(range: &Range, address: IpAddr) -> Neighbour {
    let mut neighbour = range.template.clone();
    neighbour.place = Place::Address { remote: address, local: None };
    neighbour.origin = Origin::Range(range.prefix);
    neighbour.session.direction = bgp::speaker::Direction::Passive;
    neighbour
}

/// Whether what differs can be changed under a session: keys, policies, for whom we reflect, and what does not concern the peer.
fn same_session(one: &Neighbour, other: &Neighbour) -> bool {
    let kind = |neighbour: &Neighbour| neighbour.authentication.as_ref().map(std::mem::discriminant);
    let session = |neighbour: &Neighbour| PeerConfig {
        import: None,
        export: None,
        reflects: Reflects::No,
        ..neighbour.session.clone()
    };
    (&one.place, one.port, session(one), one.distance) == (&other.place, other.port, session(other), other.distance)
        && kind(one) == kind(other)
}

fn is_of_a_link(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if Ipv6Addr::is_unicast_link_local(&address))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::Ipv4Addr;

    use bgp::speaker::RemoteAs;

    use super::*;
    use crate::bgp::wish::{Distance, Necessity, PORT};

    #[test]
    fn a_peer_that_comes_and_goes_for_ever_takes_nobodys_number() {
        let address = IpAddr::from(Ipv4Addr::LOCALHOST);
        let neighbour = Neighbour {
            place: Place::Address { remote: address, local: None },
            port: PORT,
            session: PeerConfig::new(address, RemoteAs::External),
            authentication: None,
            distance: Distance::Direct,
            liveness: None,
            necessity: Necessity::Optional,
            origin: Origin::Configured,
        };
        let (mut roster, mut seen) = (Roster::default(), std::collections::BTreeSet::new());
        for _ in 0..1000 {
            let id = roster.add(NeighbourName("flaps".into()), neighbour.clone()).unwrap();
            seen.insert(id);
            roster.remove(id);
        }
        assert_eq!(seen.len(), RESTING + 1, "each rests for a while, and then has its turn again");
    }
}

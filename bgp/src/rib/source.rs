//! [`Source`]: who routes come from, as far as their worth depends on it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::policy::{Policy, Sender};
use crate::wire::Family;
use crate::wire::capability::Role;

/// A peer by number, for as long as it is configured. 0 is this speaker itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u16);

impl PeerId {
    /// Routes that begin here.
    pub const LOCAL: PeerId = PeerId(0);
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            PeerId::LOCAL => f.write_str("local"),
            PeerId(number) => write!(f, "#{number}"),
        }
    }
}

/// What a peer is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    /// This speaker itself.
    Local,
    /// Of another AS.
    External,
    /// Of our AS.
    Internal,
    /// Of our AS, and we reflect for it (RFC 4456).
    Client,
}

impl Relation {
    /// Whether it is across the border.
    pub fn is_external(self) -> bool {
        self == Relation::External
    }

    /// Whether somebody who is this to us may be told the routes of somebody else: between two of our AS only when one of them is a client
    /// (RFC 4456 section 6).
    pub fn hears_of(self, from: Relation) -> bool {
        let inside = from.is_internal() && self.is_internal();
        !inside || from == Relation::Client || self == Relation::Client
    }

    /// Whether it is inside, client or not.
    pub fn is_internal(self) -> bool {
        matches!(self, Relation::Internal | Relation::Client)
    }
}

/// A peer as routes see it.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it is to us.
    pub relation: Relation,
    /// Its AS.
    pub asn: u32,
    /// Its identifier.
    pub identifier: Ipv4Addr,
    /// Its address.
    pub address: IpAddr,
    /// Our role towards it (RFC 9234).
    pub role: Option<Role>,
    /// Our own addresses on this session: a route through one of them leads in a circle.
    pub own_addresses: Vec<IpAddr>,
    /// What is done to its routes.
    pub import: Arc<Policy>,
}

impl Source {
    /// The same as policy sees it.
    pub fn sender(&self) -> Sender {
        Sender { relation: self.relation, asn: self.asn, address: Some(self.address) }
    }
}

/// All peers.
#[derive(Debug, Default)]
pub(super) struct Sources {
    known: Vec<Option<Arc<Source>>>,
    paths: Vec<[u32; 3]>,
}

impl Sources {
    pub fn add(&mut self, peer: PeerId, source: Source) {
        let place = usize::from(peer.0);
        if self.known.len() <= place {
            self.known.resize(place + 1, None);
            self.paths.resize(place + 1, [0; 3]);
        }
        if let Some(known) = self.known.get_mut(place) {
            *known = Some(Arc::new(source));
        }
    }

    pub fn get(&self, peer: PeerId) -> Option<&Arc<Source>> {
        self.known.get(usize::from(peer.0))?.as_ref()
    }

    pub fn set_import(&mut self, peer: PeerId, policy: Arc<Policy>) {
        if let Some(Some(source)) = self.known.get_mut(usize::from(peer.0)) {
            Arc::make_mut(source).import = policy;
        }
    }

    pub fn set_relation(&mut self, peer: PeerId, relation: Relation) {
        if let Some(Some(source)) = self.known.get_mut(usize::from(peer.0)) {
            Arc::make_mut(source).relation = relation;
        }
    }

    pub fn set_own_addresses(&mut self, peer: PeerId, addresses: Vec<IpAddr>) {
        if let Some(Some(source)) = self.known.get_mut(usize::from(peer.0)) {
            Arc::make_mut(source).own_addresses = addresses;
        }
    }

    /// Whom a route is from; `ours` is our AS, in which those begin that are of no peer.
    pub fn sender(&self, peer: PeerId, ours: u32) -> Sender {
        let local = Sender { relation: Relation::Local, asn: ours, address: None };
        self.get(peer).map_or(local, |source| source.sender())
    }

    pub fn relation(&self, peer: PeerId) -> Relation {
        self.get(peer).map_or(Relation::Local, |source| source.relation)
    }

    /// Paths of a peer, by family in the order of [`Family::ALL`].
    pub fn paths(&self, peer: PeerId) -> [u32; 3] {
        self.paths.get(usize::from(peer.0)).copied().unwrap_or_default()
    }

    pub fn count(&mut self, peer: PeerId, family: Family, difference: i32) {
        let place = usize::from(peer.0);
        if self.paths.len() <= place {
            self.paths.resize(place + 1, [0; 3]);
        }
        let families = Family::ALL.iter().position(|known| *known == family);
        if let Some(count) = families.and_then(|at| self.paths.get_mut(place)?.get_mut(at)) {
            *count = count.saturating_add_signed(difference);
        }
    }
}

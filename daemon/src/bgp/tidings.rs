//! [`Tidings`]: what the node loop is still to be told of routes. While it is busy, what is said twice of a prefix is said once.
//!
//! Bounded by the routes that there are ([`Waiting`]). While the node loop keeps up nothing waits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use backends::evpn::{RouteId, Station};
use backends::state::LinkName;
use bgp::rib::change::Destination;
use bgp::rib::{Change, PeerId};
use bgp::wire::{Family, NextHop as Hop};
use ipnet::IpNet;
use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use super::learnt::{Learnt, MOST_ROUTES, Missing, NextHop};
use super::waiting::{Said, Waiting};
use super::wish::NeighbourName;

/// How long few routes are gathered after others were told: to wake the node loop takes longer than to decide one, and the next peer's word comes
/// first. What comes after a rest is told at once.
const GATHERED: Duration = Duration::from_millis(1);

/// So many are told without that.
const MANY: usize = 64;

/// Paths, and where they lead.
type Lead = (Arc<[(PeerId, Hop)]>, Arc<BTreeSet<NextHop>>);

/// What waits to be told.
#[derive(Debug)]
pub(super) struct Tidings {
    tell: mpsc::Sender<Learnt>,
    /// What was learnt since routes were last told.
    fresh: Vec<Said>,
    /// When that was.
    told: Option<Duration>,
    waiting: Waiting,
    /// What EVPN says, of which there is little: it always waits for its turn.
    fabric: BTreeMap<RouteId, BTreeSet<Station>>,
    /// Routers that are reached no longer: told before all else.
    lost: Vec<NextHop>,
    settled: Vec<Family>,
    links: HashMap<PeerId, LinkName>,
    /// The paths that were learnt last, and where they lead: the next ones are mostly the same.
    last: Option<Lead>,
    missing: watch::Sender<Missing>,
}

impl Tidings {
    pub fn new(tell: mpsc::Sender<Learnt>, missing: watch::Sender<Missing>) -> Tidings {
        let (fresh, told, waiting) = (Vec::new(), None, Waiting::default());
        let (fabric, links) = (BTreeMap::new(), HashMap::new());
        let (lost, settled) = (Vec::new(), Vec::new());
        Tidings { tell, fresh, told, waiting, fabric, lost, settled, links, last: None, missing }
    }

    /// Where a peer is whose routes lead to addresses of a link.
    pub fn place(&mut self, peer: PeerId, link: Option<LinkName>) {
        self.last = None;
        match link {
            Some(link) => self.links.insert(peer, link),
            None => self.links.remove(&peer),
        };
    }

    /// Why a peer that this node needs is not up; nothing when it is, or is needed no longer.
    pub fn need(&mut self, name: &NeighbourName, sentence: Option<String>) {
        self.missing.send_if_modified(|missing| match sentence {
            Some(sentence) if missing.get(name) == Some(&sentence) => false,
            Some(sentence) => {
                missing.insert(name.clone(), sentence);
                true
            }
            None => missing.remove(name).is_some(),
        });
    }

    /// What is best now.
    pub fn learn(&mut self, change: Change) {
        let Destination::Prefix(net) = change.destination else { return };
        if self.tell.is_closed() || !may_lead_out(net) {
            return;
        }
        let hops = self.hops(change.paths);
        match self.waiting.is_empty() {
            true => self.fresh.push((net, hops)),
            false => self.waiting.push((net, hops)),
        }
    }

    /// What an EVPN route says now.
    pub fn learn_of_fabric(&mut self, id: RouteId, stations: BTreeSet<Station>) {
        if !self.tell.is_closed() {
            self.fabric.insert(id, stations);
        }
    }

    /// The path to a router is dead: that is said at once, before it is known what follows from it.
    pub fn lose(&mut self, router: NextHop) {
        self.lost.push(router);
        self.tell_lost();
    }

    fn tell_lost(&mut self) {
        while let Some(router) = self.lost.last()
            && self.tell.try_send(Learnt::Lost(*router)).is_ok()
        {
            self.lost.pop();
        }
    }

    /// The turn is over: what it brought is told, or is gathered, or waits.
    pub fn turn(&mut self, now: Duration) {
        self.tell_lost();
        let rested = self.told.is_none_or(|told| now >= told + GATHERED);
        if !self.fresh.is_empty() && (rested || self.fresh.len() >= MANY) {
            self.told = Some(now);
            self.tell_fresh();
        }
    }

    /// When what is gathered is told.
    pub fn deadline(&self) -> Option<Duration> {
        self.told.filter(|_| !self.fresh.is_empty()).map(|told| told + GATHERED)
    }

    fn tell_fresh(&mut self) {
        let mut fresh = std::mem::take(&mut self.fresh).into_iter();
        while fresh.len() > 0 && self.waiting.is_empty() {
            match self.tell.clone().try_reserve_owned() {
                Ok(permit) => drop(permit.send(Learnt::Routes(fresh.by_ref().take(MOST_ROUTES).collect()))),
                Err(TrySendError::Full(_)) => break,
                Err(TrySendError::Closed(_)) => return,
            }
        }
        fresh.for_each(|said| self.waiting.push(said));
    }

    /// All routes of a family that were expected have been learnt.
    pub fn settle(&mut self, family: Family) {
        self.tell_fresh();
        self.settled.push(family);
    }

    /// What waits, for the next speaker to tell.
    pub fn hand_over(&mut self) -> Tidings {
        self.tell_fresh();
        // The next one's clock is another.
        self.told = None;
        let next = Tidings::new(self.tell.clone(), self.missing.clone());
        std::mem::replace(self, next)
    }

    /// Whether something waits.
    pub fn wait(&self) -> bool {
        !(self.waiting.is_empty() && self.fabric.is_empty() && self.settled.is_empty() && self.lost.is_empty())
    }

    /// Where it is told.
    pub fn listener(&self) -> mpsc::Sender<Learnt> {
        self.tell.clone()
    }

    /// Tells as much as is taken; `room` is what was waited for, if it was.
    pub fn tell(&mut self, mut room: Option<OwnedPermit<Learnt>>) {
        self.tell_lost();
        while self.wait() {
            let permit = match room.take().map_or_else(|| self.tell.clone().try_reserve_owned(), Ok) {
                Ok(permit) => permit,
                Err(TrySendError::Full(_)) => return,
                Err(TrySendError::Closed(_)) => return self.drop_all(),
            };
            permit.send(self.next());
        }
    }

    /// What is told next: routers that are lost first, and that a family is settled behind all of its routes.
    fn next(&mut self) -> Learnt {
        if let Some(router) = self.lost.pop() {
            return Learnt::Lost(router);
        }
        if !self.waiting.is_empty() {
            return Learnt::Routes(self.waiting.take(MOST_ROUTES));
        }
        if let (true, Some(family)) = (self.fabric.is_empty(), self.settled.first().copied()) {
            self.settled.remove(0);
            return Learnt::Settled(family);
        }
        Learnt::Fabric(std::iter::from_fn(|| self.fabric.pop_first()).take(MOST_ROUTES).collect())
    }

    /// Where paths lead; what begins here leads nowhere else.
    fn hops(&mut self, paths: Arc<[(PeerId, Hop)]>) -> Arc<BTreeSet<NextHop>> {
        if let Some((last, hops)) = &self.last
            && Arc::ptr_eq(last, &paths)
        {
            return Arc::clone(hops);
        }
        let hops = Arc::new(match paths.iter().any(|(peer, _)| *peer == PeerId::LOCAL) {
            true => BTreeSet::new(),
            false => paths.iter().map(|(peer, hop)| self.hop(*peer, hop)).collect(),
        });
        self.last = Some((paths, Arc::clone(&hops)));
        hops
    }

    /// A next hop as people write it; none for what begins here.
    pub fn written(&self, peer: PeerId, hop: &Hop) -> Option<String> {
        let NextHop { address, link } = self.hop(peer, hop);
        let text = link.map_or_else(|| address.to_string(), |link| format!("{address}%{link}"));
        (peer != PeerId::LOCAL).then_some(text)
    }

    fn hop(&self, peer: PeerId, hop: &Hop) -> NextHop {
        let link = self.links.get(&peer).copied();
        let (address, scoped): (IpAddr, bool) = match *hop {
            Hop::V4(address) => (address.into(), false),
            // On our own link the link-local address is the one that neighbour discovery always finds (RFC 2545 section 3).
            Hop::V6(global, local) => {
                let local = local.or(Some(global).filter(std::net::Ipv6Addr::is_unicast_link_local));
                (local.filter(|_| link.is_some()).unwrap_or(global).into(), local.is_some())
            }
        };
        NextHop { address, link: link.filter(|_| scoped) }
    }

    fn drop_all(&mut self) {
        self.waiting = Waiting::default();
        (self.lost, self.settled) = (Vec::new(), Vec::new());
        self.fabric.clear();
    }
}

/// Whether a prefix can be one of other hosts at all: what is of a link, of a host or of a group is nobody's to announce.
pub(super) fn may_lead_out(net: IpNet) -> bool {
    let address = net.network();
    match address {
        IpAddr::V4(v4) => !(v4.is_link_local() || address.is_loopback() || address.is_multicast()),
        IpAddr::V6(v6) => !(v6.is_unicast_link_local() || address.is_loopback() || address.is_multicast()),
    }
}

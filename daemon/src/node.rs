//! [`Node`]: all that this daemon knows — network, uplink, own lease, all leases — and what follows from it: the wish to the
//! store (`claim`), the cluster for the backends and what other programs are told (`cluster`). Which configuration of the network
//! is taken is in `network`.
//!
//! Facts come in by `on_…`; nothing here does anything. The kernel's side of it is `reconcile`'s.

mod arrival;
mod bgp;
mod claim;
mod cluster;
mod commands;
mod detour;
mod keys;
mod network;
mod offloads;
mod room;
mod uplink;
mod ways;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use backends::room::Room;
use backends::state::Link;
use backends::{LinkName, Uplink};
use ipam::table::Record;
use ipam::{Family, Lease, LeaseKey, LeaseTable, NodeName, Stack};
use ipnet::IpNet;

use self::bgp::OwnBgp;
use self::keys::OwnKeys;
use self::offloads::OwnOffloads;
use self::ways::OwnWays;
use crate::extension::Report;
use crate::identity::Identity;
use crate::netconf::{Division, Network};
use crate::state_file::LastKnown;
use crate::store::{Event, Instructions};
use crate::trigger::Moment;

/// Something that lasts and that an operator must know, since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Since when.
    pub since: Moment,
    /// One sentence.
    pub reason: String,
}

/// All that this daemon knows.
#[derive(Debug)]
pub struct Node {
    identity: Identity,
    network: Option<Network>,
    network_text: Option<String>,
    /// A configuration that is right in itself and not for the podCIDR that this node has: taken when that changes.
    offered: Option<String>,
    /// What an operator wrote on this node's object in the store.
    instructions: Instructions,
    /// Whether the store, or its memory, has said that.
    instructed: bool,
    uplink: Option<Uplink>,
    own: Option<Lease>,
    table: LeaseTable,
    previous: Option<Stack<IpNet>>,
    /// What this node's WireGuard devices are known by; `None` until that was asked for.
    keys: OwnKeys,
    /// What it speaks and learnt.
    bgp: OwnBgp,
    /// By which ways packets are carried.
    ways: OwnWays,
    /// Who computes checksums on its devices.
    offloads: OwnOffloads,
    /// How large outer packets may be.
    room: Option<Room>,
    /// What the store said when this daemon ran last, until the store itself speaks.
    last_known: Option<LastKnown>,
    /// Whether the store (or its memory) has told all leases: before that nothing may be removed.
    peers_known: bool,
    /// Whether a daemon had a lease here since the machine was booted. If not, a first failure to reach the store proves nothing:
    /// kube-proxy is only starting, and the Node may have been registered anew meanwhile, with another podCIDR.
    same_boot: bool,
    /// What the extension backend's commands came to.
    extension: Option<Report>,
    /// Leases of that backend that were there before this daemon started.
    former: Vec<Lease>,
    released: bool,
    /// Since when the store cannot be used.
    pub store_trouble: Option<Trouble>,
    /// Whether it answers then, and does not let this node do what it must.
    pub store_refuses: bool,
    /// Since when there is no uplink.
    pub uplink_trouble: Option<Trouble>,
    /// The family in which it has nothing then, where it is well in the other.
    pub uplink_lacks: Option<Family>,
    /// Whether that family keeps what it had.
    kept_half: bool,
    /// Until when an uplink with one of the two families is not taken yet.
    pub half_due: Option<Moment>,
    /// Since when the network's configuration cannot be used (the last good one is).
    pub network_trouble: Option<Trouble>,
    /// Since when the store answers and has no subnet for this node.
    pub unassigned: Option<Trouble>,
    /// Since when this node has another podCIDR than the one that its pods were started with.
    pub moved: Option<Trouble>,
    /// Since when this node's clock and the store's are apart.
    pub clock_trouble: Option<Trouble>,
    /// Since when there are no WireGuard keys, where they are needed.
    pub keys_trouble: Option<Trouble>,
    /// Whether what follows for the kernel as a whole may have changed (anything but peers' leases).
    pub changed: bool,
    /// Peers whose leases changed since they were last taken.
    pub touched: BTreeSet<LeaseKey>,
    /// Learnt prefixes that lead elsewhere since they were last taken, as they came; one may stand twice.
    pub touched_prefixes: VecDeque<IpNet>,
    /// Whether there is something that the state file does not have yet.
    pub unsaved: bool,
}

impl Node {
    /// Knows nothing yet but itself, and what it held before.
    pub fn new(identity: Identity, last_known: Option<LastKnown>, previous: Option<Stack<IpNet>>) -> Node {
        let same_boot = previous.is_some();
        let previous = last_known.as_ref().and_then(|last| last.own.as_ref()).map(Lease::subnets).or(previous);
        let former = last_known.as_ref().and_then(|last| bgp::Former::of(last, identity.division));
        Node {
            identity,
            network: None,
            network_text: None,
            offered: None,
            instructions: Instructions::default(),
            instructed: false,
            uplink: None,
            own: None,
            table: LeaseTable::default(),
            previous,
            keys: OwnKeys::default(),
            bgp: OwnBgp::new(same_boot, former),
            ways: OwnWays::default(),
            offloads: OwnOffloads::default(),
            room: None,
            extension: None,
            former: last_known.as_ref().map_or_else(Vec::new, |last| commands::of_extension(&last.leases)),
            last_known,
            peers_known: false,
            same_boot,
            released: false,
            store_trouble: None,
            store_refuses: false,
            uplink_trouble: None,
            uplink_lacks: None,
            kept_half: false,
            half_due: None,
            network_trouble: None,
            unassigned: None,
            moved: None,
            clock_trouble: None,
            keys_trouble: None,
            changed: false,
            touched: BTreeSet::new(),
            touched_prefixes: VecDeque::new(),
            unsaved: false,
        }
    }

    /// Takes what the store says.
    pub fn on_event(&mut self, event: Event, now: Moment) {
        self.store_refuses =
            matches!(event, Event::Refusal(_)) || self.store_refuses && !matches!(event, Event::Trouble(_));
        match event {
            Event::Network(text) => self.on_network(text, now),
            Event::Mine(lease) => {
                tracing::info!("this node's lease: {} ({})", lease.subnets(), lease.key);
                if self.unassigned.take().is_some() {
                    tracing::info!("the store has a subnet for this node again");
                }
                self.note_move(&lease, now);
                self.on_own(Some(lease));
                self.take_offered(now);
                self.forget();
            }
            Event::Released => {
                self.released = true;
                self.on_own(None);
            }
            Event::Unassigned(reason) => self.on_unassigned(reason, now),
            Event::Instructed(instructions) => self.on_instructions(instructions),
            Event::Snapshot(records) => {
                tracing::info!("the store tells of {} leases", records.len());
                let touched = self.table.replace(records);
                self.changed |= !self.peers_known;
                self.peers_known = true;
                self.on_touched(touched);
                self.forget();
            }
            Event::Changed(records) => {
                for record in records {
                    self.announce(&record);
                    let touched = self.table.apply(record);
                    self.on_touched(touched);
                }
            }
            Event::Trouble(reason) | Event::Refusal(reason) => {
                let since = self.store_trouble.as_ref().map_or(now, |trouble| trouble.since);
                if self.same_boot || !self.assigned() {
                    self.remember(now);
                }
                let kept = if self.own.is_some() { "degraded, what it said last is kept: " } else { "" };
                tracing::warn!("{kept}store: {reason}");
                self.store_trouble = Some(Trouble { since, reason });
            }
            Event::Clock(apart) => {
                if let Some(sentence) = &apart {
                    tracing::warn!("{sentence}");
                }
                self.clock_trouble = apart.map(|reason| Trouble { since: now, reason });
            }
            Event::Well => {
                if self.store_trouble.take().is_some() {
                    tracing::info!("store: well again");
                }
            }
        }
    }

    /// Once the store has said everything, what it said last time is of no use any more.
    fn forget(&mut self) {
        if self.peers_known && self.own.is_some() {
            self.last_known = None;
        }
    }

    /// Whether it is still to be learnt which devices we have.
    pub fn needs_devices(&self) -> bool {
        self.ways.found.is_none()
    }

    /// Takes the devices that we have.
    pub fn on_devices(&mut self, devices: BTreeMap<LinkName, Link>) {
        self.ways.found = Some(devices);
    }

    /// The store is silent or in trouble: until it speaks, what it said last time is what counts.
    pub fn remember(&mut self, now: Moment) {
        if self.peers_known && self.own.is_some() {
            return;
        }
        let Some(last) = self.last_known.take() else { return };
        if let Some(text) = last.network.filter(|_| self.network.is_none()) {
            // That what the store says now cannot be used remains to be said.
            let (trouble, offered) = (self.network_trouble.take(), self.offered.take());
            self.on_network(text, now);
            self.network_trouble = trouble.or(self.network_trouble.take());
            self.offered = offered;
        }
        if !self.peers_known {
            let touched = self.table.replace(last.leases.into_iter().map(Record::Lease).collect());
            self.peers_known = true;
            self.changed = true;
            self.on_touched(touched);
        }
        // What the store has given to another node meanwhile is not ours, whatever we remember.
        let others = |net: &IpNet| self.table.lease_of(net.network()).is_some_and(|it| it.node != self.identity.name);
        let still_ours = |own: &Lease| !own.subnets().values().any(others);
        if !std::mem::replace(&mut self.instructed, true) {
            self.instructions = last.instructions;
        }
        if let Some(own) = last.own.filter(|own| self.own.is_none() && still_ours(own)) {
            self.on_own(Some(own));
            let reason = self.store_trouble.iter().map(|trouble| &trouble.reason);
            reason.for_each(|reason| tracing::warn!("degraded, what it said last is kept: store: {reason}"));
        }
        self.unsaved = false;
    }

    /// The store has no subnet for this node. What runs keeps what it had.
    fn on_unassigned(&mut self, reason: String, now: Moment) {
        let since = self.unassigned.as_ref().map_or(now, |trouble| trouble.since);
        if self.unassigned.as_ref().map(|trouble| &trouble.reason) != Some(&reason) {
            tracing::warn!("no subnet for this node: {reason}");
        }
        self.unassigned = Some(Trouble { since, reason });
        self.take_offered(now);
    }

    fn on_instructions(&mut self, instructions: Instructions) {
        if !std::mem::replace(&mut self.instructed, true) {
            self.touch_bgp();
        }
        if self.instructions == instructions {
            return;
        }
        let before = std::mem::replace(&mut self.instructions, instructions);
        match &self.instructions.public {
            public if *public == before.public => {}
            Some(public) => tracing::info!("the store says that this node's public address is {public}"),
            None => tracing::info!("the store says nothing more of this node's public address"),
        }
        self.touch_bgp();
        self.unsaved = true;
    }

    /// Pods that were started with another subnet than this have addresses that no peer sends to any more.
    fn note_move(&mut self, lease: &Lease, now: Moment) {
        let subnets = lease.subnets();
        // One more family takes nothing from anybody; and of an earlier boot no pod runs.
        let lost = |before: &Stack<IpNet>| before.iter().any(|(family, net)| subnets.get(family) != Some(net));
        let has_pods = |before: &Stack<IpNet>| self.assigned() && self.same_boot && lost(before);
        let Some(before) = self.previous.filter(has_pods) else { return };
        let reason = format!(
            "the podCIDR of node {} changed from {before} to {subnets}: new pods get addresses of the new one; those that \
             run keep theirs, which no other node reaches any more, until they are made anew (`kubectl drain {}`)",
            self.identity.name, self.identity.name
        );
        tracing::warn!("{reason}");
        self.moved = Some(Trouble { since: now, reason });
    }

    /// Whether the store gives this node its subnets; else it takes them.
    pub fn assigned(&self) -> bool {
        self.identity.division == Division::Assigned
    }

    fn on_own(&mut self, own: Option<Lease>) {
        if self.own == own {
            return;
        }
        let touched = self.table.set_own(own.as_ref().map(|lease| lease.key.clone()));
        self.previous = own.as_ref().map(Lease::subnets).or(self.previous);
        self.same_boot |= own.is_some();
        self.own = own;
        self.changed = true;
        self.touch_bgp();
        self.on_touched(touched);
    }

    fn on_touched(&mut self, touched: BTreeSet<LeaseKey>) {
        self.unsaved |= !touched.is_empty();
        self.touch_bgp();
        self.touched.extend(touched);
    }

    /// This node's name.
    pub fn name(&self) -> &NodeName {
        &self.identity.name
    }

    /// All leases.
    pub fn table(&self) -> &LeaseTable {
        &self.table
    }

    /// The lease that this node holds.
    pub fn own(&self) -> Option<&Lease> {
        self.own.as_ref()
    }

    /// The network's configuration.
    pub fn network(&self) -> Option<&Network> {
        self.network.as_ref()
    }

    /// The interface that reaches the peers.
    pub fn uplink(&self) -> Option<&Uplink> {
        self.uplink.as_ref()
    }

    /// Whether this node's labels are known: where the store has none, they are from the start.
    fn knows_labels(&self) -> bool {
        self.instructed || !self.assigned()
    }

    /// The public addresses that an operator wrote on this node's object in the store.
    pub fn instructed(&self) -> Option<&Stack<IpAddr>> {
        self.instructions.public.as_ref()
    }

    /// Whether all leases are known.
    pub fn peers_known(&self) -> bool {
        self.peers_known
    }

    /// What the state file shall remember.
    pub fn last_known(&self) -> LastKnown {
        LastKnown {
            network: self.network_text.clone(),
            former: self.former_text(),
            own: self.own.clone(),
            instructions: self.instructions.clone(),
            leases: self.table.leases().cloned().collect(),
        }
    }
}

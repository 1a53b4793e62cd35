//! The ways of carrying packets that this node has: which they are, with which devices and data, where the node stands among
//! them, and what it publishes of that. What may be said when is `backends::rollout`'s.

use std::collections::BTreeMap;
use std::time::Duration;

use backends::evpn::overlay;
use backends::rollout::{Made, Position};
use backends::state::{Link, LinkKind, Tag};
use backends::ways::Ways;
use backends::{Backend, Cluster, LinkName};
use ipam::{BackendData, Carrier, Endpoint, Family, Lease, Mac, Rollout, Spare, Stack};

use super::Node;
use crate::trigger::Moment;

/// What stands between `flannel` and the VNI in a device's name: flannel's own dot, and others for a second way of the same VNI.
const SEPARATORS: [char; 7] = ['.', 'a', 'b', 'c', 'd', 'e', 'f'];

/// How long a way is kept when nobody sends by it any more: longer than a packet is on its way, or waits in a queue of a busy
/// machine. No decision depends on it.
const LINGERING: Duration = Duration::from_secs(5);

/// What this node knows of its ways.
#[derive(Debug, Default)]
pub(super) struct OwnWays {
    /// What it says, or is about to; `None` until its lease, or that it has none, is known.
    position: Option<Position>,
    /// All ways by which it must be able to receive, the target first.
    held: Vec<(Carrier, Backend)>,
    /// Ways that nobody sends by any more, until when they are kept for packets that are on their way.
    leaving: BTreeMap<Carrier, Moment>,
    /// Since when a change is under way.
    since: Option<Moment>,
    /// The devices that were there when the daemon started; `None` until the kernel was asked.
    pub(super) found: Option<BTreeMap<LinkName, Link>>,
}

impl Node {
    /// Where this node stands between its ways; `None` until that is known.
    pub fn position(&self) -> Option<&Position> {
        self.ways.position.as_ref()
    }

    /// The way that the configuration wants, once it can be had.
    pub fn target(&self) -> Option<Carrier> {
        self.ways.held.first().map(|(target, _)| target.clone())
    }

    /// Since when the backend is being changed, as far as this daemon knows.
    pub fn changing_since(&self) -> Option<Moment> {
        self.ways.since
    }

    /// The backends of all ways that this node has, the configuration's first.
    pub fn backends(&self) -> impl Iterator<Item = &Backend> {
        let configured = self.network.iter().map(|network| &network.backend).filter(|_| self.ways.held.is_empty());
        self.ways.held.iter().map(|(_, backend)| backend).chain(configured)
    }

    /// The devices on which a session must be agreed upon with each peer before this node goes on to its target.
    pub fn sessions_wanted(&self) -> Option<Vec<LinkName>> {
        let (position, (target, backend)) = (self.ways.position.as_ref()?, self.ways.held.first()?);
        let waits = position.main != *target && matches!(backend, Backend::WireGuard(_));
        waits.then(|| backend.devices().copied().collect())
    }

    /// Follows what leases and configuration say: which ways there must be.
    pub fn follow_ways(&mut self, now: Moment) {
        self.let_go(now);
        // Which devices are whose is seen from those that are there.
        let Some(network) = self.network.as_ref().filter(|_| self.peers_known && !self.needs_devices()) else { return };
        let configured = self.configured_backend(network);
        let target = configured.carrier();
        if network.networks.families().any(|family| self.data_of(&configured, family).is_none()) {
            // Its keys cannot be had: until they can, all stays as it is.
            return;
        }
        let mut position = match self.ways.position.take() {
            Some(position) => position,
            None => self.found_position(&target),
        };
        if position.main != target && self.blocks(&position.main, &configured) {
            tracing::warn!(
                "the kernel cannot hold {target} beside {}: packets are lost until all nodes have changed; with another port \
                 none would be",
                position.main
            );
            position = Position { main: target.clone(), target: target.clone(), ready: true, ..position };
        }
        let mut held: Vec<(Carrier, Backend)> = Vec::new();
        let wanted = position.held(&target, &self.table);
        // The target last, so that it takes a name that none of the older has.
        for carrier in wanted.iter().skip(1).chain(wanted.first()) {
            let known = self.ways.held.iter().find(|(name, _)| name == carrier).map(|(_, backend)| backend);
            // One that we had knows more than its name says.
            let older = || known.cloned().or_else(|| self.backend_of(carrier));
            let made = if *carrier == target { Some(configured.clone()) } else { older() };
            let excluded = *carrier != target && made.as_ref().is_some_and(|made| made.excludes(&configured));
            if let Some(made) = made.filter(|_| !excluded) {
                held.push((carrier.clone(), self.named(made, known, &held)));
            }
        }
        held.rotate_right(1);
        self.linger(&mut held, &configured, now);
        if held != self.ways.held {
            self.ways.held = held;
            self.changed = true;
        }
        self.ways.position = Some(position);
        self.forget_former();
    }

    /// When there is something to do without any new fact: a way has been kept long enough.
    pub fn ways_due(&self) -> Option<Moment> {
        self.ways.leaving.values().min().copied()
    }

    /// Whether some way is there only for packets that are on their way.
    pub(super) fn lingers(&self, own: &Position) -> bool {
        let named = |carrier: &Carrier| {
            let ways = [&own.main, &own.target].into_iter().chain(own.spares.iter().map(|(spare, _)| spare));
            ways.into_iter().any(|way| way == carrier)
        };
        self.ways.held.iter().any(|(carrier, _)| !named(carrier))
    }

    /// Drops what was kept long enough.
    fn let_go(&mut self, now: Moment) {
        let OwnWays { held, leaving, .. } = &mut self.ways;
        let before = held.len();
        held.retain(|(carrier, _)| leaving.get(carrier).is_none_or(|until| *until > now));
        leaving.retain(|_, until| *until > now);
        self.changed |= self.ways.held.len() != before;
    }

    /// Keeps for a moment what is not needed any more.
    fn linger(&mut self, held: &mut Vec<(Carrier, Backend)>, configured: &Backend, now: Moment) {
        self.ways.leaving.retain(|carrier, _| !held.iter().any(|(needed, _)| needed == carrier));
        for (carrier, backend) in &self.ways.held {
            if held.iter().any(|(needed, _)| needed == carrier) || backend.excludes(configured) {
                continue;
            }
            self.ways.leaving.entry(carrier.clone()).or_insert(now + LINGERING);
            held.push((carrier.clone(), backend.clone()));
        }
    }

    /// Says what can be said now that the kernel holds so much. Whether that is anything new.
    pub fn advance(&mut self, made: Made, now: Moment) -> bool {
        let settled = |it: &Position| it.main == it.target && it.spares.is_empty();
        let changing = self.ways.position.as_ref().is_some_and(|position| !settled(position));
        self.ways.since = changing.then(|| self.ways.since.unwrap_or(now));
        let (Some(position), Some((target, _))) = (&self.ways.position, self.ways.held.first()) else { return false };
        if self.own.is_none() {
            return false;
        }
        let mut next = position.next(target, &self.table, made);
        next.spares.retain(|(carrier, _)| self.ways.held.iter().any(|(held, _)| held == carrier));
        if next == *position {
            return false;
        }
        tell(position, &next);
        self.ways.position = Some(next);
        self.changed = true;
        true
    }

    /// This node's own way as another cluster: its backend and data.
    pub(super) fn with_ways(&self, cluster: Cluster) -> Cluster {
        let (Some(position), Some((target, backend))) = (&self.ways.position, self.ways.held.first()) else {
            return cluster;
        };
        let seen = |backend: &Backend| {
            let data = |family, endpoint: &Endpoint| match self.data_of(backend, family) {
                Some(data) => Endpoint { data, ..endpoint.clone() },
                None => endpoint.clone(),
            };
            let own = Lease { endpoints: cluster.own.endpoints.map(data), rollout: None, ..cluster.own.clone() };
            let backend = if self.ways.held.len() > 1 { backend.beside_another() } else { backend.clone() };
            Cluster { backend, own, ..cluster.clone() }
        };
        let older: Vec<_> = self.ways.held.iter().skip(1).map(|(name, older)| (name.clone(), seen(older))).collect();
        let ways = (!older.is_empty()).then(|| Box::new(Ways::new(position.clone(), target.clone(), older)));
        Cluster { ways, ..seen(backend) }
    }

    /// What this node publishes: the backend of its main way, and its ways.
    pub(super) fn published_ways(&self, families: &Stack<()>) -> Option<(&Backend, Rollout)> {
        let position = self.ways.position.as_ref()?;
        let backend = |carrier: &Carrier| self.ways.held.iter().find(|(held, _)| held == carrier).map(|it| &it.1);
        let spare = |(carrier, promised): &(Carrier, u64)| {
            let data = families.filter_map(|family, ()| self.data_of(backend(carrier)?, family))?;
            Some(Spare { carrier: carrier.clone(), promised: *promised, data })
        };
        let Position { main, target, ready, clock, spares } = position.clone();
        let spares = spares.iter().filter_map(spare).collect();
        let mtu = self.room().map(|room| room.takes);
        Some((backend(&main)?, Rollout { main, target, ready, clock, spares, mtu }))
    }

    /// Where a node stands that has just started: where its lease says, else where all others are.
    fn found_position(&self, target: &Carrier) -> Position {
        let Some(lease) = self.own_or_last() else { return Position::first(target, &self.table) };
        if let Some(rollout) = &lease.rollout {
            return Position::of(rollout);
        }
        // Flannel's, or of a release that did not say.
        let first = Position::first(target, &self.table);
        let fits = |carrier: &Carrier| lease.endpoints.values().all(|endpoint| carrier.fits(&endpoint.data));
        let data = lease.endpoints.values().next().map(|endpoint| &endpoint.data);
        let guess = match data {
            Some(BackendData::Vxlan { vni, .. }) => Carrier::new(&format!("vxlan vni={vni} port={}", port_of(target))),
            Some(other) => Carrier::new(other.backend_type()),
            None => return first,
        };
        match guess.ok().filter(|main| !fits(target) && fits(main) && self.backend_of(main).is_some()) {
            Some(main) => {
                let settled = Rollout::settled(main, first.clock);
                Position::of(&settled)
            }
            None => Position { main: target.clone(), target: target.clone(), ready: true, spares: Vec::new(), ..first },
        }
    }

    /// Whether there cannot be that way beside this backend.
    pub(super) fn blocks(&self, carrier: &Carrier, configured: &Backend) -> bool {
        self.backend_of(carrier).is_none_or(|backend| backend.excludes(configured))
    }

    fn backend_of(&self, carrier: &Carrier) -> Option<Backend> {
        let network = self.network.as_ref()?;
        network.backend.of(carrier, &network.networks)
    }

    /// A backend with devices whose names nothing else of ours has: those that it had, those that the kernel has for it, or
    /// the first that are free.
    fn named(&self, backend: Backend, known: Option<&Backend>, others: &[(Carrier, Backend)]) -> Backend {
        let names = || SEPARATORS.into_iter().filter_map(|separator| backend.with_devices_beside(separator));
        if let Some(same) = known.and_then(|known| names().find(|named| named.devices().eq(known.devices()))) {
            return same;
        }
        let taken = |device: &LinkName| others.iter().any(|(_, other)| other.devices().any(|theirs| theirs == device));
        // One that cannot stand beside it goes, and leaves it its name.
        let kept = self.ways.held.iter().filter(|(_, other)| !other.excludes(&backend));
        let kept: Vec<&LinkName> = kept.flat_map(|(_, other)| other.devices()).collect();
        let is_free = |named: &Backend| !named.devices().any(|device| taken(device) || kept.contains(&device));
        let found = names().find(|named| is_free(named) && named.devices().any(|device| self.is_found(named, device)));
        found.or_else(|| names().find(is_free)).unwrap_or(backend)
    }

    /// Whether the kernel had that device of ours, made for that backend.
    fn is_found(&self, backend: &Backend, device: &LinkName) -> bool {
        let link = self.ways.found.as_ref().and_then(|found| found.get(device)).filter(|link| link.tag == Tag::Ours);
        match (link.map(|link| &link.kind), backend) {
            (Some(LinkKind::Vxlan(there)), backend) => {
                overlay(backend).is_some_and(|wanted| (there.vni, there.port) == (wanted.vni(), wanted.port))
            }
            (Some(LinkKind::WireGuard(there)), Backend::WireGuard(wanted)) => {
                wanted.devices().families().any(|family| wanted.port(family) == there.port)
            }
            _ => false,
        }
    }

    /// A way's data of this node. A VTEP keeps the MAC that its lease says (peers have it as permanent), else the one its device
    /// has, else it gets one that follows from the node's name.
    pub(super) fn data_of(&self, backend: &Backend, family: Family) -> Option<BackendData> {
        let settings = match backend {
            Backend::Vxlan(settings) => settings,
            Backend::WireGuard(settings) => {
                let key = self.key(settings.generation)?;
                return Some(BackendData::WireGuard { key: Box::new(key), port: Some(settings.port(family)) });
            }
            Backend::Extension(settings) => return self.command_data(settings, family),
            Backend::Bgp(_) => return Some(self.bgp_data()),
            other => return Some(BackendData::Other(other.published_name().into())),
        };
        let device = settings.devices().get(family)?;
        // Two hosts that were cloned from one have one name, but not one address.
        let public = self.uplink.as_ref().and_then(|uplink| uplink.public.get(family));
        let identity = public.map_or_else(String::new, |public| format!("{} {public}", self.identity.name));
        let derived = || settings.vtep_mac(family, &identity);
        let found = || self.ways.found.as_ref()?.get(device).map(|link| link.mac);
        let mac = self.leased_mac(&backend.carrier(), family).or_else(found).unwrap_or_else(derived);
        Some(BackendData::Vxlan { vni: settings.vni(), mac })
    }

    fn leased_mac(&self, carrier: &Carrier, family: Family) -> Option<Mac> {
        let lease = self.own_or_last()?;
        let data = match &lease.rollout {
            Some(rollout) if rollout.main != *carrier => rollout.spare(carrier)?.data.get(family)?,
            _ => &lease.endpoints.get(family)?.data,
        };
        match data {
            BackendData::Vxlan { mac, .. } if carrier.fits(data) => Some(*mac),
            _ => None,
        }
    }
}

/// The port that a lease without one is taken to have: that of the configuration, where it is of the same backend.
fn port_of(target: &Carrier) -> u16 {
    target.setting("port").and_then(|port| port.parse().ok()).unwrap_or(backends::vxlan::DEFAULT_PORT)
}

/// A step is worth a line.
fn tell(before: &Position, after: &Position) {
    let Position { main, target, .. } = after;
    if before.target != *target && main == target {
        tracing::info!("rollout: back to {main}, before all nodes were ready for {}", before.target);
    } else if before.target != *target {
        tracing::info!("rollout: from {main} to {target}: this node can receive it now; the others must, too");
    } else if before.main != *main {
        tracing::info!("rollout: this node sends to all others by {main} now, and by {} no more", before.main);
    } else if after.ready && !before.ready {
        tracing::info!("rollout: every node wants {target}, and this one receives it from all");
    }
    let dropped = before.spares.iter().filter(|(carrier, _)| *carrier != *main && *carrier != *target);
    for (carrier, _) in dropped.filter(|(carrier, _)| !after.spares.iter().any(|(spare, _)| spare == carrier)) {
        tracing::info!("rollout: nobody sends by {carrier} any more; this node does without it");
    }
}

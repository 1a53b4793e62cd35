//! Which configuration of the network counts: the last that can be read and that suits the subnet which this node has.

use backends::Uplink;
use ipam::{Lease, Stack};
use ipnet::IpNet;

use super::{Node, Trouble};
use crate::netconf::{self, Network};
use crate::trigger::Moment;

/// What a text that cannot be used is called in its sentence.
const FILE: &str = "net-conf.json";

impl Node {
    /// The network's configuration cannot even be read: the last good one stays.
    pub fn on_network_missing(&mut self, reason: String, now: Moment) {
        self.refuse_network(reason, now);
    }

    pub(super) fn on_network(&mut self, text: String, now: Moment) {
        self.offered = None;
        let network = match netconf::read(&text, self.identity.division) {
            Ok(network) => network,
            Err(mistakes) => return self.refuse_network(format!("{FILE} cannot be used: {mistakes}"), now),
        };
        if let Err(reason) = self.suits(&network) {
            if self.unassigned.is_none() {
                self.offered = Some(text);
                return self.refuse_network(reason, now);
            }
            // The Node was made anew and has no subnet yet, or one that is not in the old network: nothing speaks for that
            // any more. The kernel is left as it is until the two agree.
            self.last_known = None;
            self.on_own(None);
        }
        for warning in network.warnings.iter().filter(|_| self.network_text.as_ref() != Some(&text)) {
            tracing::warn!("{FILE}: {warning}");
        }
        if self.network_trouble.take().is_some() {
            tracing::info!("{FILE} can be used again");
        }
        self.unsaved |= self.network_text.as_ref() != Some(&text);
        let before = self.network_text.replace(text);
        if self.network.as_ref() != Some(&network) {
            let backend = self.network.replace(network).map(|network| network.backend);
            self.changed = true;
            self.note_former((before, backend));
            self.follow_bgp();
        }
    }

    fn refuse_network(&mut self, reason: String, now: Moment) {
        let since = self.network_trouble.as_ref().map_or(now, |trouble| trouble.since);
        if self.network_trouble.as_ref().map(|trouble| &trouble.reason) != Some(&reason) {
            tracing::error!("{reason}");
        }
        self.network_trouble = Some(Trouble { since, reason });
    }

    /// The subnet of this node is another now, or none: what did not suit it may be right.
    pub(super) fn take_offered(&mut self, now: Moment) {
        if let Some(text) = self.offered.take() {
            self.on_network(text, now);
        }
    }

    /// A backend that does not pass the NAT before this node is of no use to it; and where nodes do not choose their subnets,
    /// neither is a network without the one that it has.
    fn suits(&self, network: &Network) -> Result<(), String> {
        self.uplink.as_ref().map_or(Ok(()), |uplink| passes(network, uplink))?;
        let last = || self.last_known.as_ref().and_then(|last| last.own.as_ref());
        let Some(own) = self.own.as_ref().or_else(last).filter(|_| self.assigned()) else { return Ok(()) };
        let outside = |(family, net): (_, &IpNet)| {
            let subnet = own.endpoints.get(family)?.subnet;
            (!net.contains(&subnet)).then_some((*net, subnet))
        };
        let Some((net, subnet)) = network.networks.iter().find_map(outside) else { return Ok(()) };
        let from = self.networks_of(own).map_or_else(String::new, |networks| format!(" from {networks}"));
        Err(format!(
            "pod network cannot change{from} to {net}: node {} has podCIDR {subnet}, which is not in it; write the old one \
             back, or give kube-controller-manager the new one (--cluster-cidr) and delete and register each Node anew",
            self.identity.name
        ))
    }

    /// Whether an uplink is of use to the network's backend.
    ///
    /// # Errors
    /// One sentence: why it is not, and what to do.
    pub fn suits_backend(&self, uplink: &Uplink) -> Result<(), String> {
        self.network.as_ref().map_or(Ok(()), |network| passes(network, uplink))
    }

    /// The networks in use, of which the own subnets are; after a restart, those used last.
    fn networks_of(&self, own: &Lease) -> Option<Stack<IpNet>> {
        let last = || {
            let text = self.last_known.as_ref()?.network.as_deref()?;
            Some(netconf::read(text, self.identity.division).ok()?.networks)
        };
        let networks = self.network.as_ref().map(|network| network.networks).or_else(last)?;
        networks.filter_map(|family, net| own.endpoints.has(family).then_some(*net))
    }
}

/// Whether peers reach this uplink by the network's backend.
fn passes(network: &Network, uplink: &Uplink) -> Result<(), String> {
    let other = uplink.public.iter().find(|(family, public)| uplink.local.get(*family) != Some(*public));
    let Some((family, public)) = other.filter(|_| !network.backend.passes_nat()) else { return Ok(()) };
    let local = uplink.local.get(family).map(ToString::to_string).unwrap_or_default();
    let (backend, link) = (network.backend.name(), uplink.link);
    Err(format!(
        "peers would be told {public}, but {link} has {local}: a NAT stands between, which the backend {backend} does not pass; \
         leave the public address out (--public-ip, or the annotation of the Node), or choose the backend vxlan"
    ))
}

//! One family's trouble: which family alone it is about that the kernel refuses changes, so that the other goes on and is said to.

use ipam::Family;

use crate::cluster::{Backend, Cluster};
use crate::plan::{Change, Failure};
use crate::state::LinkName;

impl Cluster {
    /// The family that all refused changes are about, where this node has another as well; what only guards does not count.
    pub fn half_refused(&self, failures: &[Failure]) -> Option<Family> {
        let mut families = failures.iter().map(|it| &it.change).filter(|it| !it.only_guards()).map(|it| self.half(it));
        let first = families.next()??;
        let alone = families.all(|family| family == Some(first));
        (alone && self.own.endpoints.families().count() > 1).then_some(first)
    }

    /// The only family that a change is about.
    fn half(&self, change: &Change) -> Option<Family> {
        match change {
            Change::LinkAdd(link, _)
            | Change::LinkSet { name: link, .. }
            | Change::LinkDelete(link)
            | Change::OffloadSet(link, _) => self.carried_by(*link),
            Change::AddressAdd(_, net) | Change::AddressDelete(_, net) => Some(Family::of_net(net)),
            Change::PassageSet(net) | Change::PassageDelete(net) => Some(Family::of_net(net)),
            // What it leaves by may be of the other family, whose trouble is then this one's.
            Change::RouteSet(key, _) | Change::RouteDelete(key, _) => Some(Family::of_net(&key.destination)),
            Change::NexthopAdd(hop) | Change::NexthopDelete(hop) => Some(Family::of(hop.gateway)),
            Change::GroupAdd(group) | Change::GroupDelete(group) => {
                group.members().next().map(|hop| Family::of(hop.gateway))
            }
            Change::NeighbourSet(key, _) | Change::NeighbourDelete(key, _) => Some(Family::of(key.address)),
            Change::FdbSet(key, _) | Change::FdbDelete(key, _) => self.carried_by(key.link),
            Change::PeerSet { key, .. } | Change::PeerDelete(key) => self.carried_by(key.link),
            Change::RelaySet(..) | Change::RelayDelete(_) => Some(Family::V4),
            // Forwarding: who cannot set it for one family is not let set anything.
            Change::SysctlSet(..) | Change::RulesetSet(_) => None,
        }
    }

    /// The only family whose packets a device of ours carries.
    fn carried_by(&self, link: LinkName) -> Option<Family> {
        let carries = |family: &Family| self.backends().any(|backend: &Backend| backend.device(*family) == Some(&link));
        let [v4, v6] = Family::ALL.map(|family| carries(&family).then_some(family));
        v4.xor(v6)
    }
}

//! [`ModelKernel`]: a node's kernel in memory, as strict as the real one about what must exist before what.

use std::collections::BTreeMap;

use backends::offload::Offload;
use backends::state::{Link, LinkKind, Passage, Scope, Via};
use backends::wireguard::Generation;
use backends::{Change, Failure, KernelState, LinkName, Outcome, Plan, Uplink};
use towpathd::reconcile::{Kernel, WantedUplink};
use towpathd::tunnel_keys::TunnelKeys;

use crate::dice::Dice;

/// A node's kernel.
#[derive(Clone, Debug)]
pub struct ModelKernel {
    /// What carries our tag.
    pub ours: KernelState,
    /// What somebody else put there: must never change.
    pub foreign: KernelState,
    /// The interface to the other nodes, while it is there.
    pub uplink: Option<Uplink>,
    /// How many of a hundred changes are refused.
    pub refuses: usize,
    /// Whether what comes after a refused change is refused, too, as when memory is short.
    pub gives_up: bool,
    /// After how many more changes the daemon dies; `None`: it lives.
    pub dies_after: Option<usize>,
    /// Modifying messages so far.
    pub writes: u64,
    dice: Dice,
}

impl ModelKernel {
    /// A kernel with an uplink and with somebody else's things in it.
    pub fn new(uplink: Uplink, foreign: KernelState, seed: u64) -> ModelKernel {
        let mut ours = KernelState::default();
        let of_uplink = format!("net/ipv4/conf/{}/rp_filter", uplink.link);
        for path in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", &of_uplink] {
            ours.sysctls.insert(path.to_owned(), "0".to_owned());
        }
        let dice = Dice::new(seed);
        ModelKernel {
            ours,
            foreign,
            uplink: Some(uplink),
            refuses: 0,
            gives_up: false,
            dies_after: None,
            writes: 0,
            dice,
        }
    }

    /// The uplink goes, and with it (as in Linux) every tunnel device on it.
    pub fn lose_uplink(&mut self) -> Option<Uplink> {
        let uplink = self.uplink.take()?;
        let over = |kind: &LinkKind| matches!(kind, LinkKind::Vxlan(vxlan) if vxlan.underlay == Some(uplink.link));
        let gone: Vec<LinkName> =
            self.ours.links.iter().filter(|(_, l)| over(&l.kind)).map(|(name, _)| *name).collect();
        gone.iter().for_each(|name| self.delete_link(*name));
        self.flush(uplink.link);
        Some(uplink)
    }

    /// A link goes, and everything on it.
    pub fn delete_link(&mut self, name: LinkName) {
        self.ours.links.remove(&name);
        self.ours.software_checksums.remove(&name);
        self.flush(name);
        self.ours.addresses.retain(|(link, _), _| *link != name);
        self.ours.fdb.retain(|key, _| key.link != name);
        self.ours.peers.retain(|key, _| key.link != name);
        self.ours.sysctls.retain(|path, _| !path.split('/').any(|part| part == name.as_str()));
    }

    /// A link goes down: next-hop objects, routes and neighbours on it go, the forwarding database stays.
    pub fn flush(&mut self, name: LinkName) {
        self.ours.nexthops.retain(|nexthop, _| nexthop.link != name);
        self.ours.neighbours.retain(|key, _| key.link != name);
        self.ours.routes.retain(|_, route| route.via.link() != Some(name));
    }

    fn up(&self, name: LinkName) -> Result<(), String> {
        if self.uplink.as_ref().is_some_and(|uplink| uplink.link == name) {
            return Ok(());
        }
        match self.ours.links.get(&name) {
            Some(link) if link.up => Ok(()),
            Some(_) => Err(format!("{name} is down")),
            None => Err(format!("{name}: no such device")),
        }
    }

    fn make(&mut self, change: &Change) -> Result<(), String> {
        let ours = &mut self.ours;
        match change {
            Change::LinkAdd(name, link) => self.make_link(*name, link)?,
            Change::LinkSet { name, from, to } => {
                let there = ours.links.get_mut(name).ok_or("no such device")?;
                if *there != **from {
                    return Err(format!("{name} is not what it was taken for"));
                }
                *there = Link::clone(to);
            }
            Change::OffloadSet(name, wanted) => self.set_offload(*name, *wanted)?,
            Change::LinkDelete(name) => self.delete_link(*name),
            Change::AddressAdd(link, address) => {
                ours.links.get(link).ok_or("no such device")?;
                let switch = ours.sysctls.get(&format!("net/ipv6/conf/{link}/disable_ipv6"));
                if address.addr().is_ipv6() && switch.is_some_and(|off| off != "0") {
                    return Err(format!("{link}: IPv6 is disabled on it"));
                }
                ours.addresses.insert((*link, *address), backends::state::Tag::Ours);
            }
            Change::AddressDelete(link, address) => drop(ours.addresses.remove(&(*link, *address))),
            Change::SysctlSet(path, value) => *ours.sysctls.get_mut(path).ok_or("no such sysctl")? = value.clone(),
            Change::RulesetSet(ruleset) => ours.ruleset = ruleset.clone(),
            Change::PassageSet(network) => drop(ours.passages.insert(*network, Passage::Open)),
            Change::PassageDelete(network) => drop(ours.passages.remove(network)),
            Change::NexthopAdd(nexthop) => {
                self.up(nexthop.link)?;
                self.ours.nexthops.insert(*nexthop, backends::state::Tag::Ours);
            }
            Change::NexthopDelete(nexthop) => {
                ours.nexthops.remove(nexthop);
                ours.routes.retain(|_, route| route.via != Via::Object(*nexthop));
            }
            Change::GroupAdd(_) | Change::GroupDelete(_) => return Err("nobody learns routes here".into()),
            Change::RouteSet(key, route) => {
                if matches!(route.via, Via::Object(nexthop) if !ours.nexthops.contains_key(&nexthop)) {
                    return Err("no such nexthop".into());
                }
                route.via.link().map_or(Ok(()), |link| self.up(link))?;
                self.ours.routes.insert(*key, route.clone());
            }
            Change::RouteDelete(key, _) => drop(ours.routes.remove(key)),
            Change::NeighbourSet(key, entry) => {
                self.up(key.link)?;
                self.ours.neighbours.insert(*key, *entry);
            }
            Change::NeighbourDelete(key, _) => {
                ours.neighbours.remove(key);
            }
            Change::FdbSet(key, entry) => {
                ours.links.get(&key.link).ok_or("no such device")?;
                ours.fdb.insert(*key, *entry);
            }
            Change::FdbDelete(key, _) => {
                ours.fdb.remove(key);
            }
            Change::PeerSet { key, to, .. } => {
                ours.links.get(&key.link).ok_or("no such device")?;
                ours.peers.insert(*key, (**to).clone());
            }
            Change::PeerDelete(key) => {
                ours.peers.remove(key);
            }
            Change::RelaySet(key, peer) => drop(ours.relays.insert(*key, *peer)),
            Change::RelayDelete(key) => drop(ours.relays.remove(key)),
        }
        Ok(())
    }

    fn set_offload(&mut self, name: LinkName, wanted: Offload) -> Result<(), String> {
        self.ours.links.get(&name).ok_or("no such device")?;
        match wanted {
            Offload::Off => self.ours.software_checksums.insert(name),
            Offload::On => self.ours.software_checksums.remove(&name),
        };
        Ok(())
    }

    fn make_link(&mut self, name: LinkName, link: &Link) -> Result<(), String> {
        let underlay = self.uplink.as_ref().map(|uplink| uplink.link);
        if self.ours.links.contains_key(&name) {
            return Err(format!("{name}: file exists"));
        }
        if matches!(&link.kind, LinkKind::Vxlan(vxlan) if vxlan.underlay != underlay) {
            return Err(format!("{name}: its underlay does not exist"));
        }
        // A host that switches IPv6 off for what is new.
        for path in ["ipv6/conf/{}/accept_ra", "ipv6/conf/{}/disable_ipv6", "ipv4/conf/{}/rp_filter"] {
            self.ours.sysctls.insert(format!("net/{}", path.replace("{}", name.as_str())), "1".to_owned());
        }
        self.ours.links.insert(name, link.clone());
        Ok(())
    }

    fn attempt(&mut self, change: &Change) -> Result<(), String> {
        if let Some(left) = &mut self.dies_after {
            if *left == 0 {
                return Err("the daemon is dead".into());
            }
            *left -= 1;
        }
        self.writes += 1;
        if self.dice.chance(self.refuses) {
            return Err("no buffer space available".into());
        }
        self.make(change)
    }
}

impl Kernel for ModelKernel {
    fn observe(&mut self, scope: &Scope) -> Result<KernelState, String> {
        if self.dice.chance(self.refuses) {
            return Err("dump interrupted".into());
        }
        let wanted = |path: &str| scope.sysctls.iter().any(|sysctl| sysctl == path);
        let sysctls: BTreeMap<_, _> = self.ours.sysctls.clone().into_iter().filter(|(path, _)| wanted(path)).collect();
        Ok(KernelState { sysctls, ..self.ours.clone() })
    }

    fn apply(&mut self, _scope: &Scope, plan: &Plan) -> Outcome {
        let mut outcome = Outcome::default();
        for change in &plan.changes {
            let refused = self.gives_up && !outcome.failures.is_empty();
            match if refused { Err("out of memory".to_owned()) } else { self.attempt(change) } {
                Ok(()) => outcome.done += 1,
                Err(reason) => outcome.failures.push(Failure { change: change.clone(), errno: 0, reason }),
            }
        }
        outcome
    }

    fn tunnel_keys(&mut self, _generation: Generation) -> Result<TunnelKeys, String> {
        Err("there is no key file here".into())
    }

    fn uplink(&mut self, _wanted: &WantedUplink) -> Result<Uplink, String> {
        self.uplink.clone().ok_or_else(|| "no interface".into())
    }
}

//! [`Stances`]: what all leases say of their ways of carrying packets, counted: of fifteen thousand that say the same there is
//! one entry, so that whether everybody is ready costs no walk over the table.

use std::collections::BTreeMap;

use crate::{BackendData, Carrier, Lease};

/// What a lease says of its node's ways, without what differs from node to node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stance {
    /// Flannel's words alone.
    Silent {
        /// The backend, as flannel writes it.
        backend: Box<str>,
        /// The VNI, where the backend has one.
        vni: Option<u32>,
    },
    /// Ours, as of [`crate::Rollout`].
    Told {
        /// By which it may send to anybody.
        main: Carrier,
        /// By which it wants to.
        target: Carrier,
        /// Whether it receives by that from everybody.
        ready: bool,
        /// Its clock.
        clock: u64,
        /// Whether nothing is changing with it.
        settled: bool,
    },
}

impl Stance {
    /// Of a lease.
    pub fn of(lease: &Lease) -> Stance {
        if let Some(rollout) = &lease.rollout {
            let (main, target) = (rollout.main.clone(), rollout.target.clone());
            let (ready, clock, settled) = (rollout.ready, rollout.clock, rollout.is_settled());
            return Stance::Told { main, target, ready, clock, settled };
        }
        let data = lease.endpoints.values().next().map(|endpoint| &endpoint.data);
        let vni = match data {
            Some(BackendData::Vxlan { vni, .. }) => Some(*vni),
            _ => None,
        };
        Stance::Silent { backend: data.map_or("", BackendData::backend_type).into(), vni }
    }
}

/// Stances, each with how many leases have it.
#[derive(Debug, Default)]
pub struct Stances(BTreeMap<Stance, usize>);

impl Stances {
    /// One more.
    pub fn add(&mut self, lease: &Lease) {
        *self.0.entry(Stance::of(lease)).or_default() += 1;
    }

    /// One less.
    pub fn remove(&mut self, lease: &Lease) {
        let stance = Stance::of(lease);
        if let Some(count) = self.0.get_mut(&stance) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&stance);
            }
        }
    }

    /// All but one lease's.
    pub fn without<'a>(&'a self, lease: Option<&Lease>) -> impl Iterator<Item = &'a Stance> + use<'a> {
        let own = lease.map(Stance::of);
        self.0.iter().filter(move |(stance, count)| **count > usize::from(own.as_ref() == Some(stance))).map(|it| it.0)
    }
}

//! [`Pool`]: where a family's pod subnets are taken from, and which one is taken. Pure: the dice are an argument.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::taken::{Taken, bounds};
use crate::{Family, Stack};

/// How many free subnets the dice choose among, as flannel does: enough to keep two nodes apart that choose at the same
/// moment, few enough to keep a cluster's subnets together.
const CANDIDATES: usize = 100;

/// A family's pool of pod subnets: those of length `length` from `first` to `last`, inside `network`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The cluster's network (`Network`, `IPv6Network`).
    pub network: IpNet,
    /// Prefix length of each pod subnet (`SubnetLen`, `IPv6SubnetLen`).
    pub length: u8,
    /// The first subnet that may be taken (`SubnetMin`).
    pub first: IpNet,
    /// The last subnet that may be taken (`SubnetMax`).
    pub last: IpNet,
}

impl Pool {
    /// The family of the pool's subnets.
    pub fn family(&self) -> Family {
        Family::of_net(&self.network)
    }

    /// Whether a lease on the subnet is in keeping with this pool: its family, its length, from first to last.
    pub fn compatible(&self, subnet: &IpNet) -> bool {
        let same_kind = Family::of_net(subnet) == self.family() && subnet.prefix_len() == self.length;
        let (start, _) = bounds(subnet);
        same_kind && *subnet == subnet.trunc() && (self.start()..=bounds(&self.last).0).contains(&start)
    }

    /// The subnet's place in the network, counted from the network's own first: 10.244.3.0/24 is number 3 of
    /// 10.244.0.0/16. `None` when it is not [`compatible`](Pool::compatible).
    pub fn index_of(&self, subnet: &IpNet) -> Option<u128> {
        let offset = bounds(subnet).0.checked_sub(bounds(&self.network).0)?;
        self.compatible(subnet).then(|| offset >> self.host_bits())
    }

    /// The subnet at a place in the network; `None` when it is not from first to last.
    pub fn nth(&self, index: u128) -> Option<IpNet> {
        let offset = index.checked_mul(1 << self.host_bits())?;
        let subnet = self.subnet(bounds(&self.network).0.checked_add(offset)?)?;
        self.compatible(&subnet).then_some(subnet)
    }

    /// The free subnets, lowest first.
    pub fn free<'a>(&'a self, taken: &'a Taken) -> impl Iterator<Item = IpNet> + 'a {
        let mut next = Some(self.start());
        std::iter::from_fn(move || {
            loop {
                let subnet = next.and_then(|start| self.subnet(start)).filter(|subnet| self.compatible(subnet))?;
                let (start, end) = bounds(&subnet);
                let overlap = taken.end_of_overlap(self.family(), start, end);
                // Behind what is taken, at the next address where a subnet may begin.
                let last_used = overlap.unwrap_or(end).max(end);
                next =
                    (last_used >> self.host_bits()).checked_add(1).and_then(|n| n.checked_mul(1 << self.host_bits()));
                if overlap.is_none() {
                    return Some(subnet);
                }
            }
        })
    }

    fn start(&self) -> u128 {
        bounds(&self.first).0
    }

    /// Bits of an address that belong to the pods. Below 128: a pool's subnet is never a whole family.
    fn host_bits(&self) -> u32 {
        u32::from(self.family().bits().saturating_sub(self.length)).min(127)
    }

    fn subnet(&self, start: u128) -> Option<IpNet> {
        let address = match self.family() {
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(start).ok()?)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(start)),
        };
        IpNet::new(address, self.length).ok()
    }
}

/// Chooses a subnet of each pool: the previous one when it is compatible and free; else one of the first 100 free,
/// by the dice (any number will do). Of two families, IPv6 takes the same place in its network as IPv4 when that is free,
/// so that a person can tell which belong together; else the first free. `None` when a pool has nothing left.
pub fn choose(pools: &Stack<Pool>, taken: &Taken, previous: Option<&Stack<IpNet>>, dice: u64) -> Option<Stack<IpNet>> {
    let again = |family, pool: &Pool| {
        let subnet = *previous?.get(family)?;
        (pool.compatible(&subnet) && taken.is_free(&subnet)).then_some(subnet)
    };
    let by_dice = |pool: &Pool| {
        let candidates: Vec<IpNet> = pool.free(taken).take(CANDIDATES).collect();
        let place = usize::try_from(dice % (candidates.len().max(1) as u64)).unwrap_or(0);
        candidates.get(place).copied()
    };
    match pools {
        Stack::V4(pool) => Some(Stack::V4(again(Family::V4, pool).or_else(|| by_dice(pool))?)),
        Stack::V6(pool) => Some(Stack::V6(again(Family::V6, pool).or_else(|| by_dice(pool))?)),
        Stack::Dual { v4: pool4, v6: pool6 } => {
            let v4 = again(Family::V4, pool4).or_else(|| by_dice(pool4))?;
            let twin = || pool6.nth(pool4.index_of(&v4)?).filter(|twin| taken.is_free(twin));
            let v6 = again(Family::V6, pool6).or_else(twin).or_else(|| pool6.free(taken).next())?;
            Some(Stack::Dual { v4, v6 })
        }
    }
}

#[cfg(test)]
mod tests;

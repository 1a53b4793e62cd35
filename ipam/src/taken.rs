//! [`Taken`]: which addresses are spoken for, so that a free subnet is found without looking at every lease.
//!
//! Prefixes of any length go in; what comes out is whether a prefix is free as a whole. It does not know who took what.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::Family;

/// The addresses that some lease claims, as ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    v4: BTreeMap<u128, u128>,
    v6: BTreeMap<u128, u128>,
}

/// The first and the last address of a prefix, as numbers.
pub(crate) fn bounds(net: &IpNet) -> (u128, u128) {
    match net.trunc() {
        IpNet::V4(net) => (u128::from(net.network().to_bits()), u128::from(net.broadcast().to_bits())),
        IpNet::V6(net) => (net.network().to_bits(), net.broadcast().to_bits()),
    }
}

impl Taken {
    /// Takes a prefix.
    pub fn insert(&mut self, net: &IpNet) {
        let (mut start, mut end) = bounds(net);
        let ranges = match Family::of_net(net) {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        };
        // Whatever starts no later than one behind our end and ends no earlier than one before our start melts into one.
        while let Some((&other, &other_end)) = ranges.range(..=end.saturating_add(1)).next_back() {
            if other_end.saturating_add(1) < start {
                break;
            }
            ranges.remove(&other);
            (start, end) = (start.min(other), end.max(other_end));
        }
        ranges.insert(start, end);
    }

    /// Whether nobody has the prefix or a part of it.
    pub fn is_free(&self, net: &IpNet) -> bool {
        let (start, end) = bounds(net);
        self.end_of_overlap(Family::of_net(net), start, end).is_none()
    }

    /// Where the taken range ends that reaches into `start..=end`, if one does: the last such.
    pub(crate) fn end_of_overlap(&self, family: Family, start: u128, end: u128) -> Option<u128> {
        let ranges = match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        };
        ranges.range(..=end).next_back().map(|(_, other_end)| *other_end).filter(|other_end| *other_end >= start)
    }
}

impl<'a> FromIterator<&'a IpNet> for Taken {
    fn from_iter<I: IntoIterator<Item = &'a IpNet>>(nets: I) -> Taken {
        let mut taken = Taken::default();
        nets.into_iter().for_each(|net| taken.insert(net));
        taken
    }
}

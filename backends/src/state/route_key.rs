//! [`RouteKey`]: what tells routes from each other; and prefixes as keys of large maps. A full table of a router's is looked through for each route that
//! comes, so they are compared and hashed as the numbers that they are.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use ipnet::IpNet;

/// What identifies a route in table main (kernel: destination, TOS 0, priority).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteKey {
    /// The destination prefix.
    pub destination: IpNet,
    /// Metric: 0 for IPv4, 1024 for IPv6 unless said otherwise.
    pub metric: u32,
}

impl RouteKey {
    /// The kernel's default metric of the destination's family.
    pub fn new(destination: IpNet) -> RouteKey {
        let metric = if destination.addr().is_ipv4() { 0 } else { 1024 };
        RouteKey { destination, metric }
    }

    /// Of a route that is taken only while there is none with the usual key.
    pub fn below(destination: IpNet) -> RouteKey {
        let RouteKey { destination, metric } = RouteKey::new(destination);
        RouteKey { destination, metric: metric + 1 }
    }
}

impl Ord for RouteKey {
    #[inline]
    fn cmp(&self, other: &RouteKey) -> Ordering {
        order(&self.destination, &other.destination).then_with(|| self.metric.cmp(&other.metric))
    }
}

impl PartialOrd for RouteKey {
    #[inline]
    fn partial_cmp(&self, other: &RouteKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for RouteKey {
    /// Of the destination alone: hardly any two differ in nothing but the metric.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.destination {
            IpNet::V4(net) => state.write_u64(u64::from(net.addr().to_bits()) << 8 | u64::from(net.prefix_len())),
            IpNet::V6(net) => {
                state.write_u128(net.addr().to_bits());
                state.write_u8(net.prefix_len());
            }
        }
    }
}

/// A prefix as a key, in the same order as [`IpNet`]'s own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(pub IpNet);

impl Ord for Prefix {
    #[inline]
    fn cmp(&self, other: &Prefix) -> Ordering {
        order(&self.0, &other.0)
    }
}

impl PartialOrd for Prefix {
    #[inline]
    fn partial_cmp(&self, other: &Prefix) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[inline]
fn order(one: &IpNet, other: &IpNet) -> Ordering {
    match (one, other) {
        (IpNet::V4(one), IpNet::V4(other)) => {
            let rank = |net: &ipnet::Ipv4Net| u64::from(net.addr().to_bits()) << 8 | u64::from(net.prefix_len());
            rank(one).cmp(&rank(other))
        }
        (IpNet::V6(one), IpNet::V6(other)) => {
            let rank = |net: &ipnet::Ipv6Net| (net.addr().to_bits(), net.prefix_len());
            rank(one).cmp(&rank(other))
        }
        (IpNet::V4(_), IpNet::V6(_)) => Ordering::Less,
        (IpNet::V6(_), IpNet::V4(_)) => Ordering::Greater,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn keys_have_the_order_of_what_they_are_made_of() {
        let nets = [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.0.0.0/9",
            "10.1.0.0/16",
            "192.0.2.0/24",
            "::/0",
            "2001:db8::/32",
            "2001:db8::/48",
            "ff00::/8",
        ];
        let nets: Vec<IpNet> = nets.iter().map(|net| net.parse().unwrap()).collect();
        for one in &nets {
            for other in &nets {
                assert_eq!(Prefix(*one).cmp(&Prefix(*other)), one.cmp(other), "{one} {other}");
                for (metric, than) in [(0, 0), (0, 1), (1, 0)] {
                    let keys = (RouteKey { destination: *one, metric }, RouteKey { destination: *other, metric: than });
                    assert_eq!(keys.0.cmp(&keys.1), (one, metric).cmp(&(other, than)), "{keys:?}");
                }
            }
        }
    }
}

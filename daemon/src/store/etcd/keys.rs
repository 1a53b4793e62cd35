//! [`Keys`]: flannel's key layout below the prefix, and what a key with its value is: a lease, or garbage.

use etcd_client::KeyValue;
use ipam::table::Record;
use ipam::{Lease, LeaseKey, Stack};
use ipnet::IpNet;

use crate::store::attributes::{Attributes, fit};
use crate::store::subnet_key::{self, cut};

/// The keys of one cluster network.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

/// A half-open range of keys.
#[derive(Clone, Debug)]
pub struct Range {
    /// The first key in it.
    pub start: Vec<u8>,
    /// The first behind it.
    pub end: Vec<u8>,
}

impl Keys {
    /// Below a prefix, with or without a slash at its end.
    pub fn new(prefix: &str) -> Keys {
        Keys { prefix: prefix.trim_end_matches('/').to_owned() }
    }

    /// Where the network's configuration is.
    pub fn network(&self) -> String {
        format!("{}/config", self.prefix)
    }

    /// Where a lease is.
    pub fn of(&self, key: &LeaseKey) -> String {
        format!("{}/subnets/{}", self.prefix, key.as_str())
    }

    /// Where all leases are.
    pub fn leases(&self) -> Range {
        // `0` follows `/`.
        Range {
            start: format!("{}/subnets/", self.prefix).into_bytes(),
            end: format!("{}/subnets0", self.prefix).into_bytes(),
        }
    }

    /// Where any claim on the same IPv4 subnet would be: `10.1.2.0-24` alone and `10.1.2.0-24&…` of a dual-stack node.
    pub fn same_v4(&self, v4: &IpNet) -> Range {
        let alone = self.of(&LeaseKey::new(&subnet_key::format(&Stack::V4(*v4))));
        // `'` follows `&`.
        Range { end: format!("{alone}'").into_bytes(), start: alone.into_bytes() }
    }

    /// A key's name below the leases; `None` when it is not there.
    pub fn lease_key(&self, key: &[u8]) -> Option<LeaseKey> {
        let name = key.strip_prefix(self.leases().start.as_slice())?;
        Some(LeaseKey::new(&String::from_utf8_lossy(name)))
    }

    /// What a key with its value is.
    pub fn record(&self, key: LeaseKey, value: &KeyValue, networks: Option<&Stack<IpNet>>) -> Record {
        match lease(&key, value, networks) {
            Ok(lease) => Record::Lease(lease),
            Err(reason) => {
                let name = cut(&self.of(&key));
                Record::Garbage(key, format!("etcd key {name}: {reason}"))
            }
        }
    }
}

/// The lease that a key with its value is.
///
/// # Errors
/// A clause that says why it is none.
pub fn lease(key: &LeaseKey, value: &KeyValue, networks: Option<&Stack<IpNet>>) -> Result<Lease, String> {
    let subnets = subnet_key::parse(key.as_str())?;
    fit(&subnets, networks)?;
    let attributes = Attributes::parse(value.value())?;
    let endpoints = attributes.endpoints(&subnets)?;
    let node = attributes.publisher().ok_or("it says neither whose it is nor where that is")?;
    let since = u64::try_from(value.create_revision()).unwrap_or(0);
    let rollout = attributes.rollout(&endpoints);
    Ok(Lease { key: key.clone(), node, since, endpoints, rollout })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_are_flannels() {
        let keys = Keys::new("/coreos.com/network/");
        assert_eq!(keys.network(), "/coreos.com/network/config");
        assert_eq!(keys.of(&LeaseKey::new("10.1.2.0-24")), "/coreos.com/network/subnets/10.1.2.0-24");
        assert_eq!(keys.lease_key(b"/coreos.com/network/subnets/10.1.2.0-24").unwrap().as_str(), "10.1.2.0-24");
        assert_eq!(keys.lease_key(b"/coreos.com/network/config"), None);
    }

    #[test]
    fn claims_on_one_ipv4_subnet_are_one_range() {
        let keys = Keys::new("/n");
        let range = keys.same_v4(&"10.1.2.0/24".parse().unwrap());
        let inside = |key: &str| (range.start.as_slice()..range.end.as_slice()).contains(&key.as_bytes());
        assert!(inside("/n/subnets/10.1.2.0-24") && inside("/n/subnets/10.1.2.0-24&fd00:1::-64"));
        assert!(
            !inside("/n/subnets/10.1.2.0-25") && !inside("/n/subnets/10.1.20.0-24") && !inside("/n/subnets/10.1.2.0-2")
        );
    }
}

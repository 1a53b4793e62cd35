//! [`Ghost`]: a peer that exists in the store alone, as a lease file and as an etcd key; and routes that shall not be there.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use ipam::Family;
use ipnet::IpNet;
use netns_harness::{Daemon, Etcd, Node, wait_for};
use serde_json::{Value, json};

use crate::cluster::{LIMIT, PREFIX, subnets};

/// A network in which daemons choose their subnets apart from those of ghosts.
pub const APART: &str = r#"{"Network": "10.244.0.0/16", "SubnetMin": "10.244.128.0"}"#;

/// What a ghost publishes.
#[derive(Clone, Debug)]
pub struct Ghost {
    /// Its pods' subnet.
    pub subnet: String,
    /// Its underlay address.
    pub public: String,
    /// Its VTEP's MAC.
    pub mac: String,
    /// Its network identifier.
    pub vni: u32,
}

impl Ghost {
    /// One of those that are all right: subnet 10.244.N.0/24.
    pub fn numbered(number: u8) -> Ghost {
        Ghost {
            subnet: format!("10.244.{number}.0/24"),
            public: format!("192.0.2.{number}"),
            mac: format!("02:00:00:00:01:{number:02x}"),
            vni: 1,
        }
    }

    /// Its subnet, which must be one.
    pub fn subnet(&self) -> IpNet {
        self.subnet.parse().unwrap()
    }

    /// The key that its lease has: `10.244.7.0-24`.
    pub fn key(&self) -> String {
        self.subnet.replace('/', "-")
    }

    /// Its node's name.
    pub fn name(&self) -> String {
        format!("ghost-{}", self.key())
    }

    fn attributes(&self) -> Value {
        let data = json!({ "VNI": self.vni, "VtepMAC": self.mac });
        json!({ "PublicIP": self.public, "BackendType": "vxlan", "BackendData": data })
    }

    /// What flannel writes to etcd, with our member.
    pub fn value(&self) -> String {
        let mut value = self.attributes();
        value["Node"] = json!(self.name());
        value.to_string()
    }

    /// The text of a lease file.
    pub fn file(&self) -> String {
        let mut file = self.attributes();
        file["node"] = json!(self.name());
        file["subnets"] = json!([self.subnet]);
        for (key, year) in [("acquired", 2020), ("renewed", 2020), ("expires", 2120)] {
            file[key] = json!(format!("{year}-01-01T00:00:00Z"));
        }
        file.to_string()
    }

    /// Writes its lease to etcd, without an end.
    pub fn put(&self, etcd: &Etcd) -> Result<()> {
        put(etcd, &self.key(), &self.value())
    }

    /// Takes it out of etcd.
    pub fn remove(&self, etcd: &Etcd) -> Result<()> {
        etcd.ctl(&["del", &format!("{PREFIX}/subnets/{}", self.key())]).map(drop)
    }

    /// Writes its lease file, as nobody should: in place.
    pub fn write(&self, store: &Path) -> Result<()> {
        Ok(std::fs::write(store.join("leases").join(format!("{}.json", self.key())), self.file())?)
    }
}

/// Writes any value under the key of a lease in etcd.
pub fn put(etcd: &Etcd, key: &str, value: &str) -> Result<()> {
    let station = &etcd.members()[0].station;
    let command = ["env", "ETCDCTL_API=3", "etcdctl", "put", "--", &format!("{PREFIX}/subnets/{key}")];
    station.feed(command, value).map(drop)
}

/// A daemon's own IPv4 pod subnet.
pub fn subnet(daemon: &Daemon) -> Result<IpNet> {
    subnets(daemon)?.get(Family::V4).copied().context("no IPv4 subnet")
}

/// Waits until a node has no route of ours to these pods.
pub fn wait_no_route(node: &Node, subnet: &IpNet) -> Result<()> {
    wait_for(&format!("{} to have no route to {subnet}", node.name()), LIMIT, || {
        let routes = node.run(["ip", "route", "show", "proto", "84", "exact", &subnet.to_string()])?;
        ensure!(routes.trim().is_empty(), "{routes}");
        Ok(())
    })
}

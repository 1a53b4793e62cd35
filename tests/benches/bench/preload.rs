//! Clusters of other nodes, as flannel writes them into etcd.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use ipam::{BackendData, Family};
use netns_harness::Etcd;

use crate::cluster::{NETWORK, lease, public_key};

/// net-conf.json and so many leases, as flannel writes them, a hundred a transaction.
pub fn preload(etcd: &Etcd, prefix: &str, (backend, peers): (&str, u32)) -> Result<()> {
    let config = format!(r#"{{"Network":"{NETWORK}","SubnetLen":24,"Backend":{{"Type":"{backend}"}}}}"#);
    etcd.ctl(&["put", &format!("{prefix}/config"), &config])?;
    let member = etcd.members().first().context("no member")?;
    let numbers: Vec<u32> = (1..=peers).collect();
    for chunk in numbers.chunks(100) {
        let mut text = String::from("\n");
        for i in chunk {
            let (key, value) = written(backend, *i)?;
            // Rust's quotes are Go's, which etcdctl reads.
            writeln!(text, "put {prefix}/subnets/{key} {value:?}")?;
        }
        text.push_str("\n\n");
        member.station.namespace().feed(["env", "ETCDCTL_API=3", "etcdctl", "txn"], &text)?;
    }
    Ok(())
}

/// A lease's key and value.
pub fn written(backend: &str, i: u32) -> Result<(String, String)> {
    let lease = lease(i);
    let endpoint = lease.endpoints.get(Family::V4).context("of IPv4")?;
    let data = match (backend, &endpoint.data) {
        ("vxlan", BackendData::Vxlan { vni, mac }) => format!(r#"{{"VNI":{vni},"VtepMAC":"{mac}"}}"#),
        ("wireguard", _) => format!(r#"{{"PublicKey":"{}"}}"#, public_key(i)),
        _ => "null".to_owned(),
    };
    let public = endpoint.public;
    let value =
        format!(r#"{{"PublicIP":"{public}","PublicIPv6":null,"BackendType":"{backend}","BackendData":{data}}}"#);
    Ok((format!("{}-24", endpoint.subnet.addr()), value))
}

//! What a daemon weighs with many peers, by each backend: resident memory three seconds after it is ready, from etcd.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipam::{Family, PublicKey};
use netns_harness::{Etcd, EtcdOptions, Guest, Lab, wait_for};

use crate::cluster::{NETWORK, lease};
use crate::daemon::{Started, flannels};
use crate::figures::{Bound, goal, heading};
use crate::nodes::LIMIT;
use crate::ready::{idle, usage};

/// What the program is told to do the part in a guest.
pub const THERE: &str = "memory-there";

const GUEST_LIMIT: Duration = Duration::from_secs(1800);
/// Peers, and the megabytes that a daemon may weigh with them.
const SIZES: [(u32, f64); 2] = [(5_000, 20.0), (15_000, 30.0)];

/// What the machine's own kernel has, and the rest in a guest.
pub fn measure() -> Result<()> {
    backends(&["vxlan", "host-gw", "udp"])?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(THERE);
    let status = Guest::built()?.run(&command, GUEST_LIMIT, |line| println!("{line}"))?;
    ensure!(status == 0, "the guest's part ended with {status}");
    Ok(())
}

/// The part of it that is done in a guest.
pub fn there() -> Result<()> {
    backends(&["ipip", "wireguard"])
}

fn backends(names: &[&str]) -> Result<()> {
    let lab = Lab::new("benchmemory")?;
    let etcd = lab.etcd(&EtcdOptions { flags: vec!["--unsafe-no-fsync".into()] })?;
    for backend in names {
        heading(&format!("{backend}: resident memory"));
        for (peers, megabytes) in SIZES {
            let prefix = format!("/{backend}{peers}/network");
            preload(&etcd, &prefix, (backend, peers))?;
            let node = lab.node(&format!("{backend}{peers}"))?;
            // So that host-gw finds them all on its link.
            node.ip("route add 198.18.0.0/15 dev eth0")?;
            let daemon = Started::new(&node, &etcd, &prefix)?;
            daemon.wait_ready()?;
            wait_for("every peer to be known", LIMIT, || {
                let known = daemon.metric("towpath_leases")?;
                ensure!(known >= f64::from(peers), "{known}");
                Ok(())
            })?;
            idle(Duration::from_secs(3))?;
            goal(&format!("{peers} peers, MB"), usage(daemon.process())?.rss, Bound::AtMost(megabytes));
            daemon.process().kill()?;
        }
    }
    Ok(())
}

/// net-conf.json and so many leases, as flannel writes them, a hundred a transaction.
fn preload(etcd: &Etcd, prefix: &str, (backend, peers): (&str, u32)) -> Result<()> {
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
fn written(backend: &str, i: u32) -> Result<(String, String)> {
    let (key, value) = flannels(i);
    let data = match backend {
        "vxlan" => return Ok((key, value)),
        "wireguard" => {
            let mut octets = [7; 32];
            octets[..4].copy_from_slice(&i.to_be_bytes());
            format!(r#"{{"PublicKey":"{}"}}"#, PublicKey::new(octets)?)
        }
        _ => "null".to_owned(),
    };
    let lease = lease(i);
    let public = lease.endpoints.get(Family::V4).context("of IPv4")?.public;
    let value =
        format!(r#"{{"PublicIP":"{public}","PublicIPv6":null,"BackendType":"{backend}","BackendData":{data}}}"#);
    Ok((key, value))
}

//! The node's own lease is deleted, runs out, or is taken by another: the same subnet is kept where that is possible, and
//! the way to the own pods is never a tunnel's.

use anyhow::{Context, Result, ensure};
use ipam::Family;
use ipnet::IpNet;
use netns_harness::{Daemon, Pod, Signal, wait_for};
use serde_json::Value;

use crate::cluster::{Cluster, DUAL, LIMIT, subnets, wait_route};
use crate::flannel::key;
use crate::monitor::Monitor;

/// What the tests do to a lease, whatever the store.
trait Leases {
    /// Removes the daemon's lease.
    fn delete_lease(&self, of: &Daemon) -> Result<()>;
    /// Lets it run out.
    fn expire_lease(&self, of: &Daemon) -> Result<()>;
    /// Writes another node's name over it.
    fn steal_lease(&self, of: &Daemon) -> Result<()>;
    /// Whether the store has it, under the daemon's name.
    fn has_lease(&self, of: &Daemon) -> Result<()>;
}

impl Leases for Cluster {
    fn delete_lease(&self, of: &Daemon) -> Result<()> {
        match &self.etcd {
            Some(etcd) => etcd.ctl(&["del", &key(&subnets(of)?)]).map(drop),
            None => Ok(std::fs::remove_file(file(self, of)?)?),
        }
    }

    fn expire_lease(&self, of: &Daemon) -> Result<()> {
        match &self.etcd {
            Some(etcd) => {
                let found: Value = serde_json::from_str(&etcd.ctl(&["get", &key(&subnets(of)?), "-w", "json"])?)?;
                let id = found["kvs"][0]["lease"].as_u64().context("it hangs on no lease of etcd's")?;
                etcd.ctl(&["lease", "revoke", &format!("{id:x}")]).map(drop)
            }
            None => rewrite(self, of, |lease| lease["expires"] = "2020-01-01T00:00:00Z".into()),
        }
    }

    fn steal_lease(&self, of: &Daemon) -> Result<()> {
        let data = r#"{"VNI":1,"VtepMAC":"62:00:00:00:00:77"}"#;
        match &self.etcd {
            Some(etcd) => {
                let value = format!(
                    r#"{{"PublicIP":"192.0.2.77","PublicIPv6":"2001:db8::77","BackendType":"vxlan","BackendData":{data},"BackendV6Data":{data}}}"#
                );
                // What is put over a lease is put right again; only a deleted one can become another's.
                let _paused = Paused::new(of)?;
                etcd.ctl(&["del", &key(&subnets(of)?)])?;
                etcd.ctl(&["put", &key(&subnets(of)?), &value]).map(drop)
            }
            None => rewrite(self, of, |lease| {
                lease["node"] = "thief".into();
                lease["PublicIP"] = "192.0.2.77".into();
                lease["PublicIPv6"] = "2001:db8::77".into();
                for data in ["BackendData", "BackendV6Data"] {
                    lease[data]["VtepMAC"] = "62:00:00:00:00:77".into();
                }
            }),
        }
    }

    fn has_lease(&self, of: &Daemon) -> Result<()> {
        let text = match &self.etcd {
            Some(etcd) => etcd.ctl(&["get", &key(&subnets(of)?), "--print-value-only"])?,
            None => std::fs::read_to_string(file(self, of)?)?,
        };
        let lease: Value = serde_json::from_str(&text).with_context(|| format!("`{text}`"))?;
        let names = [&lease["node"], &lease["Node"]];
        ensure!(names.iter().any(|name| **name == of.node().name()), "{lease}");
        ensure!(lease["expires"].as_str().is_none_or(|at| at > "2021"), "{lease}");
        Ok(())
    }
}

/// A daemon that looks away for a moment, if it runs.
struct Paused<'a>(&'a Daemon);

impl Paused<'_> {
    fn new(daemon: &Daemon) -> Result<Paused<'_>> {
        if daemon.is_running() {
            daemon.signal(Signal::STOP)?;
        }
        Ok(Paused(daemon))
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        if self.0.is_running() {
            self.0.signal(Signal::CONT).unwrap();
        }
    }
}

fn file(cluster: &Cluster, of: &Daemon) -> Result<std::path::PathBuf> {
    let subnets = subnets(of)?;
    let first = subnets.get(Family::V4).context("IPv4")?;
    let name = format!("{}-{}.json", first.network(), first.prefix_len());
    Ok(cluster.directory()?.join("leases").join(name))
}

/// As an editor does it: a new file in the place of the old one.
fn rewrite(cluster: &Cluster, of: &Daemon, change: impl FnOnce(&mut Value)) -> Result<()> {
    let file = file(cluster, of)?;
    let mut lease: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    change(&mut lease);
    let new = file.with_file_name(".rewritten");
    std::fs::write(&new, serde_json::to_vec_pretty(&lease)?)?;
    Ok(std::fs::rename(new, file)?)
}

#[test]
fn a_lease_that_is_lost_comes_again_with_the_same_subnet_on_a_directory() -> Result<()> {
    a_lease_that_is_lost_comes_again_with_the_same_subnet(Cluster::on_directory("lostdir", DUAL)?)
}

#[test]
fn a_lease_that_is_lost_comes_again_with_the_same_subnet_on_etcd() -> Result<()> {
    a_lease_that_is_lost_comes_again_with_the_same_subnet(Cluster::on_etcd("lostetcd", DUAL)?)
}

fn a_lease_that_is_lost_comes_again_with_the_same_subnet(mut cluster: Cluster) -> Result<()> {
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let (before, pod) = (subnets(&alpha)?, cluster.pod(&alpha, "web")?);
    let monitor = Monitor::start(alpha.node())?;
    for lose in [Cluster::delete_lease, Cluster::expire_lease] {
        let changes = monitor.during(|| {
            lose(&cluster, &alpha)?;
            wait_for("the lease to be back", LIMIT, || cluster.has_lease(&alpha))
        })?;
        ensure!(changes.is_empty(), "the node's own kernel has nothing to do with it: {changes:#?}");
        alpha.stop()?;
        lose(&cluster, &alpha)?;
        alpha.restart()?;
        alpha.wait_ready(LIMIT)?;
        wait_for("the lease to be back", LIMIT, || cluster.has_lease(&alpha))?;
    }
    assert_eq!(subnets(&alpha)?, before);
    for subnet in before.values() {
        wait_route(beta.node(), subnet)?;
    }
    for family in Family::ALL {
        wait_for("the pod to be reached", LIMIT, || beta.node().reach(&pod, family))?;
    }
    Ok(())
}

#[test]
fn a_lease_that_another_took_leaves_the_own_pods_where_they_are_on_a_directory() -> Result<()> {
    a_lease_that_another_took_leaves_the_own_pods_where_they_are(Cluster::on_directory("stolendir", DUAL)?)
}

#[test]
fn a_lease_that_another_took_leaves_the_own_pods_where_they_are_on_etcd() -> Result<()> {
    a_lease_that_another_took_leaves_the_own_pods_where_they_are(Cluster::on_etcd("stolenetcd", DUAL)?)
}

fn a_lease_that_another_took_leaves_the_own_pods_where_they_are(mut cluster: Cluster) -> Result<()> {
    let [alpha, _] = cluster.join_all(["alpha", "beta"])?;
    let mut pods = vec![(cluster.pod(&alpha, "web")?, "web")];
    let before = subnets(&alpha)?;
    cluster.steal_lease(&alpha)?;
    wait_another(&cluster, &alpha, &before).context("while it ran")?;
    own_pods_are_here(&alpha, &pods)?;
    pods.push((cluster.pod(&alpha, "db")?, "db"));
    let before = subnets(&alpha)?;
    alpha.stop()?;
    cluster.steal_lease(&alpha)?;
    alpha.restart()?;
    wait_another(&cluster, &alpha, &before).context("between two runs")?;
    own_pods_are_here(&alpha, &pods)
}

/// Waits until the node has other subnets than before, and says what keeps it from the thief's pods: its own.
fn wait_another(cluster: &Cluster, daemon: &Daemon, before: &ipam::Stack<IpNet>) -> Result<()> {
    wait_for("another subnet", LIMIT, || {
        let now = subnets(daemon)?;
        ensure!(now != *before, "still {now}: {}", daemon.log_tail(8));
        cluster.has_lease(daemon)
    })?;
    wait_for("the reason", LIMIT, || {
        let page = daemon.get("/readyz")?;
        ensure!(page.body.contains("that is not ours is in the way"), "{page:?}");
        Ok(())
    })
}

/// The way to each pod is its bridge, and it answers.
fn own_pods_are_here(daemon: &Daemon, pods: &[(Pod, &str)]) -> Result<()> {
    for (pod, name) in pods {
        for family in Family::ALL {
            let address = pod.address(family)?.to_string();
            let way = daemon.node().run(["ip", "route", "get", &address])?;
            ensure!(way.contains(" dev cni0 "), "the way to {name} is {way}");
            daemon.node().reach(pod, family)?;
        }
    }
    Ok(())
}

//! [`Etcd`]: a real etcd, one member on the switch or several on nodes of their own.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipam::Family;
use rustix::process::Signal;

use crate::lab::Lab;
use crate::prerequisites::{Tool, require};
use crate::process::Process;
use crate::station::Station;

const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;

/// A cluster of etcd. Clones are the same cluster.
#[derive(Clone)]
pub struct Etcd {
    members: Vec<Member>,
    scheme: &'static str,
}

/// One member.
#[derive(Clone)]
pub struct Member {
    /// Where it runs: the switch, or a node whose wire may be cut.
    pub station: Station,
    /// The program: kill it, pause it (`Signal::STOP`), restart it; its data stays.
    pub process: Process,
}

/// How etcd is started.
#[derive(Clone, Debug, Default)]
pub struct EtcdOptions {
    /// More flags for each member. With `--cert-file` among them clients speak TLS.
    pub flags: Vec<String>,
}

impl Lab {
    /// Starts one member on the switch, which every node reaches at 192.0.2.1; ready when this returns.
    ///
    /// # Errors
    /// When etcd is not installed or does not come up.
    pub fn etcd(&self, options: &EtcdOptions) -> Result<Etcd> {
        require(Tool::Etcd)?;
        Etcd::start("etcd".as_ref(), vec![(**self.switch()).clone()], options)
    }

    /// Starts so many members, each on a node of its own (`etcd-0`, `etcd-1`, …); ready when this returns.
    ///
    /// # Errors
    /// As [`Lab::etcd`].
    pub fn etcd_cluster(&self, members: usize, options: &EtcdOptions) -> Result<Etcd> {
        require(Tool::Etcd)?;
        let nodes = (0..members).map(|number| Ok((*self.node(&format!("etcd-{number}"))?).clone()));
        Etcd::start("etcd".as_ref(), nodes.collect::<Result<_>>()?, options)
    }
}

impl Etcd {
    pub(crate) fn start(program: &Path, stations: Vec<Station>, options: &EtcdOptions) -> Result<Etcd> {
        let tls = options.flags.iter().any(|flag| flag.trim_start_matches('-').starts_with("cert-file"));
        let scheme = if tls { "https" } else { "http" };
        let peers = stations.iter().map(|station| Ok(format!("{}={}", station.name(), url(station, "http", PEERS)?)));
        let peers = peers.collect::<Result<Vec<_>>>()?.join(",");
        let members = stations.into_iter().map(|station| {
            let mut command = Command::new(program);
            let (peer, client) = (url(&station, "http", PEERS)?, url(&station, scheme, CLIENTS)?);
            command.arg(format!("--name={}", station.name()));
            command.arg(format!("--data-dir={}", station.directory().join("etcd").display()));
            command.arg(format!("--listen-peer-urls={peer}")).arg(format!("--initial-advertise-peer-urls={peer}"));
            // Loopback too, for etcdctl inside the namespace.
            command.arg(format!("--listen-client-urls={client},{scheme}://127.0.0.1:{CLIENTS}"));
            command.arg(format!("--advertise-client-urls={client}"));
            command.arg(format!("--initial-cluster={peers}")).arg("--logger=zap");
            command.args(&options.flags);
            let process = station.start("etcd", command)?;
            Ok(Member { station, process })
        });
        let etcd = Etcd { members: members.collect::<Result<_>>()?, scheme };
        etcd.wait_ready(Duration::from_secs(30))?;
        Ok(etcd)
    }

    /// Waits until every member says that it serves, and there is a leader. Without TLS by `/health`; with TLS by log.
    ///
    /// # Errors
    /// What a member said last.
    pub fn wait_ready(&self, limit: Duration) -> Result<()> {
        self.members.iter().try_for_each(|member| {
            let address = (member.station.address(Family::V4)?, CLIENTS).into();
            member.process.wait_ready(limit, || {
                if self.scheme == "https" {
                    ensure!(
                        member.process.log_of_this_run().contains("serving client traffic"),
                        "it does not serve yet"
                    );
                    return Ok(());
                }
                let page = member.station.get(address, "/health")?;
                ensure!(page.status == 200 && page.body.contains("true"), "/health says {page:?}");
                Ok(())
            })
        })
    }

    /// The members.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The clients' URLs, separated by commas, as `--etcd-endpoints` takes them.
    ///
    /// # Errors
    /// When a member has lost its address.
    pub fn endpoints(&self) -> Result<String> {
        let urls = self.members.iter().map(|member| url(&member.station, self.scheme, CLIENTS));
        Ok(urls.collect::<Result<Vec<_>>>()?.join(","))
    }

    /// Runs `etcdctl` (API 3) beside the first member. `etcd.ctl(&["get", "--prefix", "/"])`.
    ///
    /// # Errors
    /// What etcdctl says; `etcdctl` is in the package etcd-client.
    pub fn ctl(&self, words: &[&str]) -> Result<String> {
        let member = self.members.first().context("a cluster without members")?;
        let endpoint = format!("--endpoints={}", url(&member.station, self.scheme, CLIENTS)?);
        let ctl = ["env", "ETCDCTL_API=3", "etcdctl", &endpoint];
        member.station.run(ctl.iter().chain(words)).context("etcdctl (package etcd-client)")
    }

    /// Kills every member; their data stays for [`Etcd::restart`].
    ///
    /// # Errors
    /// When one does not end.
    pub fn kill(&self) -> Result<()> {
        self.members.iter().try_for_each(|member| member.process.kill())
    }

    /// Starts every member again and waits until they serve.
    ///
    /// # Errors
    /// As [`Etcd::wait_ready`].
    pub fn restart(&self) -> Result<()> {
        self.members.iter().try_for_each(|member| member.process.restart())?;
        self.wait_ready(Duration::from_secs(30))
    }

    /// Stops every member in its tracks: connections stay, nothing answers.
    ///
    /// # Errors
    /// When one does not run.
    pub fn pause(&self) -> Result<()> {
        self.members.iter().try_for_each(|member| member.process.signal(Signal::STOP))
    }

    /// Lets every member go on.
    ///
    /// # Errors
    /// When one does not run.
    pub fn resume(&self) -> Result<()> {
        self.members.iter().try_for_each(|member| member.process.signal(Signal::CONT))
    }
}

fn url(station: &Station, scheme: &str, port: u16) -> Result<String> {
    Ok(format!("{scheme}://{}:{port}", station.address(Family::V4)?))
}

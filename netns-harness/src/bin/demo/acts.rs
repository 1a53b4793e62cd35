//! [`Cluster`]: what the demo builds, act by act.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{
    Binaries, Cell, Daemon, DaemonOptions, Lab, Matrix, Node, Pace, Pod, Report, Station, Store, Stream, wait_for,
};

use crate::path::path;
use crate::stage::{Stage, brief};

const NETWORK: &str = r#"{
  "Network": "10.244.0.0/16",
  "IPv6Network": "fd00:10:244::/48",
  "EnableIPv6": true,
  "Backend": {"Type": "vxlan"}
}
"#;

/// On a busy machine things take longer; in a quiet one all of them take milliseconds.
const LIMIT: Duration = Duration::from_secs(20);

/// What counts every change that a daemon makes to the kernel.
const CHANGES: &str = "towpath_kernel_changes_total";

/// The nodes with their daemons, and the pods.
pub struct Cluster<'a> {
    lab: &'a Lab,
    binaries: &'a Binaries,
    daemons: Vec<Daemon>,
    pods: Vec<Pod>,
}

impl<'a> Cluster<'a> {
    pub fn new(lab: &'a Lab, binaries: &'a Binaries) -> Cluster<'a> {
        Cluster { lab, binaries, daemons: Vec::new(), pods: Vec::new() }
    }

    /// The whole demo.
    pub fn play(&mut self, stage: &Stage) -> Result<()> {
        let store = self.open(stage)?;
        stage.heading("Three nodes, towpathd on each");
        let mut rows =
            vec![["node", "underlay", "", "its pods' subnets", "", "ready after"].map(str::to_owned).to_vec()];
        for name in ["alpha", "beta", "gamma"] {
            rows.push(self.add_node(name, &store)?);
        }
        stage.table(&rows);
        stage.heading("Two pods on each, by the CNI plugin towpath");
        let mut rows = vec![["pod", "addresses", "", "ADD took"].map(str::to_owned).to_vec()];
        for number in 0..self.daemons.len() {
            for name in ["p1", "p2"] {
                rows.push(self.add_pod(number, name)?);
            }
        }
        stage.table(&rows);
        self.show_reachability(stage)?;
        self.join(stage, &store)?;
        self.kill_and_restart(stage)?;
        self.show_status(stage)?;
        self.say_how_to_look(stage);
        Ok(())
    }

    fn open(&self, stage: &Stage) -> Result<PathBuf> {
        stage.line("Towpath: pods on several nodes, one network. Here the nodes are network namespaces.");
        stage.heading("The underlay, and a directory as the store of leases");
        let switch = self.lab.switch().addresses()?;
        stage.line(&format!("   {}.switch  a bridge, {switch}", self.lab.id()));
        let store = self.lab.store_directory(NETWORK)?;
        stage.line(&format!("   {}  with net-conf.json:", store.display()));
        let network = NETWORK.split_whitespace().collect::<Vec<_>>().join(" ");
        stage.line(&format!("   {}", stage.dim(&network)));
        Ok(store)
    }

    fn add_node(&mut self, name: &str, store: &Path) -> Result<Vec<String>> {
        let node = self.lab.node(name)?;
        let daemon = node.towpathd(self.binaries, &DaemonOptions::new(Store::Directory(store.to_owned())))?;
        self.daemons.push(daemon.clone());
        daemon.wait_ready(LIMIT)?;
        let took = daemon.started().elapsed();
        let mut row = vec![name.to_owned()];
        row.extend(Family::ALL.iter().map(|family| node.address(*family).map_or("-".into(), |a| a.to_string())));
        let written = std::fs::read_to_string(daemon.subnet_file()).context("the daemon wrote no subnet.env")?;
        let value = |key: &str| written.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("-").to_owned();
        row.extend([value("FLANNEL_SUBNET="), value("FLANNEL_IPV6_SUBNET="), brief(took)]);
        Ok(row)
    }

    fn add_pod(&mut self, number: usize, name: &str) -> Result<Vec<String>> {
        let daemon = &self.daemons[number];
        let begin = Instant::now();
        let pod = daemon.node().pod(&daemon.plugin(self.binaries)?, name)?;
        let took = brief(begin.elapsed());
        let address = |family| pod.address(family).map_or("-".to_owned(), |address| address.to_string());
        let row = vec![pod.name().to_owned(), address(Family::V4), address(Family::V6), took];
        self.pods.push(pod);
        Ok(row)
    }

    fn show_reachability(&self, stage: &Stage) -> Result<()> {
        stage.heading("Who reaches whom: a TCP message there and back");
        let begin = Instant::now();
        let matrix = self.complete_matrix()?;
        stage.line(&format!(
            "   All {} probes answered within {} after the last ADD.",
            matrix.cells.len(),
            brief(begin.elapsed())
        ));
        for family in Family::ALL {
            let mut rows = vec![vec![family.to_string()]];
            rows[0].extend(self.pods.iter().map(|pod| pod.name().to_owned()));
            for from in &self.pods {
                let mut row = vec![from.name().to_owned()];
                let cells = matrix.cells.iter().filter(|cell| cell.family == family && cell.from == from.name());
                row.extend(cells.map(|cell| self.mark(cell)));
                rows.push(row);
            }
            stage.table(&rows);
        }
        stage.line(
            &stage.dim("   · itself   = same node, over the bridge cni0   ~ other node, through the tunnel flannel.1"),
        );
        stage.heading("The paths behind it, as the nodes' kernels tell them");
        let mut rows = vec![["from", "to", "IPv4", "IPv6"].map(str::to_owned).to_vec()];
        for from in self.daemons.iter().map(Daemon::node) {
            for to in self.pods.iter().filter(|pod| pod.name().ends_with("p1")) {
                rows.push(self.paths(from, to)?);
            }
        }
        stage.table(&rows);
        Ok(())
    }

    /// Looks until everybody reaches everybody.
    fn complete_matrix(&self) -> Result<Matrix> {
        let stations: Vec<&Station> = self.pods.iter().map(|pod| &**pod).collect();
        wait_for("every pod to reach every pod", LIMIT, || {
            let matrix = Matrix::measure(&stations)?;
            matrix.check()?;
            Ok(matrix)
        })
    }

    fn mark(&self, cell: &Cell) -> String {
        let node = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let mark = match (cell.from == cell.to, node(&cell.from) == node(&cell.to)) {
            (true, _) => '·',
            (_, true) => '=',
            _ => '~',
        };
        cell.outcome.as_ref().map_or("no answer".to_owned(), |took| format!("{mark} {}", brief(*took)))
    }

    /// Checks what it shows: the bridge for a pod of the same node, a tunnel to the right address for another.
    fn paths(&self, from: &Node, to: &Pod) -> Result<Vec<String>> {
        let mut row = vec![from.name().to_owned(), to.name().to_owned()];
        for family in Family::ALL {
            let path = path(from, to.address(family)?)?;
            let local = from.name() == to.node().name();
            let expected = if local { None } else { Some(to.node().address(family)?.to_string()) };
            ensure!(path.underlay == expected, "{from} → {to}: {path}", from = from.name(), to = to.name());
            row.push(path.to_string());
        }
        Ok(row)
    }

    fn join(&mut self, stage: &Stage, store: &Path) -> Result<()> {
        stage.heading("A fourth node joins");
        let begin = Instant::now();
        let row = self.add_node("delta", store)?;
        stage.line(&format!("   delta  {} {}  subnets {} {}  ready after {}", row[1], row[2], row[3], row[4], row[5]));
        let row = self.add_pod(self.daemons.len() - 1, "p1")?;
        stage.line(&format!("   delta.p1  {} {}  ADD took {}", row[1], row[2], row[3]));
        let matrix = self.complete_matrix()?;
        let all = matrix.cells.len();
        stage.line(&format!("   All {all} probes answered within {} after the node was made.", brief(begin.elapsed())));
        Ok(())
    }

    fn kill_and_restart(&self, stage: &Stage) -> Result<()> {
        stage.heading("kill -9 of beta's daemon while pods talk, then its restart");
        let (from, to, daemon) = (&self.pods[0], &self.pods[2], &self.daemons[1]);
        let streams = Family::ALL.map(|family| (family, Stream::start(from, to, family, Pace::default())));
        let streams = streams.into_iter().map(|(family, stream)| Ok((family, stream?))).collect::<Result<Vec<_>>>()?;
        let flow = || streams.iter().try_for_each(|(_, stream)| stream.wait_more(500, LIMIT));
        flow()?;
        daemon.kill()?;
        stage.line(&format!(
            "   {} → {}: 1000 packets a second in each family; the daemon is killed.",
            from.name(),
            to.name()
        ));
        flow()?;
        daemon.restart()?;
        daemon.wait_ready(LIMIT)?;
        stage.line(&format!("   It is back, and ready after {}.", brief(daemon.started().elapsed())));
        flow()?;
        let mut lost = 0;
        for (family, stream) in streams {
            let report = stream.stop()?;
            let Report { sent, received, longest_gap, .. } = report;
            let verdict = format!("{} lost", report.lost());
            let verdict = if report.lost() == 0 { stage.green(&verdict) } else { stage.red(&verdict) };
            stage.line(&format!(
                "   {family}: {sent} sent, {received} back, {verdict}, longest gap {}.",
                brief(longest_gap)
            ));
            lost += report.lost();
        }
        let changes = daemon.metric(CHANGES)?;
        stage.line(&match changes {
            Some(changes) => format!("   Changes that the restarted daemon made to the kernel: {changes}."),
            None => format!("   The daemon does not tell {CHANGES}."),
        });
        ensure!(lost == 0, "{lost} packets were lost");
        ensure!(changes == Some(0.0), "a restart with nothing to do must change nothing");
        Ok(())
    }

    /// towpathctl's own verdict counts too: it ends with status 1 when a node is not ready or an object is missing.
    fn show_status(&self, stage: &Stage) -> Result<()> {
        let far = self.pods[2].address(Family::V4)?.to_string();
        for words in [vec!["status"], vec!["explain", &far]] {
            stage.heading(&format!("towpathctl {} on alpha", words.join(" ")));
            let ctl = self.binaries.find("towpathctl")?;
            let socket = format!("--socket={}", self.daemons[0].status_socket().display());
            let words = words.into_iter().chain([socket.as_str()]).map(OsStr::new);
            let told = self.daemons[0].node().run([ctl.as_os_str()].into_iter().chain(words))?;
            told.lines().for_each(|line| stage.line(&format!("   {line}")));
        }
        Ok(())
    }

    fn say_how_to_look(&self, stage: &Stage) {
        stage.heading("How to look inside (KEEP=1 leaves the lab up)");
        let id = self.lab.id();
        for command in [
            format!("ip netns exec {id}.alpha ip route show proto 84"),
            format!("ip netns exec {id}.alpha bridge fdb show dev flannel.1"),
            format!("ip netns exec {id}.alpha nft list table inet towpath"),
            format!(
                "ip netns exec {id}.alpha.p1 ping {}",
                self.pods[2].address(Family::V4).map_or("-".into(), |a| a.to_string())
            ),
            format!("ip netns exec {id}.switch tcpdump -nli any udp port 8472"),
            format!("towpathctl plan --socket={}", self.daemons[0].status_socket().display()),
        ] {
            stage.line(&format!("   {command}"));
        }
    }

    /// What the daemons said last, for when something went wrong.
    pub fn print_logs(&self, stage: &Stage) {
        for daemon in &self.daemons {
            let ended = if daemon.is_running() { "" } else { ", which does not run," };
            stage.heading(&format!("The daemon on {}{ended} said last", daemon.node().name()));
            stage.line(&daemon.log_tail(15));
        }
    }
}

/// For a lab that stays.
pub fn say_how_to_remove(lab: &Lab, stage: &Stage) {
    stage.heading(&format!("The lab {} stays, with these namespaces", lab.id()));
    for name in lab.namespaces().unwrap_or_default() {
        stage.line(&format!("   ip netns exec {name} bash"));
    }
    let own = std::env::current_exe().unwrap_or_else(|_| "demo".into());
    stage.line(&format!("Its files: {}", lab.directory().display()));
    stage.line(&format!("To remove it: {} --remove {}", own.display(), lab.id()));
}

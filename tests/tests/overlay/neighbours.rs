//! Two daemons on one node, each with a network of its own: neither touches what is the other's.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use netns_harness::{Daemon, Matrix, Node, Plugin, Process, Station, wait_for};
use serde_json::json;

use crate::cluster::{Cluster, DUAL, LIMIT, counted, wait_counted, wait_picture};
use crate::monitor::Monitor;
use crate::picture::Picture;

/// The other network.
const SECOND: &str = r#"{"Network": "10.200.0.0/16", "Backend": {"Type": "vxlan", "VNI": 2}}"#;

/// A second daemon on a node.
struct Second {
    process: Process,
    node: Node,
    directory: PathBuf,
}

impl Second {
    fn start(cluster: &Cluster, node: &Node, store: &std::path::Path) -> Result<Second> {
        let directory = node.directory().join("second");
        std::fs::create_dir_all(&directory)?;
        let mut command = Command::new(cluster.binaries.find("towpathd")?);
        command.args(["--store=directory", "--ip-masq=true", "--healthz-ip=127.0.0.1", "--healthz-port=8082"]);
        command.arg(format!("--store-directory={}", store.display())).arg(format!("--node-name={}", node.name()));
        for (flag, file) in [("subnet-file", "subnet.env"), ("status-socket", "sock"), ("state-directory", "state")] {
            command.arg(format!("--{flag}={}", directory.join(file).display()));
        }
        let process = node.start("second-towpathd", command)?;
        Ok(Second { process, node: node.clone(), directory })
    }

    fn wait_ready(&self) -> Result<()> {
        self.process.wait_ready(LIMIT, || {
            let page = self.node.get(SocketAddr::from(([127, 0, 0, 1], 8082)), "/readyz")?;
            ensure!(page.status == 200, "{page:?}");
            Ok(())
        })
    }

    fn plugin(&self, cluster: &Cluster) -> Result<Plugin> {
        let configuration = json!({
            "cniVersion": "1.0.0", "name": "second", "type": "towpath", "bridge": "cni2",
            "subnetFile": self.directory.join("subnet.env"), "dataDir": self.directory.join("ledger"),
        });
        Ok(Plugin::new(cluster.binaries.find("towpath")?, configuration))
    }
}

#[test]
fn two_daemons_on_one_node_do_not_touch_each_other_s() -> Result<()> {
    let mut cluster = Cluster::on_directory("two", DUAL)?;
    let firsts = cluster.join_all(["alpha", "beta"])?;
    let store = cluster.lab.directory().join("second-store");
    std::fs::create_dir(&store)?;
    std::fs::write(store.join("net-conf.json"), SECOND)?;
    let before = Picture::of(firsts[0].node())?;
    let seconds = firsts.each_ref().map(|first| Second::start(&cluster, first.node(), &store));
    let seconds = seconds.into_iter().collect::<Result<Vec<_>>>()?;
    seconds.iter().try_for_each(Second::wait_ready)?;
    let with_both = Picture::of(firsts[0].node())?;
    assert_eq!(before.less(&with_both), Vec::<&str>::new(), "the second changed something of the first");

    let mut pods = Vec::new();
    for (first, second) in firsts.iter().zip(&seconds) {
        pods.push([cluster.pod(first, "web")?, first.node().pod(&second.plugin(&cluster)?, "second")?]);
    }
    for network in 0..2 {
        let stations: Vec<&Station> = pods.iter().map(|pods| &*pods[network]).collect();
        wait_for("the pods of each network to talk", LIMIT, || Matrix::measure(&stations)?.check())?;
    }
    each_restarts_quietly(&firsts[0], &seconds[0])?;
    each_repairs_its_own(&firsts[0], &seconds[0])?;

    // Removed as one, the other stays, and notices nothing at its next start either.
    let with_both = Picture::of(firsts[0].node())?;
    firsts[0].stop()?;
    clean_up(&cluster, &firsts[0])?;
    let left = Picture::of(firsts[0].node())?;
    assert!(left.lines(&["flannel.1"]).is_empty(), "{:#?}", left.lines(&["flannel.1"]));
    let gone = with_both.less(&left);
    let wrong: Vec<_> = gone.iter().filter(|line| line.contains("flannel.2") || line.contains("second")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let changes = Monitor::start(firsts[0].node())?.during(|| {
        seconds[0].process.stop()?;
        seconds[0].process.restart()?;
        seconds[0].wait_ready()
    })?;
    assert!(changes.is_empty(), "{changes:#?}");
    Ok(())
}

/// Removes what is the first daemon's, and nothing else.
fn clean_up(cluster: &Cluster, first: &Daemon) -> Result<()> {
    let (ctl, file) =
        (cluster.binaries.find("towpathctl")?, format!("--subnet-file={}", first.subnet_file().display()));
    first.node().run([ctl.as_os_str(), "cleanup".as_ref(), "--yes".as_ref(), file.as_ref()]).map(drop)
}

fn each_restarts_quietly(first: &Daemon, second: &Second) -> Result<()> {
    let monitor = Monitor::start(first.node())?;
    let changes = monitor.during(|| {
        second.process.kill()?;
        second.process.restart()?;
        second.wait_ready()?;
        first.kill()?;
        first.restart()?;
        first.wait_ready(LIMIT)
    })?;
    ensure!(changes.is_empty(), "a restart changed something: {changes:#?}");
    Ok(())
}

fn each_repairs_its_own(first: &Daemon, second: &Second) -> Result<()> {
    let (node, picture) = (first.node(), Picture::of(first.node())?);
    let repairs = counted(first, "towpath_repairs_total")?;
    node.ip("link delete flannel.2")?;
    wait_picture(node, &picture).context("the second's device")?;
    second.process.wait_log("flannel.2", LIMIT)?;
    assert_eq!(counted(first, "towpath_repairs_total")?, repairs, "the first thought it was its own");
    node.ip("link delete flannel.1")?;
    wait_counted(first, "towpath_repairs_total", repairs)?;
    wait_picture(node, &picture).context("the first's device")?;
    // Both tables at once, and each puts back its own.
    node.run(["nft", "flush", "ruleset"])?;
    wait_picture(node, &picture).context("both tables")
}

#[test]
fn two_daemons_that_share_the_uplink_s_routes_do_not_touch_each_other_s() -> Result<()> {
    let by_host_gw = |network: &str| format!(r#"{{"Network": "{network}", "Backend": {{"Type": "host-gw"}}}}"#);
    let mut cluster = Cluster::on_directory("twogw", &by_host_gw("10.244.0.0/16"))?;
    let firsts = cluster.join_all(["alpha", "beta"])?;
    let store = cluster.lab.directory().join("second-store");
    std::fs::create_dir(&store)?;
    std::fs::write(store.join("net-conf.json"), by_host_gw("10.200.0.0/16"))?;
    let seconds = firsts.each_ref().map(|first| Second::start(&cluster, first.node(), &store));
    let seconds = seconds.into_iter().collect::<Result<Vec<_>>>()?;
    seconds.iter().try_for_each(Second::wait_ready)?;
    let node = firsts[0].node();
    let both = || {
        let routes = Picture::of(node)?.lines(&["route unicast 10.", "dev eth0", "proto 84"]).len();
        ensure!(routes == 2, "there are {routes} routes");
        Ok(())
    };
    wait_for("a route of each", LIMIT, both)?;
    each_restarts_quietly(&firsts[0], &seconds[0])?;
    let picture = Picture::of(node)?;
    node.ip("nexthop flush proto 84")?;
    wait_picture(node, &picture).context("next hops of both")?;
    firsts[0].stop()?;
    clean_up(&cluster, &firsts[0])?;
    let left = Picture::of(node)?;
    assert_eq!((left.lines(&["10.244."]).len(), left.lines(&["nexthop ", "proto 84"]).len()), (0, 1));
    assert_eq!(left.lines(&["route unicast 10.200.", "proto 84"]).len(), 1);
    Ok(())
}

#[test]
fn a_device_that_another_daemon_has_is_refused() -> Result<()> {
    let mut cluster = Cluster::on_directory("samedev", DUAL)?;
    let [alpha] = cluster.join_all(["alpha"])?;
    let picture = Picture::of(alpha.node())?;
    let store = cluster.lab.directory().join("second-store");
    std::fs::create_dir(&store)?;
    std::fs::write(store.join("net-conf.json"), SECOND.replace("\"VNI\": 2", "\"VNI\": 1"))?;
    let second = Second::start(&cluster, alpha.node(), &store)?;
    let status = second.process.wait(LIMIT)?;
    assert_eq!(status.code(), Some(1), "{}", second.process.log());
    let log = second.process.log();
    assert!(log.contains("flannel.1 belongs to another towpathd"), "{log}");
    picture.compare(&Picture::of(alpha.node())?)?;
    alpha.wait_ready(LIMIT)
}

//! What makes running impossible is said in one sentence, with an exit status.

use std::process::Command;

use anyhow::Result;

use crate::cluster::{Cluster, LIMIT, SINGLE};

#[test]
fn without_permission_it_names_the_capability_and_ends() -> Result<()> {
    let cluster = Cluster::on_directory("forbidden", SINGLE)?;
    let node = cluster.lab.node("alpha")?;
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"]).arg(cluster.binaries.find("towpathd")?);
    command.args(["--store=directory", "--node-name=alpha"]);
    command.arg(format!("--store-directory={}", cluster.directory()?.display()));
    for (flag, file) in [("subnet-file", "subnet.env"), ("status-socket", "sock"), ("state-directory", "state")] {
        command.arg(format!("--{flag}={}", node.directory().join(file).display()));
    }
    let process = node.start("unprivileged", command)?;
    let status = process.wait(LIMIT)?;
    assert_eq!(status.code(), Some(1), "{}", process.log());
    assert!(process.log().contains("CAP_NET_ADMIN"), "{}", process.log());
    assert!(!node.directory().join("subnet.env").exists());
    Ok(())
}

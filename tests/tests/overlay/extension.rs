//! Ways between nodes by the user's own commands: run without a shell, tried again, told to peers, and never in anybody's way.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};
use ipam::Family;
use netns_harness::{Daemon, Matrix, Station, wait_for};

use crate::cluster::{Cluster, LIMIT, subnets, told};

/// Flannel's own example, host-gw by commands, with what PreStartupCommand says passed on to peers.
fn host_gw_by_commands() -> String {
    let backend = serde_json::json!({
        "Type": "extension",
        "PreStartupCommand": "sh -c 'echo via the uplink of $(uname -s)'",
        "SubnetAddCommand": "sh -c 'read said; echo \"$SUBNET: $said\" >&2; ip route replace $SUBNET via $PUBLIC_IP'",
        "SubnetRemoveCommand": "ip route del $SUBNET via $PUBLIC_IP",
    });
    format!(r#"{{"Network": "10.244.0.0/16", "Backend": {backend}}}"#)
}

fn wait_talking(stations: &[&Station]) -> Result<()> {
    wait_for("the pods to talk", LIMIT, || Matrix::measure(stations)?.check())
}

fn routes(daemon: &Daemon) -> Result<String> {
    daemon.node().ip("route show 10.244.0.0/16 root 10.244.0.0/16")
}

#[test]
fn ways_come_and_go_by_commands_and_come_again_after_a_restart() -> Result<()> {
    let mut cluster = Cluster::on_directory("ext", &host_gw_by_commands())?;
    let [alpha, beta] = [cluster.join("alpha")?, cluster.join("beta")?];
    let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
    wait_talking(&[&pods[0], &pods[1]])?;
    assert_eq!(told(&alpha, "FLANNEL_MTU")?, "1500");
    let other = subnets(&beta)?.get(Family::V4).copied();
    let other = other.map(|net| net.to_string()).unwrap_or_default();
    // What the peer's first command printed came on standard input, and what ours wrote to standard error is in the log.
    alpha.wait_log(&format!("{other}: via the uplink of Linux"), LIMIT)?;
    alpha.kill()?;
    alpha.node().ip(&format!("route del {other}"))?;
    alpha.restart()?;
    alpha.wait_ready(LIMIT)?;
    wait_talking(&[&pods[0], &pods[1]])?;
    // A node that leaves while we are away is taken back at the next start.
    alpha.kill()?;
    let socket = format!("--socket={}", beta.status_socket().display());
    let ctl = cluster.binaries.find("towpathctl")?;
    beta.node().run([ctl.as_os_str(), "release".as_ref(), "--yes".as_ref(), socket.as_ref()])?;
    alpha.restart()?;
    wait_for("the way to be taken back", LIMIT, || {
        ensure!(!routes(&alpha)?.contains(&other), "{}", routes(&alpha)?);
        Ok(())
    })
}

#[test]
fn the_recipe_of_k3s_for_tailscale_runs_as_it_is_written() -> Result<()> {
    let network = r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "extension",
        "PostStartupCommand": "tailscale set --accept-routes --advertise-routes=$SUBNET",
        "ShutdownCommand": "tailscale down"}}"#;
    let mut cluster = Cluster::on_directory("tailscale", network)?;
    let node = cluster.lab.node("alpha")?;
    // A stand-in that fails until it is allowed to succeed, and says how it was called.
    let programs = node.directory().join("programs");
    fs::create_dir_all(&programs)?;
    let (program, calls, allowed) = (programs.join("tailscale"), programs.join("calls"), programs.join("allowed"));
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {}\necho not logged in >&2\ntest -e {}\n",
        calls.display(),
        allowed.display()
    );
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
    let alpha = cluster.start(&node, |mut options| {
        options.environment.push(("PATH".to_owned(), path));
        options
    })?;
    alpha.wait_log("PostStartupCommand failed: `tailscale set --accept-routes --advertise-routes=$SUBNET`", LIMIT)?;
    let page = alpha.get("/readyz")?;
    ensure!(page.status == 503 && page.body.contains("not logged in"), "{page:?}");
    fs::write(&allowed, "")?;
    alpha.wait_ready(LIMIT)?;
    let subnet = subnets(&alpha)?.get(Family::V4).copied();
    let expected =
        format!("set --accept-routes --advertise-routes={}", subnet.map(|net| net.to_string()).unwrap_or_default());
    let called = fs::read_to_string(&calls)?;
    ensure!(called.lines().all(|line| line == expected) && called.lines().count() >= 2, "{called}");
    ensure!(alpha.log().contains("ShutdownCommand is never run"), "{}", alpha.log());
    Ok(())
}

#[test]
fn a_command_that_hangs_keeps_nobody_from_anything_else() -> Result<()> {
    let network =
        r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "extension", "PostStartupCommand": "sleep 100000"}}"#;
    let mut cluster = Cluster::on_directory("hang", network)?;
    let node = cluster.lab.node("alpha")?;
    let alpha = cluster.start(&node, |options| options)?;
    wait_for("the reason", LIMIT, || {
        let page = alpha.get("/readyz")?;
        ensure!(page.body.contains("commands have not all been run yet"), "{page:?}");
        Ok(())
    })?;
    // The node loop answers, and ends at once; so does the command.
    ensure!(alpha.get("/metrics")?.status == 200, "no metrics");
    ensure!(alpha.stop()?.success(), "{}", alpha.log());
    wait_for("the command's end", LIMIT, || {
        let left = alpha.node().run([
            "sh",
            "-c",
            "ip netns pids $(ip netns identify) | xargs -r ps -o args= -p | grep -c '^sleep 10000[0]$' || true",
        ])?;
        ensure!(left.trim() == "0", "{left} left");
        Ok(())
    })
}

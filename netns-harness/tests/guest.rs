//! What the second kernel is for the tests: a place with tunnels, where nothing of the host can be changed, and which does not
//! hide how a test ended.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netns_harness::{Guest, Lab, here_and_in_guest, in_guest, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

fn shell(script: &str) -> Result<(i32, String)> {
    shell_within(script, LIMIT)
}

fn shell_within(script: &str, limit: Duration) -> Result<(i32, String)> {
    let mut said = String::new();
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    let status = Guest::built()?.run(&command, limit, |line| said.extend([line, "\n"]))?;
    Ok((status, said))
}

#[test]
fn a_test_runs_where_there_is_ipip_wireguard_netem_and_dummy() -> Result<()> {
    in_guest(|| {
        let lab = Lab::new("guest")?;
        let node = lab.node("alpha")?;
        for device in [&["type", "ipip", "local", "10.0.0.1"][..], &["type", "wireguard"], &["type", "dummy"]] {
            node.namespace().run(["ip", "link", "add", "device"].iter().chain(device))?;
            node.namespace().run(["ip", "link", "delete", "device"])?;
        }
        node.namespace().run(["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "20ms"])?;
        Ok(())
    })
}

#[test]
fn a_lab_is_the_same_on_both_kernels() -> Result<()> {
    here_and_in_guest(|| {
        let lab = Lab::new("both")?;
        let (alpha, beta) = (lab.node("alpha")?, lab.node("beta")?);
        let pod = alpha.bare_pod("web", &ipam::Stack::V4("10.1.0.2".parse()?))?;
        alpha.reach(&pod, ipam::Family::V4)?;
        beta.namespace().run(["ip", "link", "show"]).map(drop)
    })
}

#[test]
fn a_command_ends_there_as_it_ends_here() -> Result<()> {
    let (status, said) = shell("echo \"$0 it's\"; echo wrong >&2; exit 21")?;
    ensure!((status, said.as_str()) == (21, "sh it's\nwrong\n\n"), "{status}: {said:?}");
    Ok(())
}

#[test]
fn nothing_of_the_host_can_be_written_from_inside() -> Result<()> {
    let own = std::env::current_exe()?;
    let script = format!(
        "touch /etc/changed; touch {0}.changed; touch /run/host/tmp/changed; test -x {0} && echo > /tmp/own && echo seen",
        own.display()
    );
    let (status, said) = shell(&script)?;
    ensure!(status == 0 && said.matches("Read-only file system").count() == 3 && said.contains("seen"), "{said}");
    Ok(())
}

#[test]
fn a_test_that_fails_inside_fails_outside_with_what_it_said() -> Result<()> {
    let failed = in_guest(|| panic!("said inside"));
    // Inside there is no return from the closure.
    let said = format!("{:#}", failed.err().context("it passed")?);
    ensure!(said.contains("said inside") && said.contains("ended with 101"), "{said}");
    Ok(())
}

#[test]
fn a_guest_that_dies_is_a_failure_with_the_end_of_its_console() -> Result<()> {
    let died = shell("echo last words; echo c > /proc/sysrq-trigger; sleep 60").unwrap_err().to_string();
    ensure!(died.contains("the guest died") && died.contains("last words") && died.contains("panic"), "{died}");
    Ok(())
}

#[test]
fn a_guest_that_hangs_is_ended_and_leaves_no_process() -> Result<()> {
    let hung = shell_within("echo waiting; sleep 3600", Duration::from_secs(2)).unwrap_err().to_string();
    ensure!(hung.contains("did not end within 2s") && hung.contains("waiting"), "{hung}");
    // Each process of a guest is one of the host, with the guest's command line. Other tests' guests end too.
    let token = format!("towpath-guest-{}-", std::process::id());
    wait_for("all guests to be gone", LIMIT, || {
        let lines =
            std::fs::read_dir("/proc")?.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
        let left = lines.filter(|line| String::from_utf8_lossy(line).contains(&token)).count();
        ensure!(left == 0, "{left} processes");
        Ok(())
    })
}

//! What one ADD takes besides time: memory, processes, system calls; and the program's size.

use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netns_harness::wait_for;
use serde_json::json;

use super::Contest;
use super::runtime::{List, Pod, Pods, command};
use crate::figures::{Bound, goal, heading, note};

/// Of a plain ADD, and of one with a host port and masquerade.
pub fn measure(contest: &Contest<'_>, pods: &mut Pods<'_>) -> Result<()> {
    heading("What one ADD takes");
    let size = std::fs::metadata(&contest.towpath)?.len() as f64;
    goal("the program, MB", size / 1e6, Bound::AtMost(1.5));
    let plain = contest.ours(&json!({}));
    let full = contest.ours(&json!({"ipMasq": true})).with_port("towpath", 20_000);
    for (what, list) in [("a plain ADD", plain), ("with a host port and ipMasq", full)] {
        let fresh = pods.make(3)?;
        contest.node.namespace().within(|| {
            // The first one makes bridge and rules.
            list.add(&fresh[0])?;
            list.delete(&fresh[0], &json!(null))?;
            goal(&format!("{what}: most memory, MB"), peak(contest, &list, &fresh[1])?, Bound::AtMost(3.0));
            list.delete(&fresh[1], &json!(null))?;
            let (calls, forks) = system_calls(contest, &list, &fresh[2])?;
            note(&format!("{what}: system calls"), calls as f64, "");
            goal(&format!("{what}: processes and threads started"), forks as f64, Bound::AtMost(0.0));
            list.delete(&fresh[2], &json!(null)).map(drop)
        })?;
    }
    Ok(())
}

/// Megabytes that it had at most. It is asked when it has done everything and cannot get rid of its answer, because nobody
/// reads: what `wait4` says of a child includes what its parent had when it was made.
fn peak(contest: &Contest<'_>, list: &List, pod: &Pod) -> Result<f64> {
    let (ours, its) = UnixStream::pair()?;
    its.set_nonblocking(true)?;
    loop {
        match (&its).write(&[b' '; 512]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            written => drop(written?),
        }
    }
    its.set_nonblocking(false)?;
    let configuration = list.0.first().context("an empty list")?.1.to_string();
    let mut command = command(&contest.towpath, "ADD", pod);
    let mut child = command.stdin(Stdio::piped()).stdout(OwnedFd::from(its)).spawn()?;
    // The other end is held by the command alone.
    drop(command);
    child.stdin.take().context("no input")?.write_all(configuration.as_bytes())?;
    let [status, memory, call] =
        ["status", "smaps_rollup", "syscall"].map(|file| format!("/proc/{}/{file}", child.id()));
    // `write`, to standard output.
    let number = if cfg!(target_arch = "x86_64") { "1 0x1 " } else { "64 0x1 " };
    let mut seen = 0;
    wait_for("the answer to be written", Duration::from_secs(10), || {
        // Where it stays, not where it passes.
        seen = if std::fs::read_to_string(&call)?.starts_with(number) { seen + 1 } else { 0 };
        ensure!(seen == 3, "it was there {seen} times in a row");
        Ok(())
    })?;
    // The kernel counts the peak in steps of so many pages a processor, and what there is now exactly.
    let (peak, now) = (kilobytes(&status, "VmHWM:")?, kilobytes(&memory, "Rss:")?);
    let answer = std::io::read_to_string(ours)?;
    ensure!(child.wait()?.success(), "ADD: {}", answer.trim());
    Ok(peak.max(now) / 1000.0)
}

fn kilobytes(file: &str, key: &str) -> Result<f64> {
    let text = std::fs::read_to_string(file)?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB"));
    Ok(value.with_context(|| format!("no {key} in {file}"))?.parse()?)
}

/// How many system calls, and how many of them made a process or a thread.
fn system_calls(contest: &Contest<'_>, list: &List, pod: &Pod) -> Result<(usize, usize)> {
    let trace = contest.lab.directory().join("trace");
    let configuration = list.0.first().context("an empty list")?.1.to_string();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(&trace).arg(&contest.towpath);
    for (key, value) in command(&contest.towpath, "ADD", pod).get_envs() {
        strace.env(key, value.unwrap_or_default());
    }
    let mut child = strace.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().context("strace")?;
    child.stdin.take().context("no input")?.write_all(configuration.as_bytes())?;
    ensure!(child.wait()?.success(), "ADD below strace failed");
    let trace = std::fs::read_to_string(trace)?;
    let forks = ["clone(", "clone3(", "fork(", "vfork("];
    Ok((trace.lines().count(), trace.lines().filter(|line| forks.iter().any(|fork| line.contains(fork))).count()))
}

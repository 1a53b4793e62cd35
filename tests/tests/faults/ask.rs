//! What a person or a program asks of a node: `towpathctl`, metrics, the log.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use netns_harness::{Binaries, Daemon, Process, Station, wait_for};
use serde_json::Value;

use crate::cluster::LIMIT;

/// How a command ended and what it printed.
#[derive(Debug)]
pub struct Said {
    /// The exit status.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs one of the programs on a node, to its end.
pub fn run(station: &Station, program: &str, words: &[&str]) -> Result<Said> {
    run_with(station, program, words, &[])
}

/// The same with more variables of the environment.
pub fn run_with(station: &Station, program: &str, words: &[&str], variables: &[(&str, &str)]) -> Result<Said> {
    let mut command = Command::new(Binaries::built()?.find(program)?);
    command.args(words).envs(variables.iter().copied());
    let output = station.output(command, "")?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) })
}

/// `towpathctl …` about a daemon.
pub fn towpathctl(daemon: &Daemon, words: &[&str]) -> Result<Said> {
    let socket = format!("--socket={}", daemon.status_socket().display());
    run(daemon.node(), "towpathctl", &[&[socket.as_str()], words].concat())
}

/// `towpathctl status -o json`.
pub fn status(daemon: &Daemon) -> Result<Value> {
    let said = towpathctl(daemon, &["status", "-o", "json"])?;
    serde_json::from_str(&said.out).with_context(|| format!("not JSON: {said:?}"))
}

/// Waits until a metric has a value.
pub fn wait_metric(daemon: &Daemon, metric: &str, value: f64) -> Result<()> {
    wait_for(&format!("{metric} to be {value}"), LIMIT, || {
        let now = daemon.metric(metric)?.with_context(|| format!("there is no metric {metric}"))?;
        ensure!(now == value, "it is {now}; the log ends:\n{}", tail(daemon));
        Ok(())
    })
}

/// Waits until `/readyz` says this, with this status.
pub fn wait_page(daemon: &Daemon, status: u16, words: &str) -> Result<String> {
    wait_for(&format!("/readyz to say {status} and `{words}`"), LIMIT, || {
        let page = daemon.get("/readyz")?;
        ensure!(page.status == status && page.body.contains(words), "{page:?}; the log ends:\n{}", tail(daemon));
        Ok(page.body)
    })
}

/// Waits until a daemon is ready and nothing at all is wrong.
pub fn wait_well(daemon: &Daemon) -> Result<()> {
    wait_for(&format!("{} to be well", daemon.node().name()), LIMIT, || {
        let page = daemon.get("/readyz")?;
        ensure!(page.status == 200 && page.body == "ready\n", "{page:?}; the log ends:\n{}", tail(daemon));
        Ok(())
    })
}

/// The lines of a log from an octet on that have all these words.
pub fn lines(process: &Process, from: usize, words: &[&str]) -> Vec<String> {
    let log = process.log();
    let has = |line: &&str| words.iter().all(|word| line.contains(word));
    log[from..].lines().filter(has).map(str::to_owned).collect()
}

fn tail(process: &Process) -> String {
    let log = process.log();
    let last: Vec<&str> = log.lines().rev().take(12).collect();
    last.into_iter().rev().collect::<Vec<_>>().join("\n")
}

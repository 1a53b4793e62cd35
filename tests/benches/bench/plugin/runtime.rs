//! A container runtime, as far as plugins see it: a list of them, each called as libcni would, with the former's answer as
//! `prevResult`, and the last one first for DEL. And the pods' namespaces.
//!
//! A call is made on a thread that is in the node's network namespace. Only the calls are timed, not what is written for them.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use netns_harness::{Lab, Node};
use serde_json::{Value, json};

use crate::figures::in_millis;

/// A pod without anything: a network namespace.
#[derive(Clone, Debug)]
pub struct Pod {
    pub container: String,
    pub netns: PathBuf,
    /// Its number among all pods of the bench.
    pub number: usize,
}

/// Makes pods.
pub struct Pods<'l> {
    lab: &'l Lab,
    made: usize,
}

impl<'l> Pods<'l> {
    pub fn of(lab: &'l Lab) -> Pods<'l> {
        Pods { lab, made: 0 }
    }

    /// So many new ones, by one process: they go with the lab.
    pub fn make(&mut self, count: usize) -> Result<Vec<Pod>> {
        let pod = |number: usize| {
            let container = format!("{}.pod{number}", self.lab.id());
            Pod { netns: Path::new("/run/netns").join(&container), container, number }
        };
        let pods: Vec<Pod> = (self.made..self.made + count).map(pod).collect();
        self.made += count;
        let lines: String = pods.iter().map(|pod| format!("netns add {}\n", pod.container)).collect();
        let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().context("ip")?;
        ip.stdin.take().context("no input")?.write_all(lines.as_bytes())?;
        ensure!(ip.wait()?.success(), "ip -batch did not make the namespaces");
        Ok(pods)
    }
}

/// A configuration list.
#[derive(Clone, Debug)]
pub struct List(pub Vec<(PathBuf, Value)>);

impl List {
    /// One plugin alone.
    pub fn one(plugin: &Path, configuration: Value) -> List {
        List(vec![(plugin.to_owned(), configuration)])
    }

    /// The same with host ports for whoever has the capability: the pod's own.
    pub fn with_port(&self, capable: &str, host_port: usize) -> List {
        let mut list = self.clone();
        for (_, configuration) in list.0.iter_mut().filter(|(_, configuration)| configuration["type"] == capable) {
            let mapping = json!({"hostPort": host_port, "containerPort": 80, "protocol": "tcp"});
            configuration["runtimeConfig"] = json!({"portMappings": [mapping]});
        }
        list
    }

    /// ADD: milliseconds, and what the last one answered.
    pub fn add(&self, pod: &Pod) -> Result<(f64, Value)> {
        let (mut time, mut result) = (0.0, Value::Null);
        for (program, configuration) in &self.0 {
            let (took, answer) = call(program, "ADD", pod, &with_previous(configuration, &result))?;
            (time, result) = (time + took, serde_json::from_slice(&answer).context("an answer that is no JSON")?);
        }
        Ok((time, result))
    }

    /// DEL, with what ADD answered: milliseconds.
    pub fn delete(&self, pod: &Pod, result: &Value) -> Result<f64> {
        let calls = self.0.iter().rev().map(|(program, configuration)| {
            call(program, "DEL", pod, &with_previous(configuration, result)).map(|(took, _)| took)
        });
        calls.sum()
    }
}

fn with_previous(configuration: &Value, result: &Value) -> String {
    let mut configuration = configuration.clone();
    if !result.is_null() {
        configuration["prevResult"] = result.clone();
    }
    configuration.to_string()
}

/// Starts a program, gives it a configuration, and hears its answer to the end.
pub fn call(program: &Path, verb: &str, pod: &Pod, configuration: &str) -> Result<(f64, Vec<u8>)> {
    let mut command = command(program, verb, pod);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let (began, mut answer) = (Instant::now(), Vec::new());
    let mut child = command.spawn().with_context(|| program.display().to_string())?;
    // What does not read its input may be gone by now.
    child.stdin.take().context("no input")?.write_all(configuration.as_bytes()).ok();
    child.stdout.take().context("no output")?.read_to_end(&mut answer)?;
    let status = child.wait()?;
    let time = in_millis(began.elapsed());
    let said = String::from_utf8_lossy(&answer);
    ensure!(status.success(), "{verb} of {} by {}: {said}", pod.container, program.display());
    Ok((time, answer))
}

/// A plugin's environment (CNI 1.1, section 2).
pub fn command(program: &Path, verb: &str, pod: &Pod) -> Command {
    let mut command = Command::new(program);
    let path = program.parent().unwrap_or(program);
    command.env("CNI_COMMAND", verb).env("CNI_CONTAINERID", &pod.container).env("CNI_NETNS", &pod.netns);
    command.env("CNI_IFNAME", "eth0").env("CNI_PATH", path).env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=p");
    command
}

/// Works with pods by so many threads in the node's namespace, each of which takes the next one; gives all that they say,
/// and how long it took altogether, milliseconds.
pub fn at_once<T: Send>(
    (node, threads): (&Node, usize),
    pods: &[Pod],
    work: impl Fn(&Pod) -> Result<T> + Sync,
) -> Result<(f64, Vec<T>)> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let one = || {
        node.namespace().within(|| {
            let mut done = Vec::new();
            while let Some(pod) = pods.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                done.push(work(pod)?);
            }
            Ok(done)
        })
    };
    let began = Instant::now();
    let done: Result<Vec<Vec<T>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread that panicked")).collect()
    });
    Ok((in_millis(began.elapsed()), done?.into_iter().flatten().collect()))
}

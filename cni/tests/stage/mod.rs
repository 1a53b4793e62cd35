//! A node and its pods as bare network namespaces, and the plugin called as a runtime calls it. Gone on drop.
//!
//! Each test binary uses its own part of it.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_types, reason = "tests start the plugin, and ask iproute2")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

/// Our plugin.
pub const TOWPATH: &str = env!("CARGO_BIN_EXE_towpath");
/// Where Debian's containernetworking-plugins lie.
pub const REFERENCE: &str = "/usr/lib/cni";

/// A node: a namespace, a directory for the ledger and `subnet.env`, and pods' namespaces.
pub struct Stage {
    name: String,
    directory: PathBuf,
    namespaces: Vec<String>,
}

/// What a plugin said.
#[derive(Debug)]
pub struct Answer {
    pub code: Option<i32>,
    pub said: Value,
}

impl Answer {
    /// The result of a call that had to succeed.
    #[track_caller]
    pub fn success(self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.said);
        self.said
    }

    /// Number and message of a call that had to fail, by the error object.
    #[track_caller]
    pub fn error(self) -> (u64, String) {
        assert_eq!(self.code, Some(1), "{}", self.said);
        let number = self.said["code"].as_u64().unwrap_or_else(|| panic!("no error object: {}", self.said));
        assert!(self.said["cniVersion"].is_string(), "{}", self.said);
        (number, self.said["msg"].as_str().unwrap().to_owned())
    }
}

impl Stage {
    /// A fresh node whose daemon has written a dual-stack `subnet.env`.
    pub fn new() -> Stage {
        let uid = Command::new("id").arg("-u").output().expect("coreutils' `id`");
        assert_eq!(uid.stdout, b"0\n", "these tests make network namespaces: run them as root");
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("towcni{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir_all(&directory).unwrap();
        let mut stage = Stage { name: name.clone(), directory, namespaces: Vec::new() };
        stage.namespace(&name);
        stage.write_subnet_file(
            "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_IPV6_NETWORK=fd00:10::/48\n\
             FLANNEL_IPV6_SUBNET=fd00:10:0:1::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
        );
        stage
    }

    /// A new pod's namespace file.
    pub fn pod(&mut self, name: &str) -> String {
        let name = format!("{}-{name}", self.name);
        self.namespace(&name);
        format!("/run/netns/{name}")
    }

    /// Removes a pod's namespace, as a runtime may before DEL.
    pub fn remove_pod(&mut self, netns: &str) {
        let name = Path::new(netns).file_name().unwrap().to_str().unwrap();
        output("ip", &["netns", "delete", name]);
        self.namespaces.retain(|other| other != name);
    }

    /// The path of the node's namespace file.
    pub fn netns(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// A path in the stage's own directory.
    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    pub fn write_subnet_file(&self, text: &str) {
        fs::write(self.path("subnet.env"), text).unwrap();
    }

    /// `{"type": "towpath"}`, with the files in the stage's directory, and these keys besides.
    pub fn config(&self, version: &str, more: Value) -> Value {
        let mut config = json!({
            "cniVersion": version, "name": "net1", "type": "towpath",
            "subnetFile": self.path("subnet.env"), "ipam": { "dataDir": self.path("ledger") }
        });
        merge(&mut config, more);
        config
    }

    /// Calls a plugin on the node with these variables besides `CNI_PATH`.
    pub fn call(&self, plugin: &str, variables: &[(&str, &str)], input: &[u8]) -> Answer {
        answer(self.start(plugin, variables, input).wait_with_output().unwrap())
    }

    /// Starts a plugin on the node and gives it its input.
    pub fn start(&self, plugin: &str, variables: &[(&str, &str)], input: &[u8]) -> Child {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.netns())).arg("--").arg(plugin);
        command.env_clear().env("CNI_PATH", REFERENCE).envs(variables.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("util-linux's `nsenter`");
        // A plugin that refuses before it reads closes its end.
        child.stdin.take().unwrap().write_all(input).ok();
        child
    }

    /// Calls our plugin for one container's `eth0`.
    pub fn towpath(&self, verb: &str, container: &str, netns: &str, config: &Value) -> Answer {
        self.plugin(TOWPATH, verb, (container, netns), config)
    }

    /// Calls any plugin for one container's `eth0`.
    pub fn plugin(&self, plugin: &str, verb: &str, (container, netns): (&str, &str), config: &Value) -> Answer {
        let variables =
            [("CNI_COMMAND", verb), ("CNI_CONTAINERID", container), ("CNI_NETNS", netns), ("CNI_IFNAME", "eth0")];
        self.call(plugin, &variables, config.to_string().as_bytes())
    }

    /// Our plugin under one of the usual names: a link as `--install` makes it, in a directory of its own.
    pub fn named(&self, name: &str) -> String {
        let bin = self.path("bin");
        if !bin.exists() {
            let installed = output(TOWPATH, &["--install", bin.to_str().unwrap()]);
            assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stdout));
        }
        bin.join(name).to_str().unwrap().to_owned()
    }

    /// Puts a script into `bin` that stands for somebody else's plugin.
    pub fn script(&self, name: &str, text: &str) {
        let path = self.named(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// Calls a plugin by its name in `bin`, with nothing but `bin` in `CNI_PATH`.
    pub fn by_name(&self, name: &str, verb: &str, (container, netns): (&str, &str), config: &Value) -> Answer {
        let (plugin, bin) = (self.named(name), self.path("bin"));
        let variables = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", container),
            ("CNI_NETNS", netns),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", bin.to_str().unwrap()),
        ];
        self.call(&plugin, &variables, config.to_string().as_bytes())
    }

    /// Does with a configuration list what a runtime does: each plugin in turn for ADD and CHECK, the other way round for
    /// DEL, with the name and version of the list, and the result of the one before.
    pub fn chain(&self, list: &Value, verb: &str, of: (&str, &str), previous: Option<Value>) -> Result<Value, Answer> {
        let mut plugins: Vec<&Value> = list["plugins"].as_array().unwrap().iter().collect();
        if verb == "DEL" {
            plugins.reverse();
        }
        let mut result = previous;
        for plugin in plugins {
            let mut config = plugin.clone();
            merge(&mut config, json!({ "name": list["name"], "cniVersion": list["cniVersion"] }));
            if let Some(result) = &result {
                config["prevResult"] = result.clone();
            }
            let answer = self.by_name(plugin["type"].as_str().unwrap(), verb, of, &config);
            if answer.code != Some(0) {
                return Err(answer);
            }
            if verb == "ADD" {
                result = Some(answer.success());
            }
        }
        Ok(result.unwrap_or(Value::Null))
    }

    /// `ip -j` on the node.
    pub fn ip(&self, arguments: &str) -> Value {
        ip_in(&self.netns(), arguments)
    }

    /// The names of the node's links besides `lo`.
    pub fn links(&self) -> Vec<String> {
        let links = self.ip("link show");
        let names = links.as_array().unwrap().iter().map(|link| link["ifname"].as_str().unwrap().to_owned());
        names.filter(|name| name != "lo").collect()
    }

    /// The addresses that the ledger says are in use, and the marks of requests that were killed, sorted by text.
    pub fn reserved(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("ledger/net1")) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut addresses: Vec<String> = names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect();
        let marks = fs::read_to_string(self.path("ledger/net1/lock")).unwrap_or_default();
        addresses.extend(marks.lines().map(|mark| format!("mark {mark}")));
        addresses.sort();
        addresses
    }

    fn namespace(&mut self, name: &str) {
        let made = output("ip", &["netns", "add", name]);
        assert!(made.status.success(), "cannot make a network namespace: {}", String::from_utf8_lossy(&made.stderr));
        self.namespaces.push(name.to_owned());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for name in &self.namespaces {
            output("ip", &["netns", "delete", name]);
        }
        fs::remove_dir_all(&self.directory).ok();
    }
}

/// Another configuration with these keys set; objects are merged, `null` removes.
pub fn merge(config: &mut Value, more: Value) {
    match (config, more) {
        (Value::Object(config), Value::Object(more)) => {
            for (key, value) in more {
                merge(config.entry(key).or_insert(Value::Null), value);
            }
        }
        (config, more) => *config = more,
    }
}

/// `ip -j` in a namespace.
pub fn ip_in(netns: &str, arguments: &str) -> Value {
    let name = Path::new(netns).file_name().unwrap().to_str().unwrap();
    let words: Vec<&str> = ["-d", "-j", "-n", name].into_iter().chain(arguments.split(' ')).collect();
    let said = output("ip", &words);
    assert!(said.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&said.stderr));
    if said.stdout.is_empty() { Value::Null } else { serde_json::from_slice(&said.stdout).unwrap() }
}

/// Runs a command in a namespace and says whether it succeeded, and what it wrote.
pub fn run_in(netns: &str, words: &[&str]) -> Output {
    let enter = format!("--net={netns}");
    output("nsenter", &[&[enter.as_str(), "--"], words].concat())
}

/// Whether a ping is answered within two seconds.
pub fn pings(netns: &str, address: &str) -> bool {
    run_in(netns, &["ping", "-c", "1", "-W", "2", "-q", address]).status.success()
}

pub fn output(program: &str, words: &[&str]) -> Output {
    Command::new(program).args(words).output().unwrap_or_else(|error| panic!("cannot start {program}: {error}"))
}

pub fn answer(output: Output) -> Answer {
    let text = String::from_utf8(output.stdout).unwrap();
    let said = if text.trim().is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    };
    Answer { code: output.status.code(), said }
}

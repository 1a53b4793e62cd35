//! [`Frr`]: FRR on a node of the lab: zebra and whichever of its programs, with whatever configuration they are given. They run as a user of
//! their own and want a directory that is that user's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{Node, Process, wait_for};

const LIMIT: Duration = Duration::from_secs(30);

/// Where its programs lie in Debian.
const PROGRAMS: &str = "/usr/lib/frr";

/// FRR, which ends with this.
#[derive(Clone)]
pub struct Frr {
    /// Where it runs.
    pub node: Node,
    programs: Vec<(String, Process)>,
}

impl Frr {
    /// Starts these programs, each with its configuration, behind a zebra, which may be among them; they answer when this returns.
    ///
    /// # Errors
    /// When it is not installed, or a program does not come up.
    pub fn start(node: Node, configurations: &[(&str, &str)]) -> Result<Frr> {
        let zebra =
            configurations.iter().find(|(name, _)| *name == "zebra").copied().unwrap_or(("zebra", "log stdout\n"));
        let others = configurations.iter().filter(|(name, _)| *name != "zebra").copied();
        let all: Vec<(&str, &str)> = std::iter::once(zebra).chain(others).collect();
        let directory = directory(&node);
        std::fs::create_dir_all(&directory)?;
        for (name, text) in &all {
            let there = Path::new(PROGRAMS).join(name).is_file();
            ensure!(there, "FRR's {name} is missing. Run: apt-get install frr (or make deps)");
            std::fs::write(directory.join(format!("{name}.conf")), text)?;
        }
        node.namespace().run(["chown", "-R", "frr:frr", &directory.to_string_lossy()])?;
        let mut frr = Frr { node, programs: Vec::new() };
        for (name, _) in all {
            let process = frr.run(name)?;
            frr.programs.push((name.to_owned(), process));
        }
        Ok(frr)
    }

    fn run(&self, name: &str) -> Result<Process> {
        let directory = directory(&self.node);
        let file = |ending: &str| directory.join(format!("{name}.{ending}"));
        let mut command = Command::new(format!("{PROGRAMS}/{name}"));
        command.args(["-u", "frr", "-g", "frr", "-z"]).arg(directory.join("zserv.api"));
        command.arg("--vty_socket").arg(&directory).arg("-i").arg(file("pid")).arg("-f").arg(file("conf"));
        if name == "bfdd" {
            command.arg(format!("--bfdctl={}", directory.join("bfdd.sock").display()));
        }
        let process = self.node.start(name, command)?;
        // The others end when zebra does not listen yet.
        let socket = if name == "zebra" { directory.join("zserv.api") } else { file("vty") };
        wait_for(&format!("FRR's {name} to listen"), LIMIT, || {
            ensure!(socket.exists(), "no socket: {}", process.log());
            Ok(())
        })?;
        Ok(process)
    }

    /// One of the programs.
    ///
    /// # Errors
    /// When it was not started.
    pub fn program(&self, name: &str) -> Result<&Process> {
        let found = self.programs.iter().find(|(known, _)| known == name);
        found.map(|(_, process)| process).with_context(|| format!("FRR's {name} does not run here"))
    }

    /// What `vtysh` answers to commands, each in the place where the one before led to.
    ///
    /// # Errors
    /// When it does not, or calls one an error.
    pub fn told(&self, lines: &[&str]) -> Result<String> {
        let directory = directory(&self.node);
        let directory = directory.to_string_lossy();
        let mut words = vec!["vtysh", "--vty_socket", &directory];
        words.extend(lines.iter().flat_map(|line| ["-c", *line]));
        self.node.namespace().run(words)
    }

    /// The same of one command.
    ///
    /// # Errors
    /// As of [`Frr::told`].
    pub fn ask(&self, what: &str) -> Result<String> {
        self.told(&[what])
    }

    /// Whether it says this.
    pub fn says(&self, what: &str, text: &str) -> bool {
        self.ask(what).is_ok_and(|answer| answer.contains(text))
    }
}

fn directory(node: &Node) -> PathBuf {
    node.directory().join("frr")
}

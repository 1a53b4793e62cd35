//! [`Bird`]: BIRD on a node of the lab, with whatever configuration it is given.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::prerequisites::{Tool, require};
use crate::{Node, Process, wait_for};

const LIMIT: Duration = Duration::from_secs(30);

/// BIRD, which ends with this.
pub struct Bird {
    /// Where it runs.
    pub node: Node,
    /// The program.
    pub process: Process,
}

impl Bird {
    /// Starts it with this configuration; it answers when this returns.
    ///
    /// # Errors
    /// When it is not installed, or does not take the configuration.
    pub fn start(node: Node, config: &str) -> Result<Bird> {
        require(Tool::Bird)?;
        std::fs::write(config_path(&node), config)?;
        let mut command = Command::new("bird");
        command.arg("-f").arg("-c").arg(config_path(&node)).arg("-s").arg(socket(&node));
        command.arg("-P").arg(node.directory().join("pid"));
        let process = node.start("bird", command)?;
        let bird = Bird { node, process };
        wait_for("BIRD to answer", LIMIT, || bird.ask("show status"))?;
        Ok(bird)
    }

    /// Gives it another configuration while it runs.
    ///
    /// # Errors
    /// When it does not take it.
    pub fn configure(&self, config: &str) -> Result<()> {
        std::fs::write(config_path(&self.node), config)?;
        self.ask("configure").map(drop)
    }

    /// What `birdc` answers.
    ///
    /// # Errors
    /// When it does not, or calls it an error.
    pub fn ask(&self, what: &str) -> Result<String> {
        let mut words = vec!["birdc".to_owned(), "-s".to_owned(), socket(&self.node).to_string_lossy().into_owned()];
        words.extend(what.split(' ').map(str::to_owned));
        self.node.namespace().run(words)
    }

    /// Whether it says this.
    pub fn says(&self, what: &str, text: &str) -> bool {
        self.ask(what).is_ok_and(|answer| answer.contains(text))
    }
}

fn config_path(node: &Node) -> PathBuf {
    node.directory().join("bird.conf")
}

fn socket(node: &Node) -> PathBuf {
    node.directory().join("ctl")
}

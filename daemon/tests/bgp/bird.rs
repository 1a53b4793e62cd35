//! A router of BIRD's in a node of its own.

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Result, ensure};
use netns_harness::{Lab, Node, wait_for};

use crate::{LIMIT, v4, v6};

pub const THEIRS: [&str; 2] = ["10.80.0.0/16", "2001:db8:80::/48"];

pub struct Bird {
    pub node: Node,
}

impl Bird {
    /// One in AS 65002 that speaks to `peer` as `options` say.
    pub fn start(lab: &Lab, called: &str, peer: IpAddr, options: &str) -> Result<Bird> {
        let there = Command::new("bird").arg("--version").output().is_ok();
        ensure!(there, "BIRD is missing. Run: apt-get install bird2 (or make deps)");
        let bird = Bird { node: lab.node(called)? };
        std::fs::write(bird.config_path(), bird.config(peer, options))?;
        let mut command = Command::new("bird");
        command.arg("-f").arg("-c").arg(bird.config_path()).arg("-s").arg(bird.node.directory().join("ctl"));
        command.arg("-P").arg(bird.node.directory().join("pid"));
        bird.node.start("bird", command)?;
        wait_for("BIRD to answer", LIMIT, || bird.ask("show status"))?;
        Ok(bird)
    }

    fn config_path(&self) -> std::path::PathBuf {
        self.node.directory().join("bird.conf")
    }

    fn config(&self, peer: IpAddr, options: &str) -> String {
        let (own, own_v6) = (v4(&self.node), v6(&self.node));
        let local = if peer.is_ipv4() { IpAddr::from(own) } else { own_v6 };
        format!(
            "router id {own};\nprotocol device {{}}\n\
             protocol static {{ ipv4; route {four} blackhole; }}\n\
             protocol static {{ ipv6; route {six} blackhole; }}\n\
             protocol bgp towpath {{\n local {local} as 65002;\n neighbor {peer} as 65001;\n connect retry time 1;\n \
             error wait time 1, 2;\n connect delay time 1;\n graceful restart on;\n \
             ipv4 {{ import all; export all; next hop address {own}; extended next hop on; }};\n \
             ipv6 {{ import all; export all; next hop address {own_v6}; }};\n{options}\n}}\n",
            four = THEIRS[0],
            six = THEIRS[1],
        )
    }

    /// Speaks to `peer` as these options say from now on.
    pub fn configure(&self, peer: IpAddr, options: &str) -> Result<()> {
        std::fs::write(self.config_path(), self.config(peer, options))?;
        self.ask("configure").map(drop)
    }

    pub fn ask(&self, what: &str) -> Result<String> {
        let socket = self.node.directory().join("ctl");
        let mut words = vec!["birdc".to_owned(), "-s".to_owned(), socket.to_string_lossy().into_owned()];
        words.extend(what.split(' ').map(str::to_owned));
        self.node.namespace().run(words)
    }

    /// Whether BIRD says this.
    pub fn says(&self, what: &str, text: &str) -> bool {
        self.ask(what).is_ok_and(|answer| answer.contains(text))
    }
}

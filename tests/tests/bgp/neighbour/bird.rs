//! BIRD 2, with one static route of each family and one session.

use anyhow::Result;
use netns_harness::{Lab, Node, Process, wait_for};

use ipam::Family::{V4, V6};

use super::{LIMIT, Neighbour, OUR_AS, THEIR_AS, THEIRS, address, program};

/// A router of BIRD's.
pub struct Bird {
    node: Node,
    /// The program.
    pub process: Process,
}

impl Bird {
    /// One that speaks to us as `options` say.
    pub fn start(lab: &Lab, us: &Node, options: &str) -> Result<Bird> {
        let mut command = program("bird", "bird2")?;
        let node = lab.node("bird")?;
        let [own, own_v6, peer] = [address(&node, V4), address(&node, V6), address(us, V4)];
        let [four, six] = THEIRS;
        let config = format!(
            "router id {own};\nprotocol device {{}}\n\
             protocol static {{ ipv4; route {four} blackhole {{ bgp_large_community.add((65002, 1, 2)); }}; }}\n\
             protocol static {{ ipv6; route {six} blackhole; }}\n\
             protocol bgp towpath {{\n local {own} as {THEIR_AS};\n neighbor {peer} as {OUR_AS};\n connect retry time 1;\n \
             error wait time 1, 2;\n connect delay time 1;\n graceful restart on;\n \
             ipv4 {{ import all; export all; add paths on; extended next hop on; }};\n \
             ipv6 {{ import all; export all; next hop address {own_v6}; }};\n{options}\n}}\n",
        );
        let path = node.directory().join("bird.conf");
        std::fs::write(&path, config)?;
        command.arg("-f").arg("-c").arg(&path).arg("-s").arg(node.directory().join("ctl"));
        command.arg("-P").arg(node.directory().join("pid"));
        let process = node.start("bird", command)?;
        let bird = Bird { node, process };
        wait_for("BIRD to answer", LIMIT, || bird.ask("show status"))?;
        Ok(bird)
    }

    /// What `birdc` answers.
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

impl Neighbour for Bird {
    fn node(&self) -> &Node {
        &self.node
    }

    fn route(&self, net: &str) -> Result<String> {
        let answer = self.ask(&format!("show route all {net}"))?;
        Ok(if answer.contains(net) { answer } else { String::new() })
    }

    fn withdraw(&self) -> Result<()> {
        self.ask("disable static1")?;
        self.ask("disable static2").map(drop)
    }
}

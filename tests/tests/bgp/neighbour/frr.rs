//! FRR: zebra and bgpd.

use anyhow::Result;
use ipam::Family::V4;
use netns_harness::{Lab, Node, Process, wait_for};

use super::{LIMIT, Neighbour, OUR_AS, THEIR_AS, THEIRS, address};

/// A router of FRR's.
pub struct Frr {
    programs: netns_harness::Frr,
    /// The program that speaks BGP.
    pub bgpd: Process,
}

impl Frr {
    /// One that speaks to us. `about_us` are lines about us, `in_families` such lines in each family and `more` whole blocks; `US` in all of
    /// them is our address.
    pub fn start(lab: &Lab, us: &Node, (about_us, in_families, more): (&str, &str, &str)) -> Result<Frr> {
        let node = lab.node("frr")?;
        let [ours, own] = [address(us, V4), address(&node, V4)];
        let [four, six] = THEIRS;
        let config = format!(
            "log stdout informational\nroute-map LARGE permit 10\n set large-community 65002:1:2\nexit\n\
             router bgp {THEIR_AS}\n bgp router-id {own}\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
             bgp graceful-restart\n bgp log-neighbor-changes\n neighbor US remote-as {OUR_AS}\n neighbor US timers connect 1\n{about_us}\n \
             address-family ipv4 unicast\n  network {four} route-map LARGE\n  neighbor US activate\n{in_families}\n exit-address-family\n \
             address-family ipv6 unicast\n  network {six}\n  neighbor US activate\n{in_families}\n exit-address-family\nexit\n{more}\n"
        );
        Frr::run(node, &config.replace("US", &ours.to_string()))
    }

    /// One with this configuration.
    pub fn run(node: Node, config: &str) -> Result<Frr> {
        let programs = netns_harness::Frr::start(node, &[("bgpd", config)])?;
        let frr = Frr { bgpd: programs.program("bgpd")?.clone(), programs };
        wait_for("bgpd to answer", LIMIT, || frr.ask("show bgp summary"))?;
        Ok(frr)
    }

    /// What `vtysh` answers to a command.
    pub fn ask(&self, what: &str) -> Result<String> {
        self.told(&[what])
    }

    /// Changes the configuration: lines within `router bgp`.
    pub fn configure(&self, lines: &[&str]) -> Result<String> {
        let begin = format!("router bgp {THEIR_AS}");
        let all: Vec<&str> = ["configure terminal", &begin].into_iter().chain(lines.iter().copied()).collect();
        self.told(&all)
    }

    /// What `vtysh` answers to commands, each in the place where the one before led to.
    pub fn told(&self, lines: &[&str]) -> Result<String> {
        self.programs.told(lines)
    }

    /// Whether FRR says this.
    pub fn says(&self, what: &str, text: &str) -> bool {
        self.ask(what).is_ok_and(|answer| answer.contains(text))
    }
}

impl Neighbour for Frr {
    fn node(&self) -> &Node {
        &self.programs.node
    }

    fn route(&self, net: &str) -> Result<String> {
        let family = if net.contains(':') { "ipv6" } else { "ipv4" };
        let answer = self.ask(&format!("show bgp {family} unicast {net}"))?;
        Ok(if answer.contains("routing table entry") { answer } else { String::new() })
    }

    fn withdraw(&self) -> Result<()> {
        let [four, six] = THEIRS.map(|net| format!("no network {net}"));
        self.configure(&[
            "address-family ipv4 unicast",
            &four,
            "exit-address-family",
            "address-family ipv6 unicast",
            &six,
        ])
        .map(drop)
    }
}

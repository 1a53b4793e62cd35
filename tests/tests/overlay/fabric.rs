//! What a person reads of a router of the rack with `towpathctl bgp`: why it is not there, what it says, and how one leaves it.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Daemon, Node, wait_for};

use crate::bgp::rack;
use crate::cluster::{Cluster, LIMIT, wait_counted};

/// A network beside which this router is spoken to; it is told of services that begin with these prefixes.
fn network(router: IpAddr, taken: &str) -> String {
    format!(
        r#"{{"Network": "10.244.0.0/16", "Policies": {{"taken": [{{"Name": "services", "If": {{"Prefixes": {taken}}},
            "Set": {{"LocalPref": 200}}, "Then": "accept"}}]}},
            "BGP": {{"Peers": [{{"Name": "tor", "Address": "{router}", "AS": 65000, "Import": "taken", "Export": "accept", "Required": true}}]}}}}"#
    )
}

/// The exit status of a question, and what is printed.
fn asked(cluster: &Cluster, daemon: &Daemon, words: &str) -> Result<(String, String)> {
    let (ctl, socket) = (cluster.binaries.find("towpathctl")?, daemon.status_socket());
    let line = format!("{} --socket={} {words} 2>&1; echo $?", ctl.display(), socket.display());
    let said = daemon.node().run(["sh", "-c", &line])?;
    let (text, status) = said.trim_end().rsplit_once('\n').unwrap_or(("", said.trim_end()));
    Ok((status.to_owned(), text.to_owned()))
}

fn wait_said(cluster: &Cluster, daemon: &Daemon, (words, said): (&str, &str)) -> Result<String> {
    wait_for(&format!("`{words}` to say {said}"), LIMIT, || {
        let (_, text) = asked(cluster, daemon, words)?;
        ensure!(text.contains(said), "{text}");
        Ok(text)
    })
}

#[test]
fn a_router_that_is_needed_is_missed_and_met_and_left_in_words() -> Result<()> {
    let mut cluster = Cluster::on_directory("fabric", "{}")?;
    let place: Node = cluster.lab.node("tor")?;
    let router = place.address(Family::V4)?;
    cluster.configure(&network(router, r#"["198.51.100.0/22 le 23"]"#))?;
    let node = cluster.lab.node("alpha")?;
    let daemon = cluster.start(&node, |options| options)?;
    // Nobody is there: the node waits, and says for whom.
    let refused = format!("no answer from {router}:179: connection refused; is BGP enabled there?");
    wait_said(&cluster, &daemon, ("bgp peers", &refused))?;
    let (exit, text) = asked(&cluster, &daemon, "status")?;
    let needed = format!("BGP peer tor ({router}), which is required, is not up: {refused}");
    ensure!(exit == "1" && text.contains(&needed), "{text}");
    ensure!(!daemon.log().contains("ready after"), "ready without the peer that it needs: {}", daemon.log());
    // It comes: the node is ready, and the policy lets nothing in yet.
    let bird = rack(place, std::slice::from_ref(&daemon))?;
    daemon.wait_ready(LIMIT)?;
    wait_said(&cluster, &daemon, ("bgp peers", "Established"))?;
    let test = "bgp policy test --neighbour tor --prefix 198.51.100.0/24 --as-path 65000";
    let (exit, text) = asked(&cluster, &daemon, test)?;
    ensure!(exit == "1" && text.contains("no rule decides: reject"), "{text}");
    let explain = "bgp routes --explain 198.51.100.0/24";
    let (exit, text) = asked(&cluster, &daemon, explain)?;
    ensure!(exit == "1" && text.starts_with("nobody announces"), "{text}");
    // A policy that takes it resets nothing.
    cluster.configure(&network(router, r#"["198.51.100.0/22 le 24"]"#))?;
    let text = wait_said(&cluster, &daemon, (explain, "best: the only path"))?;
    ensure!(text.contains("local preference 200"), "{text}");
    let (exit, text) = asked(&cluster, &daemon, test)?;
    ensure!(exit == "0" && text.contains("accepted, as: path 65000"), "{text}");
    let (_, peer) = asked(&cluster, &daemon, "bgp peers tor -o json")?;
    let peer: serde_json::Value = serde_json::from_str(&peer).context(peer)?;
    ensure!(peer["flaps"] == 0 && peer["prefixes_in"] == 1 && peer["messages_out"]["refresh"] == 1, "{peer:#}");
    wait_counted(&daemon, r#"towpath_bgp_peer_prefixes{peer="tor",asn="65000",direction="in"}"#, 0.0)?;
    // It is left, with words that its people can read, and met again.
    let (exit, text) = asked(&cluster, &daemon, "bgp drain --yes --message 'new disk'")?;
    ensure!(exit == "0" && text.contains("has left its BGP peers"), "{text}");
    let told = bird.ask("show protocols all")?;
    ensure!(told.contains("new disk"), "{told}");
    let (exit, _) = asked(&cluster, &daemon, "bgp undrain")?;
    ensure!(exit == "0", "undrain says {exit}");
    wait_said(&cluster, &daemon, ("bgp peers", "Established"))?;
    bird.process.kill()
}

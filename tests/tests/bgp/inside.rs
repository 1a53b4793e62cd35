//! The daemon itself and routers of others, which stand in the store as nodes: we reflect for them, and are FRR's client; and what else of
//! a session an operator configures: how far a peer may be, and several paths of it.

use anyhow::{Result, ensure};
use ipam::Family::V4;
use netns_harness::{Bird, Lab, Node, wait_for};

use crate::daemon::Speaker;
use crate::neighbour::frr::Frr;
use crate::neighbour::{LIMIT, Neighbour, address};

const AS: u32 = 64512;

/// Puts a lease into the store as a node would, of a subnet like `10.244.50`.
fn lease(speaker: &Speaker, node: &Node, (net, data): (&str, &str)) -> Result<()> {
    let text = format!(
        r#"{{"node": "{}", "subnets": ["{net}.0/24"], "acquired": "2026-01-01T00:00:00Z", "renewed": "2026-01-01T00:00:00Z",
            "expires": "2099-01-01T00:00:00Z", "PublicIP": "{}", "BackendType": "bgp", "BackendData": {data}}}"#,
        node.name(),
        address(node, V4)
    );
    let (new, file) = (speaker.store.join(".lease.new"), speaker.store.join(format!("leases/{net}.0-24.json")));
    std::fs::write(&new, text)?;
    Ok(std::fs::rename(new, file)?)
}

fn network(reflectors: &str) -> String {
    format!(
        r#"{{"Network": "10.244.0.0/16", "Backend": {{"Type": "bgp", "NodeMesh": {{"ConnectRetry": 1}},
            "RouteReflectors": {{"Nodes": ["{reflectors}"], "ClusterID": "0.0.0.9"}}}}}}"#
    )
}

fn until(speaker: &Speaker, words: &str, said: &[&str]) -> Result<()> {
    wait_for(&format!("`{words}` to say {said:?}"), LIMIT, || {
        let answer = speaker.ask(words)?;
        ensure!(said.iter().all(|text| answer.contains(text)), "{answer}: {}", speaker.daemon.log_tail(15));
        Ok(())
    })
}

#[test]
fn bird_and_frr_are_our_clients_and_then_we_are_frrs_and_no_session_that_stays_ends() -> Result<()> {
    let lab = Lab::new("bgpinside")?;
    let [us, one, two] = [lab.node("us")?, lab.node("bird")?, lab.node("frr")?];
    let [ours, birds, frrs] = [&us, &one, &two].map(|node| address(node, V4));
    let session = |peer| {
        format!(
            "local {birds} as {AS}; neighbor {peer} as {AS}; connect retry time 1; connect delay time 1; error wait time 1, 2; \
             ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }};"
        )
    };
    let config = format!(
        "router id {birds};\nprotocol device {{}}\nprotocol static {{ ipv4; route 10.244.50.0/24 blackhole; }}\n\
         protocol bgp towpath {{ {} }}\nprotocol bgp second {{ {} }}\n",
        session(ours),
        session(frrs)
    );
    let bird = Bird::start(one, &config)?;
    let client = |peer| format!(" neighbor {peer} remote-as {AS}\n neighbor {peer} timers connect 1\n");
    let reflects = |peer| format!("  neighbor {peer} route-reflector-client\n");
    // FRR does not speak with BIRD at first: only we bring them together.
    let frr = Frr::run(
        two,
        &format!(
            "router bgp {AS}\n bgp router-id {frrs}\n bgp cluster-id 0.0.0.7\n no bgp network import-check\n{}{} neighbor {birds} shutdown\n \
             address-family ipv4 unicast\n  network 10.244.60.0/24\n{}{} exit-address-family\nexit\n",
            client(ours),
            client(birds),
            reflects(ours),
            reflects(birds)
        ),
    )?;
    let speaker = Speaker::with(&lab, &us, &network("us"))?;
    lease(&speaker, &bird.node, ("10.244.50", "null"))?;
    lease(&speaker, frr.node(), ("10.244.60", "null"))?;
    let reflected = |text: &str| text.contains(&format!("{frrs}")) && text.contains("0.0.0.9");
    wait_for("FRR's route to be reflected to BIRD", LIMIT, || {
        let said = bird.route("10.244.60.0/24")?;
        ensure!(reflected(&said) && said.contains("originator"), "{said}: {}", speaker.ask("peers")?);
        Ok(())
    })?;
    wait_for("BIRD's to FRR", LIMIT, || {
        ensure!(frr.has("10.244.50.0/24"), "{}", speaker.ask("peers")?);
        Ok(())
    })?;
    until(&speaker, "peers", &["AS 64512", "reflects for the cluster 0.0.0.9", "2 of 2 peers up"])?;
    ensure!(speaker.ways("10.244.50.0/24")? == 1 && speaker.ways("10.244.60.0/24")? == 1, "no routes");
    // FRR does it from now on, and says so as a node would.
    frr.told(&["configure terminal", &format!("router bgp {AS}"), &format!("no neighbor {birds} shutdown")])?;
    lease(&speaker, frr.node(), ("10.244.60", r#"{"RouteReflector": 7}"#))?;
    speaker.configure_all(&network("nobody"))?;
    until(&speaker, "peers", &["1 of 1 peer up", "frr"])?;
    let from = format!("reflected: originator {birds}, clusters 0.0.0.7");
    until(&speaker, "routes --explain 10.244.50.0/24", &["from frr", &from])?;
    ensure!(speaker.ways("10.244.50.0/24")? == 1, "{}", speaker.daemon.log_tail(20));
    let peer = speaker.peer("frr")?;
    ensure!(peer["flaps"] == 0 && peer["state"] == "Established", "{peer}");
    Ok(())
}

#[test]
fn a_peer_that_comes_from_too_far_is_not_met_and_several_paths_of_one_are_used_and_shown() -> Result<()> {
    let lab = Lab::new("bgpterms")?;
    let [us, node, one, two] = [lab.node("us")?, lab.node("bird")?, lab.node("one")?, lab.node("two")?];
    let [ours, own, via_one, via_two] = [&us, &node, &one, &two].map(|node| address(node, V4));
    let config = |more: &str| {
        format!(
            "router id {own};\nprotocol device {{}}\n\
             protocol static one {{ ipv4; route 198.51.100.0/24 via {via_one}; }}\n\
             protocol static two {{ ipv4; route 198.51.100.0/24 via {via_two}; }}\n\
             protocol bgp towpath {{ local {own} as 65002; neighbor {ours} as {AS}; connect retry time 1; connect delay time 1; \
             error wait time 1, 2; {more} ipv4 {{ import all; export where source = RTS_STATIC; next hop keep; add paths on; }}; }}\n"
        )
    };
    let bird = Bird::start(node, &config(""))?;
    let network = format!(
        r#"{{"Network": "10.244.0.0/16", "Backend": {{"Type": "bgp", "Peers": [{{"Name": "bird", "Address": "{own}", "AS": 65002,
            "Import": "accept", "ConnectRetry": 1, "TTLSecurity": 1, "AddPath": "receive"}}]}}}}"#
    );
    let speaker = Speaker::with(&lab, &us, &network)?;
    // BIRD sends with a hop limit of 1, which is what comes from 254 hops away (RFC 5082).
    wait_for("an OPEN without an answer", LIMIT, || {
        let peer = speaker.peer("bird")?;
        ensure!(peer["state"] == "OpenSent" && peer["traffic"]["bytes_in"] == 0, "{peer}");
        Ok(())
    })?;
    until(&speaker, "peers", &["with a TTL below 255 is dropped here, because of TTLSecurity"])?;
    bird.configure(&config("ttl security on;"))?;
    until(&speaker, "peers", &["1 of 1 peer up"])?;
    until(&speaker, "routes --explain 198.51.100.0/24", &["2 paths", "path id ", "used too"])?;
    let routes = speaker.ask("routes --family ipv4")?;
    let line = routes.lines().find(|line| line.starts_with("198.51.100.0/24")).unwrap_or_default();
    ensure!(line.contains(&format!("{via_one}")) && line.contains(&format!("{via_two}")), "{routes}");
    wait_for("both ways in the kernel", LIMIT, || {
        ensure!(speaker.ways("198.51.100.0/24")? == 2, "{}", speaker.daemon.log_tail(20));
        Ok(())
    })
}

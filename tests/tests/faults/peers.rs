//! BGP peers that mean no good, against a real daemon: whatever they do, another session's keepalives come in time, memory is bounded, and the log has
//! one line a change of state.

mod rogue;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bgp::wire::message;
use ipam::Family::V4;
use netns_harness::{Daemon, Node, wait_for};
use serde_json::Value;

use crate::ask::{lines, towpathctl};
use crate::cluster::{Cluster, LIMIT, counted};
use rogue::{HOLD, Rogue, Window, Witness, open, refreshes, routes};

/// The AS of all that mean no good.
const ROGUES: u32 = 65_666;
const NODES: u32 = 64_512;

/// A daemon, a node from which rogues come, and a witness.
struct Ground {
    _cluster: Cluster,
    daemon: Daemon,
    den: Node,
    witness: Witness,
}

fn address(node: &Node) -> Result<Ipv4Addr> {
    match node.address(V4)? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => anyhow::bail!("{address} is none of IPv4"),
    }
}

/// Lets time pass between two words of a rogue's; nothing is waited for.
fn pause(span: Duration) {
    let end = Instant::now() + span;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

/// Rogues come from a range; one of them says that it is of our own AS.
fn network(witness: Ipv4Addr, twin: Ipv4Addr) -> String {
    format!(
        r#"{{"Network": "10.244.0.0/16", "Backend": {{"Type": "vxlan"}}, "BGP": {{"AS": {NODES}, "Peers": [
            {{"Name": "witness", "Address": "{witness}", "AS": 65000, "Import": "accept", "Export": "accept", "HoldTime": 3, "GracefulRestart": 5, "Passive": true}},
            {{"Name": "twin", "Address": "{twin}", "AS": "internal", "HoldTime": 3, "GracefulRestart": 5, "Passive": true}},
            {{"Name": "rogues", "Range": "192.0.2.128/25", "AS": "external", "Import": "accept", "Export": "accept", "HoldTime": 3,
              "SendHoldTime": 4, "Limit": 30, "MaxPrefixes": 20000, "GracefulRestart": 5}}]}}}}"#
    )
}

impl Ground {
    fn new(name: &str) -> Result<Ground> {
        let mut cluster = Cluster::on_directory(name, "{}")?;
        let [node, den, place] = ["alpha", "den", "witness"].map(|name| cluster.lab.node(name));
        let (node, den, place) = (node?, den?, place?);
        for last in 129..160 {
            den.ip(&format!("address add 192.0.2.{last}/24 dev eth0"))?;
        }
        cluster.configure(&network(address(&place)?, Ground::rogue(0)))?;
        let daemon = cluster.start(&node, |options| options)?;
        daemon.wait_ready(LIMIT)?;
        let from = (place.namespace(), address(&place)?);
        let witness = Witness::begin(Rogue::meet(from, address(&node)?, (65000, Window::Usual))?)?;
        Ok(Ground { _cluster: cluster, daemon, den, witness })
    }

    fn rogue(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, 129 + number)
    }

    fn node(&self) -> Result<Ipv4Addr> {
        address(self.daemon.node())
    }

    fn connect(&self, number: u8) -> Result<Rogue> {
        Rogue::connect((self.den.namespace(), Ground::rogue(number)), self.node()?, Window::Usual)
    }

    fn meet(&self, number: u8, window: Window) -> Result<Rogue> {
        Rogue::meet((self.den.namespace(), Ground::rogue(number)), self.node()?, (ROGUES, window))
    }

    fn peer(&self, name: &str) -> Result<Value> {
        let said = towpathctl(&self.daemon, &["bgp", "peers", name, "-o", "json"])?;
        serde_json::from_str(&said.out).with_context(|| format!("{said:?}"))
    }

    /// Memory of the daemon, MiB: `VmRSS`, `VmHWM`.
    fn memory(&self, what: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.pid()?.as_raw_nonzero()))?;
        let line =
            status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).context("no such line")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
    }

    /// The witness heard in time all along, and nothing was said of it but that it is there.
    fn end(self) -> Result<()> {
        let gaps = self.witness.end().with_context(|| self.daemon.log_tail(40))?;
        let longest = gaps.last().context("it heard nothing")?;
        ensure!(*longest < HOLD, "{gaps:?}");
        let of_witness = lines(&self.daemon, 0, &["witness"]);
        ensure!(of_witness.len() == 1, "{of_witness:#?}");
        Ok(())
    }
}

#[test]
fn who_says_nothing_that_can_be_understood_is_told_so_and_nobody_else_notices() -> Result<()> {
    let ground = Ground::new("rogues")?;
    // Noise, and lengths that are none.
    let mut noise = ground.connect(1)?;
    noise.say(&[0x5a; 4096])?;
    assert_eq!(noise.farewell()?, Some((1, 1)));
    let mut long = ground.connect(1)?;
    long.say(&[&[0xff; 16][..], &[0xff, 0xff, 2]].concat())?;
    assert_eq!(long.farewell()?, Some((1, 2)));
    // One with our own identifier in our own AS, and one of another AS than a person said.
    let mut twin = ground.connect(0)?;
    twin.say(&open(NODES, ground.node()?))?;
    assert_eq!(twin.farewell()?, Some((2, 3)));
    let mut other = ground.connect(0)?;
    other.say(&open(ROGUES, Ground::rogue(0)))?;
    assert_eq!(other.farewell()?, Some((2, 2)));
    // Half a message for ever, and a keepalive of which an octet comes now and then: neither is a sign of life.
    let mut half = ground.connect(2)?;
    half.say(&open(ROGUES, half.address)[..25])?;
    let mut slow = ground.meet(3, Window::Usual)?;
    for octet in message::keepalive() {
        // When it has ended is seen below.
        if slow.stream.write_all(&[octet]).is_err() {
            break;
        }
        pause(HOLD / 10);
    }
    assert_eq!(slow.farewell()?, Some((4, 0)));
    // A crowd from one address: one of it may speak.
    let mut crowd: Vec<Rogue> = (0..1000).map(|_| ground.connect(4)).collect::<Result<_>>()?;
    let mut heard = 0;
    for rogue in &mut crowd {
        heard += usize::from(rogue.next()?.is_some());
    }
    assert_eq!(heard, 1);
    ground.end()
}

#[test]
fn floods_and_a_window_of_zero_cost_no_more_than_they_may() -> Result<()> {
    let ground = Ground::new("floods")?;
    // A table to look through, and somebody who takes nothing of it.
    let mut table = ground.meet(1, Window::Usual)?;
    let whole = routes(&table, ROGUES, (0..20_000, Some(0)));
    table.say(&whole)?;
    let deaf = ground.meet(2, Window::Least)?;
    // It goes on saying that it is there.
    deaf.beat()?;
    let before = ground.memory("VmRSS")?;
    // The same prefixes with other attributes each time, then gone, as fast as it is taken.
    let feed = [
        routes(&table, ROGUES, (0..5_000, Some(1))),
        routes(&table, ROGUES, (0..5_000, Some(2))),
        routes(&table, ROGUES, (0..5_000, None)),
    ];
    let flooding =
        std::thread::spawn(move || table.flood(Duration::from_secs(8), &feed.concat()).map(|said| (table, said)));
    let name = deaf.address.to_string();
    wait_for("the one that takes nothing to be given up", LIMIT, || {
        // For its silence, or on a fast machine before, for what is kept on its account.
        let ends = [&["took nothing", "(8/0)"][..], &["out of resources (6/8)"]];
        let given_up =
            ends.iter().any(|words| !lines(&ground.daemon, 0, &[&[name.as_str()], *words].concat()).is_empty());
        ensure!(given_up, ground.daemon.log_tail(20));
        Ok(())
    })?;
    let (_table, said) = flooding.join().expect("no panic").with_context(|| ground.daemon.log_tail(20))?;
    ensure!(said > 1 << 20, "{said} octets were taken");
    // Refreshes that begin and end, requests and ends of tables: 23 octets each.
    let mut again = ground.meet(3, Window::Usual)?;
    let own = routes(&again, ROGUES, (0..100, Some(3)));
    again.say(&own)?;
    again.flood(Duration::from_secs(4), &refreshes()).with_context(|| ground.daemon.log_tail(20))?;
    let peak = ground.memory("VmHWM")?;
    ensure!(peak < before + 64, "{before} MiB before, {peak} at most");
    ground.end()
}

#[test]
fn a_table_beyond_the_limit_and_a_session_that_comes_and_goes_are_damped() -> Result<()> {
    let ground = Ground::new("flaps")?;
    let mut greedy = ground.meet(1, Window::Usual)?;
    let table = routes(&greedy, ROGUES, (0..30_000, Some(0)));
    // It is told before it has said all.
    greedy.say(&table).ok();
    assert_eq!(greedy.farewell()?, Some((6, 1)));
    let name = Ground::rogue(1).to_string();
    let said = ground.peer(&name)?["last_said"].to_string();
    ensure!(said.contains("too many prefixes"), "{said}");
    // Once a second, as far as it is let.
    let (mut met, end) = (0, Instant::now() + Duration::from_secs(12));
    while Instant::now() < end {
        if let Ok(Some(_)) = flap(&ground, 2) {
            met += 1;
        }
        pause(HOLD / 3);
    }
    ensure!((2..=8).contains(&met), "{met} of 12");
    let name = Ground::rogue(2).to_string();
    let said = lines(&ground.daemon, 0, &[&name]);
    ensure!(said.len() <= 2 * met, "{met} sessions, and {said:#?}");
    ensure!(
        counted(&ground.daemon, r#"towpath_bgp_peer_up{peer="witness",asn="65000"}"#)? == 1.0,
        "the witness is away"
    );
    ground.end()
}

/// A session that ends at once; nothing if it was not let in.
fn flap(ground: &Ground, number: u8) -> Result<Option<()>> {
    let mut rogue = ground.connect(number)?;
    rogue.stream.set_read_timeout(Some(HOLD))?;
    rogue.say(&open(ROGUES, rogue.address))?;
    if rogue.next()?.is_none() {
        return Ok(None);
    }
    rogue.say(&message::keepalive())?;
    Ok(rogue.next()?.map(drop))
}

/// IPv4 routes of ours in the node's kernel.
fn held(ground: &Ground) -> Result<usize> {
    Ok(ground.daemon.node().run(["ip", "-4", "route", "show", "proto", "84"])?.lines().count())
}

#[test]
fn a_daemon_that_is_killed_in_a_flood_leaves_its_routes_and_keeps_none_that_nobody_says_again() -> Result<()> {
    let ground = Ground::new("killed")?;
    let mut table = ground.meet(1, Window::Usual)?;
    let whole = routes(&table, ROGUES, (0..5_000, Some(0)));
    table.say(&whole)?;
    table.beat()?;
    wait_for("the routes", LIMIT, || {
        let count = held(&ground)?;
        ensure!(count >= 5_000, "{count}");
        Ok(())
    })?;
    let mut flood = ground.meet(2, Window::Usual)?;
    let feed = [routes(&flood, ROGUES, (6_000..8_000, Some(1))), routes(&flood, ROGUES, (6_000..8_000, None))].concat();
    // It ends with the daemon.
    let flooding = std::thread::spawn(move || flood.flood(LIMIT, &feed));
    pause(HOLD / 3);
    ground.daemon.kill()?;
    ensure!(flooding.join().expect("no panic").is_err(), "the flood went on");
    let count = held(&ground)?;
    ensure!(count >= 5_000, "{count} of 5000 routes are left");
    ground.daemon.restart()?;
    ground.daemon.wait_ready(LIMIT)?;
    // Nobody comes back: what was kept for them goes when their time is over.
    wait_for("what nobody says again to go", LIMIT, || {
        let count = held(&ground)?;
        ensure!(count == 0, "{count}: {}", ground.daemon.log_tail(10));
        Ok(())
    })
}

#[test]
fn no_key_of_a_session_is_ever_shown_and_one_that_cannot_be_used_is_named() -> Result<()> {
    const KEY: &str = "correct-horse-battery";
    let mut cluster = Cluster::on_directory("bgpkeys", "{}")?;
    let node = cluster.lab.node("alpha")?;
    let file = |name: &str| node.directory().join(name);
    std::fs::write(file("good"), KEY)?;
    std::fs::write(file("empty"), "\n")?;
    std::fs::write(file("long"), KEY.repeat(5))?;
    let peer = |(last, name): (usize, &str)| {
        let file = file(name);
        format!(
            r#"{{"Address": "192.0.2.{}", "AS": 65000, "Name": "{name}", "KeyFile": "{}"}}"#,
            100 + last,
            file.display()
        )
    };
    let names = ["good", "empty", "long", "missing", "."];
    let peers: Vec<String> = names.into_iter().enumerate().map(peer).collect();
    cluster.configure(&format!(
        r#"{{"Network": "10.244.0.0/16", "Backend": {{"Type": "vxlan"}}, "BGP": {{"Peers": [{}]}}}}"#,
        peers.join(",")
    ))?;
    let daemon = cluster.start(&node, |options| options.flag("--log-level=trace"))?;
    daemon.wait_ready(LIMIT)?;
    for words in ["has no key in its first line", "a key has 80 at most", "No such file", "Is a directory"] {
        daemon.wait_log(words, LIMIT)?;
    }
    let mut said = vec![daemon.log(), daemon.get("/metrics")?.body];
    for words in [&["status"] as &[&str], &["status", "-o", "json"], &["bgp", "peers"], &["bgp", "peers", "-o", "json"]]
    {
        let answer = towpathctl(&daemon, words)?;
        said.push(answer.out + &answer.err);
    }
    let octets: Vec<String> = KEY.bytes().map(|octet| octet.to_string()).collect();
    for shape in [KEY.to_owned(), octets.join(", ")] {
        ensure!(!said.iter().any(|text| text.contains(&shape)), "{shape} is shown");
    }
    Ok(())
}

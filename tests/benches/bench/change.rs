//! The backend is changed on three nodes while their pods talk: what is lost, counted by numbers in the packets, and which of 20
//! connections break. A line a round; what the machine dropped for want of time (full socket buffers, full backlogs) beside it.
//!
//! The machine's kernel may lack WireGuard, so that way is gone on the lab's second one, at the pace that it keeps.

mod load;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use netns_harness::Pace;

use crate::figures::{Bound, goal, heading, note};
use crate::guest;
use crate::nodes::{LIMIT, Nodes};
use load::{Drops, Load, Tally};

/// What the program is told to do the part in a guest.
pub const THERE: &str = "change-there";

/// A backend, and what its way is called.
type Step = (&'static str, &'static str);

const VXLAN: Step = (r#"{"Type": "vxlan"}"#, "vxlan vni=1 port=8472");
const HERE: [Step; 3] =
    [(r#"{"Type": "host-gw"}"#, "host-gw"), (r#"{"Type": "vxlan", "VNI": 2}"#, "vxlan vni=2 port=8472"), VXLAN];
const IN_GUEST: [Step; 4] = [
    (r#"{"Type": "host-gw"}"#, "host-gw"),
    (r#"{"Type": "ipip"}"#, "ipip"),
    (r#"{"Type": "wireguard"}"#, "wireguard mode=separate port=51820 portv6=51821"),
    VXLAN,
];
/// Packets a second on all nodes together, there and back; the first that the machine keeps is taken.
const PACES: [u32; 6] = [10_000, 5_000, 2_000, 1_000, 500, 250];
/// A guest has ten minutes for a round and its like.
const GUEST_LIMIT: Duration = Duration::from_secs(600);
/// Between two exchanges of a connection.
const REST: Duration = Duration::from_millis(5);
const REST_IN_GUEST: Duration = Duration::from_millis(50);

/// So many rounds on both kernels, and as many with a daemon killed and started in the middle of each change.
pub fn measure(rounds: u32) -> Result<()> {
    heading("A live change VXLAN → host-gw → another VNI → VXLAN, 3 nodes, 20 TCP connections");
    go(rounds, &HERE, (&PACES, REST))?;
    heading("A live change VXLAN → host-gw → IPIP → WireGuard → VXLAN, in a guest");
    guest::run(&[THERE, &rounds.to_string()], GUEST_LIMIT * rounds)
}

/// The part of it that is done in a guest.
pub fn there(rounds: u32) -> Result<()> {
    // Its one processor must also make the change.
    go(rounds, &IN_GUEST, (&PACES[3..], REST_IN_GUEST))
}

fn go(rounds: u32, steps: &[Step], (paces, rest): (&[u32], Duration)) -> Result<()> {
    let nodes = Nodes::new("benchchange", (VXLAN.0, &[]), 3)?;
    let load = Load::start(&nodes, rest)?;
    let per_sec = pace(&nodes, paces)?;
    note("packets a second, there and back", f64::from(per_sec), "");
    for restarts in [false, true] {
        let mut sum = Tally::default();
        for number in 1..=rounds {
            let tally = round(&nodes, (&load, per_sec), (steps, restarts))?;
            println!("  round {number:>2}{}: {tally}", if restarts { ", one restarted" } else { "" });
            sum = sum.with(&tally);
        }
        println!("  all {rounds} rounds: {sum}");
        let title = |what: &str| format!("{what}{}", if restarts { ", one restarted in each change" } else { "" });
        goal(&title("packets lost on the way"), sum.lost as f64, Bound::AtMost(0.0));
        goal(&title("connections broken"), sum.resets as f64, Bound::AtMost(0.0));
    }
    Ok(())
}

/// All steps once, ending where it began.
fn round(nodes: &Nodes, (load, per_sec): (&Load, u32), (steps, restarts): (&[Step], bool)) -> Result<Tally> {
    let mut sum = Tally::default();
    let restarted = nodes.daemons.get(1).context("a second node")?;
    for (backend, way) in steps {
        let (began, drops, resets) = (Instant::now(), Drops::now(nodes)?, load.resets());
        let streams = load::streams(nodes, Pace { per_sec: share(per_sec, nodes), at_most: LIMIT * 20 })?;
        nodes.configure(backend)?;
        if restarts {
            restarted.kill()?;
            restarted.restart()?;
        }
        nodes.wait_settled(way)?;
        load.wait_more(LIMIT)?;
        streams.iter().try_for_each(|stream| stream.wait_more(100, LIMIT))?;
        let mut tally = Tally::of(streams)?;
        tally.took = began.elapsed();
        tally.resets = load.resets() - resets;
        tally.drops = Drops::now(nodes)?.since(&drops);
        if tally.lost > 0 {
            println!("  to {way}: {tally}");
        }
        sum = sum.with(&tally);
    }
    Ok(sum)
}

/// The first pace at which nothing is lost while nothing is changed; the connections talk already.
fn pace(nodes: &Nodes, paces: &[u32]) -> Result<u32> {
    for per_sec in paces.iter().copied() {
        let pace = Pace { per_sec: share(per_sec, nodes), at_most: LIMIT };
        let streams = load::streams(nodes, pace)?;
        // They run side by side and are waited for one after another.
        let wanted = u64::from(pace.per_sec);
        let kept = streams.iter().try_for_each(|stream| stream.wait_more(wanted, Duration::from_secs(2)));
        let tally = Tally::of(streams)?;
        if kept.is_ok() && tally.lost == 0 {
            return Ok(per_sec);
        }
        println!("  {per_sec} packets a second are too many: {tally}");
    }
    anyhow::bail!("this machine keeps none of {paces:?} packets a second with nothing else to do")
}

fn share(per_sec: u32, nodes: &Nodes) -> u32 {
    per_sec / u32::try_from(nodes.pods.len()).unwrap_or(1)
}

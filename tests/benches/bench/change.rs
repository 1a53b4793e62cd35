//! The backend is changed on three nodes while their pods talk: what is lost, counted by numbers in the packets, and which of 20
//! connections break. A line a round, and beside it an equal time without a change: what that loses, the machine loses. What the
//! kernel says that it dropped for want of time (full socket buffers, full backlogs) stands beside both; for what a change lost,
//! when each hole began and what the daemons did meanwhile.
//!
//! The machine's kernel may lack WireGuard, so that way is gone on the lab's second one, at the pace that it keeps.

mod load;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use netns_harness::{Pace, wait_for};

use crate::figures::{Bound, goal, heading, note};
use crate::guest;
use crate::nodes::{LIMIT, Nodes};
use load::{Load, Tally};

/// What the program is told to do the part in a guest.
pub const THERE: &str = "change-there";

/// A backend, and what its way is called.
type Step = (&'static str, &'static str);

const VXLAN: Step = (r#"{"Type": "vxlan"}"#, "vxlan vni=1 port=8472");
const HOST_GW: Step = (r#"{"Type": "host-gw"}"#, "host-gw");
const HERE: [Step; 3] = [HOST_GW, (r#"{"Type": "vxlan", "VNI": 2}"#, "vxlan vni=2 port=8472"), VXLAN];
const BGP: Step = (r#"{"Type": "bgp"}"#, "bgp");
const LEARNT_HERE: [Step; 4] = [BGP, HOST_GW, BGP, VXLAN];
const WIREGUARD: Step = (r#"{"Type": "wireguard"}"#, "wireguard mode=separate port=51820 portv6=51821");
const IN_GUEST: [Step; 3] = [HOST_GW, WIREGUARD, VXLAN];
const IPIP_IN_GUEST: [Step; 3] = [HOST_GW, (r#"{"Type": "ipip"}"#, "ipip"), VXLAN];
/// Packets a second, each way: of those that are not more than what was asked for the first that the machine keeps is taken.
const PACES: [u32; 7] = [10_000, 5_000, 3_000, 2_000, 1_000, 500, 250];
/// A guest has ten minutes for a round, its like, and as much without a change.
const GUEST_LIMIT: Duration = Duration::from_secs(600);
/// Between two exchanges of a connection.
const REST: Duration = Duration::from_millis(5);
const REST_IN_GUEST: Duration = Duration::from_millis(50);

/// How often, and how many packets a second each way.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Rounds of all steps, and as many with a daemon killed in each step.
    pub rounds: u32,
    /// Packets a second.
    pub per_sec: u32,
}

/// So many rounds on both kernels, and as many with a daemon killed and started in the middle of each change.
pub fn measure(wish: Wish) -> Result<()> {
    heading("A live change VXLAN → host-gw → another VNI → VXLAN, 3 nodes, 20 TCP connections");
    go(wish, &HERE, REST)?;
    heading("A live change VXLAN → bgp → host-gw → bgp → VXLAN");
    go(Wish { rounds: wish.rounds.div_ceil(5), ..wish }, &LEARNT_HERE, REST)?;
    let words = [THERE.to_owned(), wish.rounds.to_string(), format!("pace={}", wish.per_sec)];
    guest::run(&words.each_ref().map(String::as_str), GUEST_LIMIT * wish.rounds)
}

/// The part of it that is done in a guest.
pub fn there(wish: Wish) -> Result<()> {
    heading("A live change VXLAN → host-gw → WireGuard → VXLAN, 3 nodes, 20 TCP connections, in a guest");
    go(wish, &IN_GUEST, REST_IN_GUEST)?;
    heading("A live change VXLAN → host-gw → IPIP → VXLAN, in a guest");
    go(Wish { rounds: wish.rounds.div_ceil(5), ..wish }, &IPIP_IN_GUEST, REST_IN_GUEST)
}

fn go(Wish { rounds, per_sec }: Wish, steps: &[Step], rest: Duration) -> Result<()> {
    let nodes = Nodes::new("benchchange", (VXLAN.0, &[]), 3)?;
    let load = Load::start(&nodes, rest)?;
    let per_sec = pace(&nodes, per_sec)?;
    note("packets a second, each way", f64::from(per_sec), "");
    for restarts in [false, true] {
        let (mut sum, mut still) = (Tally::default(), Tally::default());
        for number in 1..=rounds {
            let tally = round(&nodes, (&load, per_sec), (steps, restarts))?;
            let beside = without(&nodes, (&load, per_sec), tally.took)?;
            println!("  round {number:>2}{}: {tally}", if restarts { ", one restarted" } else { "" });
            println!("     as long without a change: {beside}");
            (sum, still) = (sum.with(&tally), still.with(&beside));
        }
        println!("  all {rounds} rounds: {sum}\n  as long without a change: {still}");
        let title = |what: &str| format!("{what}{}", if restarts { ", one restarted in each change" } else { "" });
        note("packets lost without a change", still.lost as f64, "");
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
        let logs = nodes.log_lengths();
        let tally = Tally::during(nodes, (load, per_sec), || {
            nodes.configure(backend)?;
            if restarts {
                restarted.kill()?;
                restarted.restart()?;
            }
            nodes.wait_settled(way)
        })?;
        if tally.lost > 0 {
            println!("  to {way}: {tally}\n{}\n{}", tally.holes(), nodes.logs_since(&logs));
        }
        sum = sum.with(&tally);
    }
    Ok(sum)
}

/// So long with nothing to do.
fn without(nodes: &Nodes, (load, per_sec): (&Load, u32), time: Duration) -> Result<Tally> {
    let until = Instant::now() + time;
    Tally::during(nodes, (load, per_sec), || {
        wait_for("nothing", time + LIMIT, || {
            anyhow::ensure!(Instant::now() >= until, "the time is not over");
            Ok(())
        })
    })
}

/// The first pace at which nothing is lost while nothing is changed; the connections talk already.
fn pace(nodes: &Nodes, wanted: u32) -> Result<u32> {
    for per_sec in [wanted].into_iter().chain(PACES.into_iter().filter(|pace| *pace < wanted)) {
        let pace = Pace { per_sec: load::share(per_sec, nodes), at_most: LIMIT };
        let streams = load::streams(nodes, pace)?;
        // They run side by side and are waited for one after another. On a busy machine some come late.
        let in_time = Duration::from_secs(6);
        let enough = u64::from(pace.per_sec) * 4;
        let kept = streams.iter().try_for_each(|stream| stream.wait_more(enough, in_time));
        let tally = Tally::of(streams)?;
        if kept.is_ok() && tally.lost == 0 {
            return Ok(per_sec);
        }
        println!("  {per_sec} packets a second are too many for this machine with nothing else to do: {tally}");
    }
    anyhow::bail!("this machine keeps none of {PACES:?} packets a second with nothing else to do")
}

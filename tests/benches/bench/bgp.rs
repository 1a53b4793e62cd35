//! BGP: we, BIRD and FRR in turn in one run, each in a namespace of its own that nobody has spoken to before, with a tester at the other end of the
//! wire that is the same for all.

mod beats;
mod failover;
mod feed;
mod fib;
pub mod ours;
mod router;
mod rows;
mod session;

use std::cell::Cell;

use anyhow::Result;
use netns_harness::{Lab, Node};

use crate::figures::{Bound, goal, heading, median, note, summary};
use beats::{Beats, Load};
use router::{Kernel, Make, Peers, Router};
use rows::Cost;

const PASSES: usize = 3;
const ALL: [Make; 3] = [Make::Ours, Make::Bird, Make::Frr];
const BOTH: [Make; 2] = [Make::Ours, Make::Bird];

type Row = fn(&Field) -> Result<()>;

/// The rows, by the words that ask for one alone.
const ROWS: [(&str, Row); 9] = [
    ("bgp:100k", |field| one_peer(field, 100_000)),
    ("bgp:500k", |field| one_peer(field, 500_000)),
    ("bgp:all-to-all", all_to_all),
    ("bgp:kernel", fib::measure),
    ("bgp:connect", connects),
    ("bgp:idle", idle_sessions),
    ("bgp:change", changes),
    ("bgp:keepalives", keepalives),
    ("bgp:failover", |_| failover::measure()),
];

/// Whether this part is asked for: whole, or a row of it.
pub fn is_wanted(word: &str) -> bool {
    word == "bgp" || ROWS.iter().any(|(name, _)| *name == word)
}

/// The rows that are asked for by name, or all.
pub fn measure(words: &[String]) -> Result<()> {
    let named = |name: &str| words.iter().any(|word| word == name);
    let all = !ROWS.iter().any(|(name, _)| named(name));
    let field = Field::new()?;
    ROWS.iter().filter(|(name, _)| all || named(name)).try_for_each(|(_, row)| row(&field))?;
    summary();
    Ok(())
}

/// Where everything happens.
struct Field {
    lab: Lab,
    tester: Node,
    routers: Cell<usize>,
}

impl Field {
    fn new() -> Result<Field> {
        let lab = Lab::new("benchbgp")?;
        let tester = lab.node("tester")?;
        // Whoever is asked for is here, at any of these addresses.
        tester.ip("route add local 198.18.128.0/17 dev lo")?;
        tester.ip("route add 198.18.0.0/24 dev eth0")?;
        Ok(Field { lab, tester, routers: Cell::default() })
    }

    /// Does something with new routers in turn, so many times.
    fn turns<T, const N: usize>(
        &self,
        makes: [Make; N],
        passes: usize,
        wish: (Peers, Kernel),
        work: impl Fn(&Router, &Node) -> Result<T>,
    ) -> Result<[Vec<T>; N]> {
        let mut results = [const { Vec::new() }; N];
        for _ in 0..passes {
            for (make, results) in makes.into_iter().zip(&mut results) {
                self.routers.set(self.routers.get() + 1);
                let router = Router::start(&self.lab, &self.tester, (make, self.routers.get()), wish)?;
                // The router before this one had the same address.
                self.tester.ip("neighbour flush dev eth0")?;
                let done = work(&router, &self.tester);
                router.end()?;
                results.push(done?);
            }
        }
        Ok(results)
    }

    /// Does something with a node on which nothing runs.
    fn alone<T>(&self, work: impl FnOnce(&Node) -> Result<T>) -> Result<T> {
        self.routers.set(self.routers.get() + 1);
        let node = self.lab.node(&format!("bare{}", self.routers.get()))?;
        let done = work(&node);
        node.ip("link set eth0 down")?;
        done
    }
}

/// Ours and the others', in the order of [`ALL`].
fn told<const N: usize>(what: &str, values: [f64; N], unit: &str) {
    ALL.into_iter().zip(values).for_each(|(make, value)| note(&format!("{what}, {}", make.name()), value, unit));
}

/// The same, and ours at most BIRD's.
fn compared<const N: usize>(what: &str, values: [f64; N], unit: &str) {
    told(what, values, unit);
    if let [ours, bird, ..] = values[..] {
        goal(&format!("{what}, ours against BIRD"), ours / bird, Bound::AtMost(1.0));
    }
}

fn medians<const N: usize>(costs: &[Vec<Cost>; N], of: impl Fn(&Cost) -> f64) -> [f64; N] {
    std::array::from_fn(|make| median(costs[make].iter().map(&of).collect()))
}

fn one_peer(field: &Field, count: u32) -> Result<()> {
    heading(&format!("{count} routes from one peer to another; then the one goes"));
    let wish = (Peers::Named(2), Kernel::Untouched);
    let runs = field.turns(ALL, PASSES, wish, |router, tester| rows::one_peer(router, tester, count))?;
    let [came, went] =
        [0, 1].map(|part| runs.each_ref().map(|runs| runs.iter().map(|run| run[part]).collect::<Vec<_>>()));
    let cpu = medians(&came, |cost| cost.cpu);
    compared("until all came", medians(&came, |cost| cost.wall * 1000.0), "ms");
    compared("processor time", cpu.map(|cpu| cpu * 1000.0), "ms");
    let peak = medians(&came, |cost| cost.peak);
    ALL.into_iter().zip(peak).for_each(|(make, peak)| note(&format!("memory, {}", make.name()), peak, "MiB"));
    let (part, most) = if count > 100_000 { (0.8, 64.0) } else { (1.0, 24.0) };
    goal("processor time, ours against BIRD", cpu[0] / cpu[1], Bound::AtMost(part));
    goal("memory, ours", peak[0], Bound::AtMost(most));
    let went = medians(&went, |cost| cost.wall * 1000.0);
    compared("until all were withdrawn", went, "ms");
    if count > 100_000 {
        goal("until all were withdrawn, ours against BIRD", went[0] / went[1], Bound::AtMost(0.6));
    }
    Ok(())
}

fn all_to_all(field: &Field) -> Result<()> {
    heading("20 peers with 10,000 routes each, all told to all");
    let wish = (Peers::Named(21), Kernel::Untouched);
    let costs = field.turns(ALL, PASSES, wish, |router, tester| rows::all_to_all(router, tester, (20, 10_000)))?;
    let (wall, cpu) = (medians(&costs, |cost| cost.wall), medians(&costs, |cost| cost.cpu));
    compared("until one more had heard all", wall.map(|wall| wall * 1000.0), "ms");
    compared("processor time until all had", cpu.map(|cpu| cpu * 1000.0), "ms");
    compared("memory", medians(&costs, |cost| cost.peak), "MiB");
    goal("FRR's time against ours", wall[2] / wall[0], Bound::AtLeast(3.0));
    goal("BIRD's processor time against ours", cpu[1] / cpu[0], Bound::AtLeast(10.0));
    Ok(())
}

fn connects(field: &Field) -> Result<()> {
    heading("From the first packet to Established, 100 peers");
    let peers = Peers::Named(100);
    let took = field.turns(ALL, PASSES, (peers, Kernel::Untouched), |_, tester| rows::connects(tester, 100))?;
    compared("median", took.map(median), "ms");
    Ok(())
}

fn idle_sessions(field: &Field) -> Result<()> {
    heading("5,000 sessions on which nothing happens, a keepalive a minute");
    let wish = (Peers::Any, Kernel::Untouched);
    let [ours, bird] = field.turns(BOTH, 1, wish, |router, tester| rows::idle_sessions(router, tester, 5_000))?;
    let (ours, bird) = (ours[0], bird[0]);
    compared("memory", [ours.0, bird.0], "MiB");
    compared("part of a core", [ours.1 * 100.0, bird.1 * 100.0], "%");
    goal("memory, ours", ours.0, Bound::AtMost(150.0));
    goal("part of a core, ours", ours.1 * 100.0, Bound::AtMost(3.0));
    goal("part of a core, ours against BIRD", ours.1 / bird.1, Bound::AtMost(1.0 / 3.0));
    Ok(())
}

fn changes(field: &Field) -> Result<()> {
    heading("One route changes at one peer until another is told");
    let wish = (Peers::Named(3), Kernel::Untouched);
    let quiet = field.turns(BOTH, PASSES, wish, |_, tester| rows::quiet_changes(tester, 500))?;
    let busy = field.turns(BOTH, PASSES, wish, |_, tester| rows::busy_changes(tester, 500_000))?;
    for (name, delays, most) in [("idle", quiet, 1.0), ("while 500,000 come", busy, 17.0)] {
        let of = |of: fn(&rows::Delay) -> f64| delays.each_ref().map(|delays| median(delays.iter().map(of).collect()));
        let (half, high) = (of(|delay| delay.median), of(|delay| delay.high));
        match name {
            "idle" => compared(&format!("{name}, median"), half, "ms"),
            _ => told(&format!("{name}, median"), half, "ms"),
        }
        told(&format!("{name}, 99 of 100"), high, "ms");
        goal(&format!("{name}, 99 of 100, ours"), high[0], Bound::AtMost(most));
    }
    Ok(())
}

/// The most that may lie between two keepalives of a session with a hold time of 3 s, milliseconds: a third of it, and what a loaded tester adds.
const ON_TIME: f64 = 1_100.0;

fn keepalives(field: &Field) -> Result<()> {
    heading("Keepalives of sessions with a hold time of 3 s (0.75 to 1 s apart), while another peer does this");
    let loads = [
        ("nothing", Load::None),
        ("500,000 routes again and again", Load::Table(500_000)),
        ("the same, one takes nothing", Load::Deaf(500_000)),
        ("noise on new connections", Load::Noise),
        ("a refresh of 100,000 a message", Load::Refreshes(100_000)),
    ];
    for (name, load) in loads {
        let wish = (Peers::Named(beats::PEERS), Kernel::Untouched);
        let runs = field.turns(BOTH, 1, wish, |router, tester| beats::beats(router, tester, load))?;
        let of = |of: fn(&Beats) -> f64| runs.each_ref().map(|runs| median(runs.iter().map(of).collect()));
        let high = of(|beats| beats.high);
        told(&format!("{name}, half"), of(|beats| beats.median), "ms");
        told(&format!("{name}, 99 of 100"), high, "ms");
        told(&format!("{name}, memory grown by"), of(|beats| beats.growth), "MiB");
        goal(&format!("{name}, 99 of 100, ours"), high[0], Bound::AtMost(ON_TIME));
    }
    Ok(())
}

//! ADD on a node with a thousand pods beside one with ten.

use std::time::SystemTime;

use anyhow::{Result, ensure};
use ipam::ledger::{Claim, Identifier, Ledger, NoCensus, Owner, Range, RangeSet, RangeText};
use netns_harness::Node;
use serde_json::{Value, json};

use super::Contest;
use super::floor::Floor;
use super::runtime::{List, Pods, at_once};
use crate::figures::{Bound, goal, heading, median, millis, note};

const FEW: usize = 10;
/// A bridge has 1,023 ports.
const MANY: usize = 1_000;
const ROUNDS: usize = 60;
const AT_ONCE: usize = 4;

/// The whole, in both modes, and the ledger alone.
pub fn measure(contest: &Contest<'_>, pods: &mut Pods<'_>) -> Result<()> {
    heading("ADD beside a thousand pods, against ADD beside ten (alternating)");
    for mode in ["bridge", "routed"] {
        let more = json!({"mode": mode});
        let sides = [("few", FEW), ("many", MANY)].map(|(name, count)| (format!("{name}-{mode}"), count));
        let mut stages = Vec::new();
        for (name, count) in sides {
            let node = contest.lab.node(&name)?;
            stages.push(stage(contest, pods, (&node, &more), count)?);
        }
        let [mut few, mut many, mut kernel_few, mut kernel_many] = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            let sides = [(&mut few, &mut kernel_few), (&mut many, &mut kernel_many)];
            for ((node, list), (times, kernel)) in stages.iter().zip(sides) {
                let fresh = pods.make(2)?;
                node.namespace().within(|| {
                    let (time, result) = list.add(&fresh[0])?;
                    list.delete(&fresh[0], &result)?;
                    times.push(time);
                    if mode == "bridge" {
                        let floor = Floor::on(node, "cni0")?;
                        kernel.push(floor.add(&fresh[1])?);
                        floor.delete(&fresh[1])?;
                    }
                    Ok(())
                })?;
            }
        }
        if mode == "bridge" {
            note(
                "the kernel's own work on such bridges, against each other",
                median(kernel_many) / median(kernel_few),
                "",
            );
        }
        print(&format!("{mode} mode"), few, many);
    }
    ledger(contest)
}

/// A node with so many pods.
fn stage(
    contest: &Contest<'_>,
    pods: &mut Pods<'_>,
    (node, more): (&Node, &Value),
    count: usize,
) -> Result<(Node, List)> {
    let list = List::one(&contest.towpath, contest.bridged(node, ("towpath", "cni0"), more));
    let fresh = pods.make(count)?;
    at_once((node, AT_ONCE), &fresh, |pod| list.add(pod).map(drop))?;
    Ok((node.clone(), list))
}

fn ledger(contest: &Contest<'_>) -> Result<()> {
    let range = Range::new(RangeText { subnet: "10.5.0.0/16".parse()?, start: None, end: None, gateway: None })?;
    let sets = [RangeSet::new(vec![range])?];
    let owner = |n: usize| {
        Ok::<_, anyhow::Error>(Owner { container: Identifier::new(&format!("c{n}"))?, ifname: "eth0".into() })
    };
    let mut ledgers = Vec::new();
    for (name, count) in [("few", FEW), ("many", MANY)] {
        let ledger = Ledger::new(&contest.lab.directory().join("ledgers"), &Identifier::new(name)?);
        for n in 0..count {
            give(&ledger, &owner(n)?, &sets)?;
        }
        ledgers.push(ledger);
    }
    let [mut few, mut many] = [const { Vec::new() }; 2];
    for n in 0..10 * ROUNDS {
        let owner = owner(MANY + n)?;
        for (ledger, times) in ledgers.iter().zip([&mut few, &mut many]) {
            let (time, address) = millis(|| give(ledger, &owner, &sets));
            times.push(time);
            let (address, now) = (address?, SystemTime::now());
            ensure!(ledger.release(&owner, &[address], now)? == [address], "{address} was not given back");
        }
    }
    print("the ledger alone", few, many);
    Ok(())
}

fn give(ledger: &Ledger, owner: &Owner, sets: &[RangeSet]) -> Result<std::net::IpAddr> {
    let claim = Claim { owner, sets, wanted: &[], now: SystemTime::now() };
    let given = ledger.reserve(&claim, &NoCensus)?;
    ledger.settle(owner)?;
    Ok(given[0].address.addr())
}

fn print(what: &str, few: Vec<f64>, many: Vec<f64>) {
    let (few, many) = (median(few), median(many));
    note(&format!("{what}: beside {FEW}"), few, "ms");
    note(&format!("{what}: beside {MANY}"), many, "ms");
    goal("  against each other", many / few, Bound::AtMost(1.2));
}

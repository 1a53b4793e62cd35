//! `make bench`: speed and memory, as ratios against a reference or the floor in the same run, alternating.
//!
//! On a shared machine only ratios inside one run mean anything; absolute figures are printed for orientation. What a
//! figure must reach stands beside it. Everything happens in namespaces of a lab. Needs root; `peers`, `daemon`,
//! `plugin`, `bgp`, `change`, `ways`, `memory` or `kubernetes` as argument runs that part alone, `bgp:500k` (and the like: `bgp.rs`) one row of it;
//! beside `change` a number says how many rounds, and `pace=10000` how many packets a second.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bare_client;
mod bgp;
mod change;
mod cluster;
mod daemon;
mod figures;
mod floor;
mod guest;
mod kubernetes;
mod latency;
mod memory;
mod nodes;
mod peers;
mod plugin;
mod preload;
mod ready;
mod ways;

use anyhow::Result;

/// What a change is done under.
const CHANGE: change::Wish = change::Wish { rounds: 20, per_sec: 10_000 };

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let [word, peers] = wanted.as_slice()
        && word == bgp::ours::WORD
    {
        return bgp::ours::speak(peers);
    }
    let runs = |part: &str| wanted.is_empty() || wanted.iter().any(|word| word == part);
    let rounds = wanted.iter().find_map(|word| word.parse().ok()).unwrap_or(CHANGE.rounds);
    let pace = wanted.iter().find_map(|word| word.strip_prefix("pace=")).map_or(Ok(CHANGE.per_sec), str::parse)?;
    let change = change::Wish { rounds, per_sec: pace };
    netns_harness::check_machine()?;
    if wanted.iter().any(|word| word == change::THERE) {
        return change::there(change);
    }
    if wanted.iter().any(|word| word == peers::beside_vxlan::THERE) {
        return peers::beside_vxlan::there();
    }
    if wanted.iter().any(|word| word == ways::THERE) {
        return ways::there();
    }
    if wanted.iter().any(|word| word == memory::THERE) {
        return memory::there();
    }
    if runs("peers") {
        peers::measure()?;
    }
    if runs("daemon") {
        daemon::measure()?;
    }
    if runs("plugin") {
        plugin::measure()?;
    }
    if runs("change") {
        change::measure(change)?;
    }
    if runs("ways") {
        ways::measure()?;
    }
    if runs("memory") {
        memory::measure()?;
    }
    if wanted.is_empty() || wanted.iter().any(|word| bgp::is_wanted(word)) {
        bgp::measure(&wanted)?;
    }
    if runs("kubernetes") {
        kubernetes::measure()?;
    }
    Ok(())
}

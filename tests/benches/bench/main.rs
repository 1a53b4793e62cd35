//! `make bench`: speed and memory, as ratios against a reference or the floor in the same run, alternating.
//!
//! On a shared machine only ratios inside one run mean anything; absolute figures are printed for orientation. What a
//! figure must reach stands beside it. Everything happens in namespaces of a lab. Needs root; `peers`, `daemon`,
//! `plugin` or `kubernetes` as argument runs that part alone.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bare_client;
mod cluster;
mod daemon;
mod figures;
mod floor;
mod kubernetes;
mod latency;
mod peers;
mod plugin;
mod ready;

use anyhow::Result;

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let runs = |part: &str| wanted.is_empty() || wanted.iter().any(|word| word == part);
    netns_harness::check_machine()?;
    if runs("peers") {
        peers::measure()?;
    }
    if runs("daemon") {
        daemon::measure()?;
    }
    if runs("plugin") {
        plugin::measure()?;
    }
    if runs("kubernetes") {
        kubernetes::measure()?;
    }
    Ok(())
}

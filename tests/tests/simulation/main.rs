//! Daemons' whole logic through random histories: after any of them and a quiet moment, every node's kernel is exactly as
//! desired, nothing foreign was touched, and no lease is held twice.
//!
//! A failing seed is had again by `TOWPATH_SEED=N cargo test -p promises --test simulation`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod dice;
mod kernel;
mod plans;
mod store;
mod traffic;
mod world;

use world::World;

const SEEDS: u64 = 300;

const CHANGES: u64 = 100;

fn live(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    world.run(120);
    world.calm();
    world.check()?;
    let before = world.writes();
    world.restart_all();
    world.check()?;
    match world.writes() - before {
        0 => Ok(()),
        writes => Err(format!("a restart with nothing to do wrote {writes} times")),
    }
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("TOWPATH_SEED") {
        Ok(seed) => seed.parse().map(|seed| seed..seed + 1).expect("TOWPATH_SEED is a number"),
        Err(_) => 0..count,
    }
}

fn change(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    world.calm();
    world.change(120)?;
    world.calm();
    world.check()
}

#[test]
fn the_backend_changes_and_whoever_sends_sends_what_the_receiver_takes() {
    for seed in seeds(CHANGES) {
        if let Err(reason) = change(seed) {
            panic!("seed {seed}: {reason}\nagain: TOWPATH_SEED={seed} cargo test -p promises --test simulation");
        }
    }
}

#[test]
fn any_history_ends_with_every_kernel_as_desired() {
    for seed in seeds(SEEDS) {
        if let Err(reason) = live(seed) {
            panic!("seed {seed}: {reason}\nagain: TOWPATH_SEED={seed} cargo test -p promises --test simulation");
        }
    }
}

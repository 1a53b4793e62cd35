//! Whether keepalives come in time while somebody else does what it should not: sessions with the least hold time, and one or two peers beside them.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use bgp::wire::refresh::Subtype;
use bgp::wire::{Family, Refresh, message};
use netns_harness::Node;

use super::feed::{Origin, announce};
use super::router::Router;
use super::session::{Peer, Session};
use crate::figures::{median, percentile};

/// Sessions that do what they should.
const WITNESSES: u16 = 8;
/// How long it is looked at.
const SPAN: Duration = Duration::from_secs(15);
/// Hold time of three seconds: a keepalive a second.
const HOLD_SECS: u16 = 3;
const ROGUE: Peer = Peer(WITNESSES);
const OTHER: Peer = Peer(WITNESSES + 1);

/// Peers that a router must know for this.
pub const PEERS: u16 = WITNESSES + 2;

/// What somebody does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Nothing.
    None,
    /// It tells so many routes, again and again with other attributes.
    Table(u32),
    /// The same, and another takes nothing of it.
    Deaf(u32),
    /// It connects, says what means nothing, and connects again.
    Noise,
    /// It has so many routes and asks for all of them again in each message.
    Refreshes(u32),
}

/// From one keepalive to the next, milliseconds; and memory, MiB.
#[derive(Clone, Copy, Debug)]
pub struct Beats {
    /// Half of them.
    pub median: f64,
    /// All but one in a hundred.
    pub high: f64,
    /// The router's memory at its highest less that before.
    pub growth: f64,
}

/// Looks at it.
pub fn beats(router: &Router, tester: &Node, load: Load) -> Result<Beats> {
    let open = |peer| Session::open_with_hold(tester.namespace(), Peer(peer), HOLD_SECS);
    let witnesses = (0..WITNESSES).map(open).collect::<Result<Vec<_>>>()?;
    let (before, over) = (router.rss()?, AtomicBool::new(false));
    let beats = std::thread::scope(|scope| -> Result<Vec<f64>> {
        let rogue = scope.spawn(|| disturb(tester, load, &over));
        let looks: Vec<_> = witnesses.into_iter().map(|witness| scope.spawn(move || witness.beats(SPAN))).collect();
        let beats: Result<Vec<Vec<f64>>> = looks.into_iter().map(|look| look.join().expect("no panic")).collect();
        over.store(true, Ordering::Relaxed);
        // That it was cut off is what it may expect.
        drop(rogue.join());
        Ok(beats?.concat())
    })?;
    ensure!(!beats.is_empty(), "nobody heard anything");
    Ok(Beats { median: median(beats.clone()), high: percentile(beats, 99), growth: router.peak()? - before })
}

fn disturb(tester: &Node, load: Load, over: &AtomicBool) -> Result<()> {
    let is_over = || over.load(Ordering::Relaxed);
    let table = |count: u32| -> Result<()> {
        let mut rogue = Session::open(tester.namespace(), ROGUE)?.deaf()?;
        for round in (0..200).cycle() {
            for first in (0..count).step_by(20_000) {
                if is_over() {
                    return rogue.close();
                }
                let origin = Origin { asn: ROGUE.asn(), hop: ROGUE.address(), round };
                rogue.send(&announce(origin, first..count.min(first + 20_000)))?;
            }
        }
        Ok(())
    };
    match load {
        Load::None => Ok(()),
        Load::Table(count) => table(count),
        Load::Deaf(count) => {
            let _deaf = Session::open(tester.namespace(), OTHER)?;
            table(count)
        }
        Load::Noise => {
            while !is_over() {
                // It is closed in the middle of it, or not taken at all.
                let connected: Result<(TcpStream, _)> = Session::connect(tester.namespace(), ROGUE);
                if let Ok((mut stream, _)) = connected {
                    stream.write_all(&[0x5a; 4096]).ok();
                }
            }
            Ok(())
        }
        Load::Refreshes(count) => {
            let mut rogue = Session::open(tester.namespace(), ROGUE)?.deaf()?;
            let origin = Origin { asn: ROGUE.asn(), hop: ROGUE.address(), round: 0 };
            rogue.send(&announce(origin, 0..count))?;
            let ask = message::refresh(&Refresh { family: Family::IPV4, subtype: Subtype::Request }).repeat(1000);
            while !is_over() {
                rogue.send(&ask)?;
            }
            rogue.close()
        }
    }
}

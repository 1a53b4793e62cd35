//! What is measured of a router: each function is one row, with a router that nobody has spoken to before.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bgp::wire::message;
use netns_harness::Node;

use super::feed::{Heard, Origin, announce};
use super::router::Router;
use super::session::{Peer, Session};
use crate::figures::{in_millis, median, percentile};
use crate::ready::idle;

const RECEIVER: Peer = Peer(0);
/// A route that nobody else has.
const SAMPLE: u32 = (1 << 20) + 7;

/// What one run cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Until the last of it was there, seconds.
    pub wall: f64,
    /// Processor time of the router's, seconds.
    pub cpu: f64,
    /// The most memory that it had, MiB.
    pub peak: f64,
    /// The memory that it had in the end, MiB.
    pub held: f64,
}

/// What a peer says of its routes.
pub fn origin(peer: Peer, round: u32) -> Origin {
    Origin { asn: peer.asn(), hop: peer.address(), round }
}

/// Routes from one peer to another; then the one goes, and the other is told. Two costs.
pub fn one_peer(router: &Router, tester: &Node, count: u32) -> Result<[Cost; 2]> {
    let (mut receiver, sender) = pair(tester)?;
    let bytes = announce(origin(Peer(1), 0), 0..count);
    let mut heard = Heard::nothing();
    let came = measured(router, || {
        let mut speaker = sender.speaker()?;
        std::thread::scope(|scope| {
            let said = scope.spawn(|| speaker.send(&bytes));
            receiver.listen(&mut heard, |heard| heard.held() == count as usize)?;
            said.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?
        })
    })?;
    ensure!(heard.held() == count as usize, "{} of {count} routes came", heard.held());
    let went = measured(router, || {
        sender.close()?;
        receiver.listen(&mut heard, |heard| heard.held() == 0)
    })?;
    ensure!(heard.held() == 0, "{} routes stayed", heard.held());
    Ok([came, went])
}

fn pair(tester: &Node) -> Result<(Session, Session)> {
    let receiver = Session::open(tester.namespace(), RECEIVER)?;
    Ok((receiver, Session::open(tester.namespace(), Peer(1))?.deaf()?))
}

/// What a piece of work cost a router.
pub fn measured<T>(router: &Router, work: impl FnOnce() -> Result<T>) -> Result<Cost> {
    let (before, began) = (router.cpu()?, Instant::now());
    work()?;
    let wall = began.elapsed().as_secs_f64();
    cost(router, (wall, before))
}

/// After so many seconds, and so much processor time before.
fn cost(router: &Router, (wall, before): (f64, f64)) -> Result<Cost> {
    Ok(Cost { wall, cpu: router.cpu()? - before, peak: router.peak()?, held: router.rss()? })
}

/// So many peers, each with so many routes of its own, all of which all others and one more are told.
pub fn all_to_all(router: &Router, tester: &Node, (peers, each): (u16, u32)) -> Result<Cost> {
    let mut receiver = Session::open(tester.namespace(), RECEIVER)?;
    let numbers: Vec<Peer> = (1..=peers).map(Peer).collect();
    let mut sessions =
        numbers.iter().map(|peer| Session::open(tester.namespace(), *peer)).collect::<Result<Vec<_>>>()?;
    let whole = usize::from(peers) * each as usize;
    let own = |peer: Peer| -> Range<u32> { u32::from(peer.0 - 1) * each..u32::from(peer.0) * each };
    let feeds: Vec<Vec<u8>> = numbers.iter().map(|peer| announce(origin(*peer, 0), own(*peer))).collect();
    let (before, began) = (router.cpu()?, Instant::now());
    let wall = std::thread::scope(|scope| -> Result<f64> {
        for (session, feed) in sessions.iter_mut().zip(&feeds) {
            let mut speaker = session.speaker()?;
            scope.spawn(move || speaker.send(feed));
            // Whether a router tells a peer its own routes again is its business.
            let others = whole - each as usize;
            scope.spawn(move || session.listen(&mut Heard::nothing(), |heard| heard.held() >= others));
        }
        receiver.listen(&mut Heard::nothing(), |heard| heard.held() == whole)?;
        Ok(began.elapsed().as_secs_f64())
    })?;
    cost(router, (wall, before))
}

/// From a connection's first packet to Established, the median of peers that each come once, milliseconds.
pub fn connects(tester: &Node, peers: u16) -> Result<f64> {
    let open = |peer| Ok(in_millis(Session::open(tester.namespace(), Peer(peer))?.took));
    Ok(median((0..peers).map(open).collect::<Result<Vec<_>>>()?))
}

/// Sessions that only say that they are there. The memory for all of them, and the part of a core that they take.
pub fn idle_sessions(router: &Router, tester: &Node, count: u16) -> Result<(f64, f64)> {
    let mut sessions =
        (0..count).map(|peer| Session::open(tester.namespace(), Peer(peer))).collect::<Result<Vec<_>>>()?;
    let keepalive = message::keepalive();
    let (before, began) = (router.cpu()?, Instant::now());
    // Each says it once in a minute: for half a minute, every other one.
    for some in sessions.chunks_mut(usize::from(count / 120).max(1)).take(60) {
        some.iter_mut().try_for_each(|session| session.send(&keepalive))?;
        idle(Duration::from_millis(500))?;
    }
    let core = (router.cpu()? - before) / began.elapsed().as_secs_f64();
    Ok((router.rss()?, core))
}

/// How long a change of one route takes from one peer to another, milliseconds: the median and the 99th hundredth.
pub struct Delay {
    /// Half of them took at most this.
    pub median: f64,
    /// All but one in a hundred.
    pub high: f64,
}

/// While nothing else happens.
pub fn quiet_changes(tester: &Node, count: u32) -> Result<Delay> {
    let (mut receiver, mut sender) = pair(tester)?;
    changes((&mut receiver, &mut sender), |done| done < count)
}

/// While a third peer tells a whole table, three times with other attributes.
pub fn busy_changes(tester: &Node, table: u32) -> Result<Delay> {
    let (mut receiver, mut sender) = pair(tester)?;
    let mut third = Session::open(tester.namespace(), Peer(2))?.deaf()?;
    let rounds = (0..3).map(|round| announce(origin(Peer(2), round), 0..table)).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let load = scope.spawn(|| rounds.iter().try_for_each(|round| third.send(round)));
        changes((&mut receiver, &mut sender), |done| done < 50 || (!load.is_finished() && done < 5_000))
    })
}

fn changes((receiver, sender): (&mut Session, &mut Session), more: impl Fn(u32) -> bool) -> Result<Delay> {
    let mut heard = Heard::watching(SAMPLE);
    let mut times = Vec::new();
    for round in 0.. {
        if !more(round) {
            break;
        }
        let round = (round % 200) as u8;
        let change = announce(origin(Peer(1), round.into()), SAMPLE..SAMPLE + 1);
        let began = Instant::now();
        sender.send(&change)?;
        ensure!(receiver.listen(&mut heard, |heard| heard.round == Some(round))?, "the session ended");
        times.push(in_millis(began.elapsed()));
    }
    Ok(Delay { median: median(times.clone()), high: percentile(times, 99) })
}

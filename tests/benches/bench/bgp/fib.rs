//! Routes from one peer into the kernel, and out of it again when the peer is gone: our whole daemon, BIRD and FRR in turn; and what the kernel alone takes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use backends::PROTOCOL;
use netns_harness::Node;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, send, socket};

use super::feed::announce;
use super::router::{Kernel, Make, Peers, Router, kernel_routes};
use super::rows::{Cost, measured, origin};
use super::session::{Peer, Session};
use super::{ALL, BOTH, Field, PASSES, medians};
use crate::figures::{Bound, goal, heading, median, millis, note};
use crate::floor::{ACKNOWLEDGE, MAKE, message};

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(120);
/// How often the kernel's routes are counted: it walks its whole tree for that.
const GLANCE: Duration = Duration::from_millis(20);
const PER_DATAGRAM: usize = 256;

/// All rows: with FRR, and five times as many without it, who would take half a minute a round.
pub fn measure(field: &Field) -> Result<()> {
    compared(field, ALL, 100_000)?;
    compared(field, BOTH, 500_000)
}

fn compared<const N: usize>(field: &Field, makes: [Make; N], count: u32) -> Result<()> {
    heading(&format!("{count} routes from one peer into the kernel; then the peer goes"));
    let wish = (Peers::Named(1), Kernel::Written);
    let runs = field.turns(makes, PASSES, wish, |router, tester| there_and_gone(router, tester, count))?;
    let [came, went] =
        [0, 1].map(|part| runs.each_ref().map(|runs| runs.iter().map(|run| run[part]).collect::<Vec<_>>()));
    let promised = Some(Bound::AtLeast(1.5));
    for (what, costs, bound) in [("until all were there", &came, promised), ("until all were gone", &went, None)] {
        let (wall, cpu) = (medians(costs, |cost| cost.wall * 1000.0), medians(costs, |cost| cost.cpu * 1000.0));
        for (at, make) in makes.into_iter().enumerate() {
            note(&format!("{what}, {}", make.name()), wall[at], "ms");
            note("  processor time", cpu[at], "ms");
        }
        let (name, ratio) = (format!("{what}, BIRD's time against ours"), wall[1] / wall[0]);
        match bound {
            Some(bound) => goal(&format!("{name}; aim: 2"), ratio, bound),
            None => note(&name, ratio, ""),
        }
        note("  BIRD's processor time against ours", cpu[1] / cpu[0], "");
    }
    let (held, peak) = (medians(&came, |cost| cost.held), medians(&came, |cost| cost.peak));
    for (at, make) in makes.into_iter().enumerate() {
        note(&format!("memory with all of them, {}", make.name()), held[at], "MiB");
        note("  at most until then", peak[at], "MiB");
    }
    let floors = (0..PASSES).map(|_| field.alone(|node| floor(node, count))).collect::<Result<Vec<_>>>()?;
    note("the kernel alone, 256 messages a datagram", median(floors), "ms");
    note("ip -batch", field.alone(|node| batch(node, count))?, "ms");
    Ok(())
}

/// Routes from one peer until the kernel has them; then the peer goes, until it has none.
fn there_and_gone(router: &Router, tester: &Node, count: u32) -> Result<[Cost; 2]> {
    let mut sender = Session::open(tester.namespace(), Peer(0))?.deaf()?;
    let before = router.kernel_routes()?;
    let bytes = announce(origin(Peer(0), 0), 0..count);
    let all = before + count as usize;
    let came = measured(router, || {
        sender.send(&bytes)?;
        counted(router, |routes| routes >= all)
    })?;
    let went = measured(router, || {
        sender.close()?;
        counted(router, |routes| routes <= before)
    })?;
    Ok([came, went])
}

#[allow(clippy::disallowed_methods, reason = "each look costs the kernel as much as a thousand routes")]
fn counted(router: &Router, enough: impl Fn(usize) -> bool) -> Result<()> {
    let began = Instant::now();
    loop {
        let routes = router.kernel_routes()?;
        if enough(routes) {
            return Ok(());
        }
        ensure!(began.elapsed() < LIMIT, "{routes} routes in the kernel after {LIMIT:?}\n{}", router.log());
        std::thread::sleep(GLANCE);
    }
}

/// What the kernel alone takes for as many routes through one next-hop object, milliseconds.
fn floor(node: &Node, count: u32) -> Result<f64> {
    const OBJECT: u32 = 1;
    node.ip("address add 198.18.0.1/16 dev eth0")?;
    node.ip(&format!("nexthop add id {OBJECT} via 198.18.128.1 dev eth0"))?;
    let before = kernel_routes(node)?;
    let route = |number: u32| {
        let address = (16 << 24) + (number << 8);
        let fixed = [2, 24, 0, 0, 254, PROTOCOL, 0, 1, 0, 0, 0, 0];
        message(24, &fixed, &[(1, &address.to_be_bytes()), (30, &OBJECT.to_ne_bytes())])
    };
    let mut messages: Vec<Vec<u8>> = (0..count).map(route).collect();
    let datagrams = messages.chunks_mut(PER_DATAGRAM).map(|chunk| {
        if let Some(flags) = chunk.last_mut().and_then(|last| last.get_mut(6..8)) {
            flags.copy_from_slice(&(MAKE | ACKNOWLEDGE).to_ne_bytes());
        }
        chunk.concat()
    });
    let datagrams: Vec<Vec<u8>> = datagrams.collect();
    let time = node.namespace().within(move || {
        let kernel = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
        let mut answer = [0; 64];
        let (time, done) = millis(|| -> Result<()> {
            datagrams.iter().try_for_each(|datagram| {
                send(&kernel, datagram, SendFlags::empty())?;
                let (length, _) = recv(&kernel, &mut answer[..], RecvFlags::empty())?;
                ensure!(length >= 20 && answer[16..20] == [0; 4], "refused: {:?}", &answer[..length]);
                Ok(())
            })
        });
        done.map(|()| time)
    })?;
    ensure!(kernel_routes(node)? == before + count as usize, "not all routes are there");
    Ok(time)
}

/// The same by a program that everybody has, milliseconds.
fn batch(node: &Node, count: u32) -> Result<f64> {
    node.ip("address add 198.18.0.1/16 dev eth0")?;
    let address = |number: u32| std::net::Ipv4Addr::from_bits((16 << 24) + (number << 8));
    let lines: String =
        (0..count).map(|number| format!("route add {}/24 via 198.18.128.1\n", address(number))).collect();
    let (time, done) = millis(|| node.namespace().feed(["ip", "-batch", "-"], &lines));
    done.context("ip -batch")?;
    Ok(time)
}

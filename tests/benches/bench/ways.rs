//! What a packet's way costs by each backend: TCP throughput for a second of processor time and the time of a request and its answer,
//! beside the same devices made by hand with `ip` and beside the nodes' bare wire, in turns.
//!
//! Masquerade and forward rules are off: they cost the same whoever writes them.
//! Processor time is this process's: both ends are its threads, and the kernel carries a packet in the time of who sends it. A guest has one
//! processor and nothing else to do: there it is all the time that passes, in which the kernel's own threads encrypt, too. Both ends are on one
//! processor everywhere: to wake another takes longer than any device, and now so long and now so.

mod by_hand;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ipam::Family;
use netns_harness::Station;
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::figures::{Bound, goal, heading, median, note};
use crate::guest;
use crate::nodes::{LIMIT, Nodes};
use by_hand::Hand;

/// What the program is told to do the part in a guest.
pub const THERE: &str = "ways-there";

/// A hand writes none, and to follow connections costs more than a device.
const NO_RULES: [&str; 2] = ["--ip-masq=false", "--iptables-forward-rules=false"];
const PASSES: usize = 9;
const OCTETS: usize = 64 << 20;
const REQUESTS: usize = 2_000;
const GUEST_LIMIT: Duration = Duration::from_secs(1800);

/// A backend as configured, by which hand it is made beside, and the least throughput against that.
type Way = (&'static str, Hand, f64);

const VXLAN: Way = (r#"{"Type": "vxlan"}"#, Hand::Vxlan, 0.98);
/// The two rules by which nobody tracks or rewrites the outer packets are asked about every packet that passes: a tenth of the time on a
/// host that tracks nothing at all, and much less than tracking them takes on one that does.
const VXLAN_UNTRACKED: Way = (r#"{"Type": "vxlan"}"#, Hand::VxlanUntracked, 0.98);
const HOST_GW: Way = (r#"{"Type": "host-gw"}"#, Hand::HostGw, 0.98);
const IPIP: Way = (r#"{"Type": "ipip"}"#, Hand::Ipip, 0.98);
const WIREGUARD: Way = (r#"{"Type": "wireguard"}"#, Hand::WireGuard, 0.97);

/// What the machine's own kernel has, and the rest in a guest.
pub fn measure() -> Result<()> {
    [VXLAN, VXLAN_UNTRACKED, HOST_GW].iter().try_for_each(one)?;
    guest::run(&[THERE], GUEST_LIMIT)
}

/// The part of it that is done in a guest.
pub fn there() -> Result<()> {
    [IPIP, WIREGUARD].iter().try_for_each(one)
}

fn one((backend, hand, least): &Way) -> Result<()> {
    heading(&format!("{backend}: ours, by hand ({hand:?}), and the bare wire, in turns"));
    let nodes = Nodes::new("benchways", (backend, &NO_RULES), 2)?;
    let made = by_hand::make(&nodes, *hand)?;
    let bare = [nodes.daemons[0].node(), nodes.daemons[1].node()];
    let ends: [[&Station; 2]; 3] = [[&nodes.pods[0], &nodes.pods[1]], [&made[0], &made[1]], [bare[0], bare[1]]];
    let (mut rates, mut times) = ([Vec::new(), Vec::new(), Vec::new()], [Vec::new(), Vec::new(), Vec::new()]);
    for pass in 0..PASSES {
        for turn in 0..ends.len() {
            // Nobody is always the first.
            let at = (turn + pass) % ends.len();
            rates[at].push(on_one_processor(|| throughput(ends[at]))?);
            times[at].push(on_one_processor(|| latency(ends[at]))?);
        }
    }
    let against = |of: &[Vec<f64>; 3], other: usize| {
        median(of[0].iter().zip(&of[other]).map(|(ours, theirs)| ours / theirs).collect())
    };
    note("throughput for a second of processor time, ours", median(rates[0].clone()), "MB");
    note("against the bare wire", against(&rates, 2), "times");
    goal("against the same by hand", against(&rates, 1), Bound::AtLeast(*least));
    note("a request and its answer, ours", median(times[0].clone()), "µs");
    note("against the bare wire", against(&times, 2), "times");
    goal("against the same by hand", against(&times, 1), Bound::AtMost(1.02));
    Ok(())
}

/// Megabytes for a second of processor time.
fn throughput([from, to]: [&Station; 2]) -> Result<f64> {
    let address = SocketAddr::new(to.address(Family::V4)?, 0);
    let listener = to.within(|| Ok(TcpListener::bind(address)?))?;
    let mut sender = from.connect(listener.local_addr()?, LIMIT)?;
    let (mut receiver, _) = listener.accept()?;
    let before = processor_time()?;
    std::thread::scope(|scope| -> Result<()> {
        let sending = scope.spawn(move || {
            let piece = vec![0x54; 1 << 20];
            (0..OCTETS / piece.len()).try_for_each(|_| sender.write_all(&piece))
        });
        let (mut arrived, mut buffer) = (0, vec![0; 1 << 20]);
        while arrived < OCTETS {
            match receiver.read(&mut buffer)? {
                0 => break,
                length => arrived += length,
            }
        }
        ensure!(arrived == OCTETS, "{arrived} octets arrived");
        sending.join().expect("a thread that only sends")?;
        Ok(())
    })?;
    Ok(OCTETS as f64 / 1e6 / (processor_time()? - before))
}

/// Does something in a thread that, with all that it starts, stays on the first processor.
fn on_one_processor<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let stay_and_work = || {
        let mut first = CpuSet::new();
        first.set(0);
        sched_setaffinity(None, &first)?;
        work()
    };
    std::thread::scope(|scope| scope.spawn(stay_and_work).join().expect("a thread that only measures"))
}

/// Microseconds, the median.
fn latency([from, to]: [&Station; 2]) -> Result<f64> {
    let address = SocketAddr::new(to.address(Family::V4)?, 0);
    let listener = to.within(|| Ok(TcpListener::bind(address)?))?;
    let mut asking = from.connect(listener.local_addr()?, LIMIT)?;
    let (mut answering, _) = listener.accept()?;
    answering.set_nodelay(true)?;
    let mut times = Vec::with_capacity(REQUESTS);
    std::thread::scope(|scope| -> Result<()> {
        scope.spawn(move || {
            let mut one = [0];
            // Ends with the connection.
            while answering.read_exact(&mut one).and_then(|()| answering.write_all(&one)).is_ok() {}
        });
        for _ in 0..REQUESTS {
            let (began, mut one) = (Instant::now(), [7]);
            asking.write_all(&one)?;
            asking.read_exact(&mut one)?;
            times.push(began.elapsed().as_secs_f64() * 1e6);
        }
        drop(asking);
        Ok(())
    })?;
    Ok(median(times))
}

fn processor_time() -> Result<f64> {
    let clock = match available_parallelism()?.get() {
        1 => ClockId::Monotonic,
        _ => ClockId::ProcessCPUTime,
    };
    let now = clock_gettime(clock);
    Ok(now.tv_sec as f64 + now.tv_nsec as f64 / 1e9)
}

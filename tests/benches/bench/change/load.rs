//! What talks during a change — numbered datagrams from each pod to the next and back, and 20 connections — and the counts of it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{ECHO_PORT, Hole, Pace, Pod, Stream, wait_for};

use crate::nodes::{LIMIT, Nodes};

const CONNECTIONS: usize = 20;

/// Datagrams from each pod to the next.
pub fn streams(nodes: &Nodes, pace: Pace) -> Result<Vec<Stream>> {
    nodes.pairs().map(|(from, to)| Stream::start(from, to, Family::V4, pace)).collect()
}

/// What each stream has of so many packets a second.
pub fn share(per_sec: u32, nodes: &Nodes) -> u32 {
    per_sec / u32::try_from(nodes.pods.len()).unwrap_or(1)
}

/// Connections that last over all rounds.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    resets: AtomicU64,
    /// Of each connection.
    exchanges: Vec<AtomicU64>,
}

impl Load {
    /// Each connection rests so long between two exchanges.
    pub fn start(nodes: &Nodes, rest: Duration) -> Result<Load> {
        let exchanges = (0..CONNECTIONS).map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(Shared { exchanges, ..Shared::default() });
        let pairs: Vec<_> = nodes.pairs().collect();
        let mut threads = Vec::new();
        for number in 0..CONNECTIONS {
            let (from, to) = pairs[number % pairs.len()];
            let (from, address) = (from.clone(), SocketAddr::new(to.address(Family::V4)?, ECHO_PORT));
            let connection = from.connect(address, LIMIT)?;
            let shared = Arc::clone(&shared);
            threads.push(std::thread::spawn(move || talk(&shared, (number, rest), (connection, &from, address))));
        }
        Ok(Load { shared, threads })
    }

    /// Connections that broke until now.
    pub fn resets(&self) -> u64 {
        self.shared.resets.load(Ordering::Acquire)
    }

    /// Waits until every connection has had some more answers.
    pub fn wait_more(&self, limit: Duration) -> Result<()> {
        let counts = || self.shared.exchanges.iter().map(|count| count.load(Ordering::Acquire)).collect::<Vec<_>>();
        let goals: Vec<u64> = counts().iter().map(|count| count + 10).collect();
        wait_for("every connection to go on", limit, || {
            let silent = counts().iter().zip(&goals).filter(|(count, goal)| count < goal).count();
            ensure!(silent == 0, "{silent} are silent");
            Ok(())
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            thread.join().unwrap_or_default();
        }
    }
}

/// Numbers there and back, in order. A connection that breaks is counted and made anew.
#[allow(clippy::disallowed_methods, reason = "pacing")]
fn talk(shared: &Shared, (number, rest): (usize, Duration), (mut connection, from, to): (TcpStream, &Pod, SocketAddr)) {
    let mut sequence = 0_u64;
    while !shared.stop.load(Ordering::Acquire) {
        sequence += 1;
        let mut answer = [0; 8];
        let said = connection.write_all(&sequence.to_be_bytes()).and_then(|()| connection.read_exact(&mut answer));
        if said.is_ok() && answer == sequence.to_be_bytes() {
            shared.exchanges[number].fetch_add(1, Ordering::AcqRel);
            std::thread::sleep(rest);
            continue;
        }
        println!("  connection {number} broke: {said:?}, answer {}, not {sequence}", u64::from_be_bytes(answer));
        shared.resets.fetch_add(1, Ordering::AcqRel);
        match from.connect(to, LIMIT) {
            Ok(again) => connection = again,
            Err(error) => return println!("  connection {number} cannot be made again: {error:#}"),
        }
    }
}

/// What a round came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub sent: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub resets: u64,
    pub longest_gap: Duration,
    pub took: Duration,
    pub drops: Drops,
    /// By stream.
    holes: Vec<(usize, Hole)>,
}

impl Tally {
    /// What was lost while something was done, by streams that are begun for it, and by connections that go on.
    pub fn during(nodes: &Nodes, (load, per_sec): (&Load, u32), done: impl FnOnce() -> Result<()>) -> Result<Tally> {
        let (began, drops, resets) = (Instant::now(), Drops::now(nodes)?, load.resets());
        let streams = streams(nodes, Pace { per_sec: share(per_sec, nodes), at_most: LIMIT * 20 })?;
        done()?;
        load.wait_more(LIMIT)?;
        streams.iter().try_for_each(|stream| stream.wait_more(100, LIMIT))?;
        let mut tally = Tally::of(streams)?;
        tally.took = began.elapsed();
        tally.resets = load.resets() - resets;
        tally.drops = Drops::now(nodes)?.since(&drops);
        Ok(tally)
    }

    /// Ends the streams and counts.
    pub fn of(streams: Vec<Stream>) -> Result<Tally> {
        let mut tally = Tally::default();
        for (number, stream) in streams.into_iter().enumerate() {
            let report = stream.stop()?;
            tally.sent += report.sent;
            tally.lost += report.lost();
            tally.duplicated += report.duplicated;
            tally.longest_gap = tally.longest_gap.max(report.longest_gap);
            tally.holes.extend(report.holes.into_iter().map(|hole| (number, hole)));
        }
        Ok(tally)
    }

    /// When the lost packets were sent: a line a hole, and not more than the first forty.
    pub fn holes(&self) -> String {
        let line = |(stream, hole): &(usize, Hole)| {
            let time = |at: std::time::SystemTime| {
                let since = at.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
                format!("{:02}.{:06}", since.as_secs() % 60, since.subsec_micros())
            };
            let Hole { packets, first, last } = hole;
            format!("    stream {stream}: {packets} sent in the seconds {} to {}", time(*first), time(*last))
        };
        self.holes.iter().take(40).map(line).collect::<Vec<_>>().join("\n")
    }

    pub fn with(&self, other: &Tally) -> Tally {
        Tally {
            sent: self.sent + other.sent,
            lost: self.lost + other.lost,
            duplicated: self.duplicated + other.duplicated,
            resets: self.resets + other.resets,
            longest_gap: self.longest_gap.max(other.longest_gap),
            took: self.took + other.took,
            drops: self.drops.with(&other.drops),
            holes: [&*self.holes, &*other.holes].concat(),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { sent, lost, duplicated, resets, longest_gap, took, drops, holes: _ } = self;
        write!(f, "sent {sent}, lost {lost}, twice {duplicated}, resets {resets}, ")?;
        write!(f, "longest gap {} ms, {:.1} s{drops}", longest_gap.as_millis(), took.as_secs_f64())
    }
}

/// Packets of which the kernel says that it dropped them, and where: most for want of a processor that takes them.
#[derive(Clone, Debug, Default)]
pub struct Drops {
    /// Of the pods' sockets: `RcvbufErrors` in /proc/net/snmp.
    buffers: u64,
    /// Of the whole machine: the second column of /proc/net/softnet_stat.
    backlog: u64,
    /// Of the nodes' and pods' devices, by name, both ways: /proc/net/dev. Of a device that is gone nothing is known any more.
    devices: BTreeMap<String, u64>,
}

impl Drops {
    pub fn now(nodes: &Nodes) -> Result<Drops> {
        let text = std::fs::read_to_string("/proc/net/softnet_stat")?;
        let column = |line: &str| u64::from_str_radix(line.split(' ').nth(1)?, 16).ok();
        let mut drops = Drops { backlog: text.lines().filter_map(column).sum(), ..Drops::default() };
        for pod in &nodes.pods {
            drops.buffers += pod.within(|| of_sockets(&std::fs::read_to_string("/proc/thread-self/net/snmp")?))?;
        }
        let stations = nodes.pods.iter().map(|pod| &**pod).chain(nodes.daemons.iter().map(|it| &**it.node()));
        for station in stations {
            let text = station.within(|| Ok(std::fs::read_to_string("/proc/thread-self/net/dev")?))?;
            for (device, count) in text.lines().filter_map(of_device) {
                *drops.devices.entry(device.to_owned()).or_default() += count;
            }
        }
        Ok(drops)
    }

    pub fn since(mut self, before: &Drops) -> Drops {
        self.buffers -= before.buffers;
        self.backlog -= before.backlog;
        for (device, count) in &mut self.devices {
            *count = count.saturating_sub(before.devices.get(device).copied().unwrap_or(0));
        }
        self
    }

    fn with(&self, other: &Drops) -> Drops {
        let mut sum = self.clone();
        sum.buffers += other.buffers;
        sum.backlog += other.backlog;
        for (device, count) in &other.devices {
            *sum.devices.entry(device.clone()).or_default() += count;
        }
        sum
    }
}

impl fmt::Display for Drops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = [("full buffers", self.buffers), ("full backlogs", self.backlog)].into_iter();
        let devices = self.devices.iter().map(|(device, count)| (device.as_str(), *count));
        let mut all = places.chain(devices).filter(|(_, count)| *count > 0);
        all.try_for_each(|(place, count)| write!(f, ", {count} dropped at {place}"))
    }
}

/// `RcvbufErrors` of UDP.
fn of_sockets(text: &str) -> Result<u64> {
    let mut udp = text.lines().filter(|line| line.starts_with("Udp:"));
    let (names, numbers) = udp.next().zip(udp.next()).context("no UDP in /proc/net/snmp")?;
    let found = names.split(' ').zip(numbers.split(' ')).find(|(name, _)| *name == "RcvbufErrors");
    Ok(found.context("no RcvbufErrors")?.1.parse()?)
}

/// A line of /proc/net/dev: eight figures each way, the fourth of which are drops.
fn of_device(line: &str) -> Option<(&str, u64)> {
    let (device, figures) = line.split_once(':')?;
    let figures: Vec<u64> = figures.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
    Some((device.trim(), figures.get(3)? + figures.get(11)?))
}

//! [`Stream`]: a paced stream of numbered UDP packets to an echo service and back, and the count of those lost.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, anyhow, ensure};
use ipam::Family;

use crate::echo::ECHO_PORT;
use crate::station::Station;
use crate::wait_for;

/// For how long nothing may come back before the rest counts as lost: on a busy machine answers wait for a processor, in a queue that may be
/// seconds long.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
/// How often the receiver looks whether it is time to end.
const GLANCE: Duration = Duration::from_millis(20);

/// How fast and how long a stream runs at most.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Packets per second.
    pub per_sec: u32,
    /// It ends by itself after this.
    pub at_most: Duration,
}

impl Default for Pace {
    /// A thousand packets per second, for a minute at most.
    fn default() -> Pace {
        Pace { per_sec: 1000, at_most: Duration::from_secs(60) }
    }
}

/// A stream that runs. Dropping it ends it.
pub struct Stream {
    counters: Arc<Counters>,
    /// When each packet was sent.
    sender: Option<JoinHandle<Vec<SystemTime>>>,
    /// And which came back.
    receiver: Option<JoinHandle<(Report, Vec<bool>)>>,
}

#[derive(Default)]
struct Counters {
    sent: AtomicU64,
    received: AtomicU64,
    stop: AtomicBool,
    sender_done: AtomicBool,
}

/// What became of a stream's packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Packets sent.
    pub sent: u64,
    /// Packets that came back, each counted once.
    pub received: u64,
    /// Packets that came back again.
    pub duplicated: u64,
    /// The longest time without any packet coming back while some were sent.
    pub longest_gap: Duration,
    /// The lost ones, in order.
    pub holes: Vec<Hole>,
}

/// Packets with adjacent numbers that never came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// How many.
    pub packets: u64,
    /// When the first of them was sent.
    pub first: SystemTime,
    /// When the last of them was sent.
    pub last: SystemTime,
}

impl Report {
    /// Packets that never came back.
    pub fn lost(&self) -> u64 {
        self.sent - self.received
    }
}

impl Stream {
    /// Starts a stream from one station to another's echo service.
    ///
    /// # Errors
    /// When either has no address of the family, or there is no route at all.
    pub fn start(from: &Station, to: &Station, family: Family, pace: Pace) -> Result<Stream> {
        to.serve_echo()?;
        Stream::towards(from, SocketAddr::new(to.address(family)?, ECHO_PORT), pace)
    }

    /// Starts one to any address behind which somebody answers with what he gets.
    ///
    /// # Errors
    /// When there is no route at all.
    pub fn towards(from: &Station, to: SocketAddr, pace: Pace) -> Result<Stream> {
        ensure!(pace.per_sec > 0, "a stream of no packets");
        let socket = from.datagrams(to, GLANCE)?;
        let counters = Arc::new(Counters::default());
        let sender = std::thread::spawn({
            let (socket, counters) = (socket.try_clone()?, Arc::clone(&counters));
            move || send(&socket, &counters, pace)
        });
        let receiver = std::thread::spawn({
            let counters = Arc::clone(&counters);
            move || receive(&socket, &counters)
        });
        Ok(Stream { counters, sender: Some(sender), receiver: Some(receiver) })
    }

    /// Packets that have come back until now.
    pub fn received(&self) -> u64 {
        self.counters.received.load(Ordering::Acquire)
    }

    /// Waits until so many more packets have come back.
    ///
    /// # Errors
    /// When they have not within `limit`.
    pub fn wait_more(&self, count: u64, limit: Duration) -> Result<()> {
        let goal = self.received() + count;
        wait_for(&format!("{count} more packets of a stream"), limit, || {
            let received = self.received();
            ensure!(received >= goal, "{} are missing", goal - received);
            Ok(())
        })
    }

    /// Ends the stream, waits for the last answers and counts.
    ///
    /// # Errors
    /// When one of its threads panicked.
    pub fn stop(mut self) -> Result<Report> {
        self.end().ok_or_else(|| anyhow!("a stream's thread panicked"))
    }

    fn end(&mut self) -> Option<Report> {
        self.counters.stop.store(true, Ordering::Release);
        let times = self.sender.take()?.join().ok()?;
        let (mut report, seen) = self.receiver.take()?.join().ok()?;
        report.holes = holes(&times, &seen);
        Some(report)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Nobody wants the count any more.
        self.end();
    }
}

#[allow(clippy::disallowed_methods, reason = "pacing: each packet has its time")]
fn send(socket: &UdpSocket, counters: &Counters, pace: Pace) -> Vec<SystemTime> {
    let (begin, mut times) = (Instant::now(), Vec::new());
    let count = (pace.at_most.as_secs_f64() * f64::from(pace.per_sec)) as u64;
    for number in 0..count {
        let due = begin + Duration::from_secs_f64(number as f64 / f64::from(pace.per_sec));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if counters.stop.load(Ordering::Acquire) {
            break;
        }
        times.push(SystemTime::now());
        counters.sent.fetch_add(1, Ordering::AcqRel);
        let packet = number.to_be_bytes();
        // The first error may be that of an earlier packet (ICMP), and this one was not sent: once more. Another
        // error loses the packet, which is what is counted here.
        if socket.send(&packet).is_err() {
            socket.send(&packet).unwrap_or_default();
        }
    }
    counters.sender_done.store(true, Ordering::Release);
    times
}

fn holes(times: &[SystemTime], seen: &[bool]) -> Vec<Hole> {
    let mut holes: Vec<Hole> = Vec::new();
    let mut before = true;
    for (number, sent) in times.iter().enumerate() {
        let came = seen.get(number).copied().unwrap_or(false);
        match holes.last_mut().filter(|_| !before) {
            _ if came => {}
            Some(hole) => *hole = Hole { packets: hole.packets + 1, last: *sent, ..*hole },
            None => holes.push(Hole { packets: 1, first: *sent, last: *sent }),
        }
        before = came;
    }
    holes
}

fn receive(socket: &UdpSocket, counters: &Counters) -> (Report, Vec<bool>) {
    let mut report = Report::default();
    let mut seen: Vec<bool> = Vec::new();
    let (mut last, mut done_at, mut buffer) = (Instant::now(), None, [0; 64]);
    loop {
        if counters.sender_done.load(Ordering::Acquire) {
            let done = *done_at.get_or_insert_with(Instant::now);
            report.sent = counters.sent.load(Ordering::Acquire);
            if report.received == report.sent || done.max(last).elapsed() > LAST_ANSWERS {
                return (report, seen);
            }
        } else {
            report.longest_gap = report.longest_gap.max(last.elapsed());
        }
        // An error says that nothing came in time, or (ICMP) that a packet is lost.
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let Some(number) = number_in(&buffer[..length], counters) else { continue };
        report.longest_gap = report.longest_gap.max(last.elapsed());
        last = Instant::now();
        if seen.len() <= number {
            seen.resize(number + 1, false);
        }
        if std::mem::replace(&mut seen[number], true) {
            report.duplicated += 1;
        } else {
            report.received += 1;
            counters.received.store(report.received, Ordering::Release);
        }
    }
}

/// A packet's number; `None` for what this stream did not send.
fn number_in(packet: &[u8], counters: &Counters) -> Option<usize> {
    let number = u64::from_be_bytes(packet.try_into().ok()?);
    if number < counters.sent.load(Ordering::Acquire) { usize::try_from(number).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::{Hole, holes};
    use std::time::{Duration, SystemTime};

    #[test]
    fn lost_packets_with_adjacent_numbers_are_one_hole() {
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let times: Vec<_> = (0..7).map(at).collect();
        let expected = [(2, 0, 1), (1, 3, 3), (2, 5, 6)];
        let expected = expected.map(|(packets, first, last)| Hole { packets, first: at(first), last: at(last) });
        // What was seen ends with the last that came.
        assert_eq!(holes(&times, &[false, false, true, false, true]), expected);
    }
}

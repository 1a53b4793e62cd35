//! [`Traffic`]: numbered packets and open connections between pods, in both families, and what became of them.

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use ipam::Family;
use netns_harness::{ECHO_PORT, Pace, Station, Stream, wait_for};

use crate::cluster::LIMIT;

/// Each stream's packets a second. Many streams: routers send each its own way.
const PER_SEC: u32 = 50;

/// What goes from one station to another.
pub struct Flow {
    name: String,
    stream: Stream,
    talk: Talk,
}

/// All that goes.
#[derive(Default)]
pub struct Traffic(Vec<Flow>);

impl Traffic {
    /// Between these, in both families, so many streams each.
    pub fn between(pairs: &[(&Station, &Station)], streams: usize) -> Result<Traffic> {
        let mut flows = Vec::new();
        for (from, to) in pairs {
            for family in Family::ALL {
                wait_for("the two to talk", LIMIT, || from.reach(to, family))?;
                for _ in 0..streams {
                    let name = format!("{} → {} over {family}", from.name(), to.name());
                    let stream = Stream::start(from, to, family, Pace { per_sec: PER_SEC, at_most: LIMIT * 20 })?;
                    flows.push(Flow { name, stream, talk: Talk::start(from, to, family)? });
                }
            }
        }
        let traffic = Traffic(flows);
        traffic.flows()?;
        Ok(traffic)
    }

    /// Waits until every stream and every connection brings more.
    pub fn flows(&self) -> Result<()> {
        let before: Vec<(u64, u64)> = self.0.iter().map(|flow| (flow.stream.received(), flow.talk.done())).collect();
        for (flow, (packets, answers)) in self.0.iter().zip(before) {
            wait_for(&flow.name, LIMIT, || {
                let (more, said) = (flow.stream.received() - packets, flow.talk.done() - answers);
                ensure!(more > 20 && said > 3, "{more} packets came and the connection had {said} answers");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Ends it, and counts. No connection broke.
    pub fn stop(self) -> Result<Toll> {
        let mut toll = Toll::default();
        for flow in self.0 {
            flow.talk.stop().with_context(|| format!("the connection {}", flow.name))?;
            let report = flow.stream.stop()?;
            toll.sent += report.sent;
            toll.silence = toll.silence.max(report.longest_gap);
            toll.lost.push((flow.name, report.lost()));
        }
        Ok(toll)
    }
}

/// What a fault cost.
#[derive(Debug, Default)]
pub struct Toll {
    /// Packets sent.
    sent: u64,
    /// The longest silence of a stream.
    silence: Duration,
    /// Packets that never came back, by stream.
    lost: Vec<(String, u64)>,
}

impl Toll {
    /// Nobody lost anything but those whose pod is of this node.
    pub fn nothing_beside(&self, node: &str) -> Result<()> {
        let concerned = |name: &str| name.contains(&format!("{node}."));
        let lost: Vec<_> = self.lost.iter().filter(|(name, lost)| *lost > 0 && !concerned(name)).collect();
        ensure!(lost.is_empty(), "lost: {lost:?}");
        Ok(())
    }

    /// No more was lost than what was under way to a router when it forgot the way: one packet in two hundred.
    pub fn next_to_nothing(&self) -> Result<()> {
        let lost: u64 = self.lost.iter().map(|(_, lost)| lost).sum();
        ensure!(lost * 200 <= self.sent, "{self}: {:?}", self.lost);
        Ok(())
    }
}

impl fmt::Display for Toll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost: u64 = self.lost.iter().map(|(_, lost)| lost).sum();
        write!(f, "{lost} of {} packets lost, {:?} of silence at most", self.sent, self.silence)
    }
}

/// One connection over which questions are asked and answered.
struct Talk {
    done: Arc<AtomicU64>,
    end: Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Talk {
    fn start(from: &Station, to: &Station, family: Family) -> Result<Talk> {
        to.serve_echo()?;
        let stream = from.connect(SocketAddr::new(to.address(family)?, ECHO_PORT), LIMIT)?;
        let done = Arc::new(AtomicU64::new(0));
        let (end, ended) = channel();
        let thread = std::thread::spawn({
            let done = Arc::clone(&done);
            move || loop {
                exchange(&stream, done.load(Ordering::Acquire))?;
                done.fetch_add(1, Ordering::AcqRel);
                // The pace is how long it waits for its end.
                if ended.recv_timeout(Duration::from_millis(50)) != Err(RecvTimeoutError::Timeout) {
                    return Ok(());
                }
            }
        });
        Ok(Talk { done, end, thread })
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }

    fn stop(self) -> Result<()> {
        drop(self.end);
        self.thread.join().map_err(|_| anyhow!("its thread panicked"))?
    }
}

fn exchange(mut stream: &TcpStream, number: u64) -> Result<()> {
    stream.write_all(&number.to_be_bytes())?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    ensure!(answer == number.to_be_bytes(), "a wrong answer");
    Ok(())
}

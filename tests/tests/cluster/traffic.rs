//! [`Traffic`]: what runs through a cluster while something is done to it: numbered datagrams, connections that stay, callers that
//! come again and again; and the verdict that nobody noticed anything.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use netns_harness::{Pace, Station, Stream, Transport, wait_for};

use crate::ground::LIMIT;

const PACE: Pace = Pace { per_sec: 200, at_most: Duration::from_secs(900) };
/// Between two messages on a connection, and between two calls.
const PAUSE: Duration = Duration::from_millis(20);
/// A segment that is lost comes again after 200 ms, and then later and later.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything that runs. Dropping it ends it.
#[derive(Default)]
pub struct Traffic {
    streams: Vec<(String, Stream)>,
    exchanges: Vec<Exchange>,
}

/// A connection with numbered messages there and back, or one connection after the other with a message each.
struct Exchange {
    name: String,
    done: Arc<AtomicU64>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<Result<Duration>>>,
}

impl Traffic {
    /// Datagrams and one connection from a station to an address that echoes both.
    pub fn add(&mut self, name: &str, from: &Station, to: SocketAddr) -> Result<()> {
        self.streams.push((format!("udp {name}"), Stream::towards(from, to, PACE)?));
        let mut connection = from.connect(to, PATIENCE).with_context(|| format!("tcp {name}"))?;
        let mut number = 0_u64;
        self.exchanges.push(Exchange::start(format!("tcp {name}"), move || {
            number += 1;
            exchange(&mut connection, number)
        }));
        Ok(())
    }

    /// Callers that come anew each time: one connects, the other sends a datagram, which nobody repeats, from another port.
    pub fn add_callers(&mut self, name: &str, from: &Station, to: SocketAddr) {
        for (transport, word) in [(Transport::Tcp, "tcp"), (Transport::Udp, "udp")] {
            let from = from.clone();
            let call = move || from.probe(to, transport, PATIENCE).map(drop);
            self.exchanges.push(Exchange::start(format!("new {word} {name}"), call));
        }
    }

    /// Waits until all of it goes on.
    pub fn wait_more(&self, count: u64) -> Result<()> {
        for (name, stream) in &self.streams {
            stream.wait_more(count, LIMIT).with_context(|| name.clone())?;
        }
        for exchange in &self.exchanges {
            let goal = exchange.done.load(Ordering::Acquire) + count.div_ceil(10);
            wait_for(&exchange.name, LIMIT, || {
                let done = exchange.done.load(Ordering::Acquire);
                // Why it has ended is the verdict's to say.
                let ended = exchange.thread.as_ref().is_none_or(JoinHandle::is_finished);
                ensure!(ended || done >= goal, "{} more are to come", goal - done);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Ends it: no packet was lost, no connection broken, nobody not answered. What was counted, a line each.
    pub fn verdict(self) -> Result<String> {
        let (mut said, mut wrong) = (Vec::new(), Vec::new());
        for (name, stream) in self.streams {
            let report = stream.stop()?;
            let line =
                format!("{name}: {} of {} lost, longest gap {:?}", report.lost(), report.sent, report.longest_gap);
            if report.lost() > 0 { &mut wrong } else { &mut said }.push(line);
        }
        for mut exchange in self.exchanges {
            let count = exchange.done.load(Ordering::Acquire);
            match exchange.end() {
                Ok(longest) => said.push(format!("{}: {count} exchanges, slowest {longest:?}", exchange.name)),
                Err(error) => wrong.push(format!("{}: after {count} exchanges: {error:#}", exchange.name)),
            }
        }
        ensure!(wrong.is_empty(), "{}\nand well: {}", wrong.join("\n"), said.join("\n"));
        Ok(said.join("\n"))
    }
}

impl Exchange {
    fn start(name: String, once: impl FnMut() -> Result<()> + Send + 'static) -> Exchange {
        let (stop, stopped) = channel();
        let done = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&done);
        let thread = std::thread::spawn(move || repeat(once, &stopped, &count));
        Exchange { name, done, stop: Some(stop), thread: Some(thread) }
    }

    fn end(&mut self) -> Result<Duration> {
        drop(self.stop.take());
        let thread = self.thread.take().context("it has ended")?;
        thread.join().map_err(|_| anyhow!("its thread panicked"))?
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // Nobody wants to know any more.
        self.end().ok();
    }
}

/// Again and again until told or until it fails; the longest that one took.
fn repeat(mut once: impl FnMut() -> Result<()>, stopped: &Receiver<()>, done: &AtomicU64) -> Result<Duration> {
    let mut longest = Duration::ZERO;
    while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
        let begin = Instant::now();
        if let Err(error) = once() {
            // When it was says why, in a log.
            let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
            println!("{}.{:03}: {error:#}", since.as_secs(), since.subsec_millis());
            return Err(error);
        }
        longest = longest.max(begin.elapsed());
        done.fetch_add(1, Ordering::AcqRel);
    }
    Ok(longest)
}

/// A number there and back: bytes that were lost, doubled or exchanged would not be it.
fn exchange(connection: &mut TcpStream, number: u64) -> Result<()> {
    let mut answer = [0; 8];
    connection.write_all(&number.to_be_bytes())?;
    connection.read_exact(&mut answer)?;
    ensure!(u64::from_be_bytes(answer) == number, "{} came back for {number}", u64::from_be_bytes(answer));
    Ok(())
}

//! Who reaches whom: one probe ([`Station::reach`]) and all probes of a set of stations ([`Matrix`]).

use std::fmt;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ipam::Family;

use crate::echo::{ECHO_PORT, roomy};
use crate::station::Station;

/// How long an answer may take: in a lab all are within a millisecond, on a busy machine some are not.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

const MESSAGE: &[u8; 32] = b"is anybody at the other end here";

/// What a probe is carried by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A connection, and one message there and back over it.
    Tcp,
    /// One datagram there and back.
    Udp,
}

impl Station {
    /// Sends a message to another station's echo service over TCP; how long it took there and back, without the
    /// connection's own handshake.
    ///
    /// # Errors
    /// When either has no address of the family, or there is no answer within two seconds.
    pub fn reach(&self, to: &Station, family: Family) -> Result<Duration> {
        to.serve_echo()?;
        self.probe(SocketAddr::new(to.address(family)?, ECHO_PORT), Transport::Tcp, ANSWER_LIMIT)
    }

    /// The same over either transport, to any address that answers with what it gets, with a limit.
    ///
    /// # Errors
    /// When there is no answer, or a wrong one.
    pub fn probe(&self, to: SocketAddr, transport: Transport, limit: Duration) -> Result<Duration> {
        let asked = match transport {
            Transport::Tcp => self.connect(to, limit).and_then(exchange_stream),
            Transport::Udp => self.datagrams(to, limit).and_then(|socket| exchange_datagram(&socket)),
        };
        asked.with_context(|| format!("{} does not reach {to} over {transport:?}", self.name()))
    }

    /// A TCP connection from this station, to be kept as long as wanted. Reads and writes obey `limit`.
    ///
    /// # Errors
    /// When it is refused or not accepted in time.
    pub fn connect(&self, to: SocketAddr, limit: Duration) -> Result<TcpStream> {
        let stream = self.within(|| Ok(TcpStream::connect_timeout(&to, limit)?))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Ok(stream)
    }

    /// A UDP socket of this station, connected.
    pub(crate) fn datagrams(&self, to: SocketAddr, limit: Duration) -> Result<UdpSocket> {
        let any = if to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
        let socket = self.within(|| {
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(to)?;
            Ok(socket)
        })?;
        roomy(&socket)?;
        socket.set_read_timeout(Some(limit))?;
        Ok(socket)
    }
}

fn exchange_stream(mut stream: TcpStream) -> Result<Duration> {
    let begin = Instant::now();
    let mut answer = [0; MESSAGE.len()];
    stream.write_all(MESSAGE)?;
    stream.read_exact(&mut answer).context("connected, but no answer")?;
    check(&answer, begin)
}

fn exchange_datagram(socket: &UdpSocket) -> Result<Duration> {
    let begin = Instant::now();
    let mut answer = [0; MESSAGE.len()];
    socket.send(MESSAGE)?;
    socket.recv(&mut answer).context("no answer")?;
    check(&answer, begin)
}

fn check(answer: &[u8], begin: Instant) -> Result<Duration> {
    ensure!(answer == MESSAGE, "a wrong answer: {}", String::from_utf8_lossy(answer));
    Ok(begin.elapsed())
}

/// Who reaches whom, each in each family that both have.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// One for each pair and family, a station with itself included, sorted by `from`, family, `to`.
    pub cells: Vec<Cell>,
}

/// One probe's outcome.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The station that asked.
    pub from: String,
    /// The station that was asked.
    pub to: String,
    /// The family of the addresses.
    pub family: Family,
    /// How long the answer took, or why there was none.
    pub outcome: Result<Duration, String>,
}

impl Matrix {
    /// Probes all pairs: first all at once to see who answers, then those that did one by one for the time (the best of
    /// three: what the network takes, not what the machine's other work adds).
    ///
    /// # Errors
    /// When a station cannot serve.
    pub fn measure(stations: &[&Station]) -> Result<Matrix> {
        stations.iter().try_for_each(|station| station.serve_echo())?;
        let rows = std::thread::scope(|scope| {
            let rows: Vec<_> = stations.iter().map(|from| scope.spawn(|| row(from, stations))).collect();
            rows.into_iter().map(|row| row.join().unwrap_or_default()).collect::<Vec<_>>()
        });
        let mut cells = rows.concat();
        for cell in cells.iter_mut().filter(|cell| cell.outcome.is_ok()) {
            let named = |name: &str| stations.iter().find(|station| station.name() == name);
            if let (Some(from), Some(to)) = (named(&cell.from), named(&cell.to)) {
                let again = (0..3).map(|_| outcome(from, to, cell.family)).collect::<Result<Vec<_>, _>>();
                cell.outcome = again.map(|times| times.into_iter().min().unwrap_or_default());
            }
        }
        Ok(Matrix { cells })
    }

    /// The probes that had no answer.
    pub fn failures(&self) -> Vec<&Cell> {
        self.cells.iter().filter(|cell| cell.outcome.is_err()).collect()
    }

    /// Everybody reached everybody.
    ///
    /// # Errors
    /// Who did not reach whom, and why.
    pub fn check(&self) -> Result<()> {
        let failures = self.failures();
        let sentences: Vec<String> = failures.iter().map(|cell| cell.to_string()).collect();
        let (failed, all) = (failures.len(), self.cells.len());
        ensure!(failed == 0, "{failed} of {all} probes had no answer:\n{}", sentences.join("\n"));
        ensure!(all > 0, "nobody has an address");
        Ok(())
    }
}

fn row(from: &Station, stations: &[&Station]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for family in Family::ALL.into_iter().filter(|family| from.address(*family).is_ok()) {
        for to in stations.iter().filter(|to| to.address(family).is_ok()) {
            let (name, outcome) = (from.name().to_owned(), outcome(from, to, family));
            cells.push(Cell { from: name, to: to.name().to_owned(), family, outcome });
        }
    }
    cells
}

fn outcome(from: &Station, to: &Station, family: Family) -> Result<Duration, String> {
    from.reach(to, family).map_err(|error| format!("{error:#}"))
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cell { from, to, family, outcome } = self;
        match outcome {
            Ok(took) => write!(f, "{from} → {to} over {family}: {took:?}"),
            Err(error) => write!(f, "{from} → {to} over {family}: {error}"),
        }
    }
}

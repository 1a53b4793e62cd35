//! A transfer by TCP from one end to the other, and what the kernel of both counted of it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::ground::Ground;
use super::{Measure, OCTETS, TrialError};
use crate::netns::Netns;

/// How long one may take. It takes a hundredth of that where all is well; where segments are lost TCP waits two tenths of a second
/// before it says each of them again.
const LIMIT: Duration = Duration::from_secs(1);
/// How long the ends may take to reach each other, and how long one attempt.
const MEETING: Duration = Duration::from_secs(2);
const GLANCE: Duration = Duration::from_millis(100);

/// Waits until one end reaches the other at all: a link that was just brought up drops what is sent until the kernel has got round to
/// it (`linkwatch_event`).
pub(super) fn meet(ground: &Ground) -> Result<(), TrialError> {
    let until = Instant::now() + MEETING;
    loop {
        let [here, there] = &ground.ends;
        let failed = |source| TrialError::NoConnection { family: ground.family, source };
        let listener = there.run(|| TcpListener::bind((ground.addresses[1], 0)))?.map_err(failed)?;
        let to = listener.local_addr().map_err(failed)?;
        match here.run(|| TcpStream::connect_timeout(&to, GLANCE))? {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > until => return Err(failed(error)),
            Err(_) => {}
        }
    }
}

/// Transfers once.
pub(super) fn one(ground: &Ground) -> Result<Measure, TrialError> {
    let before = bad_checksums(ground)?;
    let began = Instant::now();
    let arrived = transfer(ground)?;
    let took = began.elapsed();
    let bad_checksums = bad_checksums(ground)?.saturating_sub(before);
    Ok(Measure { arrived, took: (arrived >= OCTETS).then_some(took), bad_checksums })
}

/// How much arrived within the time.
fn transfer(ground: &Ground) -> Result<u64, TrialError> {
    let [here, there] = &ground.ends;
    let failed = |source| TrialError::NoConnection { family: ground.family, source };
    let listener = there.run(|| TcpListener::bind((ground.addresses[1], 0)))?.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let to = SocketAddr::new(ground.addresses[1], port);
    let mut sender = match here.run(|| TcpStream::connect_timeout(&to, LIMIT))? {
        // Not even its first packet may come through.
        Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(0),
        connected => connected.map_err(failed)?,
    };
    let (mut receiver, _) = listener.accept().map_err(failed)?;
    let until = Instant::now() + LIMIT;
    let set = [sender.set_write_timeout(Some(LIMIT)), receiver.set_read_timeout(Some(LIMIT))];
    set.into_iter().collect::<io::Result<()>>().map_err(failed)?;
    std::thread::scope(|scope| {
        let sending = std::thread::Builder::new().name("offloads".to_owned()).spawn_scoped(scope, move || {
            let piece = [0x54; 65_536];
            let mut left = OCTETS;
            while left > 0 && Instant::now() < until {
                match sender.write(&piece[..piece.len().min(usize::try_from(left).unwrap_or(usize::MAX))]) {
                    Ok(written) => left = left.saturating_sub(written as u64),
                    Err(_) => break,
                }
            }
        });
        let sending = sending.map_err(|source| TrialError::System { doing: "starting a thread", source })?;
        let (mut arrived, mut buffer) = (0, vec![0; 65_536]);
        while arrived < OCTETS && Instant::now() < until {
            match receiver.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(length) => arrived += length as u64,
            }
        }
        // The sender notices that nobody reads any more.
        drop(receiver);
        sending.join().ok();
        Ok(arrived)
    })
}

/// What both ends' kernels dropped for its checksum, UDP of the tunnel and TCP within.
fn bad_checksums(ground: &Ground) -> Result<u64, TrialError> {
    ground.ends.iter().try_fold(0, |sum, end| Ok(sum + count(end)?))
}

fn count(end: &Netns) -> Result<u64, TrialError> {
    let texts = end.run(|| {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}"));
        // Without IPv6 there is no snmp6.
        read("snmp").map(|v4| (v4, read("snmp6").unwrap_or_default()))
    })?;
    let doing = "reading the kernel's count of bad checksums";
    let (v4, v6) = texts.map_err(|source| TrialError::System { doing, source })?;
    Ok(in_table(&v4) + in_list(&v6))
}

/// `/proc/net/snmp`: for each protocol a line of names and a line of numbers. ICMP counts its own as well.
fn in_table(text: &str) -> u64 {
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.iter().zip(lines.iter().skip(1));
    let columns = pairs.flat_map(|(names, numbers)| names.split(' ').zip(numbers.split(' ')));
    columns.filter(|(name, _)| *name == "InCsumErrors").filter_map(|(_, number)| number.parse::<u64>().ok()).sum()
}

/// `/proc/net/snmp6`: a name and a number a line.
fn in_list(text: &str) -> u64 {
    let rows = text.lines().filter_map(|line| line.split_once(char::is_whitespace));
    let found = rows.filter(|(name, _)| name.ends_with("InCsumErrors"));
    found.filter_map(|(_, number)| number.trim().parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_checksums_are_counted_in_both_files_of_the_kernel() {
        let v4 = "Tcp: InErrs OutRsts InCsumErrors\nTcp: 7 8 2\nUdp: InDatagrams InCsumErrors MemErrors\nUdp: 5 40 6\n";
        assert_eq!(in_table(v4), 42);
        assert_eq!(in_list("Ip6InReceives     9\nIcmp6InCsumErrors 1\nUdp6InCsumErrors                \t3\n"), 4);
        assert_eq!(in_table("Udp: InCsumErrors") + in_list("\n\nx"), 0);
    }
}

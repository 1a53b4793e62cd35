//! From the device to the peers.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;

use super::icmp::{Allowance, unreachable};
use super::offload::{Division, LENGTH, Offload};
use super::packet::{Header, age};
use super::segment::{complete, segments};
use super::socket::{Datagram, Parts, to};
use super::table::Table;
use super::{Shared, count};

/// The longest that one read brings.
const LONGEST: usize = LENGTH + 65_535;
/// What one batch is read into: short packets fill it with 64, long ones with a few.
const ARENA: usize = 4 * LONGEST;
/// Packets in a batch.
const MOST: usize = 64;

/// Runs until told to stop, or until the device is gone.
pub(super) fn run(shared: &Shared) {
    let mut batch =
        Batch { arena: vec![0; ARENA], heads: Vec::new(), datagrams: Vec::new(), allowance: Allowance::new() };
    while shared.wait(shared.tun.as_fd()) {
        loop {
            let read = batch.fill(shared);
            let parts = Parts { heads: &batch.heads, bodies: &batch.arena };
            let refused = shared.socket.send(&batch.datagrams, parts);
            count(&shared.counters.refused, refused);
            count(&shared.counters.sent, batch.datagrams.len() - refused);
            match read {
                Ok(Filled::More) if !shared.stopped() => {}
                Ok(_) => break,
                Err(_) => return,
            }
        }
    }
}

struct Batch {
    arena: Vec<u8>,
    heads: Vec<u8>,
    datagrams: Vec<Datagram>,
    allowance: Allowance,
}

enum Filled {
    /// The device has nothing more.
    All,
    /// It may have.
    More,
}

impl Batch {
    /// Reads what there is, as far as it fits, and makes datagrams of it.
    fn fill(&mut self, shared: &Shared) -> io::Result<Filled> {
        self.heads.clear();
        self.datagrams.clear();
        let table = shared.table();
        let mut at = 0;
        for _ in 0..MOST {
            let Some(room) = self.arena.get_mut(at..at + LONGEST) else { return Ok(Filled::More) };
            let Some(length) = shared.tun.read(room)? else { return Ok(Filled::All) };
            self.take((at, length), shared, &table);
            at += length;
        }
        Ok(Filled::More)
    }

    /// One packet, with its header before it.
    fn take(&mut self, (at, length): (usize, usize), shared: &Shared, table: &Table) {
        let Some((head, packet)) = self.arena.get_mut(at..at + length).and_then(|it| it.split_first_chunk_mut()) else {
            return;
        };
        let (Some(offload), Some(header)) = (Offload::read(head), Header::read(packet)) else {
            // IPv6 that the kernel sends on any interface, mostly.
            return count(&shared.counters.foreign, 1);
        };
        let Some(peer) = table.peer(header.destination) else {
            count(&shared.counters.no_node, 1);
            return tell(shared, packet, &mut self.allowance);
        };
        if !age(packet) {
            return count(&shared.counters.aged, 1);
        }
        let peer = to(peer, shared.place.local.port());
        let begin = at + LENGTH;
        if offload.division == Division::Whole {
            complete(&offload, packet);
            self.datagrams.push(Datagram { to: peer, head: 0..0, body: begin..begin + header.total });
        } else {
            let datagrams = &mut self.datagrams;
            segments(&offload, packet, &mut self.heads, |head, body| {
                datagrams.push(Datagram { to: peer, head, body: begin + body.start..begin + body.end });
            });
        }
    }
}

/// Tells the sender.
fn tell(shared: &Shared, packet: &[u8], allowance: &mut Allowance) {
    let Some(message) = unreachable(packet) else { return };
    let head = Offload::NONE.written(0);
    if allowance.take() && shared.tun.write(&[IoSlice::new(&head), IoSlice::new(&message)]).is_err() {
        count(&shared.counters.refused, 1);
    }
}

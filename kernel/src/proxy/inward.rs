//! From the peers into the device.

use std::os::fd::AsFd;

use super::merge::{Joins, Merger};
use super::packet::{Header, age};
use super::socket::Inbox;
use super::{Shared, count};

/// Runs until told to stop, or until the device is gone.
pub(super) fn run(shared: &Shared) {
    let mut inbox = Inbox::new();
    let mut merger = Merger::new(if shared.tun.long_udp { Joins::TcpAndUdp } else { Joins::Tcp });
    while shared.wait(shared.socket.as_fd()) {
        loop {
            if inbox.receive(&shared.socket).is_err() {
                // What the kernel says of an earlier datagram of ours; there is nothing to be done about it.
                count(&shared.counters.refused, 1);
            }
            if inbox.messages.is_empty() {
                break;
            }
            merger.clear();
            let Inbox { buffer, messages } = &mut inbox;
            for (place, size) in messages.iter() {
                let mut begin = place.start;
                while begin < place.end {
                    let end = place.end.min(begin + size);
                    take(shared, &mut merger, (buffer, begin..end));
                    begin = end;
                }
            }
            let mut gone = false;
            merger.write(buffer, |pieces| match shared.tun.write(pieces) {
                Ok(()) => {}
                Err(error) => {
                    count(&shared.counters.refused, 1);
                    gone |= error.raw_os_error() == Some(libc::EBADFD);
                }
            });
            if gone {
                return;
            }
            if shared.stopped() {
                break;
            }
        }
    }
}

/// One datagram.
fn take(shared: &Shared, merger: &mut Merger, (buffer, place): (&mut [u8], std::ops::Range<usize>)) {
    let Some(packet) = buffer.get_mut(place.clone()) else { return };
    let subnet = &shared.place.subnet;
    // From our own subnet comes nothing by this way, and what is for another is none of ours to pass on.
    let header =
        Header::read(packet).filter(|header| subnet.contains(&header.destination) && !subnet.contains(&header.source));
    let Some(header) = header else { return count(&shared.counters.foreign, 1) };
    if !age(packet) {
        return count(&shared.counters.aged, 1);
    }
    count(&shared.counters.received, 1);
    merger.add(buffer, place.start..place.start + header.total, &header);
}

//! Keys of TCP-AO (RFC 5925) on a socket: given, asked for, counted, taken away. A socket has several, so that one can follow another under a
//! connection. It needs Linux 6.7 with CONFIG_TCP_AO; without it each of these fails with `ENOPROTOOPT`.
//!
//! Which key a segment is signed with is the peer's choice, by what it asks for in its own segments (section 5.3); the kernel obeys it.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::IpNet;

use super::{Address, MOST_KEY_OCTETS, put, set};

/// `TCP_AO_ADD_KEY` and those after it in include/uapi/linux/tcp.h.
const ADD_KEY: i32 = 38;
const DEL_KEY: i32 = 39;
const INFO: i32 = 40;
const GET_KEYS: i32 = 41;
/// `set_current`, `set_rnext`, `del_async`: the lowest bits of a bit field, which are where the machine's lowest bits are.
const CURRENT: u32 = bit(0);
const NEXT: u32 = bit(1);
const ASYNC: u32 = bit(2);
/// `is_current`, `is_rnext`, `get_all`: of one of sixteen bits.
const IS_CURRENT: u16 = short_bit(0);
const IS_NEXT: u16 = short_bit(1);
const ALL: u16 = short_bit(2);

/// Keys of a connection that are told of. Each of the two numbers of a key has 256 values, and no two keys share one.
const MOST_KEYS: usize = 256;

const fn bit(place: u32) -> u32 {
    if cfg!(target_endian = "little") { 1 << place } else { 1 << (31 - place) }
}

const fn short_bit(place: u32) -> u16 {
    if cfg!(target_endian = "little") { 1 << place } else { 1 << (15 - place) }
}

/// A key, a Master Key Tuple without what the connection says (section 3.1).
#[derive(Clone, Copy)]
pub struct Key<'k> {
    /// SendID.
    pub send: u8,
    /// RecvID.
    pub receive: u8,
    /// The kernel's name of the algorithm: `hmac(sha1)`, `cmac(aes128)`, `hmac(sha256)`.
    pub algorithm: &'static str,
    /// The key itself.
    pub octets: &'k [u8],
    /// Whether a connection begins with it.
    pub turn: Turn,
}

/// Whether a key is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is the one that a connection begins with: we sign with it and ask to be signed with it.
    First,
    /// It is known, for a peer that signs with it.
    Known,
}

/// A key as a connection has it. What it is made of stays with the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Whose it is.
    pub peers: IpNet,
    /// SendID.
    pub send: u8,
    /// RecvID.
    pub receive: u8,
    /// Whether our segments are signed with it: Current_key.
    pub signs: bool,
    /// Whether the peer is asked to sign with it: RNext_key.
    pub asked_for: bool,
}

impl Held {
    /// Whether the connection needs it now; the kernel does not forget such a key.
    pub fn in_use(&self) -> bool {
        self.signs || self.asked_for
    }
}

/// Adds a key for these addresses, to a socket that is to connect, that listens, or that is connected and has another one already. `TCP_AO_ADD_KEY`
///
/// # Errors
/// setsockopt(2)'s: `EEXIST` when a key for addresses among these has one of the numbers, `EKEYREJECTED` when they have an MD5 key, `ENOPROTOOPT`
/// without CONFIG_TCP_AO.
pub fn add(socket: BorrowedFd<'_>, peers: IpNet, key: &Key<'_>) -> io::Result<()> {
    let mut octets = [0; MOST_KEY_OCTETS];
    let length = put(&mut octets, key.octets)?;
    let mut algorithm = [0; 64];
    for (place, octet) in algorithm.iter_mut().zip(key.algorithm.bytes()) {
        *place = octet;
    }
    let wanted = Add {
        address: Address::of(peers.network()),
        algorithm,
        link: 0,
        turn: if key.turn == Turn::First { CURRENT | NEXT } else { 0 },
        reserved: 0,
        prefix: peers.prefix_len(),
        send: key.send,
        receive: key.receive,
        // 96 bits (RFC 5926 section 3.2); the kernel's own default, said.
        code_octets: 12,
        flags: 0,
        length,
        octets,
    };
    set(socket, (libc::IPPROTO_TCP, ADD_KEY), &wanted)
}

/// Forgets a key. Of a connection it waits for all processors to have seen it, some milliseconds. `TCP_AO_DEL_KEY`
///
/// # Errors
/// setsockopt(2)'s: `ENOENT` when there is none with these numbers for just these addresses, `EBUSY` when the connection uses it.
pub fn remove(socket: BorrowedFd<'_>, peers: IpNet, (send, receive): (u8, u8)) -> io::Result<()> {
    let unwanted = |turn| Delete {
        address: Address::of(peers.network()),
        link: 0,
        turn,
        reserved: 0,
        prefix: peers.prefix_len(),
        send,
        receive,
        current: 0,
        next: 0,
        flags: 0,
    };
    // Who listens uses no key and need not wait; the kernel says EINVAL to anybody else who asks for that.
    match set(socket, (libc::IPPROTO_TCP, DEL_KEY), &unwanted(ASYNC)) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            set(socket, (libc::IPPROTO_TCP, DEL_KEY), &unwanted(0))
        }
        done => done,
    }
}

/// Asks the peer to sign with a key from now on, by its RecvID: it does once it has that key. `TCP_AO_INFO`
///
/// # Errors
/// setsockopt(2)'s: `ENOENT` when the connection has no such key.
pub fn ask_for(connection: BorrowedFd<'_>, receive: u8) -> io::Result<()> {
    let wanted = Info { turn: NEXT, next: receive, ..Info::default() };
    set(connection, (libc::IPPROTO_TCP, INFO), &wanted)
}

/// The keys of a connection; none for one that is not signed. `TCP_AO_GET_KEYS`
///
/// # Errors
/// getsockopt(2)'s.
pub fn held(connection: BorrowedFd<'_>) -> io::Result<Vec<Held>> {
    let mut known = Vec::new();
    // Enough for nearly everybody at once.
    for room in [4, MOST_KEYS] {
        known = vec![Known::default(); room];
        let Some(first) = known.first_mut() else { break };
        (first.room, first.turn) = (u32::try_from(room).unwrap_or_default(), ALL);
        let mut length = libc::socklen_t::try_from(size_of::<Known>()).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the descriptor is open as long as it is borrowed. For this option the kernel reads and writes as many values of `length` octets as
        // `room` of the first one says, which is how many there are; any bits are a valid `Known`, and no pointer is kept.
        let result = unsafe {
            let values = known.as_mut_ptr().cast();
            libc::getsockopt(connection.as_raw_fd(), libc::IPPROTO_TCP, GET_KEYS, values, &raw mut length)
        };
        if result != 0 {
            let error = io::Error::last_os_error();
            return if error.raw_os_error() == Some(libc::ENOENT) { Ok(Vec::new()) } else { Err(error) };
        }
        let count = known.first().map_or(0, |first| first.room as usize);
        if count <= room {
            known.truncate(count);
            break;
        }
    }
    let held = |key: &Known| {
        Some(Held {
            peers: IpNet::new(key.address.read()?, key.prefix).ok()?,
            send: key.send,
            receive: key.receive,
            signs: key.turn & IS_CURRENT != 0,
            asked_for: key.turn & IS_NEXT != 0,
        })
    };
    Ok(known.iter().filter_map(held).collect())
}

/// `struct tcp_ao_add`
#[repr(C, align(8))]
struct Add {
    address: Address,
    algorithm: [u8; 64],
    link: i32,
    turn: u32,
    reserved: u16,
    prefix: u8,
    send: u8,
    receive: u8,
    code_octets: u8,
    flags: u8,
    length: u8,
    octets: [u8; MOST_KEY_OCTETS],
}

/// `struct tcp_ao_del`
#[repr(C, align(8))]
struct Delete {
    address: Address,
    link: i32,
    turn: u32,
    reserved: u16,
    prefix: u8,
    send: u8,
    receive: u8,
    current: u8,
    next: u8,
    flags: u8,
}

/// `struct tcp_ao_info_opt`
#[repr(C, align(8))]
#[derive(Default)]
struct Info {
    turn: u32,
    reserved: u16,
    current: u8,
    next: u8,
    counters: [u64; 5],
}

/// `struct tcp_ao_getsockopt`
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Known {
    address: Address,
    algorithm: [u8; 64],
    octets: [u8; MOST_KEY_OCTETS],
    room: u32,
    turn: u16,
    send: u8,
    receive: u8,
    prefix: u8,
    code_octets: u8,
    flags: u8,
    length: u8,
    link: i32,
    counters: [u64; 2],
}

impl Default for Known {
    fn default() -> Known {
        Known {
            address: Address([0; 128]),
            algorithm: [0; 64],
            octets: [0; MOST_KEY_OCTETS],
            room: 0,
            turn: 0,
            send: 0,
            receive: 0,
            prefix: 0,
            code_octets: 0,
            flags: 0,
            length: 0,
            link: 0,
            counters: [0; 2],
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::mem::offset_of;

    use super::*;

    /// As include/uapi/linux/tcp.h has them.
    #[test]
    fn what_is_said_to_the_kernel_lies_as_the_kernel_has_it() {
        assert_eq!([size_of::<Add>(), size_of::<Delete>(), size_of::<Info>(), size_of::<Known>()], [288, 144, 48, 304]);
        assert_eq!([offset_of!(Add, link), offset_of!(Add, prefix), offset_of!(Add, octets)], [192, 202, 208]);
        assert_eq!([offset_of!(Delete, prefix), offset_of!(Delete, flags)], [138, 143]);
        assert_eq!([offset_of!(Info, next), offset_of!(Info, counters)], [7, 8]);
        let known = [offset_of!(Known, room), offset_of!(Known, send), offset_of!(Known, link)];
        assert_eq!(known, [272, 278, 284]);
        assert_eq!(offset_of!(Known, counters), 288);
    }
}

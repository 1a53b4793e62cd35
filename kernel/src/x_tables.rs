//! [`Filter`]: the table `filter` of the older iptables (`iptables-legacy`), read: what becomes of a forwarded packet that no rule
//! with a condition takes, and whether a rule lets our packets through. Netlink does not speak of it; `getsockopt` does
//! (linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h), on any socket of the family, with CAP_NET_ADMIN.
//!
//! Nothing is written: that takes the whole table at a time, and loses what somebody else wrote in between.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use ipam::Family;
use ipnet::IpNet;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::error::{Error, Result};

/// `IPT_SO_GET_INFO`, `IPT_SO_GET_ENTRIES`; the same numbers for IPv6.
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;
/// `XT_TABLE_MAXNAMELEN`; `struct ipt_getinfo` and where in it hooks, underflows and the entries' size are; the octets before the
/// entries in `struct ipt_get_entries`.
const NAME_LEN: usize = 32;
const INFO_LEN: usize = 84;
const HOOKS: usize = 36;
const UNDERFLOWS: usize = 56;
const SIZE: usize = 80;
const HEAD: usize = 40;
/// `NF_INET_FORWARD`
const FORWARD: usize = 2;
/// Verdicts of the standard target: `-NF_DROP - 1`, `-NF_ACCEPT - 1`, `XT_RETURN`; from 0 on they are places to jump to.
const DROP: i32 = -1;
const ACCEPT: i32 = -2;
const RETURN: i32 = -5;
/// `struct xt_entry_target`: its name, and the verdict behind it.
const TARGET_NAME: usize = 2;
const TARGET_NAME_LEN: usize = 29;
const VERDICT: usize = 32;
/// `IFNAMSIZ`
const INTERFACE_LEN: usize = 16;
/// More than anybody's rules lead to each other.
const DEEPEST: usize = 32;

const DOING: &str = "reading the table filter of iptables-legacy";

/// Where things are in an entry of a family: `struct ipt_entry`, `struct ip6t_entry`.
struct Layout {
    /// Octets of an address; source, destination and their masks come first, then the interfaces.
    address: usize,
    /// Octets of the conditions that every entry has.
    conditions: usize,
    target_offset: usize,
    next_offset: usize,
    /// Octets before matches and target.
    len: usize,
}

/// The table.
pub(crate) struct Filter {
    entries: Vec<u8>,
    layout: Layout,
    forward: usize,
    policy: usize,
}

/// What becomes of a packet that no rule with a condition takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The chain's policy lets it fall.
    FallsByPolicy,
    /// A rule does.
    FallsByRule,
    /// It is accepted.
    Passes,
}

impl Filter {
    /// The table of a family; `None` where nobody has ever asked for it, and then we are not the first.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub(crate) fn read(family: Family) -> Result<Option<Filter>> {
        let (names, domain, level) = match family {
            Family::V4 => ("/proc/thread-self/net/ip_tables_names", AddressFamily::INET, libc::IPPROTO_IP),
            Family::V6 => ("/proc/thread-self/net/ip6_tables_names", AddressFamily::INET6, libc::IPPROTO_IPV6),
        };
        // Asking for a table makes it. What cannot be read is not there.
        if !std::fs::read_to_string(names).is_ok_and(|names| names.lines().any(|name| name == "filter")) {
            return Ok(None);
        }
        let system = |source: io::Error| Error::System { doing: DOING.to_owned(), source };
        let socket = socket_with(domain, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
        let socket = socket.map_err(|error| system(error.into()))?;
        let mut info = vec![0; INFO_LEN];
        name(&mut info);
        ask(&socket, (level, GET_INFO), &mut info).map_err(system)?;
        let word = |at: usize| number(&info, at).and_then(|word| usize::try_from(word).ok());
        let (Some(size), Some(forward), Some(policy)) =
            (word(SIZE), word(HOOKS + 4 * FORWARD), word(UNDERFLOWS + 4 * FORWARD))
        else {
            return Ok(None);
        };
        let mut entries = vec![0; HEAD + size];
        name(&mut entries);
        entries
            .get_mut(NAME_LEN..NAME_LEN + 4)
            .into_iter()
            .for_each(|place| place.copy_from_slice(&(size as u32).to_ne_bytes()));
        match ask(&socket, (level, GET_ENTRIES), &mut entries) {
            // It was exchanged since: the next look sees what is there then.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => return Ok(None),
            answer => answer.map_err(system)?,
        }
        Ok(Some(Filter { entries: entries.split_off(HEAD), layout: Layout::of(family), forward, policy }))
    }

    /// What becomes of a forwarded packet that no rule with a condition takes.
    pub(crate) fn fate(&self) -> Fate {
        self.fate_from(self.forward, DEEPEST).unwrap_or(Fate::Passes)
    }

    /// `None`: it comes back from there.
    fn fate_from(&self, begin: usize, deepest: usize) -> Option<Fate> {
        for entry in self.from(begin).filter(Entry::is_bare) {
            match entry.verdict() {
                Verdict::Drop if entry.at == self.policy => return Some(Fate::FallsByPolicy),
                Verdict::Drop => return Some(Fate::FallsByRule),
                Verdict::Code(ACCEPT) => return Some(Fate::Passes),
                Verdict::Code(RETURN) => return None,
                Verdict::Code(place) if deepest > 0 => {
                    let found = usize::try_from(place).ok().and_then(|place| self.fate_from(place, deepest - 1));
                    if found.is_some() {
                        return found;
                    }
                }
                Verdict::Code(_) | Verdict::Other => {}
            }
        }
        None
    }

    /// Whether there is a rule that looks like one that somebody wrote to let these packets through.
    pub(crate) fn lets(&self, network: &IpNet, names: &[&str]) -> bool {
        self.from(0).any(|entry| entry.verdict() == Verdict::Code(ACCEPT) && entry.names(network, names))
    }

    fn from(&self, begin: usize) -> impl Iterator<Item = Entry<'_>> {
        let entry = move |at: usize| Entry::at(self, at);
        std::iter::successors(entry(begin), move |before| entry(before.at + before.len))
    }
}

impl Layout {
    fn of(family: Family) -> Layout {
        match family {
            Family::V4 => Layout { address: 4, conditions: 84, target_offset: 88, next_offset: 90, len: 112 },
            Family::V6 => Layout { address: 16, conditions: 133, target_offset: 140, next_offset: 142, len: 168 },
        }
    }
}

/// What a rule does.
#[derive(PartialEq, Eq)]
enum Verdict {
    Drop,
    /// Another one of the standard target.
    Code(i32),
    Other,
}

/// A rule.
struct Entry<'a> {
    octets: &'a [u8],
    layout: &'a Layout,
    at: usize,
    len: usize,
    target: usize,
}

impl<'a> Entry<'a> {
    fn at(filter: &'a Filter, at: usize) -> Option<Entry<'a>> {
        let (rest, layout) = (filter.entries.get(at..)?, &filter.layout);
        let (target, len) = (half(rest, layout.target_offset)?, half(rest, layout.next_offset)?);
        // Never shorter than its own head, or the walk would not end.
        let octets = rest.get(..len).filter(|octets| octets.len() >= layout.len)?;
        Some(Entry { octets, layout, at, len, target })
    }

    fn is_bare(&self) -> bool {
        let conditions = self.octets.get(..self.layout.conditions).unwrap_or_default();
        self.target == self.layout.len && conditions.iter().all(|octet| *octet == 0)
    }

    fn verdict(&self) -> Verdict {
        let target = self.octets.get(self.target..).unwrap_or_default();
        match text(target.get(TARGET_NAME..TARGET_NAME + TARGET_NAME_LEN).unwrap_or_default()) {
            b"REJECT" => Verdict::Drop,
            b"" => match number(target, VERDICT).map(u32::cast_signed) {
                Some(DROP) => Verdict::Drop,
                Some(code) => Verdict::Code(code),
                None => Verdict::Other,
            },
            _ => Verdict::Other,
        }
    }

    fn names(&self, network: &IpNet, names: &[&str]) -> bool {
        let length = self.layout.address;
        let part = |number: usize| self.octets.get(number * length..(number + 1) * length).unwrap_or_default();
        let (address, mask) = (octets(network.network()), octets(network.netmask()));
        let side = |address_at, mask_at| part(address_at) == address && part(mask_at) == mask;
        let interface = |number: usize| {
            let begin = 4 * length + number * INTERFACE_LEN;
            text(self.octets.get(begin..begin + INTERFACE_LEN).unwrap_or_default())
        };
        let link = |number| names.iter().any(|name| name.as_bytes() == interface(number));
        side(0, 2) || side(1, 3) || link(0) || link(1)
    }
}

/// Asks for as much as there is room for.
fn ask(socket: &OwnedFd, (level, option): (libc::c_int, libc::c_int), room: &mut [u8]) -> io::Result<()> {
    let mut length = libc::socklen_t::try_from(room.len()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for as long as it is borrowed, and the kernel writes no more octets than the length that it is
    // given, which is the room's.
    let answer = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, room.as_mut_ptr().cast(), &mut length) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The table's name, where a question begins.
fn name(question: &mut [u8]) {
    question.iter_mut().zip(b"filter").for_each(|(place, octet)| *place = *octet);
}

fn text(octets: &[u8]) -> &[u8] {
    octets.split(|octet| *octet == 0).next().unwrap_or_default()
}

fn number(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(octets.get(at..at + 4)?.try_into().ok()?))
}

fn half(octets: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_ne_bytes(octets.get(at..at + 2)?.try_into().ok()?).into())
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

//! Transmit checksum offload of a link, by ethtool's ioctl (include/uapi/linux/ethtool.h): netlink messages about links do not say
//! it, ethtool's own netlink came with Linux 5.6, and this has been there since 2.4. `ethtool -K LINK tx on`, or `off`

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use backends::LinkName;
use backends::offload::Offload;
use backends::state::{KernelState, LinkKind};

use crate::error::{Error, Refusal, Result};
use crate::hand::Hand;
use crate::netlink::{Protocol, Socket};

/// `SIOCETHTOOL`
const REQUEST: libc::Ioctl = 0x8946;
/// `ETHTOOL_GTXCSUM` and `ETHTOOL_STXCSUM`.
const GET: u32 = 0x16;
const SET: u32 = 0x17;

/// `struct ethtool_value`
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ifreq` with a pointer in its union, which has 24 octets where pointers have eight.
#[repr(C)]
struct Ask {
    name: [u8; 16],
    value: *mut Value,
    rest: [usize; 2],
}

/// How a link of the calling thread's network namespace is set; `None` when that cannot be had.
pub fn of_link(name: LinkName) -> Option<Offload> {
    read(Socket::open(Protocol::Route).ok()?.as_fd(), name)
}

/// Sets a link of the calling thread's network namespace.
///
/// # Errors
/// When there is no such link, or it cannot be set so.
pub fn set_link(name: LinkName, wanted: Offload) -> Result<()> {
    write(Socket::open(Protocol::Route)?.as_fd(), name, wanted)
}

impl Hand {
    /// Fills in which of the state's links compute checksums themselves.
    pub(crate) fn offloads(&self, state: &mut KernelState) {
        for (name, link) in &state.links {
            let tunnel = match link.kind {
                LinkKind::Vxlan(_) | LinkKind::WireGuard(_) | LinkKind::Ipip(_) | LinkKind::Ip6Tunnel => true,
                // Whoever is behind a TUN device says what it takes; of others we know nothing.
                LinkKind::Tun(_) | LinkKind::Other(_) => false,
            };
            if tunnel && read(self.socket.as_fd(), *name) == Some(Offload::Off) {
                state.software_checksums.insert(*name);
            }
        }
    }

    /// Sets a link.
    pub(crate) fn set_offload(&mut self, name: LinkName, wanted: Offload) -> Result<()> {
        self.writes += 1;
        write(self.socket.as_fd(), name, wanted)
    }
}

fn read(socket: BorrowedFd<'_>, name: LinkName) -> Option<Offload> {
    let value = ask(socket, name, (GET, 0)).ok()?;
    Some(if value == 0 { Offload::Off } else { Offload::On })
}

fn write(socket: BorrowedFd<'_>, name: LinkName, wanted: Offload) -> Result<()> {
    let doing = || format!("setting transmit checksum offload of {name} to {wanted}");
    let refused = |error: io::Error| Error::Refused {
        doing: doing(),
        refusal: Refusal { errno: error.raw_os_error().unwrap_or(0), words: None },
    };
    ask(socket, name, (SET, u32::from(wanted == Offload::On))).map_err(refused)?;
    // The kernel says yes also where it goes on as before: a feature may be fixed, or need another.
    match read(socket, name) {
        Some(now) if now != wanted => {
            let words = Some(format!("the device keeps it {now}; see `ethtool -k {name}`"));
            Err(Error::Refused { doing: doing(), refusal: Refusal { errno: libc::EOPNOTSUPP, words } })
        }
        _ => Ok(()),
    }
}

/// Any socket will do: it says which network namespace is meant.
fn ask(socket: BorrowedFd<'_>, name: LinkName, (command, data): (u32, u32)) -> io::Result<u32> {
    let mut value = Value { command, data };
    let mut ask = Ask { name: [0; 16], value: &raw mut value, rest: [0; 2] };
    // A name has at most 15 octets, so there is a zero behind it.
    for (place, octet) in ask.name.iter_mut().zip(name.as_str().bytes()) {
        *place = octet;
    }
    // SAFETY: the descriptor is open; SIOCETHTOOL reads and writes one `ifreq`, and through its pointer, for these two commands,
    // one `ethtool_value`. Both live longer than the call, and `Ask` is no smaller than the kernel's `ifreq`.
    let asked = unsafe { libc::ioctl(socket.as_raw_fd(), REQUEST, &raw mut ask) };
    if asked < 0 { Err(io::Error::last_os_error()) } else { Ok(value.data) }
}

const _: () = assert!(size_of::<Ask>() == size_of::<libc::ifreq>());

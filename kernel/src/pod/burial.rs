//! Deleting wires without waiting for it: the plugin takes one out of service, and the daemon deletes many in one go.
//!
//! Deleting a veth pair takes 20 ms, in which the kernel waits for its other CPUs (RCU), for one pair as for forty. So DEL only
//! disables the host's end on its bridge, or takes it down where there is none, and puts it into a link group; from then on
//! nothing reaches the pod by it. Whoever deletes the group afterwards deletes all that is in it: the daemon, which is
//! told by a connection to its socket and needs no more words, at its start what a killed one left, and the plugin itself
//! when no daemon listens. The group is the only memory, so nothing is lost whoever dies when. Why so:
//! docs/adr/0010-del-hands-the-link-to-the-daemon.md.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;

use backends::LinkName;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    sendmsg, sockopt,
};

use super::exchange::Exchange;
use super::host::{Found, Host};
use crate::codec::{bridge, link};
use crate::error::Result;
use crate::netlink::Request;

/// The link group of what is only there to be deleted. `ip link show group 1414529024`
pub const GROUP: u32 = 0x5450_0000;

/// The daemon's socket, in the abstract name space: that belongs to a network namespace as the links do, so whoever
/// answers sees the same links, and nothing of it stays behind.
const NAME: &[u8] = b"towpath-burial";

/// How many may be waiting: more than pods fit on a node. The kernel cuts it to `net.core.somaxconn`.
const WAITING: i32 = 4096;

impl Host {
    /// Takes wires out of service, and has them deleted: by the daemon if one listens, at once otherwise.
    ///
    /// # Errors
    /// When the kernel refuses; what was begun, any later call of this or of [`Host::sweep`] finishes.
    pub fn retire(&mut self, wires: &[(Found, LinkName)]) -> Result<()> {
        let mut exchange = Exchange::new(&mut self.socket);
        let mut closed = Vec::with_capacity(wires.len());
        for (found, _) in wires {
            exchange.order((link::NEW, 0), |body| link::set_group(body, found.index, GROUP));
            closed.push(match found.port {
                // Taking a link down waits for all processors (`dev_deactivate_many`), and everybody else for that.
                Some(_) => exchange.order((bridge::SET_PORT, 0), |body| bridge::disable(body, found.index)),
                None => exchange.order((link::NEW, 0), |body| link::set_flags(body, found.index, 0)),
            });
        }
        let refusals = exchange.finish(|_| {})?.tolerate(|_, errno| errno == libc::ENODEV);
        // ENETDOWN: it is down. EBUSY: the bridge has a spanning tree, and does not let its ports be disabled.
        let insists = |place: &usize| matches!(refusals.errno(*place), Some(errno) if errno != libc::ENETDOWN);
        let lower: Vec<u32> =
            wires.iter().zip(&closed).filter(|(_, place)| insists(place)).map(|((found, _), _)| found.index).collect();
        refusals.tolerate(|place, _| closed.contains(&place)).into_result(|place| {
            let name = wires.get(place / 2).map(|(_, name)| name.to_string()).unwrap_or_default();
            format!("taking the interface {name} out of service")
        })?;
        self.lower(&lower)?;
        if wires.iter().any(|(found, _)| found.port.is_none()) {
            self.forget_unrouted()?;
        }
        if daemon_listens() { Ok(()) } else { self.sweep() }
    }

    /// `ip link set dev … down`, for each.
    fn lower(&mut self, links: &[u32]) -> Result<()> {
        let mut exchange = Exchange::new(&mut self.socket);
        for index in links {
            exchange.order((link::NEW, 0), |body| link::set_flags(body, *index, 0));
        }
        let refusals = exchange.finish(|_| {})?.tolerate(|_, errno| errno == libc::ENODEV);
        refusals.into_result(|_| "taking a removed pod's interface down".to_owned())
    }

    /// Whether any link is out of service and still there. Changes nothing.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn retired(&mut self) -> Result<bool> {
        let request = Request { kind: link::GET, flags: 0, doing: "looking for links of removed pods" };
        let mut entries = self.socket.dump(&request, link::all)?;
        Ok(entries.any(|message| link::Entry::read(&message).is_some_and(|entry| entry.group == GROUP)))
    }

    /// Deletes all links that are out of service, together. `ip link delete group 1414529024`
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn sweep(&mut self) -> Result<()> {
        let mut exchange = Exchange::new(&mut self.socket);
        exchange.order((link::DELETE, 0), |body| link::by_group(body, GROUP));
        // ENODEV: there is none.
        let refusals = exchange.finish(|_| {})?.tolerate(|_, errno| errno == libc::ENODEV);
        refusals.into_result(|_| "deleting the links of removed pods".to_owned())
    }
}

/// The daemon's side: each connection says that there may be something to [`Host::sweep`].
///
/// # Errors
/// When another daemon listens in this network namespace.
pub fn listen() -> io::Result<UnixListener> {
    let socket = open()?;
    rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(NAME)?)?;
    rustix::net::listen(&socket, WAITING)?;
    Ok(socket.into())
}

/// Leaves closing a socket to the daemon, if one listens: closing one of the packet filter's waits until the kernel has freed
/// what anybody deleted (RCU, 7 to 25 ms). Whether it is left; its own descriptor can be closed without waiting then.
pub fn pass_on(socket: BorrowedFd<'_>) -> bool {
    let passed = || -> io::Result<bool> {
        let Some(daemon) = daemon()? else { return Ok(false) };
        let (mut space, sockets) = ([MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))], [socket]);
        let mut rights = SendAncillaryBuffer::new(&mut space);
        let fits = rights.push(SendAncillaryMessage::ScmRights(&sockets));
        sendmsg(&daemon, &[IoSlice::new(&[0])], &mut rights, SendFlags::NOSIGNAL)?;
        Ok(fits)
    };
    passed().unwrap_or(false)
}

/// Tells the daemon.
fn daemon_listens() -> bool {
    // Also when too many wait there already: then it is done here, slower and as well.
    daemon().is_ok_and(|daemon| daemon.is_some())
}

/// A connection to the daemon, if one listens that we can trust: any process may take a name in the abstract name space, so it
/// must be one of our own user.
fn daemon() -> io::Result<Option<OwnedFd>> {
    let socket = open()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new_abstract_name(NAME)?)?;
    let trusted = sockopt::socket_peercred(&socket)?.uid == rustix::process::geteuid();
    Ok(trusted.then_some(socket))
}

fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

//! Connections that we open: from the address that was said, as far as they may go, signed.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use bgp::machine::collision::Side;
use bgp::rib::PeerId;
use ipam::Family;
use kernel::tcp;
use tokio::net::TcpSocket;

use super::ground::Ground;
use super::listener::family;
use super::portrait::unconnected;
use super::shell::Shell;
use super::wish::{Distance, Place};

/// A socket that is ready to be connected, and to where.
pub(super) type Plan = (TcpSocket, SocketAddr);

/// Connects. Whoever wants it no longer aborts it: the speaker's timer says how long is too long.
pub(super) async fn connect(ground: Rc<Ground>, id: PeerId, (socket, remote): Plan) {
    match socket.connect(remote).await {
        Ok(stream) => ground.connected(id, Side::Outgoing, (stream, remote)),
        Err(error) => ground.with(|shell, now| {
            if let Some(seat) = shell.roster.seat_mut(id) {
                seat.attempt = None;
            }
            shell.attempt_failed(id, unconnected(remote, &error));
            shell.speaker.closed(id, Side::Outgoing, now);
        }),
    }
}

/// How far packets go, and from how far they may come.
pub(super) fn set_distance(socket: BorrowedFd<'_>, family: Family, distance: Distance) -> io::Result<()> {
    match distance {
        Distance::Direct => tcp::set_hop_limit(socket, family, 1),
        Distance::Multihop(hops) => tcp::set_hop_limit(socket, family, hops.get()),
        Distance::Secured(hops) => {
            tcp::set_hop_limit(socket, family, u8::MAX)?;
            // From the link itself nothing has been subtracted, from one hop further 1.
            tcp::set_least_hop_limit(socket, family, u8::MAX - (hops.get() - 1))
        }
    }
}

impl Shell {
    /// A socket for a peer; or why there can be none, in a sentence.
    pub(super) fn plan(&mut self, id: PeerId) -> Result<Plan, String> {
        let Some(seat) = self.roster.seat(id) else { return Err("there is no such neighbour".into()) };
        if let Some(why) = &seat.locked {
            return Err(why.clone());
        }
        let (place, distance) = (seat.neighbour.place.clone(), seat.neighbour.distance);
        if self.waits_for_path(id) {
            return Err("waits for BFD to say that the path is up".into());
        }
        let scope = match place {
            Place::Link(link) => self.addresses.index(link).ok_or_else(|| format!("there is no link {link}"))?,
            Place::Address { .. } => 0,
        };
        let remote = self.roster.seat(id).and_then(|seat| seat.remote(scope));
        let Some(remote) = remote else { return Err("no router advertisement says where it is".into()) };
        let opened = || -> io::Result<TcpSocket> {
            let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_nodelay(true)?;
            set_distance(socket.as_fd(), family(remote.ip()), distance)?;
            if let Place::Address { local: Some(local), .. } = place {
                socket.bind(SocketAddr::new(local, 0))?;
            }
            Ok(socket)
        };
        let socket = opened().map_err(|error| match place {
            Place::Address { local: Some(local), .. } if error.kind() == io::ErrorKind::AddrNotAvailable => {
                format!("this node does not have the address {local}")
            }
            _ => format!("no socket towards {remote}: {error}"),
        })?;
        self.sign(id, socket.as_fd())?;
        Ok((socket, remote))
    }
}

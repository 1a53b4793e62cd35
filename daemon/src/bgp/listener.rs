//! [`Listener`]: where connections are taken, and whose they are. Who is nobody's is closed without a word: a thousand connections from one address
//! are one, and 999 that end at once.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use backends::state::LinkName;
use bgp::machine::collision::Side;
use bgp::rib::PeerId;
use bgp::speaker::Acceptance;
use ipam::Family;
use kernel::tcp;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::AbortHandle;

use super::connector::set_distance;
use super::ground::Ground;
use super::roster::{Seat, Stranger};
use super::shell::Shell;
use super::wish::{Place, Wish};

/// Connections that the kernel holds for us: all nodes of a large cluster at once.
const BACKLOG: u32 = 4096;

/// Before connections are taken again after the process had no more descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// How long an OPEN is waited for on a connection beside a session.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);

/// A socket that listens.
#[derive(Debug)]
pub(super) struct Listener {
    pub socket: Rc<TcpListener>,
    address: SocketAddr,
    accepts: Option<AbortHandle>,
}

impl Listener {
    /// Whether peers with such an address come here.
    pub fn is_of(&self, peer: IpAddr) -> bool {
        self.address.is_ipv4() == peer.is_ipv4()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(accepts) = &self.accepts {
            accepts.abort();
        }
    }
}

/// A socket that does not listen yet: first it is told of keys.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        tcp::leave_ipv4_alone(socket.as_fd())?;
    }
    // A peer that drops what comes from farther than its link (RFC 5082) must see our first answer, before we know who it is.
    tcp::set_hop_limit(socket.as_fd(), family(address.ip()), u8::MAX)?;
    socket.bind(address)?;
    Ok(socket)
}

/// The family of an address.
pub(super) fn family(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}

impl Shell {
    /// Listens where it is wished. What cannot be had is tried again ([`Shell::listen`] is called every few seconds).
    pub(super) fn listen(&mut self, before: &Wish) {
        let wanted = self.wish.listen.clone();
        self.listeners.retain(|listener| wanted.contains(&listener.address));
        self.sign_ranges(before);
        for address in wanted {
            if self.listeners.iter().any(|listener| listener.address == address) {
                continue;
            }
            let listening = bind(address).and_then(|socket| {
                self.sign_listener(socket.as_fd(), |peers| peers.addr().is_ipv4() == address.is_ipv4());
                socket.listen(BACKLOG)
            });
            match listening {
                Ok(socket) => {
                    tracing::info!("BGP listens at {address}");
                    self.deaf.remove(&address);
                    self.listeners.push(Listener { socket: Rc::new(socket), address, accepts: None });
                }
                Err(error) => {
                    let fix = match error.kind() {
                        io::ErrorKind::PermissionDenied => {
                            "; give the container the capability NET_BIND_SERVICE (the chart does), or choose a ListenPort above 1023"
                        }
                        _ => "",
                    };
                    let why =
                        format!("BGP cannot listen at {address}: {error}{fix}; neighbours are connected to meanwhile");
                    if self.deaf.insert(address, why.clone()).as_ref() != Some(&why) {
                        tracing::warn!("{why}");
                    }
                }
            }
        }
    }

    /// Whose a connection is, and whether it is taken at once; `None` for one that is to be closed.
    fn admit(&mut self, stream: &TcpStream, remote: SocketAddr, now: Duration) -> Option<(PeerId, Acceptance)> {
        let link = self.link_of(remote);
        if let (Some(link), IpAddr::V6(address)) = (link, remote.ip()) {
            self.discover(link, address, now);
        }
        let id = match self.roster.at(remote, link) {
            Some(id) => id,
            None => match self.stranger(remote, now) {
                Ok(id) => id,
                Err(stranger) => {
                    self.refuse(remote, stranger);
                    return None;
                }
            },
        };
        let local = stream.local_addr().ok()?.ip();
        let seat = self.roster.seat(id).filter(|seat| seat.address == Some(remote.ip()))?;
        let elsewhere = matches!(seat.neighbour.place, Place::Address { local: Some(wanted), .. } if wanted != local);
        let acceptance = self.speaker.acceptance(id);
        if elsewhere || seat.locked.is_some() || self.waits_for_path(id) || acceptance == Acceptance::Never {
            tracing::debug!("a BGP connection from {remote} was closed: it is not its time");
            return None;
        }
        let distance = seat.neighbour.distance;
        if let Err(why) = self.check_signature(id, stream.as_fd()) {
            self.trouble(id, why);
            return None;
        }
        let set = stream.set_nodelay(true).and_then(|()| set_distance(stream.as_fd(), family(remote.ip()), distance));
        if let Err(error) = set {
            tracing::debug!("a BGP connection from {remote} was closed: {error}");
            return None;
        }
        Some((id, acceptance))
    }

    fn link_of(&mut self, remote: SocketAddr) -> Option<LinkName> {
        match remote {
            SocketAddr::V6(remote) if remote.scope_id() != 0 => self.addresses.link(remote.scope_id()),
            _ => None,
        }
    }

    fn refuse(&mut self, remote: SocketAddr, stranger: Stranger) {
        match stranger {
            Stranger::Unknown => tracing::debug!("a BGP connection from {remote} was closed: no neighbour is there"),
            Stranger::TooMany(range, most) => {
                if self.guests.full.insert(range) {
                    tracing::warn!(
                        "{remote} is one BGP neighbour too many: {range} may have {most}; so are all that come while it is so"
                    );
                }
            }
        }
    }
}

impl Ground {
    /// Takes connections wherever it is listened.
    pub(super) fn take_connections(self: &Rc<Self>, shell: &mut Shell) {
        for listener in &mut shell.listeners {
            if listener.accepts.is_none() {
                let accepts = tokio::task::spawn_local(accept(Rc::clone(self), Rc::clone(&listener.socket)));
                listener.accepts = Some(accepts.abort_handle());
            }
        }
    }
}

impl Ground {
    /// A connection beside a session that came the same way: of several the last is waited for.
    fn await_open(self: &Rc<Self>, id: PeerId, connection: (TcpStream, SocketAddr)) {
        let waiting = tokio::task::spawn_local(take_opened(Rc::clone(self), id, connection)).abort_handle();
        self.with(|shell, _| {
            let seat = shell.roster.seat_mut(id);
            if let Some(before) = seat.and_then(|seat| seat.waiting.replace(waiting)) {
                before.abort();
            }
        });
    }
}

/// Takes a connection in a session's place once its OPEN is there, which stays to be read.
async fn take_opened(ground: Rc<Ground>, id: PeerId, (stream, remote): (TcpStream, SocketAddr)) {
    let opened = async {
        let mut bytes = [0; 4096];
        loop {
            let count = stream.peek(&mut bytes).await.unwrap_or(0);
            let seen = bytes.get(..count).filter(|seen| !seen.is_empty());
            match seen.map_or(Some(false), |seen| ground.look(|shell| shell.speaker.begins_with_open(id, seen))) {
                Some(decided) => return decided,
                None => tokio::time::sleep(BREATH).await,
            }
        }
    };
    let opened = tokio::time::timeout(OPEN_PATIENCE, opened).await.unwrap_or(false);
    if opened && ground.with(|shell, now| shell.speaker.may_accept(id, now)) {
        ground.connected(id, Side::Incoming, (stream, remote));
    } else {
        tracing::debug!("a BGP connection from {remote} was closed: it is none of a peer that was started anew");
    }
}

async fn accept(ground: Rc<Ground>, socket: Rc<TcpListener>) {
    loop {
        match socket.accept().await {
            Ok((stream, remote)) => {
                let admitted = ground.with(|shell, now| shell.admit(&stream, remote, now));
                match admitted {
                    Some((id, Acceptance::Now)) => ground.connected(id, Side::Incoming, (stream, remote)),
                    Some((id, _)) => ground.await_open(id, (stream, remote)),
                    None => {}
                }
                tokio::task::yield_now().await;
            }
            Err(error) => {
                // No descriptors, or no memory: sessions that end make room. A connection that ended meanwhile is no reason to wait, but no harm.
                tracing::debug!("a BGP connection cannot be taken: {error}");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

impl Seat {
    /// Where connections to it go.
    pub(super) fn remote(&self, scope: u32) -> Option<SocketAddr> {
        let port = self.neighbour.port;
        Some(match self.address? {
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                std::net::SocketAddrV6::new(address, port, 0, scope).into()
            }
            address => SocketAddr::new(address, port),
        })
    }
}

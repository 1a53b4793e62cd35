//! Peers on a link whose address nobody said: router advertisements say it, and ours say where we are (RFC 4861; what RFC 5549's successors call
//! unnumbered). A connection from the link says it too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

use backends::state::LinkName;
use bgp::rib::PeerId;
use bgp::speaker::{PeerConfig, StrictBfd};
use kernel::datagram::Inbox;
use kernel::routers::{Routers, Said};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

use super::ground::Ground;
use super::liveness::Strictness;
use super::roster::Seat;
use super::shell::Shell;

/// From one advertisement to the next while nobody is there, and while somebody is (RFC 4861 section 10: no closer than 3 s).
const SEEKING: Duration = Duration::from_secs(3);
const KNOWN: Duration = Duration::from_secs(10);
/// Before the socket is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Finds peers on links, for as long as there are such.
pub(super) async fn seek(ground: Rc<Ground>) {
    let mut said = None;
    loop {
        // `new` is deprecated because a type of one's own may close its descriptor while it is registered; this one keeps it open.
        #[allow(deprecated)]
        let opened = Routers::open().and_then(AsyncFd::new);
        let why = match opened {
            Ok(mut routers) => match listen(&ground, &mut routers).await {
                Ok(()) => return,
                Err(error) => format!("router advertisements are not heard: {error}"),
            },
            Err(error) => {
                format!("router advertisements are not heard, and BGP neighbours on links not found: {error}")
            }
        };
        if said.as_ref() != Some(&why) {
            tracing::warn!("{why}");
            said = Some(why);
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn listen(ground: &Rc<Ground>, routers: &mut AsyncFd<Routers>) -> std::io::Result<()> {
    let mut inbox = Inbox::new();
    let mut due = Instant::now();
    let mut links = BTreeMap::new();
    loop {
        tokio::select! {
            ready = routers.readable() => {
                let mut heard = Vec::new();
                let mut ready = ready?;
                let came = ready.get_inner().receive(&mut inbox, |link, address, said| heard.push((link, address, said)))?;
                if came == 0 {
                    ready.clear_ready();
                }
                drop(ready);
                for (index, address, said) in heard {
                    let Some(link) = links.get(&index).copied() else { continue };
                    match said {
                        Said::Here => ground.with(|shell, now| shell.discover(link, address, now)),
                        // Once a second at most: the timer is what limits it.
                        Said::WhoIs => due = due.min(Instant::now() + Duration::from_millis(500)),
                    }
                }
            }
            () = sleep_until(due) => {
                let wanted = ground.with(|shell, _| shell.links());
                if wanted.is_empty() {
                    return Ok(());
                }
                links = wanted.keys().map(|(index, link)| (*index, *link)).collect();
                routers.get_mut().keep(&links.keys().copied().collect::<BTreeSet<u32>>());
                for (index, link) in &links {
                    if let Err(error) = routers.get_mut().advertise(*index) {
                        tracing::debug!("no router advertisement on {link}: {error}");
                    }
                }
                due = Instant::now() + if wanted.values().all(|up| *up) { KNOWN } else { SEEKING };
            }
        }
    }
}

impl Ground {
    /// Looks for peers on links, where there are any to be found.
    pub(super) fn seek_neighbours(self: &Rc<Self>, shell: &mut Shell) {
        let any = shell.roster.seats().any(|(_, seat)| seat.link().is_some());
        if any && shell.seeker.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
            shell.seeker = Some(tokio::task::spawn_local(seek(Rc::clone(self))));
        }
    }
}

impl Shell {
    /// The links that peers are to be found on, and whether each is up.
    fn links(&mut self) -> BTreeMap<(u32, LinkName), bool> {
        let links: Vec<(LinkName, bool)> =
            self.roster.seats().filter_map(|(_, seat)| Some((seat.link()?, seat.up))).collect();
        if !links.is_empty() {
            self.addresses.refresh();
        }
        links.into_iter().filter_map(|(link, up)| Some(((self.addresses.known_index(link)?, link), up))).collect()
    }

    /// Somebody is a router on a link: the peer that is looked for there, unless that is known already. Of two that advertise themselves each has its
    /// time, and one that makes up addresses has no more than that.
    pub(super) fn discover(&mut self, link: LinkName, address: Ipv6Addr, now: Duration) {
        let on_it = self.roster.seats().find(|(_, seat)| seat.link() == Some(link)).map(|(id, _)| id);
        let Some(id) = on_it else { return };
        let known = |seat: &Seat| {
            let just_found = seat.found.is_some_and(|at| now.saturating_sub(at) < KNOWN);
            seat.up || just_found || seat.address == Some(IpAddr::V6(address))
        };
        if self.roster.seat(id).is_some_and(known) {
            return;
        }
        self.unsign(id);
        if let Some(seat) = self.roster.seat_mut(id) {
            (seat.address, seat.found) = (Some(address.into()), Some(now));
            tracing::info!("BGP neighbour {} was found", seat.label());
        }
        self.begin(id, now);
    }

    /// Starts a peer's sessions, if it is known where it is.
    pub(super) fn begin(&mut self, id: PeerId, now: Duration) {
        self.authenticate(id);
        let Some(seat) = self.roster.seat(id) else { return };
        let Some(address) = seat.address else { return };
        if self.comes_after_bfd(id, now) {
            return;
        }
        let Some(seat) = self.roster.seat(id) else { return };
        let strict = seat.neighbour.liveness.is_some_and(|liveness| liveness.strictness == Strictness::Strict);
        let strict_bfd = if strict { StrictBfd::Offered } else { StrictBfd::No };
        let session = PeerConfig { address, strict_bfd, ..seat.neighbour.session.clone() };
        self.speaker.add_peer(id, session, now);
        self.keep_away(id, now);
    }
}

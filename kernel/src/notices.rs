//! [`Notices`]: "look again", said by the kernel: somebody changed a link, an address, a route, a neighbour, the ruleset, a
//! setting. To be waited for by a thread of its own.
//!
//! Each [`Notice`] carries what is there now, so that whoever holds the desired state can tell at once whether it
//! agrees ([`Notice::agrees`]) and only then looks at everything. What our own [`Hand`] did is not told. Nothing is repaired
//! here, and nothing may be concluded from silence: a slow timer must look as well.

mod book;
mod notice;
mod ruleset;
mod settings;

pub use notice::Notice;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use backends::state::Scope;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::codec::route;
use crate::error::{Error, Result};
use crate::hand::Hand;
use crate::memory;
use crate::netlink::{Protocol, Socket};
use book::Book;
use ruleset::RulesetWatch;
use settings::Settings;

/// `RTNLGRP_LINK`, `_NEIGH`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV4_RULE`, `_IPV6_IFADDR`, `_IPV6_ROUTE`, `_IPV6_RULE`,
/// `_IPV4_NETCONF`, `_IPV6_NETCONF`.
const GROUPS: [u32; 10] = [1, 3, 5, 7, 8, 9, 11, 19, 24, 25];
/// `RTNLGRP_NEXTHOP`, since Linux 5.3.
const NEXTHOP_GROUP: u32 = 32;
/// `RTM_NEWNETCONF`: one of a few settings changed, which are read then.
const NETCONF: u16 = 80;

/// Settings have no notices worth the name, so they are read this often.
const SETTINGS_PERIOD: Duration = Duration::from_secs(1);
/// One wait returns about this many notices at most, so that a flood costs its reader little memory.
const MOST_NOTICES: usize = 4096;

/// So many take room that is worth giving back.
const MANY: usize = 1000;

const LISTENING: &str = "listening to the kernel";

/// The kernel's notices for one instance, from the network namespace of the thread that opened it, which must also be
/// the one that waits (settings are files, and belong to the namespace of whoever opens them).
#[derive(Debug)]
pub struct Notices {
    routing: Socket,
    /// `None` on a kernel without nftables.
    ruleset: Option<RulesetWatch>,
    book: Book,
    settings: Settings,
    settings_due: Instant,
    /// How many messages were read since it was last quiet, those included of which nothing is told.
    heard: usize,
    shared: Arc<Shared>,
}

/// What reaches a [`Notices`] that is being waited for, from another thread.
#[derive(Clone, Debug)]
pub struct Remote(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    event: OwnedFd,
    /// Whose settings and whose ways through other programs' firewalls to watch from now on, until it is taken over.
    watch: Mutex<Option<Scope>>,
}

impl Notices {
    /// Begins to listen; what happens from now on is told. `hand` is whose changes are not told, `alias` and `table` are
    /// the instance's ([`backends::state::Scope`]). `ip monitor`, `bridge monitor`, `nft monitor`
    ///
    /// # Errors
    /// When there are no sockets to be had.
    pub fn open(hand: &Hand, alias: &str, table: &str) -> Result<Notices> {
        let routing = Socket::open(Protocol::Route)?;
        routing.ignore([route::NEW, route::DELETE], hand.socket.port())?;
        GROUPS.iter().try_for_each(|group| routing.join(*group))?;
        if hand.nexthop_objects() {
            routing.join(NEXTHOP_GROUP)?;
        }
        let ruleset = match RulesetWatch::open(alias, table) {
            Err(Error::Unsupported { .. }) => None,
            other => Some(other?),
        };
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| system(error.into()))?;
        let mut notices = Notices {
            routing,
            ruleset,
            book: Book::new(alias, hand.socket.port()),
            settings: Settings::default(),
            settings_due: Instant::now(),
            heard: 0,
            shared: Arc::new(Shared { event, watch: Mutex::default() }),
        };
        notices.learn()?;
        Ok(notices)
    }

    /// A way to reach it from other threads while it is waited for.
    pub fn remote(&self) -> Remote {
        Remote(Arc::clone(&self.shared))
    }

    /// Waits until something happened, [`Remote::wake`] was called, or `patience` is over; says what happened, in
    /// order, perhaps nothing.
    ///
    /// # Errors
    /// When the sockets fail. That some notices were lost is no error but [`Notice::Overrun`].
    pub fn wait(&mut self, patience: Duration) -> Result<Vec<Notice>> {
        let deadline = Instant::now() + patience;
        let mut seen = Vec::new();
        loop {
            let settings_due = (!self.settings.is_empty()).then_some(self.settings_due);
            let firewalls_due = self.ruleset.as_ref().and_then(RulesetWatch::due);
            let woken = self.poll(settings_due.into_iter().chain(firewalls_due).fold(deadline, Instant::min))?;
            let settings_touched = self.hear_routing(&mut seen)?;
            if let Some(ruleset) = &mut self.ruleset {
                ruleset.hear(&mut seen)?;
                ruleset.look_at_firewalls(&mut seen)?;
            }
            let asked = self.shared.watch.lock().unwrap_or_else(PoisonError::into_inner).take();
            let changed = asked.map(|scope| self.watch(scope)).is_some();
            if changed || settings_touched || Instant::now() >= self.settings_due {
                self.settings.read(&mut seen);
                self.settings_due = Instant::now() + SETTINGS_PERIOD;
            }
            if woken || !seen.is_empty() || Instant::now() >= deadline {
                // By now all of a flood is free again, in the arena of this thread.
                if !woken && seen.is_empty() && std::mem::take(&mut self.heard) >= MANY {
                    memory::give_back();
                }
                return Ok(seen);
            }
        }
    }

    /// By a socket of its own, for answers must not be mixed with notices, and that goes with the room that they took.
    fn learn(&mut self) -> Result<()> {
        self.book.load(&mut Socket::open(Protocol::Route)?)
    }

    fn watch(&mut self, scope: Scope) {
        self.settings.watch(&scope.sysctls);
        self.ruleset.iter_mut().for_each(|ruleset| ruleset.watch(scope.clone()));
    }

    /// Waits for a socket or a wake-up; says whether it was one.
    fn poll(&self, until: Instant) -> Result<bool> {
        let rest = until.saturating_duration_since(Instant::now());
        // A second is more than any wait here, and always fits.
        let timeout = Timespec::try_from(rest).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let rulesets = self.ruleset.as_ref().map_or(self.routing.as_fd(), |ruleset| ruleset.as_fd());
        let fds = [self.shared.event.as_fd(), self.routing.as_fd(), rulesets];
        let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut fds, Some(&timeout)) {
            // A signal came; it is some other thread's.
            Err(rustix::io::Errno::INTR) | Ok(0) => return Ok(false),
            Err(error) => return Err(system(error.into())),
            Ok(_) => {}
        }
        // Reading takes the count back to nothing; EAGAIN says that there was none.
        Ok(rustix::io::read(&self.shared.event, &mut [0; 8]).is_ok())
    }

    /// Reads what lies ready; says whether a setting changed.
    fn hear_routing(&mut self, seen: &mut Vec<Notice>) -> Result<bool> {
        let mut settings = false;
        while seen.len() < MOST_NOTICES {
            match self.routing.receive_now(LISTENING) {
                Ok(None) => break,
                Ok(Some(messages)) => {
                    for message in messages {
                        self.heard += 1;
                        settings |= message.header.kind == NETCONF;
                        self.book.hear(&message, seen);
                    }
                }
                Err(Error::Overrun { .. }) => {
                    seen.push(Notice::Overrun);
                    self.learn()?;
                    self.heard += MANY;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(settings)
    }
}

impl Remote {
    /// Watches a scope's settings, each of which is told once as it is now, and what other programs' firewalls do to its networks.
    pub fn watch(&self, scope: &Scope) {
        *self.0.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(scope.clone());
        self.wake();
    }

    /// Makes [`Notices::wait`] return.
    pub fn wake(&self) {
        // Refused (EAGAIN) only when 2^64 wakes are pending, and one is enough.
        rustix::io::write(&self.0.event, &1_u64.to_ne_bytes()).unwrap_or_default();
    }
}

fn system(source: io::Error) -> Error {
    Error::System { doing: LISTENING.to_owned(), source }
}

//! [`Ground`]: what the tasks of the speaker's thread stand on. Whoever has something to say (a socket, a timer, the node) borrows the shell for as long as
//! it takes to say it, never over an `await`, and what the speaker asks for then is done.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bgp::machine::collision::Side;
use bgp::rib::PeerId;
use bgp::speaker::Output;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

use super::connection::{self, Connection};
use super::connector;
use super::liveness::BfdPaths;
use super::portrait::unanswered;
use super::shell::{READ_BYTES, Shell};
use super::tidings::Tidings;
use super::wish::Wish;

/// The shell, and how its main loop is woken.
#[derive(Debug)]
pub(super) struct Ground {
    shell: RefCell<Shell>,
    /// Something was said: what comes out of it is to be decided, and timers may be due earlier.
    pub work: Notify,
}

impl Ground {
    /// A speaker as it is wished, without peers: they come with the first [`Shell::wish_for`].
    pub fn new(wish: &Arc<Wish>, seed: u64, tidings: Tidings) -> Rc<Ground> {
        let shell = RefCell::new(Shell::new(wish, seed, tidings));
        Rc::new(Ground { shell, work: Notify::new() })
    }

    /// Says something to the shell, and does what follows from it. Never called from within itself: what it calls has the shell, not the ground.
    pub fn with<T>(self: &Rc<Self>, say: impl FnOnce(&mut Shell, Duration) -> T) -> T {
        let mut shell = self.shell.borrow_mut();
        let now = shell.begun.elapsed();
        let answer = say(&mut shell, now);
        // Much was read: it is decided now, in one piece that is neither too small to share work nor so large that others wait.
        if shell.fresh >= READ_BYTES {
            shell.decide();
        }
        self.obey(&mut shell, now);
        self.work.notify_one();
        answer
    }

    /// Makes the speaker what it is to be.
    pub fn wish_for(self: &Rc<Self>, wish: &Arc<Wish>) {
        self.with(|shell, now| {
            shell.wish_for(wish, now);
            self.seat_stations(shell);
            self.take_connections(shell);
            self.seek_neighbours(shell);
        });
    }

    /// Says which paths BFD is to watch, from now on: it answers which of them are up already.
    pub fn begin_watching(&self, wanted: &watch::Sender<BfdPaths>) {
        wanted.send_replace(self.look(Shell::paths));
    }

    /// Says which paths BFD is to watch, if they are others than before.
    pub fn watch_paths(&self, wanted: &watch::Sender<BfdPaths>) {
        let paths = self.look(Shell::paths);
        self.shell.borrow_mut().forget_paths(&paths);
        wanted.send_if_modified(|known| {
            *known != paths && {
                *known = paths;
                true
            }
        });
    }

    /// Says at once that there is a path for which somebody waits.
    pub fn watch_waited_for(&self, wanted: &watch::Sender<BfdPaths>) {
        if std::mem::take(&mut self.shell.borrow_mut().patience.unwatched) {
            self.watch_paths(wanted);
        }
    }

    /// What needs a look now and then: key files, addresses that could not be listened at, our own addresses, peers of ranges that are gone.
    pub fn keep_house(self: &Rc<Self>) {
        self.with(|shell, now| {
            shell.reread_keys();
            shell.roll_keys();
            let wish = Arc::clone(&shell.wish);
            shell.listen(&wish);
            shell.forget_guests(now);
            shell.report_to_stations(now);
            shell.readdress(now);
            shell.track();
            self.take_connections(shell);
            self.seek_neighbours(shell);
        });
    }

    /// Decides what came, and says whether there is more to do at once. Timers that are due come first.
    pub fn turn(self: &Rc<Self>) -> bool {
        let mut shell = self.shell.borrow_mut();
        let now = shell.begun.elapsed();
        shell.speaker.tick(now);
        shell.go(now);
        shell.wait_no_longer(now);
        let more = shell.decide();
        self.obey(&mut shell, now);
        more
    }

    /// Looks at the shell.
    pub fn look<T>(&self, look: impl FnOnce(&Shell) -> T) -> T {
        look(&self.shell.borrow())
    }

    fn obey(self: &Rc<Self>, shell: &mut Shell, now: Duration) {
        loop {
            let mut outputs = std::mem::take(&mut shell.postponed);
            outputs.extend(shell.speaker.outputs());
            if outputs.is_empty() {
                shell.tidings.turn(now);
                // Behind the last routes that it is about.
                std::mem::take(&mut shell.settled).into_iter().for_each(|family| shell.tidings.settle(family));
                return;
            }
            for output in outputs {
                match output {
                    Output::Connect(id) => self.connect(shell, id, now),
                    Output::Send(id, side) => shell.write((id, side), now),
                    Output::Close(id, side, farewell) => shell.close((id, side), farewell),
                    Output::Route(change) => shell.learn(change),
                    Output::Up(id) => {
                        shell.up(id, now);
                        shell.show_session(id);
                    }
                    Output::Heard(id, update) => shell.show_update(id, &update),
                    Output::Ended(id, end) => shell.show_end(id, &end),
                    Output::Chosen(viewer) => shell.show_more(viewer),
                    Output::Deaf(viewer) => shell.give_up_station(viewer),
                    Output::Down(id, reason) => shell.down(id, reason, now),
                    Output::Malformed(id, fault) => shell.malformed(id, &fault),
                    Output::NearLimit(id, family, most) => shell.near_limit(id, family, most),
                    Output::EndOfRib(id, family) => shell.ends.push((id, family)),
                }
            }
        }
    }

    fn connect(self: &Rc<Self>, shell: &mut Shell, id: PeerId, now: Duration) {
        let plan = shell.plan(id);
        let Some(seat) = shell.roster.seat_mut(id) else { return };
        if let Some(attempt) = seat.attempt.take() {
            attempt.abort();
            let why = unanswered(&seat.neighbour);
            shell.attempt_failed(id, why);
        }
        match plan {
            Ok(plan) => {
                let attempt = tokio::task::spawn_local(connector::connect(Rc::clone(self), id, plan));
                if let Some(seat) = shell.roster.seat_mut(id) {
                    seat.attempt = Some(attempt.abort_handle());
                }
            }
            Err(why) => {
                shell.attempt_failed(id, why);
                shell.speaker.closed(id, Side::Outgoing, now);
            }
        }
    }

    /// A connection is there, with its options set.
    pub fn connected(self: &Rc<Self>, id: PeerId, side: Side, (stream, remote): (TcpStream, SocketAddr)) {
        self.with(|shell, now| {
            let local = stream.local_addr().map(|local| shell.addresses.of(local, shell.roster.seat(id)));
            let Some(seat) = shell.roster.seat_mut(id) else { return };
            let Ok(local) = local else {
                shell.speaker.closed(id, side, now);
                return;
            };
            let connection = Connection::new(stream, remote);
            if side == Side::Outgoing {
                seat.attempt = None;
            }
            seat.traffic.connections += 1;
            if let Some(before) = seat.put(side, Some(Rc::clone(&connection))) {
                before.close(None);
            }
            shell.roll(id, &[]);
            tokio::task::spawn_local(connection::run(Rc::clone(self), (id, side), connection));
            shell.speaker.connected(id, side, local, now);
        });
    }
}

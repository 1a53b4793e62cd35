//! [`Seats`]: so many clients at a time, and nobody is turned away: when all seats are taken, whoever has said nothing for
//! the longest time makes room. Clients that only sit there cannot keep others out, however many they are.
//!
//! It knows nothing of sockets: who lost a seat ends the conversation.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

/// A number of seats.
#[derive(Debug)]
pub struct Seats {
    number: usize,
    taken: Mutex<Taken>,
}

/// Who sits there, the longest silent first.
#[derive(Debug, Default)]
struct Taken {
    next: u64,
    holders: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A seat, free again when it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    place: u64,
    lost: oneshot::Receiver<()>,
}

impl Seats {
    /// So many, at least one, all free.
    pub fn new(number: usize) -> Arc<Seats> {
        Arc::new(Seats { number: number.max(1), taken: Mutex::default() })
    }

    /// A seat for somebody who comes now.
    pub fn take(self: &Arc<Seats>) -> Seat {
        let (unseat, lost) = oneshot::channel();
        let mut taken = self.taken();
        if taken.holders.len() >= self.number {
            // Dropping the sender tells its holder.
            taken.holders.pop_first();
        }
        let place = taken.sit(unseat);
        drop(taken);
        Seat { seats: Arc::clone(self), place, lost }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Each statement leaves the map whole: a panic elsewhere does not make it wrong.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn sit(&mut self, unseat: oneshot::Sender<()>) -> u64 {
        let place = self.next;
        self.next += 1;
        self.holders.insert(place, unseat);
        place
    }
}

impl Seat {
    /// Its holder has just been of use: all others go before.
    pub fn keep(&mut self) {
        let mut taken = self.seats.taken();
        if let Some(unseat) = taken.holders.remove(&self.place) {
            self.place = taken.sit(unseat);
        }
    }

    /// Ready when the seat was given to somebody else.
    pub fn poll_lost(&mut self, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.lost).poll(context).map(drop)
    }

    /// Waits until the seat was given to somebody else.
    pub async fn lost(&mut self) {
        std::future::poll_fn(|context| self.poll_lost(context)).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken().holders.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::task::Waker;

    fn has_lost(seat: &mut Seat) -> bool {
        seat.poll_lost(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_longest_silent_makes_room_and_a_seat_that_is_left_is_free() {
        let seats = Seats::new(2);
        let (mut first, mut second) = (seats.take(), seats.take());
        assert!(!has_lost(&mut first) && !has_lost(&mut second));
        first.keep();
        let mut third = seats.take();
        assert!(has_lost(&mut second) && !has_lost(&mut first) && !has_lost(&mut third));
        // Who has lost a seat has none to keep or to leave.
        second.keep();
        drop((second, third));
        let mut fourth = seats.take();
        assert!(!has_lost(&mut first) && !has_lost(&mut fourth));
        drop((first, fourth));
        assert!(seats.taken().holders.is_empty());
    }
}

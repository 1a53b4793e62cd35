//! A router that is not to be sent to any more, at once: one message a group, however many routes use it.

use backends::state::Nexthop;

use crate::codec::{REPLACE, nexthop};
use crate::error::Refusal;
use crate::hand::Hand;
use crate::netlink::Batch;

impl Hand {
    /// Takes a next hop out of all groups of ours that have others. The groups keep their ids, and are for the index what they were: routes through
    /// them are the next plan's business. How many messages that took. `ip nexthop replace id GROUP group OTHERS proto 84`
    ///
    /// # Errors
    /// The first refusal, in the kernel's words; the rest is done.
    pub fn leave(&mut self, lost: Nexthop) -> Result<usize, Refusal> {
        let Hand { socket, index, writes, .. } = &mut *self;
        let groups = index.leave(lost);
        let mut batch = Batch::new(socket);
        for (key, (id, others)) in groups.iter().enumerate() {
            batch.push(key, (nexthop::NEW, REPLACE), |body| nexthop::make_group(body, *id, others));
        }
        *writes += groups.len() as u64;
        match batch.finish().into_iter().next() {
            Some(refused) => Err(refused.refusal),
            None => Ok(groups.len()),
        }
    }
}

//! [`Waiting`]: learnt routes that the node loop has no time for yet. What is said twice of a prefix is told once where much waits; who looked for
//! that each time would spend more on a full table than on deciding it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use ipnet::IpNet;

use super::learnt::NextHop;

/// So many may wait without a look for those that are said twice: beside them as many as there are prefixes, twice.
const FEW: usize = if cfg!(test) { 4 } else { 1 << 16 };

/// A prefix, and where it leads.
pub(super) type Said = (IpNet, Arc<BTreeSet<NextHop>>);

/// What waits, what was said first before the others.
#[derive(Debug)]
pub(super) struct Waiting {
    routes: VecDeque<Said>,
    /// When it is looked next.
    most: usize,
}

impl Default for Waiting {
    fn default() -> Waiting {
        Waiting { routes: VecDeque::new(), most: FEW }
    }
}

impl Waiting {
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    pub fn push(&mut self, said: Said) {
        self.routes.push_back(said);
        if self.routes.len() > self.most {
            self.merge();
        }
    }

    /// So many at most.
    pub fn take(&mut self, most: usize) -> Vec<Said> {
        let taken = self.routes.drain(..most.min(self.routes.len())).collect();
        if self.routes.is_empty() {
            // A full table once is no reason to keep room for one.
            *self = Waiting::default();
        }
        taken
    }

    /// What was said last of each prefix is what stays.
    fn merge(&mut self) {
        let mut routes = Vec::from(std::mem::take(&mut self.routes));
        routes.sort_by_key(|(net, _)| *net);
        routes.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        self.most = 2 * routes.len() + FEW;
        self.routes = routes.into();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn however_often_a_prefix_is_said_little_waits_and_what_was_said_last_is_told_last() {
        let hops = |last: u8| Arc::new(BTreeSet::from([NextHop { address: [192, 0, 2, last].into(), link: None }]));
        let nets: Vec<IpNet> = (0..3).map(|number| format!("198.51.100.{number}/32").parse().unwrap()).collect();
        let mut waiting = Waiting::default();
        for turn in 0..=255 {
            nets.iter().rev().for_each(|net| waiting.push((*net, hops(turn))));
            assert!(waiting.routes.len() <= 2 * nets.len() + FEW, "{waiting:?}");
        }
        let mut told = std::collections::BTreeMap::new();
        while !waiting.is_empty() {
            told.extend(waiting.take(2));
        }
        assert_eq!(told, nets.iter().map(|net| (*net, hops(255))).collect());
        assert_eq!((waiting.most, waiting.routes.capacity()), (FEW, 0));
    }
}

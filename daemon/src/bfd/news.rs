//! [`News`]: changes that the speaker has not taken yet. At most two a path, however often it changes meanwhile.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::bgp::liveness::{BfdKey, BfdNews, BfdState};

/// What is to be told, in the order in which paths first changed.
#[derive(Debug, Default)]
pub struct News {
    waiting: BTreeMap<BfdKey, Vec<BfdNews>>,
    order: VecDeque<BfdKey>,
}

impl News {
    /// One more. That a path was down is told even if it is up again: its session has to end. What was before that is of no interest.
    pub fn add(&mut self, news: BfdNews) {
        let waiting = self.waiting.entry(news.key).or_default();
        if waiting.is_empty() {
            self.order.push_back(news.key);
        }
        match news.state {
            BfdState::Down => waiting.clear(),
            BfdState::Up | BfdState::AdminDown => waiting.retain(|before| before.state == BfdState::Down),
        }
        waiting.push(news);
    }

    /// Nobody wants to know any longer.
    pub fn forget(&mut self, key: &BfdKey) {
        self.waiting.remove(key);
        self.order.retain(|other| other != key);
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The first, no longer in here.
    pub fn first(&mut self) -> Option<BfdNews> {
        let key = self.order.pop_front()?;
        let waiting = self.waiting.get_mut(&key)?;
        let first = (!waiting.is_empty()).then(|| waiting.remove(0));
        match waiting.is_empty() {
            true => drop(self.waiting.remove(&key)),
            false => self.order.push_front(key),
        }
        first
    }

    /// Tells as many as are taken at once.
    pub fn tell(&mut self, to: &mpsc::Sender<BfdNews>) {
        while let Some(news) = self.first() {
            if let Err(TrySendError::Full(news)) = to.try_send(news) {
                let key = news.key;
                let waiting = self.waiting.entry(key).or_default();
                if waiting.is_empty() {
                    self.order.push_front(key);
                }
                waiting.insert(0, news);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bgp::liveness::BfdHops;

    fn news(last: u8, state: BfdState) -> BfdNews {
        let [local, remote] = [[192, 0, 2, 1].into(), [192, 0, 2, last].into()];
        BfdNews { key: BfdKey { local, remote, link: None, hops: BfdHops::Single }, state, reason: String::new() }
    }

    #[test]
    fn a_fall_is_told_though_the_path_is_up_again_and_there_are_at_most_two_a_path() {
        let mut waits = News::default();
        for state in [BfdState::Up, BfdState::Down, BfdState::Up, BfdState::Down, BfdState::AdminDown, BfdState::Up] {
            waits.add(news(2, state));
            waits.add(news(3, BfdState::Up));
        }
        let (to, mut told) = mpsc::channel(2);
        waits.tell(&to);
        assert!(!waits.is_empty());
        let mut all = Vec::new();
        while let Ok(one) = told.try_recv() {
            all.push(one);
            waits.tell(&to);
        }
        assert_eq!(all, [news(2, BfdState::Down), news(2, BfdState::Up), news(3, BfdState::Up)]);
        assert!(waits.is_empty());
    }

    #[test]
    fn of_a_path_that_is_no_longer_watched_nothing_is_told() {
        let mut waits = News::default();
        waits.add(news(2, BfdState::Down));
        waits.add(news(3, BfdState::Down));
        waits.forget(&news(2, BfdState::Down).key);
        assert_eq!((waits.first(), waits.first()), (Some(news(3, BfdState::Down)), None));
    }
}

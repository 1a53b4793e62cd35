//! What overtakes: a peer that says little is not heard behind the table of one that says much.
//!
//! A change may go before what waits for a member as long as nothing that waits is about the same destination: then the order in which both arrive
//! makes no difference. [`Waiting`] knows what is waited for, for all members of a group together.

use std::collections::BTreeSet;

use super::Chunk;
use super::flush::News;
use super::source::PeerId;
use super::table::DestinationId;

/// Bytes of one source in one flush that are little.
const LITTLE: usize = 4 << 10;

/// Destinations that what waits for members may be about.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    words: Vec<u64>,
    everything: bool,
}

impl Waiting {
    /// Something waits for a member that may be about anything.
    pub fn add_everything(&mut self) {
        self.everything = true;
    }

    /// Something waits that is about this.
    pub fn add(&mut self, id: DestinationId) {
        let (word, bit) = ((id.0 / 64) as usize, id.0 % 64);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            *word |= 1 << bit;
        }
    }

    /// Nothing waits for anybody.
    pub fn clear(&mut self) {
        self.words.clear();
        self.everything = false;
    }

    /// This destination is no more. When it is one again it has another number, by which nobody would find what waits.
    pub fn forget(&mut self, id: DestinationId) {
        self.everything |= self.has(id);
    }

    fn has(&self, id: DestinationId) -> bool {
        self.everything || self.words.get((id.0 / 64) as usize).is_some_and(|word| word >> (id.0 % 64) & 1 == 1)
    }

    /// Sources whose part of what is told to all overtakes what waits. The rest waits from now on.
    pub fn overtaking(&mut self, news: &News, for_all: &[(PeerId, Chunk)]) -> BTreeSet<PeerId> {
        let little = for_all.iter().filter(|(_, chunk)| chunk.len() <= LITTLE).map(|(source, _)| *source);
        let overtaking: BTreeSet<PeerId> = little.filter(|source| !news.of(*source).any(|id| self.has(id))).collect();
        news.without(&overtaking).for_each(|id| self.add(id));
        overtaking
    }
}

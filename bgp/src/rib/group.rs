//! `Group`: peers that are told the same. What they were told is two bytes a destination; what they are to be told is bytes that
//! all of them share.
//!
//! A member that takes too slowly, or has just come, is behind: it has a bit for each destination that it must still hear of, and is told
//! what is best when it has room. So memory is bounded, and what is no longer true is never sent.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::Chunk;
use super::export::GroupTerms;
use super::overtaking::Waiting;
use super::source::PeerId;
use super::table::DestinationId;

/// Bytes that may wait for one member before it falls behind.
pub const MOST_QUEUED: usize = 4 << 20;
/// Bytes below which one that is behind is told more.
pub const ROOM: usize = 256 << 10;

/// What the members of a group have been told.
#[derive(Debug)]
pub(super) enum Told {
    /// For each destination whose path, plus one; 0 for nothing.
    Best(Vec<u16>),
    /// For each destination the paths, by our identifier and whose they are.
    Paths(HashMap<u32, Vec<(u8, PeerId)>>),
}

/// Peers that are told the same.
#[derive(Debug)]
pub(super) struct Group {
    pub terms: GroupTerms,
    pub told: Told,
    pub members: BTreeMap<PeerId, Member>,
    pub waiting: Waiting,
}

/// One peer of a group.
#[derive(Debug, Default)]
pub(super) struct Member {
    /// What overtook the queue.
    ahead: VecDeque<Chunk>,
    queue: VecDeque<Chunk>,
    queued: usize,
    pub behind: Option<Behind>,
    /// The peer as which it is told, if that is another one: whoever looks over a peer's shoulder hears what that peer hears, and nothing of its own.
    shadowed: Option<PeerId>,
}

/// What a member must still hear of.
#[derive(Debug)]
pub(super) struct Behind {
    bits: Vec<u64>,
    cursor: usize,
    /// Of words from here on it has been told nothing yet, and nothing of them can be taken back.
    untold: usize,
    /// For path identifiers, the highest that it may have been told of a destination.
    pub told: HashMap<u32, u8>,
    /// What is sent when there is nothing left: the end of a refresh, which of one without marks is empty.
    pub marker: Option<Chunk>,
    /// End-of-RIB, which is sent then, too.
    pub end_of_rib: Option<Chunk>,
}

impl Behind {
    fn nothing() -> Behind {
        Behind { bits: Vec::new(), cursor: 0, untold: usize::MAX, told: HashMap::new(), marker: None, end_of_rib: None }
    }

    /// Behind in everything below a number.
    fn everything(bound: u32) -> Behind {
        let whole = (bound / 64) as usize;
        let mut bits = vec![u64::MAX; whole];
        bits.push((1 << (bound % 64)) - 1);
        Behind { bits, ..Behind::nothing() }
    }

    fn mark(&mut self, id: DestinationId) {
        let (word, bit) = ((id.0 / 64) as usize, id.0 % 64);
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        if let Some(bits) = self.bits.get_mut(word) {
            *bits |= 1 << bit;
        }
        self.cursor = self.cursor.min(word);
    }

    /// The next destinations, at most so many words of them; none when there is nothing left. Of those from the second on it has been
    /// told nothing.
    pub fn next(&mut self, words: usize) -> (Vec<DestinationId>, DestinationId) {
        let mut ids = Vec::new();
        let mut left = words;
        let untold = u32::try_from(self.untold.saturating_mul(64)).unwrap_or(u32::MAX);
        while let Some(bits) = self.bits.get_mut(self.cursor).filter(|_| left > 0) {
            let mut word = std::mem::take(bits);
            left -= usize::from(word != 0);
            while word != 0 {
                ids.push(DestinationId(self.cursor as u32 * 64 + word.trailing_zeros()));
                word &= word - 1;
            }
            self.cursor += 1;
        }
        self.untold = self.untold.max(self.cursor);
        (ids, DestinationId(untold))
    }
}

impl Member {
    /// One that must hear of everything, and then this End-of-RIB.
    pub fn new(bound: u32, end_of_rib: Chunk) -> Member {
        let behind = Behind { untold: 0, end_of_rib: Some(end_of_rib), ..Behind::everything(bound) };
        Member { behind: Some(behind), ..Member::default() }
    }

    /// The same for one that is told what a peer is told.
    pub fn shadow(of: PeerId, (bound, end_of_rib): (u32, Chunk)) -> Member {
        Member { shadowed: Some(of), ..Member::new(bound, end_of_rib) }
    }

    /// Whose routes it is not told: its own, by its number, unless it is another's shadow.
    pub fn hears_as(&self, number: PeerId) -> PeerId {
        self.shadowed.unwrap_or(number)
    }

    /// Begins again: first these bytes, then everything, then the marker. Whoever is under way to the same marker hears everything from the start, and
    /// nothing is put before it once more: who asks and does not listen gets no queue. Another end that is due stays so: before everything was said
    /// again it would not be true.
    pub fn again(&mut self, first: Option<Chunk>, (bound, marker): (u32, Chunk)) {
        let before = self.behind.take().unwrap_or_else(Behind::nothing);
        if before.marker.as_ref() != Some(&marker) {
            first.into_iter().for_each(|chunk| self.push(chunk));
        }
        let marker = before.marker.filter(|_| marker.is_empty()).unwrap_or(marker);
        let (told, end_of_rib) = (before.told, before.end_of_rib);
        self.behind = Some(Behind { told, end_of_rib, marker: Some(marker), ..Behind::everything(bound) });
    }

    /// Is not told that what it hears of is all, or was not told so yet: that is for later.
    pub fn withhold_end(&mut self) {
        if let Some(behind) = &mut self.behind {
            behind.end_of_rib = None;
        }
    }

    /// Is told that, behind all that it must still hear of.
    pub fn tell_end(&mut self, end_of_rib: Chunk) {
        self.behind.get_or_insert_with(Behind::nothing).end_of_rib = Some(end_of_rib);
    }

    pub fn push(&mut self, chunk: Chunk) {
        self.queued += chunk.len();
        self.queue.push_back(chunk);
    }

    /// Puts bytes before those that wait. One that is behind hears of it later, too, and must: it is told now because that is sooner.
    pub fn overtake(&mut self, chunk: Chunk) {
        if let Some(behind) = &mut self.behind {
            if self.queued > MOST_QUEUED {
                return;
            }
            behind.untold = usize::MAX;
        }
        self.queued += chunk.len();
        self.ahead.push_back(chunk);
    }

    /// Whether nothing waits that could be overtaken.
    pub fn is_served(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn pop(&mut self) -> Option<Chunk> {
        let chunk = self.ahead.pop_front().or_else(|| self.queue.pop_front())?;
        self.queued -= chunk.len();
        Some(chunk)
    }

    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Falls behind when too much waits.
    pub fn fall_behind(&mut self) {
        if self.queued > MOST_QUEUED && self.behind.is_none() {
            self.behind = Some(Behind::nothing());
        }
    }

    /// Has to hear of a destination, of which it may have been told identifiers up to this.
    pub fn mark(&mut self, id: DestinationId, highest: u8) {
        let Some(behind) = &mut self.behind else { return };
        behind.mark(id);
        if highest > 0 {
            let told = behind.told.entry(id.0).or_default();
            *told = highest.max(*told);
        }
    }
}

impl Group {
    pub fn new(terms: GroupTerms) -> Group {
        let paths = terms.most_paths > 1 && terms.family.send == crate::wire::PathIds::Present;
        let told = if paths { Told::Paths(HashMap::new()) } else { Told::Best(Vec::new()) };
        Group { terms, told, members: BTreeMap::new(), waiting: Waiting::default() }
    }

    /// Whether somebody must still hear of something.
    pub fn is_behind(&self) -> bool {
        self.members.values().any(|member| member.behind.is_some())
    }
}

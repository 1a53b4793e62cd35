//! `Table`: what routes lead to, and the paths to each: 24 bytes a destination, 16 a path, 5 to 10 to find it by.

use super::index::{Found, Index};
use super::key::Key;
use super::sets::SetId;
use super::source::PeerId;

/// A destination by number, for as long as there is something to say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationId(pub(super) u32);

/// No path.
const NONE: u32 = u32::MAX;

/// A path is kept of a peer that is away (RFC 4724), or was there before a refresh (RFC 7313).
pub const STALE: u8 = 1;
/// A path came or changed since the last flush.
pub const CHANGED: u8 = 2;
/// The next hop of a path cannot be reached: it leads nowhere, and nobody is told of it.
pub const UNREACHABLE: u8 = 4;

/// Paths that one peer may give one destination (RFC 7911 leaves it open). There are no more identifiers than that to hand them on with, and a peer
/// with a million of them would make each further one a search through all.
const MOST_OF_A_PEER: u16 = 255;

/// What became of a path that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It is new.
    New,
    /// It took the place of one with this set.
    Replaced(SetId),
    /// It is not kept: the peer gave this destination as many as it may.
    Refused,
}

/// One path to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// What is said of it.
    pub set: SetId,
    /// The identifier that the peer gave it; 0 if none.
    pub path_id: u32,
    next: u32,
    /// Whom it comes from.
    pub peer: PeerId,
    /// The identifier that we give it, unique for its destination, from 1; 0 when there were none left.
    pub local_id: u8,
    /// [`STALE`].
    pub flags: u8,
}

#[derive(Clone, Copy, Debug)]
struct Destination {
    key: Key,
    dirty: bool,
    /// The path that was best is gone.
    moved: bool,
    /// The best path, once decided.
    head: u32,
}

/// All destinations and paths.
#[derive(Debug)]
pub(super) struct Table {
    seed: u64,
    destinations: Vec<Destination>,
    paths: Vec<Path>,
    index: Index,
    free_destinations: Vec<u32>,
    free_path: u32,
}

impl Table {
    pub fn new(seed: u64) -> Table {
        Table {
            seed,
            destinations: Vec::new(),
            paths: Vec::new(),
            index: Index::new(),
            free_destinations: Vec::new(),
            free_path: NONE,
        }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Numbers that destinations have or had: all are below.
    pub fn bound(&self) -> u32 {
        u32::try_from(self.destinations.len()).unwrap_or(u32::MAX)
    }

    pub fn find(&self, key: &Key) -> Option<DestinationId> {
        let same = |id: &u32| self.destinations.get(*id as usize).is_some_and(|known| known.key == *key);
        self.index.find(key.hash(self.seed), same).map(DestinationId)
    }

    pub fn find_or_insert(&mut self, key: Key) -> DestinationId {
        let next = self.bound();
        let (destinations, seed) = (&self.destinations, self.seed);
        let same = |id: &u32| destinations.get(*id as usize).is_some_and(|known| known.key == key);
        let rehash = |id: &u32| destinations.get(*id as usize).map_or(0, |known| known.key.hash(seed));
        let free = &mut self.free_destinations;
        let number = || free.pop().unwrap_or(next);
        let id = match self.index.find_or_insert(key.hash(seed), same, (number, rehash)) {
            Found::Known(id) => return DestinationId(id),
            Found::New(id) => id,
        };
        let new = Destination { key, dirty: false, moved: false, head: NONE };
        match self.destinations.get_mut(id as usize) {
            Some(place) => *place = new,
            None => self.destinations.push(new),
        }
        DestinationId(id)
    }

    /// Gives the number back. The destination has no paths, and nobody has to be told of it any more.
    pub fn free(&mut self, id: DestinationId) -> Option<Key> {
        let key = self.key(id)?;
        if !self.is_bare(id) {
            return None;
        }
        self.index.remove(key.hash(self.seed), id.0).then_some(())?;
        if let Some(destination) = self.destinations.get_mut(id.0 as usize) {
            destination.key = Key::GONE;
        }
        self.free_destinations.push(id.0);
        Some(key)
    }

    pub fn key(&self, id: DestinationId) -> Option<Key> {
        self.destinations.get(id.0 as usize).map(|destination| destination.key).filter(|key| *key != Key::GONE)
    }

    /// Marks a destination; `false` when it was already.
    pub fn mark_dirty(&mut self, id: DestinationId) -> bool {
        let place = self.destinations.get_mut(id.0 as usize);
        place.is_some_and(|destination| !std::mem::replace(&mut destination.dirty, true))
    }

    /// Begins anew: no mark, no path changed. Whether the path that was best is gone is the answer.
    pub fn settle(&mut self, id: DestinationId) -> bool {
        let Some(destination) = self.destinations.get_mut(id.0 as usize) else { return false };
        destination.dirty = false;
        let mut at = destination.head;
        while let Some(path) = self.paths.get_mut(at as usize) {
            path.flags &= !CHANGED;
            at = path.next;
        }
        self.destinations.get_mut(id.0 as usize).is_some_and(|destination| std::mem::take(&mut destination.moved))
    }

    /// Whether the path that was best is gone.
    pub fn has_moved(&self, id: DestinationId) -> bool {
        self.destinations.get(id.0 as usize).is_some_and(|destination| destination.moved)
    }

    /// All that are in use.
    pub fn ids(&self) -> impl Iterator<Item = DestinationId> + use<> {
        (0..self.bound()).map(DestinationId)
    }

    /// The paths, the best one of the last decision first.
    pub fn paths(&self, id: DestinationId) -> impl Iterator<Item = &Path> {
        let mut at = self.destinations.get(id.0 as usize).map_or(NONE, |destination| destination.head);
        std::iter::from_fn(move || {
            let path = self.paths.get(at as usize)?;
            at = path.next;
            Some(path)
        })
    }

    /// The best path of the last decision, if it leads anywhere.
    pub fn best(&self, id: DestinationId) -> Option<&Path> {
        self.paths(id).next().filter(|path| path.flags & UNREACHABLE == 0)
    }

    /// Whether nothing is kept of a destination.
    pub fn is_bare(&self, id: DestinationId) -> bool {
        self.paths(id).next().is_none()
    }

    /// The path of a peer becomes this. A new one is put last.
    pub fn put(&mut self, id: DestinationId, (peer, path_id): (PeerId, u32), set: SetId) -> Put {
        let (mut last, mut taken, mut of_peer) = (NONE, [0_u64; 4], 0);
        let Some(mut at) = self.destinations.get(id.0 as usize).map(|destination| destination.head) else {
            return Put::Refused;
        };
        while let Some(path) = self.paths.get_mut(at as usize) {
            if path.peer == peer && path.path_id == path_id {
                path.flags &= !STALE;
                if path.set != set {
                    path.flags |= CHANGED;
                }
                return Put::Replaced(std::mem::replace(&mut path.set, set));
            }
            of_peer += u16::from(path.peer == peer);
            if let Some(word) = taken.get_mut(usize::from(path.local_id >> 6)) {
                *word |= 1 << (path.local_id & 63);
            }
            (last, at) = (at, path.next);
        }
        if of_peer >= MOST_OF_A_PEER {
            return Put::Refused;
        }
        let local_id = (1..=u8::MAX)
            .find(|id| taken.get(usize::from(id >> 6)).is_some_and(|word| word & (1 << (id & 63)) == 0))
            .unwrap_or(0);
        let new = self.new_path(Path { set, path_id, next: NONE, peer, local_id, flags: CHANGED });
        match self.paths.get_mut(last as usize) {
            Some(path) => path.next = new,
            None => self.set_head(id, new),
        }
        Put::New
    }

    fn new_path(&mut self, path: Path) -> u32 {
        match self.paths.get_mut(self.free_path as usize) {
            Some(place) => {
                let id = std::mem::replace(&mut self.free_path, place.next);
                *place = path;
                id
            }
            None => {
                self.paths.push(path);
                u32::try_from(self.paths.len() - 1).unwrap_or(NONE)
            }
        }
    }

    fn set_head(&mut self, id: DestinationId, head: u32) {
        if let Some(destination) = self.destinations.get_mut(id.0 as usize) {
            destination.head = head;
        }
    }

    /// Removes the path of a peer; its set, if it was there.
    pub fn remove(&mut self, id: DestinationId, (peer, path_id): (PeerId, u32)) -> Option<SetId> {
        let (previous, at) = self.find_path(id, |path| path.peer == peer && path.path_id == path_id)?;
        let path = *self.paths.get(at as usize)?;
        self.unlink(id, previous, path.next);
        if previous == NONE
            && let Some(destination) = self.destinations.get_mut(id.0 as usize)
        {
            destination.moved = true;
        }
        let free = std::mem::replace(&mut self.free_path, at);
        if let Some(place) = self.paths.get_mut(at as usize) {
            place.next = free;
        }
        Some(path.set)
    }

    /// Puts a path first.
    pub fn promote(&mut self, id: DestinationId, best: Path) {
        let same = |path: &Path| path.peer == best.peer && path.path_id == best.path_id;
        let Some((previous, at)) = self.find_path(id, same) else { return };
        let head = self.destinations.get(id.0 as usize).map_or(NONE, |destination| destination.head);
        if at != head {
            self.unlink(id, previous, best.next);
            if let Some(path) = self.paths.get_mut(at as usize) {
                path.next = head;
            }
            self.set_head(id, at);
        }
    }

    /// Changes the flags of a path.
    pub fn flag(&mut self, id: DestinationId, (peer, path_id): (PeerId, u32), flags: u8) {
        let found = self.find_path(id, |path| path.peer == peer && path.path_id == path_id);
        if let Some(path) = found.and_then(|(_, at)| self.paths.get_mut(at as usize)) {
            path.flags = flags;
        }
    }

    fn find_path(&self, id: DestinationId, is: impl Fn(&Path) -> bool) -> Option<(u32, u32)> {
        let (mut previous, mut at) = (NONE, self.destinations.get(id.0 as usize)?.head);
        loop {
            let path = self.paths.get(at as usize)?;
            if is(path) {
                return Some((previous, at));
            }
            (previous, at) = (at, path.next);
        }
    }

    fn unlink(&mut self, id: DestinationId, previous: u32, next: u32) {
        match self.paths.get_mut(previous as usize) {
            Some(path) => path.next = next,
            None => self.set_head(id, next),
        }
    }
}

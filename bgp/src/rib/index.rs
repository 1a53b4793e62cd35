//! `Index`: numbers found by hashes, in many small tables. One large table doubles in one step, for which half a million routes take some ten
//! milliseconds, and a change of another route waits as long; each of these doubles for itself, and others have their turn between.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Tables. Their hashes are found by the lowest bits and told apart by the highest: which table it is, others say.
const TABLES: usize = 64;
const PLACE: u32 = 40;

/// Numbers by hashes.
#[derive(Debug)]
pub(super) struct Index {
    tables: [HashTable<u32>; TABLES],
    count: usize,
}

impl Index {
    pub fn new() -> Index {
        Index { tables: [const { HashTable::new() }; TABLES], count: 0 }
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The number with this hash of which `same` holds.
    pub fn find(&self, hash: u64, same: impl FnMut(&u32) -> bool) -> Option<u32> {
        self.tables.get(table(hash))?.find(hash, same).copied()
    }

    /// The same, or else `new`, which is put there: with whether it was there before. `rehash` gives the hash of a number that is there.
    pub fn find_or_insert(
        &mut self,
        hash: u64,
        same: impl FnMut(&u32) -> bool,
        (new, rehash): (impl FnOnce() -> u32, impl Fn(&u32) -> u64),
    ) -> Found {
        let Some(table) = self.tables.get_mut(table(hash)) else { return Found::New(new()) };
        match table.entry(hash, same, rehash) {
            Entry::Occupied(known) => Found::Known(*known.get()),
            Entry::Vacant(place) => {
                self.count += 1;
                Found::New(*place.insert(new()).get())
            }
        }
    }

    /// Takes a number away that has this hash; whether it was there.
    pub fn remove(&mut self, hash: u64, number: u32) -> bool {
        let table = self.tables.get_mut(table(hash));
        let there = table.and_then(|table| Some(table.find_entry(hash, |known| *known == number).ok()?.remove()));
        self.count -= usize::from(there.is_some());
        there.is_some()
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It was there.
    Known(u32),
    /// It is new.
    New(u32),
}

fn table(hash: u64) -> usize {
    (hash >> PLACE) as usize % TABLES
}

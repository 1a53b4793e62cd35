//! Routes of a peer that is away, or that sends all of them again: kept for a while, then swept (RFC 4724 section 4.2, RFC 7313 section
//! 4, RFC 9494 section 4.2).

use crate::wire::{Community, Family};

use super::Rib;
use super::sets::{SetId, mark};
use super::source::PeerId;
use super::table::{DestinationId, Path, Put, STALE};

impl Rib {
    /// All routes of a peer in a family are stale from now on; what it says again is not.
    pub fn mark_stale(&mut self, peer: PeerId, family: Family) {
        for (id, path) in self.paths_of_family(peer, family, |_| true) {
            self.table.flag(id, (peer, path.path_id), path.flags | STALE);
        }
    }

    /// What is still stale goes.
    pub fn sweep(&mut self, peer: PeerId, family: Family) {
        let stale = self.paths_of_family(peer, family, Rib::is_stale);
        stale.into_iter().for_each(|(id, path)| self.remove_path(id, path));
    }

    /// All routes of a peer go.
    pub fn lose(&mut self, peer: PeerId) {
        self.lose_if(peer, |_| true);
    }

    /// All routes of a peer in a family go.
    pub fn lose_family(&mut self, peer: PeerId, family: Family) {
        self.lose_if(peer, |its| its == family);
    }

    fn lose_if(&mut self, peer: PeerId, is: impl Fn(Family) -> bool) {
        for id in self.table.ids() {
            // Of one that told nothing, or of which all was found, nothing is looked for.
            if self.paths_of(peer) == 0 {
                return;
            }
            while let Some(path) = self.path_of(peer, id)
                && self.table.key(id).is_some_and(|key| is(key.family()))
            {
                self.remove_path(id, path);
            }
        }
    }

    fn path_of(&self, peer: PeerId, id: DestinationId) -> Option<Path> {
        self.table.paths(id).find(|path| path.peer == peer).copied()
    }

    /// What is still stale is from now on the last choice and says so; what must not be kept for long goes (RFC 9494 section 4.2).
    pub fn mark_long_lived(&mut self, peer: PeerId, family: Family) {
        for (id, path) in self.paths_of_family(peer, family, Rib::is_stale) {
            match self.long_lived_set(path.set) {
                Some(set) => {
                    self.sets.retain(set);
                    if let Put::Replaced(before) = self.table.put(id, (peer, path.path_id), set) {
                        self.sets.release(before);
                    }
                    let flags = path.flags | STALE | super::table::CHANGED;
                    self.table.flag(id, (peer, path.path_id), flags);
                    self.touch(id);
                }
                None => self.remove_path(id, path),
            }
        }
    }

    fn long_lived_set(&mut self, set: SetId) -> Option<SetId> {
        self.sets.summary(set).filter(|summary| !summary.is_marked(mark::NO_LLGR))?;
        let (mut attributes, hop) = self.sets.get(set)?;
        if !attributes.communities.contains(&Community::LLGR_STALE) {
            attributes.communities.push(Community::LLGR_STALE);
        }
        Some(self.sets.intern(&attributes, hop))
    }

    fn paths_of_family(&self, peer: PeerId, family: Family, is: impl Fn(&Path) -> bool) -> Vec<(DestinationId, Path)> {
        if self.paths_in_family(peer, family) == 0 {
            return Vec::new();
        }
        let of_family = |id: &DestinationId| self.table.key(*id).is_some_and(|key| key.family() == family);
        let is = |path: &&Path| path.peer == peer && is(path);
        let paths = |id| self.table.paths(id).filter(is).map(move |path| (id, *path));
        self.table.ids().filter(of_family).flat_map(paths).collect()
    }

    fn remove_path(&mut self, id: DestinationId, path: Path) {
        if let Some(set) = self.table.remove(id, (path.peer, path.path_id)) {
            self.sets.release(set);
            let family = self.table.key(id).map(|key| key.family());
            family.into_iter().for_each(|family| self.sources.count(path.peer, family, -1));
            self.touch(id);
        }
    }
}

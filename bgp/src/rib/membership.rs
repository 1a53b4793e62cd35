//! Who is told of a family, from the first route to the End-of-RIB and, when it asks, once more. What it is told is made in [`flush`](super::flush).

use crate::wire::refresh::Subtype;
use crate::wire::update::end_of_rib;
use crate::wire::{Family, Refresh, message};

use super::export::GroupTerms;
use super::group::Member;
use super::{Chunk, PeerId, Rib};

/// Whether the routes of a refresh are put between markers (RFC 7313).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshMarks {
    /// They are.
    Sent,
    /// The peer does not know them.
    NotSent,
}

impl Rib {
    /// A peer is told everything of a family from now on, as these terms say; End-of-RIB follows when it has it all.
    pub fn join(&mut self, peer: PeerId, terms: GroupTerms) {
        self.lagging = true;
        let member = Member::new(self.table.bound(), end_of_rib(terms.family.family).into());
        self.enter(peer, member, terms);
    }

    /// A peer that was just told of a family ([`Rib::join`]) is not told that this is all of it before [`Rib::tell_end`].
    pub fn withhold_end(&mut self, peer: PeerId, family: Family) {
        self.members_of(peer, family).for_each(Member::withhold_end);
    }

    /// A peer is told that it has heard all of a family, once it has.
    pub fn tell_end(&mut self, peer: PeerId, family: Family) {
        self.members_of(peer, family).for_each(|member| member.tell_end(end_of_rib(family).into()));
        self.lagging = true;
    }

    fn members_of(&mut self, peer: PeerId, family: Family) -> impl Iterator<Item = &mut Member> {
        let of_family = self.groups.iter_mut().filter(move |group| group.terms.family.family == family);
        of_family.filter_map(move |group| group.members.get_mut(&peer))
    }

    /// A peer is told nothing more, and what waits for it is dropped.
    pub fn leave(&mut self, peer: PeerId) {
        self.groups.iter_mut().for_each(|group| drop(group.members.remove(&peer)));
        self.groups.retain(|group| !group.members.is_empty());
        self.ready.remove(&peer);
    }

    /// A peer asked for all routes of a family again; one with enhanced refresh is told where they begin and end (RFC 7313).
    pub fn refresh(&mut self, peer: PeerId, family: Family, marked: RefreshMarks) {
        let bound = self.table.bound();
        self.lagging = true;
        for member in self.members_of(peer, family) {
            let marker = |subtype| Chunk::from(message::refresh(&Refresh { family, subtype }));
            match marked {
                RefreshMarks::Sent => member.again(Some(marker(Subtype::Begin)), (bound, marker(Subtype::End))),
                RefreshMarks::NotSent => member.again(None, (bound, Vec::new().into())),
            }
        }
    }
}

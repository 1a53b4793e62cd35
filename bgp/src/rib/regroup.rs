//! A peer that is told by other rules from now on: what it was told by the old ones it must hear the end of. And whoever looks over its shoulder.

use super::export::GroupTerms;
use super::group::{Group, Member, Told};
use super::source::PeerId;
use super::{Chunk, Rib};
use crate::wire::update::end_of_rib;

impl Rib {
    /// A viewer is told what a peer is told of a family, as these terms say, without being told apart from it.
    pub fn shadow(&mut self, viewer: PeerId, of: PeerId, terms: GroupTerms) {
        self.lagging = true;
        let member = Member::shadow(of, (self.table.bound(), end_of_rib(terms.family.family).into()));
        self.enter(viewer, member, terms);
    }

    /// A peer is told a family on other terms, without having forgotten what it was told: routes that it shall not have any longer are
    /// withdrawn, all others said again. A peer that is told nothing of the family is left alone.
    pub fn rejoin(&mut self, peer: PeerId, terms: GroupTerms) {
        if !self.groups.iter().any(|group| group.terms == terms && group.members.contains_key(&peer)) {
            self.retell(vec![(peer, terms)]);
        }
    }

    /// The same of many at once, though the terms may be those that they were: what peers are to us has changed, and so have the routes that
    /// whole groups may be told. A group is begun anew where all its members are among these.
    pub fn retell(&mut self, members: Vec<(PeerId, GroupTerms)>) {
        let leaving: Vec<_> =
            members.into_iter().filter_map(|(peer, terms)| Some((peer, self.take_out(peer, &terms)?, terms))).collect();
        self.groups.retain(|group| !group.members.is_empty());
        for (peer, member, terms) in leaving {
            self.lagging = true;
            self.enter(peer, member, terms);
        }
    }

    /// Takes a peer out of the group of a family in which it is, to be told everything again.
    fn take_out(&mut self, peer: PeerId, terms: &GroupTerms) -> Option<Member> {
        let family = terms.family.family;
        let mut of_family = self.groups.iter_mut().filter(|group| group.terms.family.family == family);
        let group = of_family.find(|group| group.members.contains_key(&peer))?;
        let mut member = group.members.remove(&peer)?;
        let told = highest(group);
        member.again(None, (self.table.bound(), Chunk::from(Vec::new())));
        if let Some(behind) = &mut member.behind {
            for (id, local_id) in told {
                let known = behind.told.entry(id).or_default();
                *known = local_id.max(*known);
            }
        }
        Some(member)
    }

    /// Routes that a peer was told, over all families; of one that is behind, will have been told.
    pub fn told(&self, peer: PeerId) -> usize {
        let its = self.groups.iter().filter(|group| group.members.contains_key(&peer));
        its.map(|group| match &group.told {
            // Its own it is not told: whose a path is stands there plus one.
            Told::Best(told) => told.iter().filter(|whose| **whose != 0 && **whose - 1 != peer.0).count(),
            Told::Paths(told) => told.values().flatten().filter(|(_, whose)| *whose != peer).count(),
        })
        .sum()
    }
}

/// The highest identifier that was told of each destination; nothing where there are no identifiers.
fn highest(group: &Group) -> Vec<(u32, u8)> {
    match &group.told {
        Told::Best(_) => Vec::new(),
        Told::Paths(told) => {
            let highest = |paths: &Vec<_>| paths.iter().map(|(local_id, _)| *local_id).max();
            told.iter().filter_map(|(id, paths)| Some((*id, highest(paths)?))).collect()
        }
    }
}

//! The flush: what changed is decided once and encoded once for each group; and what members of groups come for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::wire::nlri::Listed;
use crate::wire::packing::withdraw;

use super::catch_up::catch_up;
use super::change::{Change, Touched, Ways};
use super::export::{Bucket, Exporter, GroupTerms};
use super::group::{Group, Member, ROOM, Told};
use super::key::Keys;
use super::sets::Sets;
use super::source::Sources;
use super::table::{CHANGED, DestinationId, Path, Table, UNREACHABLE};
use super::{Chunk, PeerId, Rib, Settings};

/// Destinations that one flush decides at most: what a peer takes with it when it goes does not keep others waiting, and what is made of it does
/// not pile up.
const SLICE: usize = 16 << 10;

/// Destinations without a path that are kept for members that are behind and may have been told of them.
const MOST_UNUSED: usize = if cfg!(test) { 1 << 13 } else { 1 << 20 };

/// Routes and identifiers of one bucket, in the order in which they changed.
pub(super) type Routes = Vec<(u32, DestinationId)>;

/// What a group is to be told in this flush. Whoever a route comes from is left out.
#[derive(Default)]
pub(super) struct News {
    /// Withdrawn from all but one.
    gone: BTreeMap<PeerId, Routes>,
    /// Withdrawn from one: what it was told of is now its own.
    gone_for: BTreeMap<PeerId, Routes>,
    pub(super) buckets: Vec<(Bucket, Routes)>,
    index: HashMap<Bucket, usize>,
    /// Where the last route went: the next is mostly of the same UPDATE.
    last: Option<(Bucket, usize)>,
}

impl News {
    pub(super) fn announce(&mut self, bucket: Bucket, route: (u32, DestinationId)) {
        let place = match self.last {
            Some((last, place)) if last == bucket => place,
            _ => *self.index.entry(bucket).or_insert_with(|| {
                self.buckets.push((bucket, Vec::new()));
                self.buckets.len() - 1
            }),
        };
        self.last = Some((bucket, place));
        if let Some((_, routes)) = self.buckets.get_mut(place) {
            routes.push(route);
        }
    }

    /// What all are told of that comes or came from a source.
    pub(super) fn of(&self, source: PeerId) -> impl Iterator<Item = DestinationId> {
        let come = self.buckets.iter().filter(move |(bucket, _)| bucket.peer == source).flat_map(|(_, routes)| routes);
        self.gone.get(&source).into_iter().flatten().chain(come).map(|(_, id)| *id)
    }

    /// All that is told but that which comes or came from some sources; of theirs what is told to one alone.
    pub(super) fn without(&self, sources: &BTreeSet<PeerId>) -> impl Iterator<Item = DestinationId> {
        let other = |source: &PeerId| !sources.contains(source);
        let come = self.buckets.iter().filter(move |(bucket, _)| other(&bucket.peer)).flat_map(|(_, routes)| routes);
        let gone = self.gone.iter().filter(move |(source, _)| other(source)).flat_map(|(_, routes)| routes);
        come.chain(gone).chain(self.gone_for.values().flatten()).map(|(_, id)| *id)
    }
}

/// The parts of a [`Rib`] that are read while its groups are written.
#[derive(Clone, Copy)]
pub(super) struct Known<'r> {
    pub(super) settings: &'r Settings,
    pub(super) keys: &'r Keys,
    pub(super) table: &'r Table,
    pub(super) sets: &'r Sets,
    pub(super) sources: &'r Sources,
}

impl<'r> Known<'r> {
    /// Routes as they stand in a list.
    fn listed(self, routes: &[(u32, DestinationId)]) -> impl Iterator<Item = Listed<'r>> {
        routes.iter().filter_map(move |(id, at)| Some((*id, self.keys.nlri(&self.table.key(*at)?))))
    }
}

impl Rib {
    /// Decides what changed since the last flush, and encodes it for every group. What is best now is appended to `changes`.
    /// Whether there is more to do is the answer: call again, other work may come between.
    pub fn flush(&mut self, changes: &mut Vec<Change>) -> bool {
        // A keepalive changes nothing, and there may be thousands of members to look at.
        if self.dirty.is_empty() && self.unused.is_empty() && !self.lagging {
            return false;
        }
        let slice = self.dirty.len().min(SLICE);
        let dirty: Vec<DestinationId> = self.dirty.drain(..slice).collect();
        let mut ways = Ways::default();
        changes.reserve(dirty.len());
        let touched: Vec<Touched> = dirty.into_iter().map(|id| self.decide(id, (&mut *changes, &mut ways))).collect();
        // Members that are behind are told what is true: not while more is to be decided, or they would hear of it and groups would not know.
        let undecided = !self.dirty.is_empty();
        let known = Known {
            settings: &self.settings,
            keys: &self.keys,
            table: &self.table,
            sets: &self.sets,
            sources: &self.sources,
        };
        let mut more = undecided;
        for group in &mut self.groups {
            if !touched.is_empty() {
                tell_group(group, &touched, known);
            }
            if !undecided {
                more |= catch_up(group, known);
            }
            self.ready.extend(group.members.iter().filter(|(_, member)| member.queued() > 0).map(|(peer, _)| *peer));
        }
        for Touched { id, .. } in &touched {
            self.table.settle(*id);
        }
        self.free_unused(&touched);
        self.lagging = self.groups.iter().any(Group::is_behind);
        more
    }

    fn free_unused(&mut self, touched: &[Touched]) {
        let without = touched.iter().map(|touched| touched.id).filter(|id| self.table.is_bare(*id));
        self.unused.extend(without);
        if self.unused.is_empty() || self.groups.iter().any(Group::is_behind) {
            return;
        }
        for id in std::mem::take(&mut self.unused) {
            if let Some(key) = self.table.free(id) {
                self.groups.iter_mut().for_each(|group| group.waiting.forget(id));
                self.keys.forget(&key);
            }
        }
    }

    /// Puts a peer into the group with these terms, which is made if there is none.
    pub(super) fn enter(&mut self, peer: PeerId, member: Member, terms: GroupTerms) {
        let place = match self.groups.iter().position(|group| group.terms == terms) {
            Some(place) => place,
            None => {
                self.groups.push(Group::new(terms));
                let place = self.groups.len() - 1;
                self.begin_group(place);
                place
            }
        };
        if let Some(group) = self.groups.get_mut(place) {
            if !member.is_served() {
                // What waits for it was said in another group.
                group.waiting.add_everything();
            }
            group.members.insert(peer, member);
        }
    }

    /// A group that is new is taken to have been told what there is, for its first member will be.
    fn begin_group(&mut self, place: usize) {
        let Some(group) = self.groups.get_mut(place) else { return };
        let touched: Vec<Touched> = self.table.ids().map(|id| Touched { id, best_changed: true }).collect();
        let known = Known {
            settings: &self.settings,
            keys: &self.keys,
            table: &self.table,
            sets: &self.sets,
            sources: &self.sources,
        };
        news_of(group, &touched, known);
    }

    /// Members that take nothing while more and more destinations are kept for them alone: without an end to it, whoever lets one session stand still
    /// and others come and go on another would fill our memory.
    pub fn hinderers(&self) -> Vec<PeerId> {
        if self.unused.len() <= MOST_UNUSED {
            return Vec::new();
        }
        let members = self.groups.iter().flat_map(|group| &group.members);
        let stands = |member: &Member| member.behind.is_some() && member.queued() >= ROOM;
        members.filter(|(_, member)| stands(member)).map(|(peer, _)| *peer).collect()
    }

    /// Peers that there are bytes for since this was asked last.
    pub fn ready(&mut self) -> impl Iterator<Item = PeerId> + use<> {
        std::mem::take(&mut self.ready).into_iter()
    }

    /// The next bytes for a peer.
    pub fn take(&mut self, peer: PeerId) -> Option<Chunk> {
        self.groups.iter_mut().filter_map(|group| group.members.get_mut(&peer)).find_map(Member::pop)
    }

    /// Bytes that wait for a peer.
    pub fn queued(&self, peer: PeerId) -> usize {
        self.groups.iter().filter_map(|group| group.members.get(&peer)).map(Member::queued).sum()
    }
}

fn tell_group(group: &mut Group, touched: &[Touched], known: Known<'_>) {
    let (news, marks) = news_of(group, touched, known);
    let Group { terms, members, waiting, .. } = group;
    for member in members.values_mut().filter(|member| member.behind.is_some()) {
        marks.iter().for_each(|(id, highest)| member.mark(*id, *highest));
    }
    if members.values().all(Member::is_served) {
        waiting.clear();
    }
    let (for_all, for_one) = encode(terms, &news, known);
    let overtaking = waiting.overtaking(&news, &for_all);
    for (peer, member) in members {
        let itself = member.hears_as(*peer);
        let of_others = for_all.iter().filter(|(source, _)| *source != itself);
        let (first, then): (Vec<_>, Vec<_>) = of_others.partition(|(source, _)| overtaking.contains(source));
        first.into_iter().for_each(|(_, chunk)| member.overtake(chunk.clone()));
        if member.behind.is_none() {
            for_one.get(&itself).into_iter().for_each(|chunk| member.push(chunk.clone()));
            then.into_iter().for_each(|(_, chunk)| member.push(chunk.clone()));
            member.fall_behind();
        }
    }
}

/// What a group is to be told, and which destinations it concerns, with the highest identifier that was told of each.
fn news_of(group: &mut Group, touched: &[Touched], known: Known<'_>) -> (News, Vec<(DestinationId, u8)>) {
    let (mut news, mut marks) = (News::default(), Vec::new());
    let mut exporter = Exporter::new(known.settings, (known.sets, known.sources), &group.terms);
    for touched in touched {
        let Some(key) = known.table.key(touched.id) else { continue };
        if key.family() != group.terms.family.family {
            continue;
        }
        let highest = match &mut group.told {
            Told::Best(told) => best_news(told, *touched, (&mut exporter, &mut news), known),
            Told::Paths(told) => paths_news(told, touched.id, (&mut exporter, &mut news), known),
        };
        marks.push((touched.id, highest));
    }
    (news, marks)
}

fn best_news(told: &mut Vec<u16>, touched: Touched, to: (&mut Exporter<'_>, &mut News), known: Known<'_>) -> u8 {
    let (exporter, news) = to;
    let place = touched.id.0 as usize;
    if told.len() <= place {
        told.resize(known.table.bound() as usize, 0);
    }
    let Some(told) = told.get_mut(place) else { return 0 };
    let bucket = bucket_of(exporter, touched.id, known.table.best(touched.id), known);
    let before = told.checked_sub(1).map(PeerId);
    match (before, bucket) {
        (Some(before), Some(bucket)) => {
            if before == bucket.peer && !touched.best_changed {
                return 0;
            }
            news.announce(bucket, (0, touched.id));
            if before != bucket.peer {
                news.gone_for.entry(bucket.peer).or_default().push((0, touched.id));
            }
        }
        (None, Some(bucket)) => news.announce(bucket, (0, touched.id)),
        (Some(before), None) => news.gone.entry(before).or_default().push((0, touched.id)),
        (None, None) => {}
    }
    *told = bucket.map_or(0, |bucket| bucket.peer.0 + 1);
    0
}

fn paths_news(
    told: &mut HashMap<u32, Vec<(u8, PeerId)>>,
    id: DestinationId,
    to: (&mut Exporter<'_>, &mut News),
    known: Known<'_>,
) -> u8 {
    let (exporter, news) = to;
    let most = usize::from(exporter.terms.most_paths);
    let before = told.remove(&id.0).unwrap_or_default();
    let mut now = Vec::new();
    let leads = |path: &&Path| path.local_id != 0 && path.flags & UNREACHABLE == 0;
    for path in known.table.paths(id).filter(leads) {
        let Some(bucket) = bucket_of(exporter, id, Some(path), known).filter(|_| now.len() < most) else { continue };
        now.push((path.local_id, path.peer));
        if path.flags & CHANGED != 0 || !before.contains(&(path.local_id, path.peer)) {
            news.announce(bucket, (path.local_id.into(), id));
        }
    }
    for (local_id, peer) in before.iter().filter(|path| !now.contains(path)) {
        let route = (u32::from(*local_id), id);
        match now.iter().find(|(other, _)| other == local_id) {
            // The identifier is another's now: announcing that replaces this, but for the other, who is not told of its own.
            Some((_, other)) => news.gone_for.entry(*other).or_default().push(route),
            None => news.gone.entry(*peer).or_default().push(route),
        }
    }
    let highest = before.iter().chain(&now).map(|(local_id, _)| *local_id).max().unwrap_or(0);
    if !now.is_empty() {
        told.insert(id.0, now);
    }
    highest
}

pub(super) fn bucket_of(
    exporter: &mut Exporter<'_>,
    id: DestinationId,
    path: Option<&Path>,
    known: Known<'_>,
) -> Option<Bucket> {
    let path = path?;
    let key = known.table.key(id)?;
    exporter.bucket(known.keys.nlri(&key), path.peer, path.set)
}

/// The bytes for all but one, and those for one alone.
fn encode(terms: &GroupTerms, news: &News, known: Known<'_>) -> (Vec<(PeerId, Chunk)>, BTreeMap<PeerId, Chunk>) {
    let exporter = Exporter::new(known.settings, (known.sets, known.sources), terms);
    let mut all: BTreeMap<PeerId, Vec<u8>> = BTreeMap::new();
    for (without, routes) in &news.gone {
        withdraw_routes(terms, routes, known, all.entry(*without).or_default());
    }
    for (bucket, routes) in &news.buckets {
        announce_routes(&exporter, (bucket, routes), known, all.entry(bucket.peer).or_default());
    }
    let one = |(peer, routes): (&PeerId, &Routes)| {
        let mut bytes = Vec::new();
        withdraw_routes(terms, routes, known, &mut bytes);
        (*peer, Chunk::from(bytes))
    };
    let all = all.into_iter().filter(|(_, bytes)| !bytes.is_empty()).map(|(peer, bytes)| (peer, Chunk::from(bytes)));
    (all.collect(), news.gone_for.iter().map(one).collect())
}

pub(super) fn withdraw_routes(
    terms: &GroupTerms,
    routes: &[(u32, DestinationId)],
    known: Known<'_>,
    out: &mut Vec<u8>,
) {
    withdraw(terms.family, &terms.wire, known.listed(routes), out);
}

/// What cannot be announced, for there is no next hop or no room, is withdrawn: it may have been announced before.
pub(super) fn announce_routes(
    exporter: &Exporter<'_>,
    (bucket, routes): (&Bucket, &Routes),
    known: Known<'_>,
    out: &mut Vec<u8>,
) {
    let sheet = exporter.sheet(bucket);
    if sheet.and_then(|sheet| sheet.announce(known.listed(routes), out).ok()).is_none() {
        withdraw_routes(exporter.terms, routes, known, out);
    }
}

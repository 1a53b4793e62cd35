//! Members that are behind are told what is true now, as they have room: a slice of what they must still hear of, then the next.

use std::collections::HashMap;

use super::PeerId;
use super::export::{Exporter, GroupTerms};
use super::flush::{Known, News, announce_routes, bucket_of, withdraw_routes};
use super::group::{Group, ROOM, Told};
use super::table::{DestinationId, Path};

/// Words of destinations that a member which is behind is told at a time.
const WORDS: usize = 256;

/// Tells members that are behind more, as far as they have room; whether some are still behind and have room.
pub(super) fn catch_up(group: &mut Group, known: Known<'_>) -> bool {
    let Group { terms, told, members, waiting } = group;
    let mut more = false;
    for (peer, member) in members.iter_mut().filter(|(_, member)| member.queued() < ROOM) {
        let itself = member.hears_as(*peer);
        let Some(behind) = &mut member.behind else { continue };
        let (ids, untold) = behind.next(WORDS);
        if ids.is_empty() {
            let ends = [behind.marker.take(), behind.end_of_rib.take()];
            member.behind = None;
            ends.into_iter().flatten().filter(|end| !end.is_empty()).for_each(|end| member.push(end));
            continue;
        }
        more = true;
        let chunk = state_of(terms, (itself, told), (&ids, untold, &mut behind.told), known);
        if !chunk.is_empty() {
            member.push(chunk.into());
            ids.iter().for_each(|id| waiting.add(*id));
        }
    }
    more
}

/// What is true now of some destinations, for one member, whatever it was told before. From `untold` on that was nothing, and of a table of
/// which it is to have little it does not hear the rest.
fn state_of(
    terms: &GroupTerms,
    (peer, told): (PeerId, &Told),
    (ids, untold, highest): (&[DestinationId], DestinationId, &mut HashMap<u32, u8>),
    known: Known<'_>,
) -> Vec<u8> {
    let mut exporter = Exporter::new(known.settings, (known.sets, known.sources), terms);
    let (mut news, mut gone) = (News::default(), Vec::new());
    for id in ids.iter().copied() {
        if known.table.key(id).is_none_or(|key| key.family() != terms.family.family) {
            continue;
        }
        let mut one = |path: &Path, path_id: u32| {
            let bucket = bucket_of(&mut exporter, id, Some(path), known).filter(|bucket| bucket.peer != peer);
            bucket.map(|bucket| news.announce(bucket, (path_id, id))).is_some()
        };
        match told {
            Told::Best(_) => {
                if !known.table.best(id).is_some_and(|path| one(path, 0)) && id < untold {
                    gone.push((0, id));
                }
            }
            Told::Paths(told) => {
                let now = told.get(&id.0).map_or(&[][..], |now| now);
                let is_told = |path: &&Path| now.contains(&(path.local_id, path.peer));
                let sent: Vec<u8> = known
                    .table
                    .paths(id)
                    .filter(is_told)
                    .filter_map(|path| one(path, path.local_id.into()).then_some(path.local_id))
                    .collect();
                let before = highest.remove(&id.0).unwrap_or(0);
                gone.extend((1..=before).filter(|local| !sent.contains(local)).map(|local| (local.into(), id)));
            }
        }
    }
    let mut out = Vec::new();
    withdraw_routes(terms, &gone, known, &mut out);
    for (bucket, routes) in &news.buckets {
        announce_routes(&exporter, (bucket, routes), known, &mut out);
    }
    out
}

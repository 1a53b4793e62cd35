//! Which routes that are in the way of ours may be replaced by them, and what is said of the others.

use std::collections::{BTreeSet, HashSet};

use backends::state::{KernelState, LinkName, RouteKey, Scope};
use ipam::Family;

use crate::codec::route::{self, Which};
use crate::error::{Refusal, Result};
use crate::hand::Hand;
use crate::observe::list;

/// The keys of all routes that a scope may replace: those that it lists, any on its links, whoever made them, and on the other
/// links that routes are wanted through those that flannel may have left there (`via` a gateway, protocol `boot`, into our
/// networks): with the same destination they say the same.
pub(super) fn reach(hand: &mut Hand, scope: &Scope, through: BTreeSet<LinkName>) -> Result<HashSet<RouteKey>> {
    let links = hand.survey(scope, &mut KernelState::default())?;
    let mut keys: HashSet<RouteKey> = hand.routes(scope, &links)?.into_keys().collect();
    let own: BTreeSet<u32> = links.indices().collect();
    let all: BTreeSet<u32> =
        through.iter().filter_map(|name| hand.index.link(*name)).chain(own.iter().copied()).collect();
    let inside = |key: &RouteKey| scope.networks.iter().any(|net| net.contains(&key.destination));
    let left = |entry: &route::Entry| entry.protocol == route::BOOT && entry.gateway.is_some() && inside(&entry.key);
    for index in all {
        for family in Family::ALL {
            let request = (route::GET, "listing the routes of table main");
            let routes = list(&mut hand.socket, request, |body| route::of_family(body, family, Which::Through(index)))?;
            let mine = |entry: &route::Entry| entry.link == Some(index) && (own.contains(&index) || left(entry));
            keys.extend(routes.filter_map(|entry| route::Entry::read(&entry)).filter(mine).map(|entry| entry.key));
        }
    }
    Ok(keys)
}

/// One that is not ours to replace.
pub(super) fn in_the_way(RouteKey { destination, metric }: RouteKey) -> Refusal {
    let words = format!(
        "a route to {destination} with metric {metric} that is not ours is in the way; \
         see `ip route show {destination}`, and delete it or give it another metric"
    );
    Refusal { errno: libc::EEXIST, words: Some(words) }
}

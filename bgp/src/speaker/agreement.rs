//! Our OPEN, and what comes out of it and theirs (RFC 5492, and each capability's own RFC).

use std::time::Duration;

use crate::rib::{Relation, Settings};
use crate::wire::capability::{Forwarding, GracefulRestart, LongLived, PathIdMode, Role};
use crate::wire::notification::{code, open};
use crate::wire::terms::{AsWidth, FamilyTerms, Neighbour, NextHops, PathIds, Terms};
use crate::wire::{Capability, Family, MessageLimit, Notification, Open};

use super::config::{FamilyConfig, PeerConfig, RemoteAs, StrictBfd};

/// What both ends agreed upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// How bytes are read and written.
    pub terms: Terms,
    /// What the peer is to us.
    pub relation: Relation,
    /// Its OPEN.
    pub theirs: Open,
    /// Without a message for so long, the session ends.
    pub hold: Duration,
    /// Whether it sends its routes again when asked.
    pub refresh: bool,
    /// Whether it marks them then.
    pub enhanced_refresh: bool,
    /// Its graceful restart, when we offered it too.
    pub graceful: Option<GracefulRestart>,
    /// Whether both have the N bit.
    pub notifications: bool,
    /// For which families stale routes may be kept long, when both offered it.
    pub long_lived: Vec<LongLived>,
}

/// What lies between a session and the one before it, as graceful restart asks (RFC 4724 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Our start, and our own routes are still being gathered.
    Gathering,
    /// Our start: whether that was a restart, and what was forwarded over it, the configuration says.
    Start,
    /// Nothing of ours: a session of this process was lost, and we have forwarded all along.
    Session,
}

/// Our OPEN to a peer.
pub fn our_open(config: &PeerConfig, settings: &Settings, since: Since) -> Open {
    let mut capabilities: Vec<Capability> =
        config.families.iter().map(|family| Capability::MultiProtocol(family.family)).collect();
    capabilities.extend([Capability::RouteRefresh, Capability::EnhancedRefresh, Capability::ExtendedMessage]);
    capabilities.push(Capability::FourOctetAs(settings.asn));
    capabilities.extend(config.role.map(Capability::Role));
    capabilities.extend((config.strict_bfd == StrictBfd::Offered).then_some(Capability::BfdStrict));
    let over_ipv6 = |family: &&FamilyConfig| family.family == Family::IPV4 && family.next_hops == NextHops::AlsoIpv6;
    let hops: Vec<(Family, u16)> = config.families.iter().filter(over_ipv6).map(|family| (family.family, 2)).collect();
    let ids: Vec<(Family, PathIdMode)> =
        config.families.iter().filter_map(|family| Some((family.family, family.path_ids?))).collect();
    capabilities.extend((!hops.is_empty()).then_some(Capability::ExtendedNextHop(hops)));
    capabilities.extend((!ids.is_empty()).then_some(Capability::AddPath(ids)));
    if let Some(graceful) = config.graceful {
        let restarted = match since {
            Since::Gathering => true,
            Since::Start => config.families.iter().any(|family| family.forwarding == Forwarding::Kept),
            Since::Session => false,
        };
        let kept = |family: &FamilyConfig| if since == Since::Session { Forwarding::Kept } else { family.forwarding };
        capabilities.push(Capability::GracefulRestart(GracefulRestart {
            restarted,
            notifications: true,
            restart_secs: graceful.restart_secs,
            families: config.families.iter().map(|family| (family.family, kept(family))).collect(),
        }));
        let long = |family: &FamilyConfig| LongLived {
            family: family.family,
            forwarding: kept(family),
            stale_secs: graceful.long_lived_secs,
        };
        // It must not stand without graceful restart (RFC 9494 section 3.1); that we understand stale routes is worth saying with 0 seconds too.
        capabilities.push(Capability::LongLived(config.families.iter().map(long).collect()));
    }
    Open { asn: settings.asn, hold_secs: config.hold_secs, identifier: settings.identifier, capabilities }
}

/// What comes out of their OPEN; or why not, as they are told (RFC 4271 section 6.2).
pub fn agree(config: &PeerConfig, settings: &Settings, theirs: Open) -> Result<Agreement, Notification> {
    let refuse = |subcode| Err(Notification::new(code::OPEN, subcode));
    let expected = match config.remote_as {
        RemoteAs::Exactly(asn) => theirs.asn == asn,
        RemoteAs::Internal => theirs.asn == settings.asn,
        RemoteAs::External => theirs.asn != settings.asn,
    };
    if !expected {
        return refuse(open::BAD_PEER_AS);
    }
    // Within an AS identifiers are unique (RFC 6286 section 2.2).
    if theirs.asn == settings.asn && theirs.identifier == settings.identifier {
        return refuse(open::BAD_IDENTIFIER);
    }
    let relation = config.relation(theirs.asn, settings.asn);
    if relation.is_external() && !roles_match(config.role, &theirs) {
        return refuse(open::ROLE_MISMATCH);
    }
    let has = |capability: &Capability| theirs.capabilities.contains(capability);
    let four = |capability: &Capability| matches!(capability, Capability::FourOctetAs(_));
    let route_server = config.role == Some(Role::RouteServerClient);
    let first = Some(theirs.asn).filter(|_| !route_server);
    let terms = Terms {
        width: if theirs.capabilities.iter().any(four) { AsWidth::Four } else { AsWidth::Two },
        limit: if has(&Capability::ExtendedMessage) { MessageLimit::Extended } else { MessageLimit::Standard },
        neighbour: if relation.is_external() { Neighbour::External(first) } else { Neighbour::Internal },
        families: config.families.iter().filter_map(|family| family_terms(family, &theirs)).collect(),
        as_sets: config.as_sets,
    };
    let graceful = theirs.capabilities.iter().find_map(|capability| match capability {
        Capability::GracefulRestart(restart) if config.graceful.is_some() => Some(restart.clone()),
        _ => None,
    });
    let long_lived = theirs.capabilities.iter().find_map(|capability| match capability {
        Capability::LongLived(families) if graceful.is_some() => Some(families.clone()),
        _ => None,
    });
    Ok(Agreement {
        relation,
        hold: Duration::from_secs(config.hold_secs.min(theirs.hold_secs).into()),
        refresh: has(&Capability::RouteRefresh),
        enhanced_refresh: has(&Capability::EnhancedRefresh),
        notifications: graceful.as_ref().is_some_and(|restart| restart.notifications),
        long_lived: long_lived.unwrap_or_default(),
        graceful,
        terms,
        theirs,
    })
}

/// RFC 9234 section 4.2: a role that does not go with ours, or two different ones, ends it; none at all is let through.
fn roles_match(ours: Option<Role>, theirs: &Open) -> bool {
    let Some(ours) = ours else { return true };
    let mut said = theirs.capabilities.iter().filter_map(|capability| match capability {
        Capability::Role(role) => Some(Some(*role)),
        Capability::Unknown(9, _) => Some(None),
        _ => None,
    });
    said.all(|role| role == Some(ours.opposite()))
}

fn family_terms(config: &FamilyConfig, theirs: &Open) -> Option<FamilyTerms> {
    let family = config.family;
    let mut offers_any = false;
    let mut offers = false;
    let mut mode = None;
    let mut next_hops = NextHops::OfFamily;
    for capability in &theirs.capabilities {
        match capability {
            Capability::MultiProtocol(other) => {
                offers_any = true;
                offers |= *other == family;
            }
            Capability::AddPath(families) => {
                mode = families.iter().find(|(other, _)| *other == family).map(|(_, mode)| *mode).or(mode);
            }
            Capability::ExtendedNextHop(families) if families.contains(&(family, 2)) => next_hops = config.next_hops,
            _ => {}
        }
    }
    // Who says nothing of families speaks IPv4 (RFC 4760 section 8 came later than that).
    let spoken = offers || (!offers_any && family == Family::IPV4);
    let both = |ours: Option<bool>, theirs: Option<bool>| match (ours, theirs) {
        (Some(true), Some(true)) => PathIds::Present,
        _ => PathIds::Absent,
    };
    spoken.then(|| FamilyTerms {
        family,
        receive: both(config.path_ids.map(PathIdMode::receives), mode.map(PathIdMode::sends)),
        send: both(config.path_ids.map(PathIdMode::sends), mode.map(PathIdMode::receives)),
        next_hops,
    })
}

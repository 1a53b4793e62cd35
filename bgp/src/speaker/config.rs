//! [`PeerConfig`]: what a peer is to be, as values that are valid.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use crate::machine::timers::SEND_HOLD;
use crate::policy::Policy;
use crate::rib::{HopRule, Relation};
use crate::wire::Family;
use crate::wire::capability::{Forwarding, PathIdMode, Role};
use crate::wire::terms::{AsSets, NextHops};

/// Which AS a peer must be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteAs {
    /// This one.
    Exactly(u32),
    /// Ours.
    Internal,
    /// Any but ours.
    External,
}

/// Who opens connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both ends.
    Both,
    /// The peer alone.
    Passive,
}

/// What is spoken of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyConfig {
    /// The family.
    pub family: Family,
    /// Path identifiers, and in which direction.
    pub path_ids: Option<PathIdMode>,
    /// Paths a destination that are sent with path identifiers.
    pub most_paths: u8,
    /// Next hops that IPv4 routes may have.
    pub next_hops: NextHops,
    /// How many routes are kept of the peer.
    pub limit: Option<PrefixLimit>,
    /// Whether forwarding was kept over our restart.
    pub forwarding: Forwarding,
}

/// How many routes of a family a peer may have with us (RFC 4486).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixLimit {
    /// That many.
    pub most: u32,
    /// From how many percent of them on somebody should know.
    pub warning: u8,
    /// What becomes of the session with one more.
    pub excess: Excess,
}

/// What becomes of a session whose peer has more routes than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// It goes on: somebody is told.
    Warned,
    /// It ends, and there is another after this time; without one when a person says so.
    Ended(Option<Duration>),
}

impl PrefixLimit {
    /// The session ends with one more than `most`, for good; from three quarters on somebody should know.
    pub fn of(most: u32) -> PrefixLimit {
        PrefixLimit { most, warning: 75, excess: Excess::Ended(None) }
    }

    /// Whether so many are so many that somebody should know.
    pub fn is_near(&self, count: usize) -> bool {
        count as u64 * 100 >= u64::from(self.most) * u64::from(self.warning)
    }
}

impl FamilyConfig {
    /// A family without more.
    pub fn plain(family: Family) -> FamilyConfig {
        FamilyConfig {
            family,
            path_ids: None,
            most_paths: 8,
            next_hops: NextHops::OfFamily,
            limit: None,
            forwarding: Forwarding::Lost,
        }
    }
}

/// Graceful restart (RFC 4724), with notifications (RFC 8538), and long-lived (RFC 9494).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Graceful {
    /// Seconds within which we shall be back.
    pub restart_secs: u16,
    /// Seconds for which peers may keep our routes after that; 0 for none.
    pub long_lived_secs: u32,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Where it is.
    pub address: IpAddr,
    /// Which AS it must be of.
    pub remote_as: RemoteAs,
    /// Whether we reflect for it, if it is of our AS.
    pub reflects: Reflects,
    /// Our role towards it; a peer that says one must say the opposite (RFC 9234).
    pub role: Option<Role>,
    /// Who opens connections.
    pub direction: Direction,
    /// Seconds without a message after which it is given up; 0 for never.
    pub hold_secs: u16,
    /// Without the peer taking anything of what waits for it, after which it is given up, or twice the hold time if that is longer (RFC 9687).
    pub send_hold: Duration,
    /// From one keepalive to the next, where a third of the hold time is more.
    pub keepalive: Option<Duration>,
    /// From one attempt to connect to the next.
    pub connect_retry: Duration,
    /// The first pause after a failure.
    pub idle_hold: Duration,
    /// What is spoken.
    pub families: Vec<FamilyConfig>,
    /// Graceful restart, if it is offered.
    pub graceful: Option<Graceful>,
    /// What becomes of its routes; without one an eBGP peer's are rejected (RFC 8212).
    pub import: Option<Arc<Policy>>,
    /// What it is told; without one an eBGP peer is told nothing (RFC 8212).
    pub export: Option<Arc<Policy>>,
    /// What becomes of next hops; else ours across the border, and as they came inside.
    pub hops: Option<HopRule>,
    /// Paths with an AS_SET.
    pub as_sets: AsSets,
    /// Whether sessions wait for BFD.
    pub strict_bfd: StrictBfd,
}

/// Whether sessions with a peer wait until BFD says that the path is up. Whoever has the sockets opens and takes no connection before; a
/// peer that is told so waits as well (draft-ietf-idr-bgp-bfd-strict-mode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrictBfd {
    /// They do not.
    No,
    /// They do, and our OPEN says it.
    Offered,
}

/// Whether we reflect for a peer of our AS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reflects {
    /// We do not.
    No,
    /// It is our client (RFC 4456).
    ForClient,
}

impl PeerConfig {
    /// With the usual values: hold time 90 s, IPv4 and IPv6, attempts a few seconds apart.
    pub fn new(address: IpAddr, remote_as: RemoteAs) -> PeerConfig {
        PeerConfig {
            address,
            remote_as,
            reflects: Reflects::No,
            role: None,
            direction: Direction::Both,
            hold_secs: 90,
            keepalive: None,
            send_hold: SEND_HOLD,
            connect_retry: Duration::from_secs(5),
            idle_hold: Duration::from_secs(1),
            families: vec![FamilyConfig::plain(Family::IPV4), FamilyConfig::plain(Family::IPV6)],
            graceful: Some(Graceful { restart_secs: 120, long_lived_secs: 0 }),
            import: None,
            export: None,
            hops: None,
            as_sets: AsSets::Refused,
            strict_bfd: StrictBfd::No,
        }
    }

    /// What a peer of this AS is to us.
    pub fn relation(&self, asn: u32, ours: u32) -> Relation {
        match (asn == ours, self.reflects) {
            (false, _) => Relation::External,
            (true, Reflects::No) => Relation::Internal,
            (true, Reflects::ForClient) => Relation::Client,
        }
    }

    /// What becomes of the routes of a peer that is this to us.
    pub fn import_policy(&self, relation: Relation) -> Arc<Policy> {
        PeerConfig::policy(self.import.as_ref(), relation)
    }

    /// What a peer that is this to us is told.
    pub fn export_policy(&self, relation: Relation) -> Arc<Policy> {
        PeerConfig::policy(self.export.as_ref(), relation)
    }

    /// The policy in one direction: what was said, or what holds when nothing was.
    pub(super) fn policy(said: Option<&Arc<Policy>>, relation: Relation) -> Arc<Policy> {
        said.cloned().unwrap_or_else(|| match relation.is_external() {
            true => Arc::new(Policy::reject()),
            false => Arc::new(Policy::accept()),
        })
    }
}

/// Our addresses on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LocalAddresses {
    /// IPv4.
    pub v4: Option<Ipv4Addr>,
    /// IPv6, and the link-local one if the peer is on our link.
    pub v6: Option<(Ipv6Addr, Option<Ipv6Addr>)>,
}

impl LocalAddresses {
    pub(super) fn all(&self) -> Vec<IpAddr> {
        let v6 = self.v6.into_iter().flat_map(|(global, local)| [Some(global), local]).flatten();
        self.v4.into_iter().map(IpAddr::from).chain(v6.map(IpAddr::from)).collect()
    }
}

//! [`Terms`]: what two OPENs came to, as far as bytes depend on it.

use super::family::Family;
use super::header::MessageLimit;

/// How the codec is to read and write on one session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// Whether AS_PATH has four octets a number (RFC 6793).
    pub width: AsWidth,
    /// How long a message may be.
    pub limit: MessageLimit,
    /// Whether the peer is of our own AS.
    pub neighbour: Neighbour,
    /// What is known of each family that both ends speak; no other is understood.
    pub families: Vec<FamilyTerms>,
    /// What is done with AS_SET, which RFC 9774 deprecates.
    pub as_sets: AsSets,
}

/// Octets of an AS number in AS_PATH and AGGREGATOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AsWidth {
    /// An OLD speaker.
    Two,
    /// A NEW speaker.
    Four,
}

/// On which side of our AS's border a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Neighbour {
    /// iBGP.
    Internal,
    /// eBGP, and the AS that has to begin each path; `None` for a route server's client, who sees others' first.
    External(Option<u32>),
}

/// What a path with an AS_SET is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum AsSets {
    /// Treated as withdrawn (RFC 9774 section 3).
    #[default]
    Refused,
    /// Taken: an old fabric may aggregate.
    Accepted,
}

/// Whether a path identifier stands before each route (RFC 7911).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum PathIds {
    /// None.
    #[default]
    Absent,
    /// Four bytes each.
    Present,
}

/// Which next hops IPv4 routes may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum NextHops {
    /// Of the family of the routes.
    #[default]
    OfFamily,
    /// Also IPv6 (RFC 8950).
    AlsoIpv6,
}

/// What was agreed on one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FamilyTerms {
    /// The family.
    pub family: Family,
    /// In what the peer sends.
    pub receive: PathIds,
    /// In what we send.
    pub send: PathIds,
    /// Next hops, in both directions.
    pub next_hops: NextHops,
}

impl FamilyTerms {
    /// A family without more.
    pub fn plain(family: Family) -> FamilyTerms {
        FamilyTerms { family, receive: PathIds::Absent, send: PathIds::Absent, next_hops: NextHops::OfFamily }
    }
}

impl Terms {
    /// The terms in which attributes are kept: four octets, nothing left out, nothing refused.
    pub fn canonical() -> Terms {
        Terms {
            width: AsWidth::Four,
            limit: MessageLimit::Extended,
            neighbour: Neighbour::Internal,
            families: Family::ALL.map(FamilyTerms::plain).to_vec(),
            as_sets: AsSets::Accepted,
        }
    }

    /// What was agreed on a family; `None` when it is not spoken.
    pub fn of(&self, family: Family) -> Option<&FamilyTerms> {
        self.families.iter().find(|terms| terms.family == family)
    }
}

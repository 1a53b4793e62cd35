//! The path attributes: which there are, what flags they carry, and what a malformed one does to its UPDATE (RFC 7606 section 7).

use std::fmt;

use super::notification::{Notification, code};

/// Optional: not everybody knows it.
pub const OPTIONAL: u8 = 0x80;
/// Transitive: who does not know it hands it on.
pub const TRANSITIVE: u8 = 0x40;
/// Partial: somebody on the way did not know it.
pub const PARTIAL: u8 = 0x20;
/// The length has two octets.
pub const EXTENDED_LENGTH: u8 = 0x10;

/// Type codes (IANA's registry of BGP path attributes).
pub mod kind {
    /// RFC 4271.
    pub const ORIGIN: u8 = 1;
    /// RFC 4271.
    pub const AS_PATH: u8 = 2;
    /// RFC 4271.
    pub const NEXT_HOP: u8 = 3;
    /// RFC 4271.
    pub const MULTI_EXIT_DISC: u8 = 4;
    /// RFC 4271.
    pub const LOCAL_PREF: u8 = 5;
    /// RFC 4271.
    pub const ATOMIC_AGGREGATE: u8 = 6;
    /// RFC 4271.
    pub const AGGREGATOR: u8 = 7;
    /// RFC 1997.
    pub const COMMUNITIES: u8 = 8;
    /// RFC 4456.
    pub const ORIGINATOR_ID: u8 = 9;
    /// RFC 4456.
    pub const CLUSTER_LIST: u8 = 10;
    /// RFC 4760.
    pub const MP_REACH_NLRI: u8 = 14;
    /// RFC 4760.
    pub const MP_UNREACH_NLRI: u8 = 15;
    /// RFC 4360.
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    /// RFC 6793.
    pub const AS4_PATH: u8 = 17;
    /// RFC 6793.
    pub const AS4_AGGREGATOR: u8 = 18;
    /// RFC 6514.
    pub const PMSI_TUNNEL: u8 = 22;
    /// RFC 9012.
    pub const TUNNEL_ENCAPSULATION: u8 = 23;
    /// RFC 5701.
    pub const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
    /// RFC 7311.
    pub const AIGP: u8 = 26;
    /// RFC 8092.
    pub const LARGE_COMMUNITIES: u8 = 32;
    /// RFC 9234.
    pub const ONLY_TO_CUSTOMER: u8 = 35;
    /// RFC 8669.
    pub const PREFIX_SID: u8 = 40;
}

/// What is done about an attribute that is not right (RFC 7606 section 2). Stronger ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Handling {
    /// The attribute is as good as absent.
    Discard,
    /// The routes of the UPDATE are as good as withdrawn.
    Withdraw,
    /// The session cannot go on.
    Reset,
}

/// Something wrong in an UPDATE.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// The type of the attribute.
    pub attribute: u8,
    /// What is done about it.
    pub handling: Handling,
    /// What would be said of it if the session ended: subcode of UPDATE Message Error.
    pub subcode: u8,
    /// Type, length and value of it, as RFC 4271 section 6.3 wants them beside the subcode.
    pub data: Vec<u8>,
}

impl Fault {
    /// The message that ends a session over it.
    pub fn notification(&self) -> Notification {
        Notification::new(code::UPDATE, self.subcode).with(&self.data)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = match self.handling {
            Handling::Discard => "attribute ignored",
            Handling::Withdraw => "routes treated as withdrawn",
            Handling::Reset => "session reset",
        };
        write!(f, "{}: {} ({done})", name(self.attribute), Notification::new(code::UPDATE, self.subcode))
    }
}

/// What is known of a type: the optional and transitive bits it must have, and what is done when its value is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The type.
    pub attribute: u8,
    /// [`OPTIONAL`] and [`TRANSITIVE`].
    pub flags: u8,
    /// When the value is malformed.
    pub malformed: Handling,
    /// Its name in its RFC.
    pub name: &'static str,
}

const WELL_KNOWN: u8 = TRANSITIVE;
const BOTH: u8 = OPTIONAL | TRANSITIVE;

const fn rule(attribute: u8, flags: u8, malformed: Handling, name: &'static str) -> Rule {
    Rule { attribute, flags, malformed, name }
}

/// All types that this speaker looks into. The sections are RFC 7606's unless they say otherwise.
pub const RULES: [Rule; 22] = [
    rule(kind::ORIGIN, WELL_KNOWN, Handling::Withdraw, "ORIGIN"), // 7.1
    rule(kind::AS_PATH, WELL_KNOWN, Handling::Withdraw, "AS_PATH"), // 7.2
    rule(kind::NEXT_HOP, WELL_KNOWN, Handling::Withdraw, "NEXT_HOP"), // 7.3
    rule(kind::MULTI_EXIT_DISC, OPTIONAL, Handling::Withdraw, "MULTI_EXIT_DISC"), // 7.4
    rule(kind::LOCAL_PREF, WELL_KNOWN, Handling::Withdraw, "LOCAL_PREF"), // 7.5
    rule(kind::ATOMIC_AGGREGATE, WELL_KNOWN, Handling::Discard, "ATOMIC_AGGREGATE"), // 7.6
    rule(kind::AGGREGATOR, BOTH, Handling::Discard, "AGGREGATOR"), // 7.7
    rule(kind::COMMUNITIES, BOTH, Handling::Withdraw, "COMMUNITIES"), // 7.8
    rule(kind::ORIGINATOR_ID, OPTIONAL, Handling::Withdraw, "ORIGINATOR_ID"), // 7.9
    rule(kind::CLUSTER_LIST, OPTIONAL, Handling::Withdraw, "CLUSTER_LIST"), // 7.10
    rule(kind::MP_REACH_NLRI, OPTIONAL, Handling::Reset, "MP_REACH_NLRI"), // 7.11
    rule(kind::MP_UNREACH_NLRI, OPTIONAL, Handling::Reset, "MP_UNREACH_NLRI"), // 7.12
    rule(kind::EXTENDED_COMMUNITIES, BOTH, Handling::Withdraw, "EXTENDED_COMMUNITIES"), // 7.14
    rule(kind::AS4_PATH, BOTH, Handling::Discard, "AS4_PATH"),    // RFC 6793 section 6
    rule(kind::AS4_AGGREGATOR, BOTH, Handling::Discard, "AS4_AGGREGATOR"), // RFC 6793 section 6
    rule(kind::PMSI_TUNNEL, BOTH, Handling::Withdraw, "PMSI_TUNNEL"), // RFC 6514 section 5
    rule(kind::TUNNEL_ENCAPSULATION, BOTH, Handling::Withdraw, "TUNNEL_ENCAPSULATION"), // RFC 9012 section 13
    rule(kind::IPV6_EXTENDED_COMMUNITIES, BOTH, Handling::Withdraw, "IPV6_EXTENDED_COMMUNITIES"), // 7.15
    rule(kind::AIGP, OPTIONAL, Handling::Discard, "AIGP"),        // RFC 7311 section 3.2
    rule(kind::LARGE_COMMUNITIES, BOTH, Handling::Withdraw, "LARGE_COMMUNITIES"), // RFC 8092 section 6
    rule(kind::ONLY_TO_CUSTOMER, BOTH, Handling::Withdraw, "ONLY_TO_CUSTOMER"), // RFC 9234 section 5
    rule(kind::PREFIX_SID, BOTH, Handling::Discard, "PREFIX_SID"), // RFC 8669 section 6
];

/// What is known of a type; `None` for one that we do not look into.
pub fn rule_of(attribute: u8) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.attribute == attribute)
}

/// The name of a type, or its number.
fn name(attribute: u8) -> String {
    rule_of(attribute).map_or_else(|| format!("attribute {attribute}"), |rule| rule.name.to_owned())
}

/// Appends one attribute: flags, type, the length in as many octets as it needs, and the value that `write` appends.
pub fn write(flags: u8, attribute: u8, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[flags & !EXTENDED_LENGTH, attribute, 0]);
    let value = out.len();
    write(out);
    let length = out.len().saturating_sub(value);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length), _) => {
            if let Some(field) = out.get_mut(value.saturating_sub(1)) {
                *field = length;
            }
        }
        (_, Ok(length)) => {
            let [high, low] = length.to_be_bytes();
            out.insert(value, low);
            if let Some([first, _, field, ..]) = out.get_mut(start..) {
                *first |= EXTENDED_LENGTH;
                *field = high;
            }
        }
        // Nothing so long can be sent: as good as absent.
        _ => out.truncate(start),
    }
}

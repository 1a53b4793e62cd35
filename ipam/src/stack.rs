//! Address families as data: [`Family`], and [`Stack<T>`] = one T for IPv4, one for IPv6, or one for each; never none.
//!
//! No function in the project has a v4 and a v6 twin: it takes a `Stack` or a `Family` instead.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// An address family of the Internet Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4, `AF_INET`.
    V4,
    /// IPv6, `AF_INET6`.
    V6,
}

impl Family {
    /// Both, in the order in which they are always shown.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The family of a prefix.
    pub fn of_net(net: &IpNet) -> Family {
        Family::of(net.addr())
    }

    /// Bits in an address: 32 or 128.
    pub fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// One value per address family in use: IPv4, IPv6 or both, never neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stack<T> {
    /// IPv4 alone.
    V4(T),
    /// IPv6 alone.
    V6(T),
    /// Both families.
    Dual {
        /// The IPv4 value.
        v4: T,
        /// The IPv6 value.
        v6: T,
    },
}

impl<T> Stack<T> {
    /// One family's value alone.
    pub fn single(family: Family, value: T) -> Stack<T> {
        match family {
            Family::V4 => Stack::V4(value),
            Family::V6 => Stack::V6(value),
        }
    }

    /// What is there of the two; `None` when neither is.
    pub fn from_options(v4: Option<T>, v6: Option<T>) -> Option<Stack<T>> {
        match (v4, v6) {
            (Some(v4), Some(v6)) => Some(Stack::Dual { v4, v6 }),
            (Some(v4), None) => Some(Stack::V4(v4)),
            (None, Some(v6)) => Some(Stack::V6(v6)),
            (None, None) => None,
        }
    }

    /// The value of one family.
    pub fn get(&self, family: Family) -> Option<&T> {
        match (self, family) {
            (Stack::V4(v) | Stack::Dual { v4: v, .. }, Family::V4) => Some(v),
            (Stack::V6(v) | Stack::Dual { v6: v, .. }, Family::V6) => Some(v),
            _ => None,
        }
    }

    /// Whether the family is in use.
    pub fn has(&self, family: Family) -> bool {
        self.get(family).is_some()
    }

    /// The values with their families, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = (Family, &T)> {
        Family::ALL.into_iter().filter_map(|family| self.get(family).map(|value| (family, value)))
    }

    /// The values alone, IPv4 first.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.iter().map(|(_, value)| value)
    }

    /// The families in use.
    pub fn families(&self) -> impl Iterator<Item = Family> {
        self.iter().map(|(family, _)| family)
    }

    /// The same families with other values.
    pub fn map<U>(&self, mut change: impl FnMut(Family, &T) -> U) -> Stack<U> {
        match self {
            Stack::V4(v) => Stack::V4(change(Family::V4, v)),
            Stack::V6(v) => Stack::V6(change(Family::V6, v)),
            Stack::Dual { v4, v6 } => Stack::Dual { v4: change(Family::V4, v4), v6: change(Family::V6, v6) },
        }
    }

    /// The families for which `change` gives a value; `None` when it gives none at all.
    pub fn filter_map<U>(&self, mut change: impl FnMut(Family, &T) -> Option<U>) -> Option<Stack<U>> {
        let v4 = self.get(Family::V4).and_then(|v| change(Family::V4, v));
        let v6 = self.get(Family::V6).and_then(|v| change(Family::V6, v));
        Stack::from_options(v4, v6)
    }
}

impl<T: fmt::Display> fmt::Display for Stack<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stack::V4(v) | Stack::V6(v) => v.fmt(f),
            Stack::Dual { v4, v6 } => write!(f, "{v4} {v6}"),
        }
    }
}

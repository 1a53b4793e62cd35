//! [`Pattern`]: communities by their parts, some of which may be anything: `64512:*`.

use std::fmt;
use std::str::FromStr;

use crate::wire::{Community, LargeCommunity};

/// Numbers, `None` for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pattern<const N: usize>([Option<u32>; N]);

/// Communities of RFC 1997: an AS, and what it means there.
pub type CommunityPattern = Pattern<2>;
/// Large communities (RFC 8092).
pub type LargePattern = Pattern<3>;

impl<const N: usize> Pattern<N> {
    fn fits(&self, parts: [u32; N]) -> bool {
        self.0.iter().zip(parts).all(|(wanted, part)| wanted.is_none_or(|wanted| wanted == part))
    }

    fn parse(text: &str, most: u32) -> Option<Pattern<N>> {
        let part = |part: &str| match part {
            "*" => Some(None),
            number => number.parse().ok().filter(|number| *number <= most).map(Some),
        };
        let parts: Option<Vec<Option<u32>>> = text.split(':').map(part).collect();
        parts?.try_into().ok().map(Pattern)
    }
}

impl CommunityPattern {
    /// Whether a community is one of these.
    pub fn has(&self, community: Community) -> bool {
        self.fits([community.0 >> 16, community.0 & 0xffff])
    }
}

impl LargePattern {
    /// Whether a community is one of these.
    pub fn has(&self, community: LargeCommunity) -> bool {
        let [first, second] = community.data;
        self.fits([community.administrator, first, second])
    }
}

impl From<Community> for CommunityPattern {
    fn from(community: Community) -> CommunityPattern {
        Pattern([Some(community.0 >> 16), Some(community.0 & 0xffff)])
    }
}

impl FromStr for CommunityPattern {
    type Err = ();

    /// `64512:100`, `64512:*`, or the name of a well-known one.
    fn from_str(text: &str) -> Result<CommunityPattern, ()> {
        let known = text.parse::<Community>().ok().map(CommunityPattern::from);
        known.or_else(|| Pattern::parse(text, u16::MAX.into())).ok_or(())
    }
}

impl FromStr for LargePattern {
    type Err = ();

    /// `64512:1:2`, `64512:*:*`.
    fn from_str(text: &str) -> Result<LargePattern, ()> {
        Pattern::parse(text, u32::MAX).ok_or(())
    }
}

impl<const N: usize> fmt::Display for Pattern<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [Some(asn), Some(value)] = self.0[..] {
            return write!(f, "{}", Community(asn << 16 | value));
        }
        let parts = self.0.iter().map(|part| part.map_or_else(|| "*".to_owned(), |number| number.to_string()));
        f.write_str(&parts.collect::<Vec<_>>().join(":"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_star_stands_for_any_number() {
        let has = |pattern: &str, community: &str| {
            pattern.parse::<CommunityPattern>().unwrap().has(community.parse().unwrap())
        };
        assert!(has("64512:*", "64512:7") && has("*:7", "64512:7") && has("*:*", "no-export"));
        assert!(!has("64512:*", "64513:7") && !has("*:7", "64512:8") && has("no-export", "65535:65281"));
        let large: LargePattern = "64512:*:2".parse().unwrap();
        assert!(large.has("64512:9:2".parse().unwrap()) && !large.has("64512:9:3".parse().unwrap()));
        for text in ["64512:*", "no-export", "64512:7"] {
            assert_eq!(text.parse::<CommunityPattern>().unwrap().to_string(), text);
        }
        assert_eq!(large.to_string(), "64512:*:2");
        for wrong in ["64512", "65536:1", "1:2:3", "**:1", "", "1:*:"] {
            assert_eq!(wrong.parse::<CommunityPattern>(), Err(()), "{wrong}");
        }
    }
}

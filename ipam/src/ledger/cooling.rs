//! [`Cooling`]: the addresses that were given back a moment ago. Peers still have neighbour entries, connections and
//! Endpoints for the pod that had them, so others are given first. Pure: the text in, the text out.
//!
//! The text is lines of seconds since 1970 and an address, in a file of our own that `host-local` passes by. It is a hint: when
//! it is lost or wrong, an address is given again sooner, never twice.

use std::collections::VecDeque;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// For how long: what a neighbour entry is believed without asking (`base_reachable_time`, 30 s, at most half again as
/// much), and time for Endpoints to follow.
const COOLING: Duration = Duration::from_secs(60);
/// More are not remembered: the oldest are the coolest.
const MOST: usize = 512;

/// Addresses with when they were given back, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cooling(VecDeque<(u64, IpAddr)>);

impl Cooling {
    /// Reads what still cools. What cannot be read has cooled; so has what another clock wrote.
    pub(super) fn parse(text: &str, now: SystemTime) -> Cooling {
        let now = seconds(now);
        let entry = |line: &str| {
            let (when, address) = line.split_once(' ')?;
            Some((when.parse::<u64>().ok()?, address.parse().ok()?))
        };
        let entries = text.lines().filter_map(entry);
        Cooling(entries.filter(|(when, _)| now.abs_diff(*when) < COOLING.as_secs()).collect())
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|(_, cooling)| *cooling == address)
    }

    /// The addresses, the one that has cooled the longest first.
    pub(super) fn oldest_first(&self) -> impl Iterator<Item = IpAddr> {
        self.0.iter().map(|(_, address)| *address)
    }

    pub(super) fn push(&mut self, address: IpAddr, now: SystemTime) {
        self.0.retain(|(_, cooling)| *cooling != address);
        self.0.push_back((seconds(now), address));
        while self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        for (when, address) in &self.0 {
            // Cannot fail: a String takes everything.
            writeln!(text, "{when} {address}").ok();
        }
        text
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn an_address_cools_for_a_minute_and_garbage_not_at_all() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let text = "900 10.0.0.1\n941 10.0.0.2\nx 10.0.0.3\n999 nobody\n1000 fd00::1\n9999 10.0.0.4\n1001 10.0.0.5\n99";
        let mut cooling = Cooling::parse(text, now);
        assert_eq!(cooling.to_text(), "941 10.0.0.2\n1000 fd00::1\n1001 10.0.0.5\n");
        cooling.push("10.0.0.2".parse().unwrap(), now);
        assert_eq!(cooling.to_text(), "1000 fd00::1\n1001 10.0.0.5\n1000 10.0.0.2\n");
        assert!(cooling.contains("fd00::1".parse().unwrap()) && !cooling.contains("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn of_very_many_the_last_are_remembered() {
        let mut cooling = Cooling::default();
        for n in 0..2_000_u32 {
            cooling.push(IpAddr::from(n.to_be_bytes()), UNIX_EPOCH);
        }
        assert_eq!(cooling.oldest_first().count(), MOST);
        assert!(cooling.contains(IpAddr::from(1_999_u32.to_be_bytes())));
    }
}

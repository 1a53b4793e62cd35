//! [`Cooling`]: the addresses that were given back a moment ago. Peers still have neighbour entries, connections and
//! Endpoints for the pod that had them, so others are given first. Pure: the text in, the text out.
//!
//! The text is lines of seconds since 1970 and an address, in a file of our own that `host-local` passes by. It is a hint: when
//! it is lost or wrong, an address is given again sooner, never twice.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// For how long: what a neighbour entry is believed without asking (`base_reachable_time`, 30 s, at most half again as
/// much), and time for Endpoints to follow.
const COOLING: Duration = Duration::from_secs(60);
/// More are not remembered: the oldest are the coolest.
const MOST: usize = 512;

/// Addresses with when they were given back, the oldest first: the text itself. Half a thousand lines are read with each pod,
/// so an address is looked for in them, and not each of them made one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cooling(String);

impl Cooling {
    /// Reads what still cools. What cannot be read has cooled; so has what another clock wrote.
    pub(super) fn parse(text: &str, now: SystemTime) -> Cooling {
        let now = seconds(now);
        let cools = |line: &&str| {
            let when = line.split_once(' ').and_then(|(when, _)| when.parse().ok());
            when.is_some_and(|when: u64| now.abs_diff(when) < COOLING.as_secs())
        };
        let mut lines = String::with_capacity(text.len());
        for line in text.lines().filter(cools) {
            lines.push_str(line);
            lines.push('\n');
        }
        Cooling(lines)
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&end_of_line(address))
    }

    /// The addresses, the one that has cooled the longest first.
    pub(super) fn oldest_first(&self) -> impl Iterator<Item = IpAddr> {
        self.0.lines().filter_map(|line| line.split_once(' ')?.1.parse().ok())
    }

    pub(super) fn push(&mut self, address: IpAddr, now: SystemTime) {
        let end = end_of_line(address);
        if self.0.contains(&end) {
            self.0 = self.0.split_inclusive('\n').filter(|line| !line.ends_with(&end)).collect();
        }
        // Cannot fail: a String takes everything.
        write!(self.0, "{}{end}", seconds(now)).ok();
        let surplus = self.0.lines().count().saturating_sub(MOST);
        let forgotten: usize = self.0.split_inclusive('\n').take(surplus).map(str::len).sum();
        self.0.drain(..forgotten);
    }

    pub(super) fn to_text(&self) -> &str {
        &self.0
    }
}

/// What an address's line has behind the seconds.
fn end_of_line(address: IpAddr) -> String {
    format!(" {address}\n")
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
        let text =
            "900 10.0.0.1\n941 10.0.0.2\nx 10.0.0.3\n1000 fd00::1\n9999 10.0.0.4\n1001 10.0.0.5\n1001 nobody\n99";
        let mut cooling = Cooling::parse(text, now);
        let addresses = |cooling: &Cooling| cooling.oldest_first().map(|a| a.to_string()).collect::<Vec<_>>();
        assert_eq!(addresses(&cooling), ["10.0.0.2", "fd00::1", "10.0.0.5"]);
        cooling.push("10.0.0.2".parse().unwrap(), now);
        assert_eq!(addresses(&cooling), ["fd00::1", "10.0.0.5", "10.0.0.2"]);
        cooling.push("0.0.0.2".parse().unwrap(), now);
        assert!(cooling.to_text().ends_with("\n1000 10.0.0.2\n1000 0.0.0.2\n"));
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

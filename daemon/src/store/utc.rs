//! [`Utc`]: a second, as a lease file writes it: `2026-11-21T12:00:00Z` (RFC 3339, always UTC, no fractions).

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

const DAY: u64 = 24 * 60 * 60;

/// Seconds since 1970-01-01T00:00:00Z, up to the end of the year 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Utc(u64);

/// Why a text is no such time.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a time like 2026-11-21T12:00:00Z")]
pub struct UtcError(String);

impl Utc {
    /// This second.
    pub fn now() -> Utc {
        Utc::at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// The second so long after 1970-01-01T00:00:00Z; a fraction is left out.
    pub fn at(since_epoch: Duration) -> Utc {
        Utc(since_epoch.as_secs())
    }

    /// Seconds since the epoch.
    pub fn seconds(self) -> u64 {
        self.0
    }

    /// So much later; part of a second counts as one.
    pub fn after(self, time: Duration) -> Utc {
        Utc(self.0 + time.as_secs() + u64::from(time.subsec_nanos() > 0))
    }

    /// How long it is until then; zero when it is past.
    pub fn until(self, then: Utc) -> Duration {
        Duration::from_secs(then.0.saturating_sub(self.0))
    }
}

/// Days from 1970-01-01 to the first of a month (January is 1) of the Gregorian calendar.
fn days_before(year: u64, month: u64) -> u64 {
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, 28 + u64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before: u64 = lengths.iter().zip(1..month).map(|(days, _)| days).sum();
    (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969) + before
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0 / DAY, self.0 % DAY);
        let mut year = 1970 + days / 366;
        while days_before(year + 1, 1) <= days {
            year += 1;
        }
        let month = (1..=12).rev().find(|month| days_before(year, *month) <= days).unwrap_or(1);
        let day = days - days_before(year, month) + 1;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl FromStr for Utc {
    type Err = UtcError;
    fn from_str(text: &str) -> Result<Utc, UtcError> {
        let error = || UtcError(text.chars().take(32).collect());
        let shape = b"0000-00-00T00:00:00Z";
        let fits = |(byte, like): (u8, &u8)| if *like == b'0' { byte.is_ascii_digit() } else { byte == *like };
        if text.len() != shape.len() || !text.bytes().zip(shape).all(fits) {
            return Err(error());
        }
        let number =
            |range: std::ops::Range<usize>| text.get(range).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let (year, month, day): (u64, u64, u64) = (number(0..4), number(5..7), number(8..10));
        let (hour, minute, second): (u64, u64, u64) = (number(11..13), number(14..16), number(17..19));
        if year < 1970
            || !(1..=12).contains(&month)
            || !(1..=31).contains(&day)
            || hour > 23
            || minute > 59
            || second > 59
        {
            return Err(error());
        }
        let time = Utc((days_before(year, month) + day - 1) * DAY + hour * 3600 + minute * 60 + second);
        // The 31st of a shorter month would come out as another day.
        if time.to_string() == text { Ok(time) } else { Err(error()) }
    }
}

impl TryFrom<String> for Utc {
    type Error = UtcError;
    fn try_from(text: String) -> Result<Utc, UtcError> {
        text.parse()
    }
}

impl From<Utc> for String {
    fn from(time: Utc) -> String {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn well_known_seconds_are_written_and_read() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_000_000_000, "2001-09-09T01:46:40Z"),
            (1_795_262_399, "2026-11-21T11:59:59Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ];
        for (seconds, text) in cases {
            assert_eq!(Utc(seconds).to_string(), text);
            assert_eq!(text.parse::<Utc>().unwrap(), Utc(seconds));
        }
    }

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for day in 0..146_097 {
            let time = Utc(day * DAY + 3661);
            assert_eq!(time.to_string().parse::<Utc>().unwrap(), time);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-11-21",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-11-21T12:00:00é",
        ] {
            assert!(text.parse::<Utc>().is_err(), "{text}");
        }
    }
}

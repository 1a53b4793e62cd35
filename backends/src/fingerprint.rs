//! [`Fingerprint`]: a short, stable digest of bytes: the same on every machine and in every release. Against accidents,
//! not against enemies.

use std::fmt;

/// FNV-1a, 64 bit, fed piece by piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Fingerprint {
        Fingerprint(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    /// The digest of several texts; where one ends and the next begins counts.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Fingerprint {
        let mut digest = Fingerprint::default();
        for part in parts {
            digest.feed(part.as_bytes());
            digest.feed(&[0]);
        }
        digest
    }

    /// Takes more bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Eight hexadecimal digits of it, where a name must be short.
    pub fn short(self) -> String {
        // Both halves: FNV's low bits alone see little of the last bytes.
        format!("{:08x}", (self.0 >> 32) ^ (self.0 & 0xffff_ffff))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Fingerprint;

    #[test]
    fn the_digest_is_the_published_fnv_1a() {
        let mut digest = Fingerprint::default();
        digest.feed(b"foo");
        digest.feed(b"bar");
        assert_eq!(digest.to_string(), "85944171f73967e8");
    }

    #[test]
    fn where_a_part_ends_counts() {
        assert_ne!(Fingerprint::of(["ab", "c"]), Fingerprint::of(["a", "bc"]));
        assert_eq!(Fingerprint::of(["ab"]).short().len(), 8);
    }
}

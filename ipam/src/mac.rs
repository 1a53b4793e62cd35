//! [`Mac`]: a 48-bit link-layer address, as `ip link` prints it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A 48-bit MAC address, written in lower case with colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

/// Why a text is not a MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a MAC address: six hexadecimal octets with colons, as in 02:42:ac:11:00:02")]
pub struct MacError {
    /// The text that was refused, cut to 64 characters.
    pub text: String,
}

impl Mac {
    /// A stable, locally administered unicast address made from any identity (IEEE 802-2014 section 8.4: bit 1 of the
    /// first octet set, bit 0 clear). The same identity always gives the same address, on every machine (FNV-1a, 64 bit).
    pub fn derived_from(identity: &str) -> Mac {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in identity.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
        Mac([(a ^ g) & 0xfe | 0x02, b ^ h, c, d, e, f])
    }

    /// Whether the address can be one interface's own: unicast and not all zero.
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl FromStr for Mac {
    type Err = MacError;
    fn from_str(text: &str) -> Result<Mac, MacError> {
        let refuse = || MacError { text: text.chars().take(64).collect() };
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(refuse)?;
            if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(refuse());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| refuse())?;
        }
        if parts.next().is_some() { Err(refuse()) } else { Ok(Mac(octets)) }
    }
}

impl TryFrom<String> for Mac {
    type Error = MacError;
    fn try_from(text: String) -> Result<Mac, MacError> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

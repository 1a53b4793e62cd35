//! Keys of WireGuard: [`PublicKey`], which nodes publish, and [`SecretKey`], which nothing here ever prints. Both are 32 octets,
//! written in base64 as `wg` writes them.
//!
//! No arithmetic is done here: what belongs to a private key is found where it is kept.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Octets of a key of either kind.
pub const KEY_OCTETS: usize = 32;

/// Points of small order on Curve25519 and its twist, as the kernel reads them (bit 255 does not count, RFC 7748 section 5).
/// Whoever publishes one has no private key that belongs to it: every secret agreed upon with it is zero, known to all.
const LOW_ORDER: [[u8; KEY_OCTETS]; 7] = [
    number([0; 3], 0, 0),
    number([1, 0, 0], 0, 0),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    // The prime 2^255 - 19 less one, itself (another zero), and one more (another one).
    number([0xec, 0xff, 0xff], 0xff, 0x7f),
    number([0xed, 0xff, 0xff], 0xff, 0x7f),
    number([0xee, 0xff, 0xff], 0xff, 0x7f),
];

/// A number with these first octets, this last one, and one value between.
const fn number(first: [u8; 3], between: u8, last: u8) -> [u8; KEY_OCTETS] {
    let mut octets = [between; KEY_OCTETS];
    octets[0] = first[0];
    octets[1] = first[1];
    octets[2] = first[2];
    octets[KEY_OCTETS - 1] = last;
    octets
}

/// The public half of a node's key: what WireGuard knows it by. Never one of small order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; KEY_OCTETS]);

/// Why a text is not a key. What was written is not repeated: it may be half of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base64 of 32 octets.
    #[error(
        "it is not a WireGuard key: 44 characters of base64 (32 octets), as `wg genkey`, `wg genpsk` and `wg pubkey` write them"
    )]
    Form,
    /// A public key that gives no secrecy.
    #[error("it is a point of small order, which is nobody's public key: no secret can be agreed upon with it")]
    LowOrder,
}

impl PublicKey {
    /// Takes a key's octets.
    ///
    /// # Errors
    /// [`KeyError::LowOrder`].
    pub fn new(octets: [u8; KEY_OCTETS]) -> Result<PublicKey, KeyError> {
        let mut read = octets;
        read[KEY_OCTETS - 1] &= 0x7f;
        if LOW_ORDER.contains(&read) { Err(KeyError::LowOrder) } else { Ok(PublicKey(octets)) }
    }

    /// Its octets.
    pub fn octets(&self) -> &[u8; KEY_OCTETS] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<PublicKey, KeyError> {
        decoded(text).and_then(PublicKey::new)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;
    fn try_from(text: String) -> Result<PublicKey, KeyError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_string()
    }
}

/// A private or a pre-shared key. It has no `Display`, and `Debug` says `(hidden)`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretKey([u8; KEY_OCTETS]);

impl SecretKey {
    /// WireGuard's word for no key: all octets zero.
    pub const NONE: SecretKey = SecretKey([0; KEY_OCTETS]);

    /// Takes a key's octets.
    pub fn new(octets: [u8; KEY_OCTETS]) -> SecretKey {
        SecretKey(octets)
    }

    /// Its octets, for the kernel and for the file that keeps it.
    pub fn expose(&self) -> &[u8; KEY_OCTETS] {
        &self.0
    }

    /// As `wg` writes it, for the file that keeps it.
    pub fn expose_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Whether it is [`SecretKey::NONE`].
    pub fn is_none(&self) -> bool {
        *self == SecretKey::NONE
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<SecretKey, KeyError> {
        decoded(text).map(SecretKey)
    }
}

fn decoded(text: &str) -> Result<[u8; KEY_OCTETS], KeyError> {
    STANDARD.decode(text).ok().and_then(|octets| octets.try_into().ok()).ok_or(KeyError::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_read_and_written_as_wg_does() {
        let text = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
        let key: PublicKey = text.parse().unwrap();
        assert_eq!((key.to_string(), format!("{key:?}")), (text.to_owned(), text.to_owned()));
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_repeated() {
        let short = "aGVsbG8=";
        let sloppy = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmp=";
        for text in ["", short, sloppy, "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo", "\n", &"A".repeat(100_000)] {
            let error = text.parse::<PublicKey>().unwrap_err();
            assert!(error == KeyError::Form && (text.len() < 5 || !error.to_string().contains(text)));
            assert_eq!(text.parse::<SecretKey>(), Err(KeyError::Form));
        }
    }

    #[test]
    fn points_of_small_order_are_nobodys_keys_whatever_their_highest_bit() {
        for mut octets in LOW_ORDER {
            assert_eq!(PublicKey::new(octets), Err(KeyError::LowOrder));
            octets[31] |= 0x80;
            assert_eq!(PublicKey::new(octets), Err(KeyError::LowOrder));
        }
        assert!(STANDARD.encode([0; 32]).parse::<PublicKey>().is_err());
        assert!(PublicKey::new([9; 32]).is_ok());
    }

    #[test]
    fn a_secret_key_is_never_shown() {
        let key = SecretKey::new([7; 32]);
        assert_eq!(format!("{key:?} {:#?}", Some(key)), "(hidden) Some(\n    (hidden),\n)");
        assert!(!key.is_none() && SecretKey::new([0; 32]).is_none());
        assert_eq!(key.expose_base64().parse(), Ok(key));
    }
}

//! [`Refresh`]: send your routes again, and where they begin and end (RFC 2918, RFC 7313).

use super::family::Family;
use super::notification::{Notification, code, refresh};
use super::reader::Reader;

/// A ROUTE-REFRESH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refresh {
    /// Of which routes.
    pub family: Family,
    /// What it says of them.
    pub subtype: Subtype,
}

/// What a ROUTE-REFRESH says (RFC 7313 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subtype {
    /// Send them again.
    Request,
    /// BoRR: here they come; what does not come again is no longer.
    Begin,
    /// EoRR: that was all.
    End,
    /// One that nobody has told us of: ignored (RFC 7313 section 5).
    Unknown(u8),
}

impl Refresh {
    /// Reads the body. A marker of the wrong length is answered with the whole message (RFC 7313 section 5); a request may have a
    /// filter behind it that we never agreed upon (RFC 5291), which is ignored.
    pub fn decode(body: &[u8]) -> Result<Refresh, Notification> {
        let mut reader = Reader::new(body);
        let wrong = || {
            let mut message = Vec::new();
            let start = super::header::begin(super::header::Kind::Refresh, &mut message);
            message.extend_from_slice(body);
            super::header::close(start, &mut message);
            Notification::new(code::REFRESH, refresh::INVALID_LENGTH).with(&message)
        };
        let (family, number) = Family::read_wide(&mut reader).map_err(|_| wrong())?;
        let subtype = match number {
            0 => Subtype::Request,
            1 | 2 if !reader.is_empty() => return Err(wrong()),
            1 => Subtype::Begin,
            2 => Subtype::End,
            other => Subtype::Unknown(other),
        };
        Ok(Refresh { family, subtype })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let number = match self.subtype {
            Subtype::Request => 0,
            Subtype::Begin => 1,
            Subtype::End => 2,
            Subtype::Unknown(number) => number,
        };
        out.extend_from_slice(&self.family.afi.to_be_bytes());
        out.extend_from_slice(&[number, self.family.safi]);
    }
}

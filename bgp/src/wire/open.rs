//! [`Open`]: the first message (RFC 4271 sections 4.2 and 6.2), its capabilities (RFC 5492), also where they need more than 255
//! bytes (RFC 9072).

use std::net::Ipv4Addr;

use super::as_path::narrow;
use super::capability::Capability;
use super::notification::{self, Notification, code, open};
use super::reader::{Reader, Short};

const VERSION: u8 = 4;
/// The optional parameter that holds capabilities.
const CAPABILITIES: u8 = 2;
/// As length and as first type: lengths of two octets follow (RFC 9072 section 2).
const EXTENDED: u8 = 255;

/// Who a speaker is and what it can.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Open {
    /// Its AS, from the capability when it has one; the field of two octets then says 23456 or the same.
    pub asn: u32,
    /// Seconds without a message after which it gives up; 0 for never.
    pub hold_secs: u16,
    /// Its identifier, unique within its AS (RFC 6286).
    pub identifier: Ipv4Addr,
    /// What it can, in its order.
    pub capabilities: Vec<Capability>,
}

impl Open {
    /// Reads the body. What is refused is refused with the code, subcode and data of RFC 4271 section 6.2; whether this is the peer
    /// that was expected is asked elsewhere.
    pub fn decode(body: &[u8]) -> Result<Open, Notification> {
        let mut reader = Reader::new(body);
        let malformed = |_: Short| Notification::new(code::OPEN, open::UNSPECIFIC);
        if reader.u8().map_err(malformed)? != VERSION {
            let supported = u16::from(VERSION).to_be_bytes();
            return Err(Notification::new(code::OPEN, open::UNSUPPORTED_VERSION).with(&supported));
        }
        let short_asn = reader.u16().map_err(malformed)?;
        let hold_secs = reader.u16().map_err(malformed)?;
        let identifier = Ipv4Addr::from(reader.array::<4>().map_err(malformed)?);
        let capabilities = capabilities(&mut reader)?;
        let four = capabilities.iter().find_map(|capability| match capability {
            Capability::FourOctetAs(asn) => Some(*asn),
            _ => None,
        });
        let asn = four.unwrap_or(short_asn.into());
        // AS 0 belongs to nobody (RFC 7607 section 2).
        if asn == 0 || short_asn == 0 {
            return Err(Notification::new(code::OPEN, open::BAD_PEER_AS));
        }
        if (1..=2).contains(&hold_secs) {
            return Err(Notification::new(code::OPEN, open::UNACCEPTABLE_HOLD_TIME));
        }
        if identifier.is_unspecified() {
            return Err(Notification::new(code::OPEN, open::BAD_IDENTIFIER));
        }
        Ok(Open { asn, hold_secs, identifier, capabilities })
    }

    /// Appends the body: one optional parameter a capability, as old speakers like it, and the long form only when it does not fit.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&narrow(self.asn).to_be_bytes());
        out.extend_from_slice(&self.hold_secs.to_be_bytes());
        out.extend_from_slice(&self.identifier.octets());
        let capabilities: Vec<Vec<u8>> = self.capabilities.iter().map(written).collect();
        let short: usize = capabilities.iter().map(|capability| capability.len().saturating_add(2)).sum();
        let one: usize = capabilities.iter().map(Vec::len).sum();
        match (u8::try_from(short), u16::try_from(one)) {
            (Ok(length), _) if length < EXTENDED && capabilities.iter().all(|one| one.len() <= 255) => {
                out.push(length);
                for capability in &capabilities {
                    out.push(CAPABILITIES);
                    out.push(u8::try_from(capability.len()).unwrap_or(u8::MAX));
                    out.extend_from_slice(capability);
                }
            }
            (_, Ok(length)) => {
                out.extend_from_slice(&[EXTENDED, EXTENDED]);
                out.extend_from_slice(&length.saturating_add(3).to_be_bytes());
                out.push(CAPABILITIES);
                out.extend_from_slice(&length.to_be_bytes());
                capabilities.iter().for_each(|capability| out.extend_from_slice(capability));
            }
            // More than an OPEN can hold is never configured: fewer than 30 kinds of at most 257 bytes.
            _ => out.push(0),
        }
    }
}

fn written(capability: &Capability) -> Vec<u8> {
    let mut bytes = Vec::new();
    capability.write(&mut bytes);
    bytes
}

fn capabilities(reader: &mut Reader<'_>) -> Result<Vec<Capability>, Notification> {
    let malformed = |_: Short| Notification::new(code::OPEN, open::UNSPECIFIC);
    let length = reader.u8().map_err(malformed)?;
    // The long form is told by the type that follows, whatever the length says but 0 (RFC 9072 section 2).
    let extended = length != 0 && reader.rest().first() == Some(&EXTENDED);
    let mut parameters = match extended {
        false => reader.take(length.into()).map(Reader::new),
        true => reader.u8().and_then(|_| reader.part_u16()),
    }
    .map_err(malformed)?;
    if !reader.is_empty() {
        return Err(malformed(Short));
    }
    let mut found = Vec::new();
    while !parameters.is_empty() {
        let kind = parameters.u8().map_err(malformed)?;
        let value = if extended { parameters.part_u16() } else { parameters.part_u8() };
        let mut value = value.map_err(malformed)?;
        if kind != CAPABILITIES {
            return Err(Notification::new(code::OPEN, notification::open::UNSUPPORTED_PARAMETER));
        }
        while !value.is_empty() {
            let capability = Capability::read(&mut value).map_err(malformed)?;
            // Said twice is said once (RFC 5492 section 4).
            if !found.contains(&capability) {
                found.push(capability);
            }
        }
    }
    Ok(found)
}

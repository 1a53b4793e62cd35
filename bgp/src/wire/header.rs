//! The nineteen bytes before each message, and where one message ends (RFC 4271 sections 4.1 and 6.1, RFC 8654).

use super::notification::{self, Notification, code};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 19;

const MARKER: [u8; 16] = [0xff; 16];

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who we are and what we can.
    Open,
    /// Routes.
    Update,
    /// The end, and why.
    Notification,
    /// Still here.
    Keepalive,
    /// Send your routes again (RFC 2918).
    Refresh,
}

impl Kind {
    /// The number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Kind::Open => 1,
            Kind::Update => 2,
            Kind::Notification => 3,
            Kind::Keepalive => 4,
            Kind::Refresh => 5,
        }
    }

    fn of(number: u8) -> Option<Kind> {
        [Kind::Open, Kind::Update, Kind::Notification, Kind::Keepalive, Kind::Refresh]
            .into_iter()
            .find(|kind| kind.number() == number)
    }

    /// The shortest and the longest that this message may be; the limit agreed upon holds for neither OPEN nor KEEPALIVE (RFC
    /// 8654 section 3).
    fn lengths(self, limit: MessageLimit) -> (usize, usize) {
        match self {
            Kind::Open => (29, MessageLimit::Standard.bytes()),
            Kind::Update => (23, limit.bytes()),
            Kind::Notification => (21, limit.bytes()),
            Kind::Keepalive => (HEADER_BYTES, HEADER_BYTES),
            Kind::Refresh => (23, limit.bytes()),
        }
    }
}

/// How long a message may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum MessageLimit {
    /// 4096 bytes.
    #[default]
    Standard,
    /// 65535 bytes, when both ends can (RFC 8654).
    Extended,
}

impl MessageLimit {
    /// In bytes, header included.
    pub fn bytes(self) -> usize {
        match self {
            MessageLimit::Standard => 4096,
            MessageLimit::Extended => 65535,
        }
    }
}

/// One whole message at the beginning of what was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// What follows the header.
    pub body: &'a [u8],
    /// Bytes of header and body: what to drop of the buffer.
    pub length: usize,
}

/// The first message of `bytes`; `None` when it is not whole yet. A wrong header is told as soon as it can be seen, so that half a
/// message for ever is no way to fill memory: never are more than `limit` bytes waited for.
pub fn frame(bytes: &[u8], limit: MessageLimit) -> Result<Option<Frame<'_>>, Notification> {
    let marker = bytes.get(..MARKER.len()).unwrap_or(bytes);
    if !MARKER.starts_with(marker) {
        return Err(Notification::new(code::HEADER, notification::header::NOT_SYNCHRONIZED));
    }
    let Some(&[high, low]) = bytes.get(16..18).and_then(|length| length.first_chunk()) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let bad_length = || Notification::new(code::HEADER, notification::header::BAD_LENGTH).with(&[high, low]);
    if !(HEADER_BYTES..=limit.bytes()).contains(&length) {
        return Err(bad_length());
    }
    let Some(&number) = bytes.get(18) else { return Ok(None) };
    let kind = Kind::of(number)
        .ok_or_else(|| Notification::new(code::HEADER, notification::header::BAD_TYPE).with(&[number]))?;
    let (least, most) = kind.lengths(limit);
    if !(least..=most).contains(&length) {
        return Err(bad_length());
    }
    Ok(bytes.get(HEADER_BYTES..length).map(|body| Frame { kind, body, length }))
}

/// Whole messages of our own, one after another: what each is, and all of its bytes.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (Kind, &[u8])> {
    std::iter::from_fn(move || {
        let message = frame(bytes, MessageLimit::Extended).ok()??;
        let (first, rest) = bytes.split_at_checked(message.length)?;
        bytes = rest;
        Some((message.kind, first))
    })
}

/// A header for a message whose body is still to be appended, then closed by [`close`].
pub fn begin(kind: Kind, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&[0, 0, kind.number()]);
    start
}

/// Writes the length of the message that begins at `start` into its header.
pub fn close(start: usize, out: &mut [u8]) {
    let length = u16::try_from(out.len().saturating_sub(start)).unwrap_or(u16::MAX);
    if let Some(field) = out.get_mut(start.saturating_add(16)..start.saturating_add(18)) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

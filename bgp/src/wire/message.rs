//! [`Message`]: one of the five, read from a frame; and whole messages written.

use super::header::{self, Frame, Kind};
use super::notification::Notification;
use super::open::Open;
use super::refresh::Refresh;
use super::terms::Terms;
use super::update::Update;

/// A message of a peer.
#[derive(Clone, Debug, PartialEq)]
pub enum Message<'a> {
    /// Who it is.
    Open(Open),
    /// Its routes.
    Update(Box<Update<'a>>),
    /// The end, and why.
    Notification(Notification),
    /// Still here.
    Keepalive,
    /// Send your routes again.
    Refresh(Refresh),
}

impl<'a> Message<'a> {
    /// Reads the body of a frame in the terms agreed upon.
    pub fn decode(frame: &Frame<'a>, terms: &Terms) -> Result<Message<'a>, Notification> {
        Ok(match frame.kind {
            Kind::Open => Message::Open(Open::decode(frame.body)?),
            Kind::Update => Message::Update(Box::new(Update::decode(frame.body, terms)?)),
            // The header has said two bytes at least.
            Kind::Notification => {
                Message::Notification(Notification::decode(frame.body).unwrap_or(Notification::new(0, 0)))
            }
            Kind::Keepalive => Message::Keepalive,
            Kind::Refresh => Message::Refresh(Refresh::decode(frame.body)?),
        })
    }
}

/// Appends a whole message whose body `write` appends.
pub fn write(kind: Kind, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = header::begin(kind, out);
    write(out);
    header::close(start, out);
}

/// A whole OPEN.
pub fn open(open: &Open) -> Vec<u8> {
    let mut out = Vec::new();
    write(Kind::Open, &mut out, |out| open.encode(out));
    out
}

/// A whole KEEPALIVE.
pub fn keepalive() -> Vec<u8> {
    let mut out = Vec::new();
    write(Kind::Keepalive, &mut out, |_| ());
    out
}

/// A whole NOTIFICATION, its data cut to what a message may hold.
pub fn notification(notification: &Notification) -> Vec<u8> {
    let mut out = Vec::new();
    let longest = header::MessageLimit::Standard.bytes();
    let start = header::begin(Kind::Notification, &mut out);
    notification.encode(&mut out);
    out.truncate(longest);
    header::close(start, &mut out);
    out
}

/// A whole ROUTE-REFRESH.
pub fn refresh(refresh: &Refresh) -> Vec<u8> {
    let mut out = Vec::new();
    write(Kind::Refresh, &mut out, |out| refresh.encode(out));
    out
}

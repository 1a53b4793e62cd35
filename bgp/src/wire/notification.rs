//! [`Notification`]: the message that ends a session and says why (RFC 4271 section 4.5), with the words that people gave for
//! it (RFC 9003) and the reset that graceful restart does not soften (RFC 8538).

use std::fmt;

/// The longest text that says why a session was shut down, in bytes (RFC 9003 section 2).
pub const SHUTDOWN_TEXT_BYTES: usize = 255;

/// Code, subcode and data of a NOTIFICATION.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notification {
    /// What kind of trouble: see the constants of [`code`].
    pub code: u8,
    /// What exactly.
    pub subcode: u8,
    /// What the RFC wants beside it: the bytes at fault, a text, or nothing.
    pub data: Vec<u8>,
}

/// Error codes (RFC 4271 section 4.5, RFC 7313 section 5, RFC 9687 section 3).
pub mod code {
    /// The header of a message is wrong.
    pub const HEADER: u8 = 1;
    /// The OPEN is not acceptable.
    pub const OPEN: u8 = 2;
    /// The UPDATE cannot be understood far enough to keep the session.
    pub const UPDATE: u8 = 3;
    /// Nothing was heard for the hold time.
    pub const HOLD_TIMER: u8 = 4;
    /// A message that has no place in the state.
    pub const STATE_MACHINE: u8 = 5;
    /// Somebody wants the session to end.
    pub const CEASE: u8 = 6;
    /// The ROUTE-REFRESH is wrong.
    pub const REFRESH: u8 = 7;
    /// The peer did not take what was sent for the send hold time.
    pub const SEND_HOLD_TIMER: u8 = 8;
}

/// Subcodes of [`code::HEADER`] (RFC 4271 section 6.1).
pub mod header {
    /// The marker is not all ones.
    pub const NOT_SYNCHRONIZED: u8 = 1;
    /// The length does not suit the type.
    pub const BAD_LENGTH: u8 = 2;
    /// No such type.
    pub const BAD_TYPE: u8 = 3;
}

/// Subcodes of [`code::OPEN`] (RFC 4271 section 6.2, RFC 5492, RFC 9234).
pub mod open {
    /// Malformed in a way without a subcode of its own.
    pub const UNSPECIFIC: u8 = 0;
    /// Not version 4.
    pub const UNSUPPORTED_VERSION: u8 = 1;
    /// Not the AS that was expected, or 0.
    pub const BAD_PEER_AS: u8 = 2;
    /// Identifier 0, or our own.
    pub const BAD_IDENTIFIER: u8 = 3;
    /// An optional parameter that is no capability.
    pub const UNSUPPORTED_PARAMETER: u8 = 4;
    /// One or two seconds.
    pub const UNACCEPTABLE_HOLD_TIME: u8 = 6;
    /// A capability that we require is missing.
    pub const UNSUPPORTED_CAPABILITY: u8 = 7;
    /// The two roles do not go together.
    pub const ROLE_MISMATCH: u8 = 11;
}

/// Subcodes of [`code::UPDATE`] (RFC 4271 section 6.3).
pub mod update {
    /// Lengths that contradict each other, or MP_REACH_NLRI twice.
    pub const MALFORMED_ATTRIBUTES: u8 = 1;
    /// Well-known, and unknown to us.
    pub const UNRECOGNIZED_WELL_KNOWN: u8 = 2;
    /// A mandatory attribute is not there.
    pub const MISSING_WELL_KNOWN: u8 = 3;
    /// The flags contradict the type.
    pub const FLAGS: u8 = 4;
    /// The length contradicts the type.
    pub const LENGTH: u8 = 5;
    /// No such ORIGIN.
    pub const INVALID_ORIGIN: u8 = 6;
    /// Not an address of a host.
    pub const INVALID_NEXT_HOP: u8 = 8;
    /// An optional attribute is malformed.
    pub const OPTIONAL_ATTRIBUTE: u8 = 9;
    /// A prefix is malformed.
    pub const INVALID_NETWORK: u8 = 10;
    /// The AS_PATH is malformed.
    pub const MALFORMED_AS_PATH: u8 = 11;
}

/// Subcodes of [`code::STATE_MACHINE`] (RFC 6608): the state in which the message came.
pub mod state_machine {
    /// In OpenSent.
    pub const OPEN_SENT: u8 = 1;
    /// In OpenConfirm.
    pub const OPEN_CONFIRM: u8 = 2;
    /// In Established.
    pub const ESTABLISHED: u8 = 3;
}

/// Subcodes of [`code::CEASE`] (RFC 4486, RFC 8538, RFC 9384).
pub mod cease {
    /// More prefixes than were agreed.
    pub const MAXIMUM_PREFIXES: u8 = 1;
    /// Shut down by a person.
    pub const SHUTDOWN: u8 = 2;
    /// No longer configured.
    pub const DECONFIGURED: u8 = 3;
    /// Reset by a person.
    pub const RESET: u8 = 4;
    /// Not wanted now.
    pub const REJECTED: u8 = 5;
    /// The configuration changed.
    pub const CONFIGURATION: u8 = 6;
    /// The other connection won.
    pub const COLLISION: u8 = 7;
    /// No memory left.
    pub const OUT_OF_RESOURCES: u8 = 8;
    /// A reset that graceful restart is not to soften.
    pub const HARD_RESET: u8 = 9;
    /// BFD says that the path is down.
    pub const BFD_DOWN: u8 = 10;
}

/// Subcodes of [`code::REFRESH`] (RFC 7313 section 5).
pub mod refresh {
    /// The length is wrong.
    pub const INVALID_LENGTH: u8 = 1;
}

impl Notification {
    /// One without data.
    pub fn new(code: u8, subcode: u8) -> Notification {
        Notification { code, subcode, data: Vec::new() }
    }

    /// The same with data.
    pub fn with(self, data: &[u8]) -> Notification {
        Notification { data: data.to_vec(), ..self }
    }

    /// Cease with a text for the people at the other end, cut at a character when it is too long (RFC 9003 section 2).
    /// `subcode` is [`cease::SHUTDOWN`] or [`cease::RESET`]; others have no text.
    pub fn cease(subcode: u8, text: &str) -> Notification {
        let longest = text.len().min(SHUTDOWN_TEXT_BYTES);
        let text = (0..=longest).rev().find_map(|end| text.get(..end)).unwrap_or_default();
        let mut data = Vec::new();
        if !text.is_empty() {
            data.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            data.extend_from_slice(text.as_bytes());
        }
        Notification { code: code::CEASE, subcode, data }
    }

    /// This one as a reset that graceful restart does not soften (RFC 8538 section 3.1): its code and subcode go into the data.
    pub fn hard(self) -> Notification {
        let mut data = vec![self.code, self.subcode];
        data.extend_from_slice(&self.data);
        Notification { code: code::CEASE, subcode: cease::HARD_RESET, data }
    }

    /// Whether routes must go at once although graceful restart with notifications was agreed (RFC 8538 section 4).
    pub fn is_hard(&self) -> bool {
        self.code == code::CEASE && self.subcode == cease::HARD_RESET
    }

    /// What a hard reset says inside, or this one itself.
    pub fn inner(&self) -> Notification {
        match self.data.as_slice() {
            [code, subcode, data @ ..] if self.is_hard() => Notification::new(*code, *subcode).with(data),
            _ => self.clone(),
        }
    }

    /// The text that people gave, with what is not UTF-8 or not printable replaced: it goes to a log (RFC 9003 section 3).
    pub fn text(&self) -> Option<String> {
        let inner = self.inner();
        let says = inner.code == code::CEASE && matches!(inner.subcode, cease::SHUTDOWN | cease::RESET);
        let (length, rest) = inner.data.split_first().filter(|_| says)?;
        let text = rest.get(..usize::from(*length)).filter(|text| !text.is_empty())?;
        let text = String::from_utf8_lossy(text);
        Some(text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect())
    }

    /// Reads the body of a NOTIFICATION, which the header has said to be two bytes at least.
    pub fn decode(body: &[u8]) -> Option<Notification> {
        match body {
            [code, subcode, data @ ..] => Some(Notification { code: *code, subcode: *subcode, data: data.to_vec() }),
            _ => None,
        }
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.code);
        out.push(self.subcode);
        out.extend_from_slice(&self.data);
    }

    fn words(&self) -> &'static str {
        match (self.code, self.subcode) {
            (code::HEADER, header::NOT_SYNCHRONIZED) => "the connection is out of step",
            (code::HEADER, header::BAD_LENGTH) => "a message has a wrong length",
            (code::HEADER, header::BAD_TYPE) => "a message has an unknown type",
            (code::OPEN, open::UNSUPPORTED_VERSION) => "the BGP version is not supported",
            (code::OPEN, open::BAD_PEER_AS) => "the AS number is not the one expected",
            (code::OPEN, open::BAD_IDENTIFIER) => "the BGP identifier is not acceptable",
            (code::OPEN, open::UNSUPPORTED_PARAMETER) => "an optional parameter is not supported",
            (code::OPEN, open::UNACCEPTABLE_HOLD_TIME) => "the hold time is not acceptable",
            (code::OPEN, open::UNSUPPORTED_CAPABILITY) => "a required capability is missing",
            (code::OPEN, open::ROLE_MISMATCH) => "the two BGP roles do not go together",
            (code::OPEN, _) => "the OPEN is malformed",
            (code::UPDATE, update::MALFORMED_ATTRIBUTES) => "the attribute list is malformed",
            (code::UPDATE, update::UNRECOGNIZED_WELL_KNOWN) => "a well-known attribute is not recognized",
            (code::UPDATE, update::MISSING_WELL_KNOWN) => "a well-known attribute is missing",
            (code::UPDATE, update::FLAGS) => "the flags of an attribute are wrong",
            (code::UPDATE, update::LENGTH) => "the length of an attribute is wrong",
            (code::UPDATE, update::INVALID_ORIGIN) => "ORIGIN is invalid",
            (code::UPDATE, update::INVALID_NEXT_HOP) => "NEXT_HOP is invalid",
            (code::UPDATE, update::OPTIONAL_ATTRIBUTE) => "an optional attribute is malformed",
            (code::UPDATE, update::INVALID_NETWORK) => "a prefix is malformed",
            (code::UPDATE, update::MALFORMED_AS_PATH) => "AS_PATH is malformed",
            (code::HOLD_TIMER, _) => "nothing was heard for the hold time",
            (code::STATE_MACHINE, _) => "a message came in the wrong state",
            (code::CEASE, cease::MAXIMUM_PREFIXES) => "too many prefixes",
            (code::CEASE, cease::SHUTDOWN) => "shut down by an administrator",
            (code::CEASE, cease::DECONFIGURED) => "the peer is no longer configured",
            (code::CEASE, cease::RESET) => "reset by an administrator",
            (code::CEASE, cease::REJECTED) => "the connection was rejected",
            (code::CEASE, cease::CONFIGURATION) => "the configuration changed",
            (code::CEASE, cease::COLLISION) => "the other of two connections was kept",
            (code::CEASE, cease::OUT_OF_RESOURCES) => "out of resources",
            (code::CEASE, cease::HARD_RESET) => "hard reset",
            (code::CEASE, cease::BFD_DOWN) => "BFD says that the path is down",
            (code::REFRESH, _) => "a ROUTE-REFRESH has a wrong length",
            (code::SEND_HOLD_TIMER, _) => "the peer took nothing for the send hold time",
            _ => "no reason that we know",
        }
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner();
        write!(f, "{} ({}/{})", inner.words(), self.code, self.subcode)?;
        match self.text() {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

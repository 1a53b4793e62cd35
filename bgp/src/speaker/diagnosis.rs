//! Why an OPEN was refused, in the words of both configurations: the code on the wire says only which field it was.

use crate::rib::Settings;
use crate::wire::notification::{cease, code, open};
use crate::wire::{Capability, Notification, Open};

use super::config::{PeerConfig, RemoteAs};

/// Why we refuse theirs; `None` when the NOTIFICATION says all there is to say.
pub(super) fn refused(config: &PeerConfig, settings: &Settings, theirs: &Open, why: &Notification) -> Option<String> {
    let Open { asn, identifier, .. } = theirs;
    match (why.code, why.subcode) {
        (code::OPEN, open::BAD_PEER_AS) => Some(match config.remote_as {
            RemoteAs::Exactly(expected) => format!("the peer is AS {asn}, {expected} was configured"),
            RemoteAs::Internal => {
                format!("the peer is AS {asn}, and one of our own AS, {}, was configured", settings.asn)
            }
            RemoteAs::External => format!("the peer is AS {asn} like ourselves, and one of another was configured"),
        }),
        (code::OPEN, open::BAD_IDENTIFIER) => {
            Some(format!("the peer has our own BGP identifier, {identifier}: each speaker of an AS needs its own"))
        }
        (code::OPEN, open::ROLE_MISMATCH) => {
            let said = theirs.capabilities.iter().find_map(|capability| match capability {
                Capability::Role(role) => Some(role.to_string()),
                _ => None,
            });
            let ours = config.role.map_or_else(|| "none".to_owned(), |role| role.to_string());
            let said = said.unwrap_or_else(|| "an unknown one".to_owned());
            Some(format!("our role is {ours} and the peer's {said}, which do not go together (RFC 9234)"))
        }
        _ => None,
    }
}

/// What to look at when they refuse us.
pub(super) fn advice(config: &PeerConfig, settings: &Settings, heard: &Notification) -> Option<String> {
    let inner = heard.inner();
    match (inner.code, inner.subcode) {
        (code::OPEN, open::BAD_PEER_AS) => Some(format!("it expects us in another AS than {}", settings.asn)),
        (code::OPEN, open::BAD_IDENTIFIER) => {
            Some(format!("does it, or another of its peers, have our identifier {}?", settings.identifier))
        }
        (code::OPEN, open::UNSUPPORTED_CAPABILITY) => {
            let offered: Vec<String> = config.families.iter().map(|config| config.family.to_string()).collect();
            Some(format!("we offer {}: does it speak that?", offered.join(" and ")))
        }
        (code::HOLD_TIMER, _) => Some(
            "our packets did not reach it: is the path good, with its MTU, and TTL security at both ends or at none?"
                .to_owned(),
        ),
        (code::CEASE, cease::MAXIMUM_PREFIXES) => Some("it was told more routes than it takes".to_owned()),
        (code::CEASE, cease::COLLISION) => {
            Some("it believes in another connection with us, for as long as its hold time".to_owned())
        }
        (code::CEASE, cease::REJECTED | cease::DECONFIGURED) => {
            Some("does its configuration name this node?".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::tests::{config, settings};
    use super::*;

    #[test]
    fn what_they_refuse_is_said_with_what_we_have() {
        let said = |code, subcode| advice(&config(2), &settings(1, 64512), &Notification::new(code, subcode)).unwrap();
        assert_eq!(said(code::OPEN, open::UNSUPPORTED_CAPABILITY), "we offer ipv4 and ipv6: does it speak that?");
        assert!(said(code::HOLD_TIMER, 0).contains("TTL security at both ends or at none"));
        assert!(said(code::CEASE, cease::COLLISION).contains("another connection"));
    }
}

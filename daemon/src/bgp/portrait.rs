//! A peer's portrait: what the speaker knows of it, put into a [`PeerView`], with a sentence for each thing that is agreed or missing.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use bgp::machine::State;
use bgp::speaker::{Agreement, Excess, Messages, PeerConfig, PeerStatus, PrefixLimit, RemoteAs};
use bgp::wire::header::Kind;
use bgp::wire::terms::{AsWidth, NextHops, PathIds};
use bgp::wire::{Family, MessageLimit};

use super::views::PeerView;
use super::wish::{Distance, Neighbour};

impl PeerView {
    /// Whether its session is established.
    pub fn is_up(&self) -> bool {
        self.state == State::Established.to_string()
    }

    /// The same with what the speaker says of the peer.
    pub fn with_status(self, status: &PeerStatus) -> PeerView {
        PeerView {
            state: status.state.to_string(),
            prefixes_in: status.paths,
            prefixes_out: status.told,
            queued_bytes: status.queued,
            flaps: status.flaps,
            malformed: status.malformed,
            notes: {
                let faults = status.last_fault.iter().map(|fault| malformed(status.malformed, fault));
                faults.chain(status.near_limit.iter().map(near_limit)).collect()
            },
            trouble: self.trouble.or_else(|| status.last_error.clone()),
            last_said: status.last_said.clone(),
            last_heard: status.last_heard.clone(),
            messages_in: counted(&status.received),
            messages_out: counted(&status.sent),
            agreed: status.agreement.as_ref().map_or_else(Vec::new, agreed),
            capabilities: status.capabilities.iter().map(ToString::to_string).collect(),
            families: status.families.iter().map(ToString::to_string).collect(),
            stale: status.stale,
            ..self
        }
    }

    /// The same with what somebody should know of a peer that is configured like this, `ours` being our AS.
    pub fn with_notes(mut self, session: &PeerConfig, ours: u32) -> PeerView {
        let asn = match session.remote_as {
            RemoteAs::Exactly(asn) => Some(asn),
            RemoteAs::Internal => Some(ours),
            RemoteAs::External => None,
        };
        let external = asn != Some(ours);
        if external && session.import.is_none() {
            self.notes.push(
                "no import policy: an eBGP peer's routes are rejected (RFC 8212); give the peer an Import".into(),
            );
        }
        if external && session.export.is_none() {
            self.notes
                .push("no export policy: an eBGP peer is told nothing (RFC 8212); give the peer an Export".into());
        }
        let spoken = |family: &Family| self.families.contains(&family.to_string());
        let configured = session.families.iter().map(|config| config.family);
        let missing: Vec<String> = match self.families.is_empty() {
            true => Vec::new(),
            false => configured.filter(|family| !spoken(family)).map(|family| family.to_string()).collect(),
        };
        if !missing.is_empty() {
            self.notes
                .push(format!("{} is configured and not spoken: the peer does not offer it", missing.join(" and ")));
        }
        self
    }
}

fn near_limit((family, count, limit): &(Family, usize, PrefixLimit)) -> String {
    let most = limit.most;
    let then = match limit.excess {
        Excess::Ended(_) => "with one more than that the session ends",
        Excess::Warned => "more are only said",
    };
    format!("{count} {family} routes of {most} that it may have (MaxPrefixes); {then}")
}

fn malformed(count: u64, last: &str) -> String {
    match count {
        1 => format!("it sent a malformed UPDATE: {last}"),
        count => format!("it sent {count} malformed UPDATEs, the last: {last}"),
    }
}

fn counted(messages: &Messages) -> BTreeMap<String, u64> {
    let name = |kind| match kind {
        Kind::Open => "open",
        Kind::Update => "update",
        Kind::Notification => "notification",
        Kind::Keepalive => "keepalive",
        Kind::Refresh => "refresh",
    };
    messages.each().map(|(kind, count)| (name(kind).to_owned(), count)).collect()
}

/// What both ends agreed upon.
fn agreed(agreement: &Agreement) -> Vec<String> {
    let mut agreed = vec![match agreement.hold.as_secs() {
        0 => "no hold time: a dead peer is not noticed".to_owned(),
        secs => format!("hold time {secs} s"),
    }];
    if agreement.terms.width == AsWidth::Two {
        agreed.push("AS numbers of two octets: the peer is an old speaker (RFC 6793)".to_owned());
    }
    if agreement.terms.limit == MessageLimit::Extended {
        agreed.push("messages of up to 65535 bytes".to_owned());
    }
    for terms in &agreement.terms.families {
        let paths = match (terms.receive, terms.send) {
            (PathIds::Present, PathIds::Present) => "both ways",
            (PathIds::Present, PathIds::Absent) => "from the peer",
            (PathIds::Absent, PathIds::Present) => "to the peer",
            (PathIds::Absent, PathIds::Absent) => "",
        };
        if !paths.is_empty() {
            agreed.push(format!("several paths of {} {paths} (RFC 7911)", terms.family));
        }
        if terms.family == Family::IPV4 && terms.next_hops == NextHops::AlsoIpv6 {
            agreed.push("next hops of ipv4 may be IPv6 (RFC 8950)".to_owned());
        }
    }
    agreed.push(match (agreement.refresh, agreement.enhanced_refresh) {
        (true, true) => "routes are sent again when asked, with marks where they begin and end (RFC 7313)".to_owned(),
        (true, false) => "routes are sent again when asked (RFC 2918)".to_owned(),
        (false, _) => "no route refresh: another import policy resets the session".to_owned(),
    });
    agreed.push(match &agreement.graceful {
        Some(restart) => format!("graceful restart: its routes are kept for {} s", restart.restart_secs),
        None => "no graceful restart: its routes go with the session".to_owned(),
    });
    agreed
}

/// Why nobody may answer an attempt to connect.
pub(super) fn unanswered(neighbour: &Neighbour) -> String {
    let signed = if neighbour.authentication.is_some() { "another key there" } else { "a key there and none here" };
    let mut reasons: Vec<String> = dropped(neighbour.distance).into_iter().collect();
    reasons.extend([signed, "a firewall"].map(str::to_owned));
    format!("nobody answers at port {}: {}, or nobody there", neighbour.port, reasons.join(", "))
}

/// Why a peer that took a connection may seem to say nothing. Packets that TTL security drops (RFC 5082) leave no trace at either end.
pub(super) fn unheard(neighbour: &Neighbour) -> String {
    dropped(neighbour.distance).unwrap_or_else(|| {
        "if it has TTL security (GTSM), what we send is dropped there: the peer needs TTLSecurity here, too".to_owned()
    })
}

/// What we drop of a peer.
fn dropped(distance: Distance) -> Option<String> {
    let Distance::Secured(hops) = distance else { return None };
    let least = u8::MAX - (hops.get() - 1);
    Some(format!(
        "what it sends with a TTL below {least} is dropped here, because of TTLSecurity (it needs the like, FRR `ttl-security hops {hops}`, BIRD `ttl security on`)"
    ))
}

/// Why a connection did not come about, and where to look.
pub fn unconnected(remote: SocketAddr, error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused; is BGP enabled there?",
        io::ErrorKind::TimedOut => {
            "it says nothing; is it up, and does a firewall let TCP through? A key must be the same at both ends"
        }
        io::ErrorKind::HostUnreachable => {
            "no route to the host: nobody has this address on the link, or it is farther away than Multihop says"
        }
        io::ErrorKind::NetworkUnreachable => "the network is unreachable: this node has no route there",
        io::ErrorKind::ConnectionReset => "the connection was reset; is this node a neighbour in its configuration?",
        io::ErrorKind::AddrInUse => "the local address and port are in use",
        io::ErrorKind::AddrNotAvailable => "this node does not have the local address",
        _ => return format!("no answer from {remote}: {error}"),
    };
    format!("no answer from {remote}: {what}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use bgp::policy::Policy;

    use super::*;
    use crate::bgp::wish::{Necessity, Origin, PORT, Place};

    #[test]
    fn a_peer_without_policies_is_said_to_be_refused() {
        let config = PeerConfig::new("10.0.0.1".parse().unwrap(), RemoteAs::Exactly(64601));
        let notes = PeerView::default().with_notes(&config, 64512).notes;
        assert_eq!(
            notes[0],
            "no import policy: an eBGP peer's routes are rejected (RFC 8212); give the peer an Import"
        );
        assert_eq!(notes.len(), 2);
        assert_eq!(PeerView::default().with_notes(&config, 64601).notes, Vec::<String>::new());
        let policies = Some(Arc::new(Policy::accept()));
        let config = PeerConfig { import: policies.clone(), export: policies, ..config };
        let view = PeerView { families: vec!["ipv4".into()], ..PeerView::default() };
        let notes = view.with_notes(&config, 64512).notes;
        assert_eq!(notes, ["ipv6 is configured and not spoken: the peer does not offer it"]);
    }

    #[test]
    fn what_ttl_security_drops_unseen_is_named_as_one_reason() {
        let session = PeerConfig::new("10.0.0.1".parse().unwrap(), RemoteAs::Exactly(64601));
        let mut neighbour = Neighbour {
            place: Place::Address { remote: session.address, local: None },
            port: PORT,
            session,
            authentication: None,
            distance: Distance::Direct,
            liveness: None,
            necessity: Necessity::Optional,
            origin: Origin::Configured,
        };
        assert_eq!(
            unanswered(&neighbour),
            "nobody answers at port 179: a key there and none here, a firewall, or nobody there"
        );
        assert!(unheard(&neighbour).contains("the peer needs TTLSecurity here, too"));
        neighbour.distance = Distance::Secured(2.try_into().unwrap());
        assert!(unanswered(&neighbour).contains("with a TTL below 254 is dropped here, because of TTLSecurity"));
        assert!(unheard(&neighbour).contains("FRR `ttl-security hops 2`"));
    }

    #[test]
    fn a_connection_that_did_not_come_about_says_where_to_look() {
        let remote = "10.0.0.1:179".parse().unwrap();
        assert_eq!(
            unconnected(remote, &io::ErrorKind::ConnectionRefused.into()),
            "no answer from 10.0.0.1:179: connection refused; is BGP enabled there?"
        );
        assert!(unconnected(remote, &io::Error::from_raw_os_error(113)).contains("nobody has this address"));
    }
}

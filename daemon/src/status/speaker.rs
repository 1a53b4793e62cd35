//! [`SpeakerStatus`]: BGP in a few lines of `towpathctl status`; `towpathctl bgp peers` says more.

use std::fmt;

use serde::Serialize;

use crate::bgp::views::PeerView;

/// How BGP is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpeakerStatus {
    /// All peers.
    pub peers: usize,
    /// Those whose session is up.
    pub up: usize,
    /// Routes kept of all of them.
    pub routes: usize,
    /// What is the matter with those that are not, and with others: a sentence each, at most some.
    pub matters: Vec<String>,
}

/// One reason tends to hold for all that are alike.
const SHOWN: usize = 8;

impl SpeakerStatus {
    /// As these peers are; nothing where there is none.
    pub fn new(peers: &[PeerView]) -> Option<SpeakerStatus> {
        let matters = peers.iter().flat_map(|peer| {
            let silent = (!peer.is_up()).then(|| peer.trouble.as_deref().unwrap_or("no session yet").to_owned());
            let said = silent.into_iter().chain(peer.notes.iter().cloned());
            said.map(|matter| format!("{}: {matter}", peer.name)).collect::<Vec<_>>()
        });
        let mut matters: Vec<String> = matters.collect();
        let more = matters.len().saturating_sub(SHOWN);
        matters.truncate(SHOWN);
        if more > 0 {
            matters.push(format!("and {more} more: see `towpathctl bgp peers`"));
        }
        (!peers.is_empty()).then(|| SpeakerStatus {
            peers: peers.len(),
            up: peers.iter().filter(|peer| peer.is_up()).count(),
            routes: peers.iter().map(|peer| peer.prefixes_in).sum(),
            matters,
        })
    }
}

impl fmt::Display for SpeakerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SpeakerStatus { peers, up, routes, .. } = self;
        let routes = if *routes == 1 { "1 route".to_owned() } else { format!("{routes} routes") };
        match *peers {
            1 => write!(f, "1 peer, {}, {routes}", if *up == 1 { "up" } else { "NOT UP" }),
            peers if peers == *up => write!(f, "{peers} peers, all up, {routes}"),
            peers => write!(f, "{peers} peers, {} NOT UP, {routes}", peers - up),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_the_matter_is_said_and_not_for_ever() {
        assert_eq!(SpeakerStatus::new(&[]), None);
        let peer = |number: usize, state: &str| PeerView {
            name: format!("tor{number}"),
            state: state.into(),
            prefixes_in: 2,
            trouble: Some("it went".into()),
            ..PeerView::default()
        };
        let all: Vec<PeerView> = (0..3).map(|number| peer(number, "Established")).collect();
        let status = SpeakerStatus::new(&all).unwrap();
        assert_eq!((status.to_string().as_str(), status.matters.len()), ("3 peers, all up, 6 routes", 0));
        let none: Vec<PeerView> = (0..20).map(|number| peer(number, "Active")).collect();
        let status = SpeakerStatus::new(&none).unwrap();
        assert_eq!(status.to_string(), "20 peers, 20 NOT UP, 40 routes");
        assert_eq!(status.matters[0], "tor0: it went");
        assert_eq!(status.matters.last().unwrap(), "and 12 more: see `towpathctl bgp peers`");
    }
}

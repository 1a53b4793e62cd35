//! The configuration by which this node goes on to tell the others of its pods, and is told of theirs, after another backend than bgp was
//! configured: until nobody sends by what is learnt any more. A daemon that starts in the midst of that has it from the state file.

use backends::Backend;

use crate::netconf::bgp::Bgp;
use crate::netconf::{self, Division};
use crate::node::Node;
use crate::state_file::LastKnown;

/// A net-conf.json with the backend bgp.
#[derive(Debug)]
pub(in crate::node) struct Former {
    /// As written.
    text: String,
    /// Who speaks with whom by it.
    bgp: Bgp,
}

impl Former {
    /// What a daemon that ran before this one may have spoken by.
    pub fn of(last: &LastKnown, division: Division) -> Option<Former> {
        let network = || last.network.clone().filter(|text| is_of_bgp(text, division));
        Former::read(last.former.clone().or_else(network)?, division)
    }

    fn read(text: String, division: Division) -> Option<Former> {
        let bgp = netconf::read(&text, division).ok()?.bgp?;
        Some(Former { text, bgp })
    }
}

fn is_of_bgp(text: &str, division: Division) -> bool {
    netconf::read(text, division).is_ok_and(|network| matches!(network.backend, Backend::Bgp(_)))
}

impl Node {
    /// The network was another one until now.
    pub(in crate::node) fn note_former(&mut self, (text, backend): (Option<String>, Option<Backend>)) {
        let configured = self.network().is_some_and(|network| matches!(network.backend, Backend::Bgp(_)));
        if configured {
            self.bgp.former = None;
        } else if let (Some(text), Some(Backend::Bgp(_))) = (text, backend) {
            self.bgp.former = Former::read(text, self.identity.division);
        }
    }

    /// Nobody needs it, unless bgp is one of this node's ways.
    pub(in crate::node) fn forget_former(&mut self) {
        if self.bgp.former.is_some() && !self.backends().any(|backend| matches!(backend, Backend::Bgp(_))) {
            self.bgp.former = None;
            self.unsaved = true;
            self.follow_bgp();
        }
    }

    /// What a daemon that starts in the midst of it must know.
    pub(in crate::node) fn former_text(&self) -> Option<String> {
        self.bgp.former.as_ref().map(|former| former.text.clone())
    }

    /// What this node speaks by: what is configured; until it is no longer needed what was, and beside it the peers of what is.
    pub(super) fn speech(&self) -> Option<Bgp> {
        let configured = self.network()?.bgp.as_ref();
        let Some(former) = &self.bgp.former else { return configured.cloned() };
        let mut bgp = former.bgp.clone();
        for peer in configured.into_iter().flat_map(|configured| &configured.peers) {
            bgp.peers.retain(|it| it.name != peer.name);
            bgp.peers.push(peer.clone());
        }
        Some(bgp)
    }
}

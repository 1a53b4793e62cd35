//! [`Question`]: what somebody outside wants to know of the speaker, or wants of it. The shell answers between two pieces of work; an answer is
//! plain data ([`super::views`]).

use bgp::wire::Family;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};

use super::trial::{Trial, TrialView};
use super::views::{Happening, OwnView, PathView, PeerView, RouteView};
use super::wish::NeighbourName;

/// What is asked, with the place where the answer goes. Who asked may be gone by then: nobody misses the answer.
#[derive(Debug)]
pub enum Question {
    /// All peers, in the order of their names.
    Peers(oneshot::Sender<Vec<PeerView>>),
    /// What this node is itself.
    Own(oneshot::Sender<OwnView>),
    /// The best routes in the order of their prefixes, in pieces, until there are no more or the channel is closed.
    Routes(RouteFilter, mpsc::Sender<Vec<RouteView>>),
    /// All paths to one prefix, the best first, and why; behind them those by EVPN, route by route.
    Explain(IpNet, oneshot::Sender<Vec<PathView>>),
    /// What happens from now on; a watcher that does not keep up is dropped.
    Monitor(mpsc::Sender<Happening>),
    /// What a route would meet in a peer's policy, rule by rule; or why that cannot be said.
    Test(Box<Trial>, oneshot::Sender<Result<TrialView, String>>),
    /// Leave: peers are told to look for other ways (RFC 8326), then that we go, with these words (RFC 9003). Answered when it is done.
    Drain(String, oneshot::Sender<()>),
    /// Come back after that.
    Resume(oneshot::Sender<()>),
}

/// Which routes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RouteFilter {
    /// Only those within this prefix.
    pub within: Option<IpNet>,
    /// Only those with a path of this peer.
    pub neighbour: Option<NeighbourName>,
    /// Only those of this family.
    pub family: Option<Family>,
}

//! What the shell answers, and what it does when it is asked to leave and to come back.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use bgp::machine::State;
use bgp::rib::PeerId;
use bgp::rib::change::Destination;
use bgp::rib::explain::{Explained, Outcome, Page};
use bgp::speaker::RemoteAs;
use bgp::wire::Nlri;
use tokio::sync::{mpsc, oneshot};

use super::ground::Ground;
use super::question::{Question, RouteFilter};
use super::roster::Seat;
use super::shell::Shell;
use super::trial::{Trial, TrialView};
use super::views::{PathView, PeerView, RouteView};
use super::wish::{Necessity, Origin};

/// Places of the table that are looked at before others have a turn.
const PAGE: u32 = 512;

impl Ground {
    /// Answers, or begins to.
    pub(super) fn answer(self: &Rc<Self>, question: Question) {
        match question {
            Question::Peers(to) => answer(to, self.with(|shell, now| shell.peers(now))),
            Question::Explain(net, to) => answer(to, self.look(|shell| shell.explain(&Nlri::Prefix(net)))),
            Question::Routes(filter, to) => {
                tokio::task::spawn_local(routes(Rc::clone(self), filter, to));
            }
            Question::Monitor(to) => self.with(|shell, _| shell.watchers.push(to)),
            Question::Test(trial, to) => answer(to, self.look(|shell| shell.test(&trial))),
            Question::Drain(text, done) => self.with(|shell, now| shell.leave(text, done, now)),
            Question::Resume(done) => {
                self.with(|shell, now| shell.come_back(now));
                answer(done, ());
            }
        }
    }
}

/// Whoever asked may be gone: nobody misses the answer.
pub(super) fn answer<T>(to: oneshot::Sender<T>, answer: T) {
    if to.send(answer).is_err() {
        tracing::debug!("whoever asked the BGP speaker did not wait for the answer");
    }
}

async fn routes(ground: Rc<Ground>, filter: RouteFilter, to: mpsc::Sender<Vec<RouteView>>) {
    let mut first = Some(0);
    while let Some(from) = first {
        let (piece, next) = ground.look(|shell| shell.routes(&filter, from));
        first = next;
        if !piece.is_empty() && to.send(piece).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

impl Shell {
    fn peers(&self, now: Duration) -> Vec<PeerView> {
        let mut peers: Vec<PeerView> = self.roster.seats().map(|(id, seat)| self.peer(id, seat, now)).collect();
        peers.sort_by(|one, other| one.name.cmp(&other.name));
        peers
    }

    fn explain(&self, nlri: &Nlri<'_>) -> Vec<PathView> {
        self.speaker.routes().explain(nlri).into_iter().map(|path| self.path(path)).collect()
    }

    fn path(&self, path: Explained) -> PathView {
        let said = &path.attributes;
        let standard = said.communities.iter().map(ToString::to_string);
        let large = said.large.iter().map(ToString::to_string);
        let extended = said.extended.iter().map(ToString::to_string);
        PathView {
            neighbour: self.called(path.peer),
            next_hop: path.hop.address(),
            as_path: said.as_path.to_string(),
            local_pref: said.local_pref,
            metric: said.med,
            communities: standard.chain(large).chain(extended).collect(),
            stale: path.stale,
            outcome: path.outcome.to_string(),
        }
    }

    fn routes(&self, filter: &RouteFilter, first: u32) -> (Vec<RouteView>, Option<u32>) {
        let (page, next): Page = self.speaker.routes().page(first, PAGE);
        let wanted = filter.neighbour.as_ref().map(|name| self.roster.named(name));
        let view = |(destination, paths): (Destination, Vec<Explained>)| {
            let Destination::Prefix(prefix) = destination else { return None };
            let within = filter.within.is_none_or(|within| within.contains(&prefix));
            let by = wanted.is_none_or(|wanted| paths.iter().any(|path| Some(path.peer) == wanted));
            let best = paths.first().filter(|best| within && by && matches!(best.outcome, Outcome::Best(_)))?;
            let used = paths.iter().filter(|path| matches!(path.outcome, Outcome::Best(_) | Outcome::Together(_)));
            Some(RouteView {
                prefix,
                neighbour: self.called(best.peer),
                next_hops: used.map(|path| path.hop.address()).collect(),
                as_path: best.attributes.as_path.to_string(),
            })
        };
        (page.into_iter().filter_map(view).collect(), next)
    }

    fn test(&self, trial: &Trial) -> Result<TrialView, String> {
        let seat = self.roster.named(&trial.neighbour).and_then(|id| self.roster.seat(id));
        let seat = seat.ok_or_else(|| {
            format!("there is no BGP neighbour {}: `towpathctl bgp peers` lists them", trial.neighbour)
        })?;
        Ok(trial.with(&seat.neighbour, self.wish.asn))
    }

    fn peer(&self, id: PeerId, seat: &Seat, now: Duration) -> PeerView {
        let Some(status) = self.speaker.status(id) else { return self.unplaced(seat) };
        let theirs = status.agreement.as_ref().map(|agreement| &agreement.theirs);
        let view = PeerView {
            asn: theirs.map(|open| open.asn).or(self.expected(seat)),
            identifier: theirs.map(|open| IpAddr::from(open.identifier)),
            since_secs: now.saturating_sub(status.since).as_secs(),
            ..self.unplaced(seat)
        };
        let mut view = view.with_status(&status).with_notes(&seat.neighbour.session, self.wish.asn);
        view.notes.extend(self.note_of_path(seat));
        view
    }

    /// A peer of which nobody knows where it is.
    fn unplaced(&self, seat: &Seat) -> PeerView {
        PeerView {
            name: seat.name.to_string(),
            address: seat.address,
            link: seat.link().map(|link| link.to_string()),
            asn: self.expected(seat),
            state: State::Idle.to_string(),
            traffic: seat.traffic,
            trouble: seat.trouble.clone(),
            required: seat.neighbour.necessity == Necessity::Required,
            origin: match &seat.neighbour.origin {
                Origin::Configured => "configuration".to_owned(),
                Origin::Mesh(node) => format!("node {node}"),
                Origin::Range(range) => format!("range {range}"),
            },
            ..PeerView::default()
        }
    }

    fn expected(&self, seat: &Seat) -> Option<u32> {
        match seat.neighbour.session.remote_as {
            RemoteAs::Exactly(asn) => Some(asn),
            RemoteAs::Internal => Some(self.wish.asn),
            RemoteAs::External => None,
        }
    }

    /// What a peer is called.
    fn called(&self, id: PeerId) -> String {
        match id {
            PeerId::LOCAL => "this node".to_owned(),
            id => self.roster.seat(id).map_or_else(|| id.to_string(), |seat| seat.name.to_string()),
        }
    }
}

//! What the shell answers, and what it does when it is asked to leave and to come back.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use bgp::machine::State;
use bgp::rib::PeerId;
use bgp::rib::change::Destination;
use bgp::rib::explain::{Explained, Outcome};
use bgp::speaker::RemoteAs;
use bgp::wire::capability::Role;
use bgp::wire::evpn::Route;
use bgp::wire::{Capability, Family, Nlri, Open};
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};

use super::ground::Ground;
use super::overlay::destination as destination_of;
use super::portrait::unheard;
use super::question::{Question, RouteFilter};
use super::roster::Seat;
use super::shell::Shell;
use super::trial::{Trial, TrialView};
use super::views::{EvpnView, OwnView, PathView, PeerView, RouteView};
use super::wish::{Necessity, Origin, Wish};

/// Places of the table that are named before others have a turn.
const PLACES: u32 = 8192;

/// Routes that are looked at before others have a turn.
const PAGE: usize = 512;

impl Ground {
    /// Answers, or begins to.
    pub(super) fn answer(self: &Rc<Self>, question: Question) {
        match question {
            Question::Peers(to) => answer(to, self.with(|shell, now| shell.peers(now))),
            Question::Own(to) => answer(to, self.look(Shell::own)),
            Question::Explain(net, to) => answer(to, self.look(|shell| shell.explain(net))),
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

/// All of the table is named and put in order before the first is told; told are some at a time, as they are by then.
async fn routes(ground: Rc<Ground>, filter: RouteFilter, to: mpsc::Sender<Vec<RouteView>>) {
    let (mut all, mut first) = (Vec::new(), Some(0));
    while let Some(from) = first {
        let (piece, next) = ground.look(|shell| shell.speaker.routes().page(from, PLACES));
        all.extend(piece.into_iter().filter(|destination| is_wanted(&filter, destination)));
        first = next;
        tokio::task::yield_now().await;
    }
    // IPv4, then IPv6, then EVPN; by address, and of equal ones the wider first. Elsewhere: half a million take a tenth of a second.
    let sorting = tokio::task::spawn_blocking(move || {
        all.sort_unstable();
        all
    });
    let Ok(sorted) = sorting.await else { return };
    for destinations in sorted.chunks(PAGE) {
        let piece = ground.look(|shell| shell.routes(&filter, destinations));
        if !piece.is_empty() && to.send(piece).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Whether a filter has anything to do with it, as far as its name says.
fn is_wanted(filter: &RouteFilter, destination: &Destination) -> bool {
    let (family, prefix) = match destination {
        Destination::Prefix(net) if net.addr().is_ipv4() => (Family::IPV4, Some(*net)),
        Destination::Prefix(net) => (Family::IPV6, Some(*net)),
        Destination::Evpn(bytes) => (Family::EVPN, Route::decode(bytes).and_then(|route| destination_of(&route))),
    };
    let within = filter.within.is_none_or(|within| prefix.is_some_and(|prefix| within.contains(&prefix)));
    within && filter.family.is_none_or(|wanted| wanted == family)
}

impl Shell {
    fn peers(&self, now: Duration) -> Vec<PeerView> {
        let mut peers: Vec<PeerView> = self.roster.seats().map(|(id, seat)| self.peer(id, seat, now)).collect();
        peers.sort_by(|one, other| one.name.cmp(&other.name));
        peers
    }

    fn own(&self) -> OwnView {
        let Wish { asn, router_id, cluster, .. } = *self.wish;
        OwnView { asn, router_id, cluster: Some(cluster).filter(|cluster| *cluster != router_id) }
    }

    fn explain(&self, prefix: IpNet) -> Vec<PathView> {
        let routes = self.speaker.routes();
        let plain = routes.explain(&Nlri::Prefix(prefix)).into_iter().map(|path| self.path(path, None));
        let decoded = routes.evpn().filter_map(|bytes| Some((bytes, Route::decode(bytes)?)));
        let to_it = decoded.filter(|(_, route)| destination_of(route) == Some(prefix));
        let by_evpn = to_it.flat_map(|(bytes, route)| {
            let paths = routes.explain(&Nlri::Evpn(bytes)).into_iter();
            paths.map(move |path| self.path(path, Some(&route))).collect::<Vec<_>>()
        });
        plain.chain(by_evpn).collect()
    }

    fn path(&self, path: Explained, evpn: Option<&Route>) -> PathView {
        let said = &path.attributes;
        let standard = said.communities.iter().map(ToString::to_string);
        let large = said.large.iter().map(ToString::to_string);
        let extended = said.extended.iter().map(ToString::to_string);
        PathView {
            evpn: evpn.map(Route::to_string),
            neighbour: self.called(path.peer),
            path_id: Some(path.path_id).filter(|id| *id != 0),
            origin: said.origin.to_string(),
            originator: said.originator,
            clusters: said.clusters.clone(),
            next_hop: self.tidings.written(path.peer, &path.hop),
            as_path: said.as_path.to_string(),
            local_pref: said.local_pref,
            metric: said.med,
            communities: standard.chain(large).chain(extended).collect(),
            stale: path.stale,
            outcome: path.outcome.to_string(),
        }
    }

    fn routes(&self, filter: &RouteFilter, destinations: &[Destination]) -> Vec<RouteView> {
        let wanted = filter.neighbour.as_ref().map(|name| self.roster.named(name));
        let view = |about: &Destination| {
            let paths = self.speaker.routes().explain(&about.nlri());
            let (family, prefix, evpn) = match about {
                Destination::Prefix(net) if net.addr().is_ipv4() => (Family::IPV4, Some(*net), None),
                Destination::Prefix(net) => (Family::IPV6, Some(*net), None),
                Destination::Evpn(bytes) => {
                    let route = Route::decode(bytes)?;
                    (Family::EVPN, destination_of(&route), Some(EvpnView::of(&route)))
                }
            };
            let by = wanted.is_none_or(|wanted| paths.iter().any(|path| Some(path.peer) == wanted));
            let best = paths.first().filter(|best| by && matches!(best.outcome, Outcome::Best(_)))?;
            let used = paths.iter().filter(|path| matches!(path.outcome, Outcome::Best(_) | Outcome::Together(_)));
            Some(RouteView {
                family: family.to_string(),
                prefix,
                evpn,
                neighbour: self.called(best.peer),
                next_hops: used.filter_map(|path| self.tidings.written(path.peer, &path.hop)).collect(),
                as_path: best.attributes.as_path.to_string(),
                origin: best.attributes.origin.to_string(),
                local_pref: best.attributes.local_pref,
                metric: best.attributes.med,
                paths: paths.len(),
            })
        };
        destinations.iter().filter_map(view).collect()
    }

    fn test(&self, trial: &Trial) -> Result<TrialView, String> {
        let seat = self.roster.named(&trial.neighbour).and_then(|id| self.roster.seat(id));
        let seat = seat.ok_or_else(|| {
            format!("there is no BGP neighbour {}: `towpathctl bgp peers` lists them", trial.neighbour)
        })?;
        Ok(trial.with(&seat.neighbour, self.wish.asn))
    }

    fn peer(&self, id: PeerId, seat: &Seat, now: Duration) -> PeerView {
        let Some(status) = self.speaker.status(id) else {
            let waits = self.patience.is_waiting(id).then(|| "waits a few seconds for BFD, after the start".to_owned());
            return PeerView { trouble: waits.or(seat.trouble.clone()), ..self.unplaced(seat) };
        };
        let theirs = status.agreement.as_ref().map(|agreement| &agreement.theirs);
        let view = PeerView {
            asn: theirs.map(|open| open.asn).or(self.expected(seat)),
            identifier: theirs.map(|open| IpAddr::from(open.identifier)),
            since_secs: now.saturating_sub(status.since).as_secs(),
            role: seat.neighbour.session.role.map(|role| agreed_role(role, theirs)),
            ..self.unplaced(seat)
        };
        let mut view = view.with_status(&status).with_notes(&seat.neighbour.session, self.wish.asn);
        let met = matches!(status.state, State::OpenSent | State::OpenConfirm) && view.trouble.is_none();
        view.notes
            .extend(met.then(|| format!("there is a connection and no session yet; {}", unheard(&seat.neighbour))));
        view.notes.extend(self.note_of_path(seat));
        let (signature, old) = seat.signature();
        view.agreed.extend(signature);
        view.notes.extend(old);
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

/// Our role towards a peer (RFC 9234), and whether its OPEN had the other end of it.
fn agreed_role(ours: Role, theirs: Option<&Open>) -> String {
    let said = |open: &Open| open.capabilities.iter().any(|capability| matches!(capability, Capability::Role(_)));
    match theirs {
        Some(open) if said(open) => ours.to_string(),
        Some(_) => format!("{ours}, which the peer does not say"),
        None => format!("{ours}, not agreed upon yet"),
    }
}

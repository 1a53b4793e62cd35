//! A hub that restarts, in the middle of others that hear of each other by it alone.

use super::*;
use crate::policy::{Condition, Peers, Rule, Then, Verdict};
use crate::speaker::config::Reflects;
use crate::wire::capability::Forwarding;

const ASN: u32 = 64512;
const HUB: usize = 0;

/// A speaker in the middle, whose peers have the numbers of their places, and those around it, whose peer 1 it is.
struct Star {
    speakers: Vec<Speaker>,
    now: Duration,
    /// Around whom there is a way to the hub.
    reachable: BTreeSet<usize>,
    up: BTreeSet<usize>,
    /// When whoever is around it was told that it has heard all of IPv4, since this was looked at last.
    ends: BTreeMap<usize, Duration>,
    around: fn(usize, &mut PeerConfig),
}

fn number(place: usize) -> u8 {
    u8::try_from(place + 1).unwrap()
}

fn peer(place: usize) -> PeerId {
    PeerId(u16::try_from(place).unwrap())
}

/// As the hub sees who is around it; each keeps what it has told.
fn client(place: usize) -> PeerConfig {
    let mut config =
        PeerConfig { reflects: Reflects::ForClient, remote_as: RemoteAs::Internal, ..config(number(place)) };
    config.families.iter_mut().for_each(|family| family.forwarding = Forwarding::Kept);
    config
}

impl Star {
    /// A hub and so many around it, with changes to how the hub sees them.
    fn new(around: usize, change: fn(usize, &mut PeerConfig)) -> Star {
        let speakers = (0..=around).map(|place| Speaker::new(settings(number(place), ASN), Readiness::Complete));
        let mut star = Star {
            speakers: speakers.collect(),
            now: secs(0),
            reachable: (1..=around).collect(),
            up: BTreeSet::new(),
            ends: BTreeMap::new(),
            around: change,
        };
        star.begin(HUB);
        (1..=around).for_each(|place| star.begin(place));
        for place in 1..=around {
            star.originate(place, &net(place));
        }
        star.pass(secs(1));
        for (place, other) in star.pairs() {
            assert!(star.knows(place, &net(other)), "{place} of {other}");
        }
        star.ends.clear();
        star
    }

    fn pairs(&self) -> Vec<(usize, usize)> {
        let places = 1..self.speakers.len();
        places
            .clone()
            .flat_map(|place| places.clone().filter(move |other| *other != place).map(move |it| (place, it)))
            .collect()
    }

    /// Gives a speaker its peers.
    fn begin(&mut self, place: usize) {
        let (now, all) = (self.now, self.speakers.len());
        match place {
            HUB => (1..all).for_each(|place| {
                let config = self.seen(place);
                self.speakers[HUB].add_peer(peer(place), config, now);
            }),
            place => {
                let mut hub = client(HUB);
                (hub.reflects, hub.direction) = (Reflects::No, Direction::Passive);
                self.speakers[place].add_peer(PEER, hub, now);
            }
        }
    }

    /// How the hub sees whoever is there.
    fn seen(&self, place: usize) -> PeerConfig {
        let mut config = client(place);
        (self.around)(place, &mut config);
        config
    }

    /// A speaker dies, and a new one takes its place, to which nothing has happened yet.
    fn die(&mut self, place: usize) {
        let lost: Vec<usize> = self.up.iter().copied().filter(|other| [HUB, *other].contains(&place)).collect();
        for other in lost {
            self.up.remove(&other);
            match place {
                HUB => self.speakers[other].closed(PEER, Side::Incoming, self.now),
                _ => self.speakers[HUB].closed(peer(other), Side::Outgoing, self.now),
            }
        }
        self.speakers[place] = Speaker::new(settings(number(place), ASN), Readiness::Complete);
        self.run();
    }

    /// The hub is back, and knows all who are around it.
    fn revive_hub(&mut self) {
        self.begin(HUB);
        let now = self.now;
        self.speakers[HUB].complete(Vec::new(), now);
    }

    fn originate(&mut self, place: usize, net: &str) {
        let hop = NextHop::V4([10, 0, 0, number(place)].into());
        self.speakers[place].rib().originate(&nlri(net), &Attributes::default(), hop);
    }

    fn knows(&mut self, place: usize, net: &str) -> bool {
        !self.speakers[place].rib().explain(&nlri(net)).is_empty()
    }

    fn run(&mut self) {
        loop {
            let mut quiet = true;
            for place in 0..self.speakers.len() {
                let more = self.speakers[place].flush();
                let outputs = self.speakers[place].outputs();
                quiet &= outputs.is_empty() && !more;
                outputs.into_iter().for_each(|output| self.follow(place, output));
            }
            if quiet {
                return;
            }
        }
    }

    fn follow(&mut self, place: usize, output: Output) {
        let now = self.now;
        let other = |id: PeerId| if place == HUB { usize::from(id.0) } else { HUB };
        match output {
            Output::Connect(id) => {
                let around = other(id);
                match self.reachable.contains(&around) && self.speakers[around].may_accept(PEER, now) {
                    true => {
                        self.up.insert(around);
                        self.speakers[around].connected(PEER, Side::Incoming, local(number(around)), now);
                        self.speakers[HUB].connected(id, Side::Outgoing, local(number(HUB)), now);
                    }
                    false => self.speakers[HUB].closed(id, Side::Outgoing, now),
                }
            }
            Output::Send(id, side) => {
                while let Some(chunk) = self.speakers[place].pull(id, side) {
                    self.carry((place, other(id)), &chunk);
                }
            }
            Output::Close(id, side, farewell) => {
                farewell.iter().for_each(|chunk| self.carry((place, other(id)), chunk));
                if self.up.remove(&place.max(other(id))) {
                    let it = if place == HUB { PEER } else { peer(place) };
                    self.speakers[other(id)].closed(it, side.other(), now);
                }
            }
            Output::EndOfRib(_, Family::IPV4) if place != HUB => {
                self.ends.insert(place, now);
            }
            _ => {}
        }
    }

    fn carry(&mut self, (from, to): (usize, usize), chunk: &[u8]) {
        if self.up.contains(&from.max(to)) {
            let (id, side) = if to == HUB { (peer(from), Side::Outgoing) } else { (PEER, Side::Incoming) };
            self.speakers[to].received(id, side, chunk, self.now);
        }
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        self.run();
        while let Some(at) = self.speakers.iter().filter_map(Speaker::deadline).min().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let now = self.now;
            self.speakers.iter_mut().for_each(|speaker| speaker.tick(now));
            self.run();
        }
        self.now = end;
    }
}

/// What begins at a place.
fn net(place: usize) -> String {
    format!("10.{place}.0.0/16")
}

#[test]
fn a_reflector_that_restarts_says_that_it_has_told_all_when_its_clients_have_and_what_they_no_longer_say_goes() {
    let mut star = Star::new(3, |_, _| ());
    star.originate(1, "10.99.0.0/16");
    star.pass(secs(1));
    star.die(HUB);
    star.reachable.remove(&1);
    star.speakers[1].rib().retract(&nlri("10.99.0.0/16"));
    star.revive_hub();
    star.pass(secs(8));
    assert!(star.up.contains(&2) && star.knows(2, &net(1)), "it is not known yet what the first would say");
    assert_eq!(star.ends, BTreeMap::new());
    star.reachable.insert(1);
    star.pass(secs(10));
    assert_eq!(star.ends.len(), 3, "{:?}", star.ends);
    for (place, other) in star.pairs() {
        let paths = star.speakers[place].rib().explain(&nlri(&net(other)));
        assert!(paths.len() == 1 && !paths[0].stale, "{place} of {other}");
    }
    assert!(!star.knows(2, "10.99.0.0/16") && !star.knows(3, "10.99.0.0/16"));
    assert_eq!(star.speakers[HUB].deferred_until(), None);
}

#[test]
fn whoever_does_not_come_back_is_waited_for_for_half_a_minute() {
    let mut star = Star::new(2, |_, _| ());
    star.die(HUB);
    star.reachable.remove(&1);
    let died = star.now;
    star.revive_hub();
    star.pass(secs(29));
    assert!(star.knows(2, &net(1)) && star.ends.is_empty());
    star.pass(secs(2));
    assert_eq!(star.ends, BTreeMap::from([(2, died + secs(30))]));
    assert!(!star.knows(2, &net(1)));
}

#[test]
fn nobody_waits_who_hears_of_nobody_and_nobody_is_waited_for_after_a_first_start() {
    let of_itself = |_: usize, config: &mut PeerConfig| {
        let conditions = vec![Condition::Peer(vec![Peers::Local])];
        let rule = Rule { name: "own".into(), conditions, actions: Vec::new(), then: Then::Accept };
        config.export = Some(Policy::new(vec![rule], Verdict::Reject).unwrap().into());
    };
    let inside = |_: usize, config: &mut PeerConfig| config.reflects = Reflects::No;
    let fresh = |_: usize, config: &mut PeerConfig| {
        config.families.iter_mut().for_each(|family| family.forwarding = Forwarding::Lost);
    };
    let changes: [fn(usize, &mut PeerConfig); 3] = [of_itself, inside, fresh];
    for change in changes {
        let mut star = Star::new(2, |_, _| ());
        star.around = change;
        star.die(HUB);
        star.reachable.remove(&1);
        let died = star.now;
        star.revive_hub();
        star.pass(secs(1));
        assert_eq!(star.ends, BTreeMap::from([(2, died)]));
    }
}

#[test]
fn of_two_that_restart_at_once_neither_waits_for_the_other_but_a_client_is_waited_for() {
    // The first is no client: by it the hub hears what another reflector has.
    let first_is_none = |place: usize, config: &mut PeerConfig| {
        if place == 1 {
            config.reflects = Reflects::No;
        }
    };
    let mut star = Star::new(3, first_is_none);
    let own = Speaker::new(settings(number(1), ASN), Readiness::Restarting);
    [HUB, 1].into_iter().for_each(|place| star.die(place));
    star.speakers[1] = own;
    star.begin(1);
    let died = star.now;
    star.revive_hub();
    star.pass(secs(1));
    assert_eq!(star.ends, BTreeMap::from([(1, died), (2, died), (3, died)]));

    // All die. What a client was told of another it forwards still, and forgets when it is told that this was all.
    star.ends.clear();
    (0..4).for_each(|place| star.die(place));
    star.reachable.remove(&3);
    for place in 1..4 {
        star.begin(place);
        let now = star.now;
        star.speakers[place].complete(Vec::new(), now);
        star.originate(place, &net(place));
    }
    star.revive_hub();
    star.pass(secs(8));
    assert_eq!(star.ends, BTreeMap::new());
    star.reachable.insert(3);
    star.pass(secs(10));
    assert_eq!(star.ends.len(), 3);
    assert!(star.pairs().into_iter().all(|(place, other)| star.knows(place, &net(other))));
}

#[test]
fn a_peer_that_is_to_be_added_is_waited_for_and_those_of_a_range_until_the_time_is_over() {
    for (unknown, waits) in [(false, 1), (true, 30)] {
        let mut star = Star::new(2, |_, _| ());
        star.die(HUB);
        let died = star.now;
        let (two, one) = (star.seen(2), star.seen(1));
        star.speakers[HUB].add_peer(peer(2), two, died);
        let expected = if unknown { PeerId::LOCAL } else { peer(1) };
        star.speakers[HUB].complete(vec![(expected, one.clone())], died);
        star.pass(secs(1));
        assert!(star.ends.is_empty() && star.knows(2, &net(1)));
        let now = star.now;
        star.speakers[HUB].add_peer(peer(1), one, now);
        star.pass(secs(40));
        assert_eq!(star.ends[&2], died + secs(waits));
        assert!(star.knows(2, &net(1)));
    }
    let mut star = Star::new(2, |_, _| ());
    star.die(HUB);
    let (died, two, one) = (star.now, star.seen(2), star.seen(1));
    star.speakers[HUB].add_peer(peer(2), two, died);
    star.speakers[HUB].complete(vec![(peer(1), one)], died);
    star.pass(secs(1));
    let now = star.now;
    star.speakers[HUB].remove_peer(peer(1), Notification::new(code::CEASE, cease::DECONFIGURED), now);
    star.pass(secs(1));
    assert_eq!(star.ends, BTreeMap::from([(2, now)]), "it is wanted no longer");
}

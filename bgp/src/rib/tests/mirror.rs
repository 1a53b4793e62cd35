//! Members that take what they are told at their own pace, and in the end know what is true, whatever happened on the way.

use super::*;

/// What a member believes: by prefix and path identifier, the AS path and the next hop.
#[derive(Default)]
struct Mirror {
    routes: BTreeMap<(IpNet, u32), (String, NextHop)>,
    ends: usize,
    announced: usize,
}

impl Mirror {
    fn hear(&mut self, bytes: &[u8], terms: &Terms) {
        let mut rest = bytes;
        while let Some(frame) = frame(rest, terms.limit).unwrap() {
            if let Message::Update(update) = Message::decode(&frame, terms).unwrap() {
                self.ends += usize::from(update.end_of_rib.is_some());
                let prefix = |nlri: Nlri<'_>| match nlri {
                    Nlri::Prefix(net) => net,
                    Nlri::Evpn(_) => panic!("not asked for"),
                };
                for (id, nlri) in update.withdrawn().flat_map(|list| list.iter()) {
                    self.routes.remove(&(prefix(nlri), id));
                }
                for (hop, list) in update.announced() {
                    for (id, nlri) in list.iter() {
                        self.announced += 1;
                        self.routes.insert((prefix(nlri), id), (update.attributes.as_path.to_string(), *hop));
                    }
                }
            }
            rest = &rest[frame.length..];
        }
    }
}

struct World {
    rib: Rib,
    mirrors: BTreeMap<u16, (Mirror, GroupTerms)>,
    relations: BTreeMap<u16, Relation>,
    dice: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rib = rib();
        for peer in 1..=8 {
            rib.add_source(PeerId(peer), source(peer, relation(peer)));
        }
        let relations = (1..=8).map(|peer| (peer, relation(peer))).collect();
        World { rib, mirrors: BTreeMap::new(), relations, dice: seed * 0x9e37_79b9 + 1 }
    }

    fn roll(&mut self, end: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % end
    }

    fn step(&mut self) {
        let peer = 1 + u16::try_from(self.roll(8)).unwrap();
        let nets: Vec<IpNet> = (0..1 + self.roll(40)).map(|_| net(usize::try_from(self.roll(300)).unwrap())).collect();
        match self.roll(13) {
            0..=3 => {
                let mut attributes = path(peer);
                attributes.as_path.prepend(65000 + u32::from(peer), u8::try_from(self.roll(3)).unwrap());
                say(&mut self.rib, peer, Some(&attributes), &nets);
            }
            4..=5 => {
                say(&mut self.rib, peer, None, &nets);
            }
            6 => {
                self.rib.lose(PeerId(peer));
            }
            7 => {
                self.rib.leave(PeerId(peer));
                self.mirrors.remove(&peer);
            }
            8 if !self.mirrors.contains_key(&peer) => {
                let path_ids = if peer % 3 == 0 { PathIds::Present } else { PathIds::Absent };
                let terms = terms(self.relations[&peer], path_ids);
                self.rib.join(PeerId(peer), terms.clone());
                self.mirrors.insert(peer, (Mirror::default(), terms));
            }
            9 => self.rib.refresh(PeerId(peer), Family::IPV4, RefreshMarks::NotSent),
            10 => {
                self.rib.flush(&mut Vec::new());
            }
            11 if peer >= 5 => self.reflect_for(peer),
            _ => self.take(peer, 3),
        }
    }

    /// A peer of our AS is our client from now on, or is none any longer.
    fn reflect_for(&mut self, peer: u16) {
        let is_client = self.relations[&peer] == Relation::Client;
        let relation = if is_client { Relation::Internal } else { Relation::Client };
        self.relations.insert(peer, relation);
        self.rib.set_relation(PeerId(peer), relation);
        if let Some((_, terms)) = self.mirrors.get_mut(&peer) {
            terms.relation = relation;
        }
        let inside = self.mirrors.iter().filter(|(peer, _)| **peer >= 5);
        self.rib.retell(inside.map(|(peer, (_, terms))| (PeerId(*peer), terms.clone())).collect());
    }

    fn take(&mut self, peer: u16, most: usize) {
        let Some((mirror, terms)) = self.mirrors.get_mut(&peer) else { return };
        for _ in 0..most {
            let Some(chunk) = self.rib.take(PeerId(peer)) else { return };
            mirror.hear(&chunk, &terms.wire);
        }
    }

    /// Everybody hears everything, and knows what is true.
    fn check(&mut self) {
        loop {
            let more = self.rib.flush(&mut Vec::new());
            (1..=8).for_each(|peer| self.take(peer, usize::MAX));
            if !more && (1..=8).all(|peer| self.rib.queued(PeerId(peer)) == 0) {
                break;
            }
        }
        for (peer, (mirror, terms)) in &self.mirrors {
            let mut expected = BTreeMap::new();
            for number in 0..300 {
                let paths = self.rib.explain(&Nlri::Prefix(net(number)));
                let several = terms.most_paths > 1;
                let told = paths.iter().filter(|path| several || matches!(path.outcome, Outcome::Best(_)));
                for path in told.filter(|path| path.peer.0 != *peer && self.may_hear(*peer, path.peer.0)) {
                    let mut as_path = path.attributes.as_path.clone();
                    let external = terms.relation.is_external();
                    as_path.prepend(ASN, u8::from(external));
                    let hop = if external { NextHop::V4([10, 0, 0, 100].into()) } else { path.hop };
                    expected.entry(net(number)).or_insert_with(Vec::new).push((as_path.to_string(), hop));
                }
            }
            let mut heard: BTreeMap<IpNet, Vec<(String, NextHop)>> = BTreeMap::new();
            for ((net, _), route) in &mirror.routes {
                heard.entry(*net).or_default().push(route.clone());
            }
            heard.values_mut().chain(expected.values_mut()).for_each(|routes| routes.sort());
            assert_eq!(heard, expected, "peer {peer}");
            assert!(mirror.ends >= 1, "peer {peer} has not heard the end");
        }
    }

    fn may_hear(&self, to: u16, from: u16) -> bool {
        let (to, from) = (self.relations[&to], self.relations[&from]);
        !(to.is_internal() && from.is_internal()) || to == Relation::Client || from == Relation::Client
    }
}

fn relation(peer: u16) -> Relation {
    match peer {
        1..=4 => Relation::External,
        5..=6 => Relation::Client,
        _ => Relation::Internal,
    }
}

#[test]
fn whatever_happens_every_member_knows_what_is_true_in_the_end() {
    for seed in 1..=12 {
        let mut world = World::new(seed);
        for _ in 0..12 {
            (0..40).for_each(|_| world.step());
            world.check();
        }
        (1..=8).for_each(|peer| world.rib.lose(PeerId(peer)));
        world.check();
        assert_eq!((world.rib.destinations(), world.rib.attribute_sets()), (0, 0), "nothing is left behind");
    }
}

#[test]
fn a_member_that_takes_nothing_falls_behind_and_is_told_the_state_not_the_history() {
    let mut rib = rib();
    rib.add_source(PeerId(1), source(1, Relation::External));
    rib.add_source(PeerId(2), source(2, Relation::External));
    let terms = terms(Relation::External, PathIds::Absent);
    rib.join(PeerId(2), terms.clone());
    settle(&mut rib);
    let nets: Vec<IpNet> = (0..1000).map(net).collect();
    for round in 0..20 {
        for (number, net) in nets.iter().enumerate() {
            let many = (0..200).map(|n| Community(n ^ round << 10 ^ u32::try_from(number).unwrap() << 16)).collect();
            say(&mut rib, 1, Some(&Attributes { communities: many, ..path(1) }), &[*net]);
        }
        settle(&mut rib);
        assert!(rib.queued(PeerId(2)) < group::MOST_QUEUED + 1_000_000, "bounded");
    }
    let mut mirror = Mirror::default();
    loop {
        let more = rib.flush(&mut Vec::new());
        while let Some(chunk) = rib.take(PeerId(2)) {
            mirror.hear(&chunk, &terms.wire);
        }
        if !more {
            break;
        }
    }
    assert_eq!(mirror.routes.len(), nets.len());
    assert!(mirror.announced < nets.len() * 8, "{} of {}", mirror.announced, nets.len() * 20);
}

#[test]
fn one_encoding_serves_all_members_but_the_source() {
    let mut rib = rib();
    for peer in 1..=4 {
        rib.add_source(PeerId(peer), source(peer, Relation::External));
        rib.join(PeerId(peer), terms(Relation::External, PathIds::Absent));
    }
    settle(&mut rib);
    (1..=4).for_each(|peer| assert!(rib.take(PeerId(peer)).is_some(), "End-of-RIB"));
    say(&mut rib, 1, Some(&path(1)), &[net(1), net(2)]);
    settle(&mut rib);
    assert_eq!(rib.take(PeerId(1)), None);
    let [two, three, four] = [2, 3, 4].map(|peer| rib.take(PeerId(peer)).unwrap());
    assert!(Chunk::ptr_eq(&two, &three) && Chunk::ptr_eq(&three, &four));
    assert_eq!(rib.ready().collect::<Vec<_>>().len(), 4);
}

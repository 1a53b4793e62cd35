//! EVPN routes: what is one route to a peer is one here, whatever is said of it.

use super::*;
use crate::wire::evpn::{Route, RouteDistinguisher};

fn prefix(vni: u32, segment: u8) -> Vec<u8> {
    let route = Route::Prefix {
        distinguisher: RouteDistinguisher([0, 1, 10, 0, 0, 1, 0, 1]),
        segment: [segment; 10],
        tag: 0,
        prefix: "198.51.100.0/24".parse().unwrap(),
        gateway: [0, 0, 0, 0].into(),
        vni,
    };
    let mut bytes = Vec::new();
    route.encode(&mut bytes);
    bytes
}

fn say(rib: &mut Rib, peer: u16, what: Option<&Attributes>, route: &[u8]) {
    let family = FamilyTerms::plain(Family::EVPN);
    let terms = Terms { families: vec![family], ..Terms::canonical() };
    let listed = std::iter::once((0, Nlri::Evpn(route)));
    let mut bytes = Vec::new();
    match what {
        Some(attributes) => {
            let hop = NextHop::V4([10, 0, 0, u8::try_from(peer).unwrap()].into());
            Sheet::new(attributes, hop, family, &terms).announce(listed, &mut bytes).unwrap();
        }
        None => withdraw(family, &terms, listed, &mut bytes),
    }
    let frame = frame(&bytes, terms.limit).unwrap().unwrap();
    let Message::Update(update) = Message::decode(&frame, &terms).unwrap() else { panic!("no UPDATE") };
    rib.update(PeerId(peer), &update);
}

fn known(rib: &Rib, route: &[u8]) -> usize {
    rib.explain(&Nlri::Evpn(route)).len()
}

#[test]
fn another_label_replaces_a_route_and_a_withdrawal_without_one_takes_it_away() {
    let mut rib = rib();
    for peer in [1, 2] {
        rib.add_source(PeerId(peer), source(peer, Relation::External));
    }
    let (first, second, none) = (prefix(100, 0), prefix(200, 7), prefix(0, 0));
    say(&mut rib, 1, Some(&path(1)), &first);
    say(&mut rib, 2, Some(&path(2)), &first);
    settle(&mut rib);
    assert_eq!((known(&rib, &first), rib.paths_of(PeerId(1))), (2, 1));
    say(&mut rib, 1, Some(&path(1)), &second);
    let changes = settle(&mut rib);
    assert_eq!((known(&rib, &first), known(&rib, &second), rib.paths_of(PeerId(1))), (1, 1, 1));
    assert_eq!(changes.len(), 2, "both are others now");
    say(&mut rib, 1, None, &none);
    settle(&mut rib);
    assert_eq!((known(&rib, &first), known(&rib, &second), rib.paths_of(PeerId(1))), (1, 0, 0));
    say(&mut rib, 2, None, &none);
    settle(&mut rib);
    assert_eq!((known(&rib, &first), rib.destinations()), (0, 0));
}

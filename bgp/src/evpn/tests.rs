//! Two VTEPs of one VNI understand each other through bytes, and nobody else is believed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

const VNI: u32 = 100;

fn vtep(last: u8) -> Vtep {
    let mac = [2, 0, 0, 0, 0, last];
    Vtep::new([192, 0, 2, last].into(), mac, VNI, (64512, [192, 0, 2, last].into())).unwrap()
}

/// A route as it is after the wire.
fn carried(route: &Route) -> Route {
    let mut bytes = Vec::new();
    route.encode(&mut bytes);
    Route::decode(&bytes).unwrap()
}

fn told(from: &Vtep, inner: &[IpAddr], prefixes: &[IpNet]) -> Vec<(Route, Attributes)> {
    from.routes(inner, prefixes).into_iter().map(|(route, attributes)| (carried(&route), attributes)).collect()
}

#[test]
fn what_one_says_the_other_understands() {
    let (here, there) = (vtep(1), vtep(2));
    let inner: IpAddr = [10, 244, 2, 0].into();
    let prefixes: Vec<IpNet> = ["10.244.2.0/24", "fd00:10:244:2::/64"].map(|net| net.parse().unwrap()).to_vec();
    let hop: IpAddr = [192, 0, 2, 2].into();
    let mac = [2, 0, 0, 0, 0, 2];
    let entries: Vec<Entry> = told(&there, &[inner], &prefixes)
        .iter()
        .map(|(route, attributes)| here.learn(route, attributes, there.hop()).unwrap())
        .collect();
    let prefix = |prefix: &IpNet| Entry::Prefix { prefix: *prefix, vtep: hop, mac };
    assert_eq!(
        entries,
        [
            Entry::Everybody { vtep: hop },
            Entry::Host { mac, address: Some(inner), vtep: hop, moves: 0 },
            prefix(&prefixes[0]),
            prefix(&prefixes[1]),
        ]
    );
    let alone = told(&there, &[], &[]);
    assert!(matches!(here.learn(&alone[1].0, &alone[1].1, there.hop()), Some(Entry::Host { address: None, .. })));
}

#[test]
fn others_overlays_and_what_cannot_be_are_not_believed() {
    let (here, there) = (vtep(1), vtep(2));
    let net: IpNet = "10.244.2.0/24".parse().unwrap();
    let routes = told(&there, &[], &[net]);
    let hop = there.hop();
    for (route, attributes) in &routes {
        assert_eq!(here.learn(route, attributes, here.hop()), None, "our own: {route}");
        assert_eq!(here.learn(route, attributes, NextHop::V4([224, 0, 0, 1].into())), None, "{route}");
        for missing in [here.target(), ExtendedCommunity::VXLAN] {
            let mut attributes = attributes.clone();
            attributes.extended.retain(|community| *community != missing);
            assert_eq!(here.learn(route, &attributes, hop), None, "without {missing}: {route}");
        }
    }
    let (prefix, attributes) = routes.last().unwrap();
    let mut without = attributes.clone();
    without.extended.retain(|community| community.as_routers_mac().is_none());
    assert_eq!(here.learn(prefix, &without, hop), None, "without a router's MAC");
    let mut group = without.clone();
    group.extended.push(ExtendedCommunity::routers_mac([1, 0, 0x5e, 0, 0, 1]));
    assert_eq!(here.learn(prefix, &group, hop), None, "a group's MAC");
    let Route::Prefix { distinguisher, segment, tag, prefix, gateway, vni } = prefix.clone() else { panic!() };
    let other = Route::Prefix { distinguisher, segment, tag, prefix, gateway, vni: vni + 1 };
    assert_eq!(here.learn(&other, attributes, hop), None, "another VNI");
    let gateway = [10, 0, 0, 1].into();
    let by_gateway = Route::Prefix { distinguisher, segment, tag, prefix, gateway, vni };
    assert_eq!(here.learn(&by_gateway, attributes, hop), None, "through a gateway");
    for mac in [[0; 6], [0xff; 6], [2, 0, 0, 0, 0, 1]] {
        let host = Route::Mac { distinguisher, segment, tag, mac, address: None, vni, routing_vni: None };
        assert_eq!(here.learn(&host, attributes, hop), None, "{mac:?}");
    }
}

#[test]
fn a_target_of_another_as_means_the_same_vni() {
    let here = vtep(1);
    let (route, mut attributes) = told(&vtep(2), &[], &[]).remove(0);
    for (target, meant) in [
        ("rt:65002:100", true),
        ("rt:4200000000:100", true),
        // As RFC 8365 has it, with the type of the overlay above the VNI.
        ("0002fdea10000064", true),
        ("rt:65002:101", false),
        ("rt:192.0.2.9:100", false),
    ] {
        attributes.extended = vec![target.parse().unwrap(), ExtendedCommunity::VXLAN];
        assert_eq!(here.learn(&route, &attributes, vtep(2).hop()).is_some(), meant, "{target}");
    }
}

#[test]
fn what_no_vtep_can_have_is_no_vtep() {
    let good: IpAddr = [192, 0, 2, 1].into();
    let (mac, speaker) = ([2, 0, 0, 0, 0, 1], (64512, [192, 0, 2, 1].into()));
    assert!(Vtep::new(good, mac, MOST_VNI, speaker).is_some());
    assert!(Vtep::new(good, mac, MOST_VNI + 1, speaker).is_none());
    assert!(Vtep::new(good, mac, 0, speaker).is_none());
    assert!(Vtep::new(good, [3, 0, 0, 0, 0, 1], 1, speaker).is_none());
    assert!(Vtep::new([0; 4].into(), mac, 1, speaker).is_none());
    let wide = Vtep::new(good, mac, 70_000, (4_200_000_000, [192, 0, 2, 1].into())).unwrap();
    assert_eq!(wide.target().to_string(), "rt:4200000000:4464");
}

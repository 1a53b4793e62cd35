//! Messages against the octets that iproute2 6.1 sends for the same command (taken with `strace -e write=3`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use backends::LinkName;
use backends::state::{Link, LinkKind, RouteKey, Tag, Vxlan};
use ipam::{Family, Mac};
use proptest::prelude::*;

use super::*;
use crate::netlink::{Attributes, Body, Datagram, Header, Messages};

fn written(kind: u16, body: impl FnOnce(&mut Body<'_>)) -> Vec<u8> {
    let mut datagram = Datagram::default();
    datagram.push(Header { kind, flags: 0, sequence: 0 }, body);
    datagram.bytes().to_vec()
}

/// Nests are opened, and the order does not count.
fn normal(attributes: Attributes<'_>, nests: &[u16]) -> Vec<(u16, Vec<u8>)> {
    let mut list = Vec::new();
    for attribute in attributes {
        match nests.split_first() {
            Some((nest, deeper)) if *nest == attribute.kind => list.extend(normal(attribute.nested(), deeper)),
            _ => list.push((attribute.kind, attribute.bytes.to_vec())),
        }
    }
    list.sort();
    list
}

/// A message without the sixteen octets of its header, split into the structure of `fixed` octets and its attributes.
fn parts(message: &[u8], fixed: usize, nests: &[u16]) -> (Vec<u8>, Vec<(u16, Vec<u8>)>) {
    let message = Messages::new(message).next().expect("a message");
    (message.body[..fixed].to_vec(), normal(message.attributes(fixed), nests))
}

fn octets(hexadecimal: &str) -> Vec<u8> {
    hexadecimal.split_whitespace().map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect()
}

fn assert_like(ours: &[u8], theirs: &str, fixed: usize, nests: &[u16]) {
    if cfg!(target_endian = "big") {
        return; // iproute2's octets are those of a little-endian machine.
    }
    assert_eq!(parts(ours, fixed, nests), parts(&octets(theirs), fixed, nests));
}

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn key(text: &str) -> RouteKey {
    RouteKey::new(text.parse().unwrap())
}

fn flannel() -> (LinkName, Link, Vxlan) {
    let vxlan = Vxlan { vni: 7, port: 8472, underlay: None, local: address("192.0.2.1"), learning: false, gbp: false };
    let kind = LinkKind::Vxlan(vxlan.clone());
    let link = Link { kind, mac: mac(1), mtu: 1400, up: true, link_local: false, tag: Tag::Ours };
    (LinkName::new("flannel.7").unwrap(), link, vxlan)
}

/// `ip link add flannel.7 mtu 1400 address 02:00:00:00:00:01 type vxlan id 7 dev u0 local 192.0.2.1 dstport 8472 ttl 0
/// tos 0 nolearning udpcsum noudp6zerocsumtx noudp6zerocsumrx`
#[test]
fn a_vxlan_device_is_made_as_ip_makes_it() {
    let (name, link, vxlan) = flannel();
    let ours = written(link::NEW, |body| vxlan::make(body, name, (&link, &vxlan), Some(3)));
    let theirs = "a8 00 00 00 10 00 05 06 90 8e 01 6b 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 \
        08 00 04 00 78 05 00 00 0a 00 01 00 02 00 00 00 00 01 00 00 0e 00 03 00 66 6c 61 6e 6e 65 6c 2e \
        37 00 00 00 64 00 12 00 09 00 01 00 76 78 6c 61 6e 00 00 00 54 00 02 00 08 00 03 00 03 00 00 00 \
        05 00 05 00 00 00 00 00 05 00 06 00 00 00 00 00 05 00 12 00 01 00 00 00 05 00 13 00 00 00 00 00 \
        05 00 14 00 00 00 00 00 08 00 01 00 07 00 00 00 08 00 04 00 c0 00 02 01 05 00 07 00 00 00 00 00 \
        06 00 0f 00 21 18 00 00";
    // The kind is text with its NUL here and without it there; the kernel takes both.
    let strip = |(head, list): (Vec<u8>, Vec<(u16, Vec<u8>)>)| {
        let text = |value: Vec<u8>| if value.starts_with(b"vxlan") { b"vxlan".to_vec() } else { value };
        (head, list.into_iter().map(|(kind, value)| (kind, text(value))).collect::<Vec<_>>())
    };
    if cfg!(target_endian = "little") {
        assert_eq!(strip(parts(&ours, 16, &[18, 2])), strip(parts(&octets(theirs), 16, &[18, 2])));
    }
}

/// `ip link set flannel.7 addrgenmode none`
#[test]
fn address_generation_is_switched_off_as_ip_does_it() {
    let ours = written(link::NEW, |body| link::set_address_generation(body, 4, &flannel().1));
    let theirs = "30 00 00 00 10 00 05 00 90 8e 01 6b 00 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00 00 00 00 00 \
        10 00 1a 00 0c 00 0a 00 05 00 08 00 01 00 00 00";
    assert_like(&ours, theirs, 16, &[26, 10]);
}

/// `ip nexthop add id 1409286145 via 10.0.1.0 dev flannel.7 onlink proto 84`
#[test]
fn a_next_hop_is_made_as_ip_makes_it() {
    let ours = written(nexthop::NEW, |body| nexthop::make(body, 0x5400_0001, 4, address("10.0.1.0")));
    let theirs = "30 00 00 00 68 00 05 06 90 8e 01 6b 00 00 00 00 02 00 54 00 04 00 00 00 08 00 01 00 01 00 00 54 \
        08 00 06 00 0a 00 01 00 08 00 05 00 04 00 00 00";
    assert_like(&ours, theirs, 8, &[]);
}

/// `ip route add` with `nhid 1409286145`, `via … onlink` in both families, and `blackhole`; all `proto 84`.
#[test]
fn routes_are_set_as_ip_sets_them() {
    let cases = [
        (
            key("10.0.1.0/24"),
            route::Target::Object(0x5400_0001),
            "2c 00 00 00 18 00 05 05 90 8e 01 6b 00 00 00 00 02 18 00 00 fe 54 00 01 00 00 00 00 08 00 01 00 \
             0a 00 01 00 08 00 1e 00 01 00 00 54",
        ),
        (
            key("10.0.2.0/24"),
            route::Target::Gateway(4, address("10.0.2.0")),
            "34 00 00 00 18 00 05 05 90 8e 01 6b 00 00 00 00 02 18 00 00 fe 54 00 01 04 00 00 00 08 00 01 00 \
             0a 00 02 00 08 00 05 00 0a 00 02 00 08 00 04 00 04 00 00 00",
        ),
        (
            key("10.255.0.0/16"),
            route::Target::Blackhole,
            "24 00 00 00 18 00 05 06 90 8e 01 6b 00 00 00 00 02 10 00 00 fe 54 00 06 00 00 00 00 08 00 01 00 \
             0a ff 00 00",
        ),
        (
            key("fd00:0:0:2::/64"),
            route::Target::Gateway(4, address("fd00:0:0:2::")),
            "54 00 00 00 18 00 05 06 90 8e 01 6b 00 00 00 00 0a 40 00 00 fe 54 00 01 04 00 00 00 14 00 01 00 \
             fd 00 00 00 00 00 00 02 00 00 00 00 00 00 00 00 14 00 05 00 fd 00 00 00 00 00 00 02 00 00 00 00 \
             00 00 00 00 08 00 06 00 00 04 00 00 08 00 04 00 04 00 00 00",
        ),
    ];
    for (key, target, theirs) in cases {
        assert_like(&written(route::NEW, |body| route::set(body, key, target)), theirs, 12, &[]);
    }
}

/// `ip neigh replace 10.0.1.0 lladdr 02:00:00:00:00:01 dev flannel.7 nud permanent protocol 84`, `bridge fdb replace
/// 02:00:00:00:00:01 dev flannel.7 dst 192.0.2.9 self permanent extern_learn`
#[test]
fn neighbours_and_forwarding_entries_are_set_as_ip_and_bridge_set_them() {
    let ours = written(neighbour::NEW, |body| neighbour::set(body, 4, address("10.0.1.0"), mac(1)));
    let theirs = "38 00 00 00 1c 00 05 05 91 8e 01 6b 00 00 00 00 02 00 00 00 04 00 00 00 80 00 00 00 05 00 0c 00 \
        54 00 00 00 08 00 01 00 0a 00 01 00 0a 00 02 00 02 00 00 00 00 01 00 00";
    assert_like(&ours, theirs, 12, &[]);
    let ours = written(neighbour::NEW, |body| neighbour::set_forwarding(body, 4, mac(1), address("192.0.2.9")));
    let theirs = "30 00 00 00 1c 00 05 05 91 8e 01 6b 00 00 00 00 07 00 00 00 04 00 00 00 c0 00 12 00 0a 00 02 00 \
        02 00 00 00 00 01 00 00 08 00 01 00 c0 00 02 09";
    assert_like(&ours, theirs, 12, &[]);
}

#[test]
fn what_is_written_is_read_as_it_was_meant() {
    fn read<T>(bytes: &[u8], read: impl Fn(&crate::netlink::Message<'_>) -> Option<T>) -> T {
        read(&Messages::new(bytes).next().unwrap()).unwrap()
    }
    for text in ["10.0.1.0/24", "fd00:0:0:1::/64", "0.0.0.0/0"] {
        let gateway = key(text).destination.addr();
        let bytes = written(route::NEW, |body| route::set(body, key(text), route::Target::Gateway(4, gateway)));
        let entry = read(&bytes, route::Entry::read);
        assert_eq!((entry.key, entry.gateway, entry.link, entry.plain), (key(text), Some(gateway), Some(4), true));
        assert_eq!((entry.protocol, entry.nowhere, entry.object), (84, None, None));
        let bytes = written(address::NEW, |body| address::add(body, 4, key(text).destination));
        let entry = read(&bytes, address::Entry::read);
        assert_eq!((entry.net, entry.link, entry.protocol), (key(text).destination, 4, 84));
        let bytes = written(neighbour::NEW, |body| neighbour::set(body, 4, gateway, mac(9)));
        let entry = read(&bytes, neighbour::Entry::read);
        assert_eq!((entry.address, entry.mac, entry.tagged, entry.permanent), (Some(gateway), mac(9), true, true));
        let bytes = written(nexthop::NEW, |body| nexthop::make(body, 6, 4, gateway));
        let entry = read(&bytes, nexthop::Entry::read);
        assert_eq!((entry.id, entry.link, entry.gateway, entry.protocol), (6, Some(4), Some(gateway), 84));
    }
}

#[test]
fn a_gateway_of_the_other_family_is_never_written_as_one_of_the_same() {
    let target = route::Target::Gateway(4, address("fd00::1"));
    let bytes = written(route::NEW, |body| route::set(body, key("10.0.1.0/24"), target));
    let attributes = Messages::new(&bytes).next().unwrap().attributes(12);
    assert_eq!(attributes.get(libc::RTA_GATEWAY), None);
    assert_eq!(attributes.get(18).unwrap().bytes[..4], [10, 0, 0xfd, 0]);
}

#[test]
fn a_device_in_a_mode_that_ours_never_have_is_something_else() {
    let (name, link, vxlan) = flannel();
    let mut bytes = written(link::NEW, |body| vxlan::make(body, name, (&link, &vxlan), Some(3)));
    let kind = |bytes: &[u8]| {
        let message = Messages::new(bytes).next().unwrap();
        kind::read(&link::Entry::read(&message).unwrap(), |index| LinkName::new(&format!("u{index}")).ok())
    };
    let expected = Vxlan { underlay: LinkName::new("u3").ok(), ..vxlan };
    assert_eq!(kind(&bytes), LinkKind::Vxlan(expected));
    // IFLA_VXLAN_UDP_ZERO_CSUM6_TX from 0 to 1: outer IPv6 packets without a checksum.
    let at = bytes.windows(4).position(|window| window == [5, 0, 19, 0]).unwrap();
    bytes[at + 4] = 1;
    assert_eq!(kind(&bytes), LinkKind::Other("vxlan udp6zerocsumtx".to_owned()));
}

proptest! {
    #[test]
    fn readers_take_any_octets(kind in 16_u16..110, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = written(kind, |message| message.fixed(&body));
        for message in Messages::new(&bytes) {
            let _entries = (route::Entry::read(&message), neighbour::Entry::read(&message), nexthop::Entry::read(&message));
            let _address = address::Entry::read(&message);
            if let Some(entry) = link::Entry::read(&message) {
                let _kind = kind::read(&entry, |_| None);
            }
        }
    }

    #[test]
    fn routes_are_read_as_they_were_written(bits: u32, length in 0_u8..=32, metric: u32, id: u32) {
        let net = ipnet::Ipv4Net::new(bits.into(), length).unwrap().trunc();
        let key = RouteKey { destination: net.into(), metric };
        let bytes = written(route::NEW, |body| route::set(body, key, route::Target::Object(id)));
        let entry = route::Entry::read(&Messages::new(&bytes).next().unwrap()).unwrap();
        prop_assert_eq!((entry.key, entry.object, entry.plain), (key, Some(id), true));
    }
}

#[test]
fn lists_are_filtered_by_the_kernel() {
    let tagged = written(route::GET, |body| route::of_family(body, Family::V4, route::Which::Tagged));
    assert_eq!(tagged[16..28], [2, 0, 0, 0, 254, 84, 0, 0, 0, 0, 0, 0]);
    let of_link = written(neighbour::GET, |body| neighbour::of_link(body, 4));
    assert_eq!(Messages::new(&of_link).next().unwrap().attributes(12).get(libc::NDA_IFINDEX).unwrap().u32(), Some(4));
}

#[test]
fn a_ports_vlans_are_added_and_deleted_as_bridge_does_it() {
    let of = |vlans: bridge::Vlans| written(bridge::SET_VLANS, |body| bridge::add_vlans(body, 3, &vlans));
    let access = of(bridge::Vlans { access: Some(10), ..bridge::Vlans::default() });
    let theirs = "34 00 00 00 13 00 05 00 81 ba 01 6b 00 00 00 00 07 00 00 00 03 00 00 00 00 00 00 00 00 00 00 00 \
        14 00 1a 00 06 00 00 00 01 00 00 00 08 00 02 00 06 00 0a 00";
    assert_like(&access, theirs, 16, &[libc::IFLA_AF_SPEC]);
    let trunk = of(bridge::Vlans { trunk: vec![11], ..bridge::Vlans::default() });
    let theirs = "34 00 00 00 13 00 05 00 81 ba 01 6b 00 00 00 00 07 00 00 00 03 00 00 00 00 00 00 00 00 00 00 00 \
        14 00 1a 00 06 00 00 00 01 00 00 00 08 00 02 00 00 00 0b 00";
    assert_like(&trunk, theirs, 16, &[libc::IFLA_AF_SPEC]);
    let none = written(link::DELETE, |body| bridge::delete_vlans(body, 3));
    let theirs = "3c 00 00 00 11 00 05 00 81 ba 01 6b 00 00 00 00 07 00 00 00 03 00 00 00 00 00 00 00 00 00 00 00 \
        1c 00 1a 00 06 00 00 00 01 00 00 00 08 00 02 00 08 00 01 00 08 00 02 00 10 00 fe 0f";
    assert_like(&none, theirs, 16, &[libc::IFLA_AF_SPEC]);
}

#[test]
fn links_come_into_a_group_and_go_by_it_as_ip_does_it() {
    let retired = written(link::NEW, |body| link::set_group(body, 3, 1_414_529_024));
    let theirs = "28 00 00 00 10 00 05 00 80 ba 01 6b 00 00 00 00 00 00 00 00 03 00 00 00 00 00 00 00 00 00 00 00 \
        08 00 1b 00 00 00 50 54";
    assert_like(&retired, theirs, 16, &[]);
    let deleted = written(link::DELETE, |body| link::by_group(body, 1_414_529_024));
    let theirs = "28 00 00 00 11 00 05 00 80 ba 01 6b 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 \
        08 00 1b 00 00 00 50 54";
    assert_like(&deleted, theirs, 16, &[]);
}

#[test]
fn an_answer_in_a_pods_name_is_made_as_ip_makes_it_and_known_again() {
    let ours = written(neighbour::NEW, |body| pod::proxy(body, 5, address("fd00::5")));
    let message = Messages::new(&ours).next().unwrap();
    assert_eq!(pod::proxied(&message), Some((5, address("fd00::5"))));
    // `ip neigh add proxy fd00::5 dev … protocol 85`
    let theirs = "38 00 00 00 1c 00 05 06 81 ba 01 6b 00 00 00 00 0a 00 00 00 05 00 00 00 80 00 08 00 05 00 0c 00 \
        55 00 00 00 14 00 01 00 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 05";
    assert_like(&ours, theirs, 12, &[]);
    let somebodys = written(neighbour::NEW, |body| neighbour::set(body, 5, address("fd00::5"), mac(1)));
    assert_eq!(pod::proxied(&Messages::new(&somebodys).next().unwrap()), None);
}

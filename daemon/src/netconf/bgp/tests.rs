//! What the keys of BGP mean, and what is said of mistakes in them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use backends::Backend;
use backends::bgp::Encapsulation;
use bgp::speaker::{Direction, Excess, PrefixLimit, RemoteAs};
use bgp::wire::Family;
use bgp::wire::capability::{PathIdMode, Role};

use super::*;
use crate::bgp::liveness::Strictness;
use crate::bgp::wish::{AoAlgorithm, Authentication, Distance, Necessity};
use crate::netconf::{Division, Network, read as read_network};

fn network(backend: &str) -> Network {
    let text = format!(r#"{{"Network": "10.244.0.0/16", {backend}}}"#);
    read_network(&text, Division::Claimed).unwrap_or_else(|mistakes| panic!("{text}: {mistakes}"))
}

fn bgp(fields: &str) -> Bgp {
    network(&format!(r#""Backend": {{"Type": "BGP"{fields}}}"#)).bgp.unwrap()
}

fn wrong(fields: &str) -> String {
    let text = format!(r#"{{"Network": "10.244.0.0/16", "Backend": {{"Type": "bgp", {fields}}}}}"#);
    read_network(&text, Division::Claimed).map(|network| network.warnings).unwrap_err().to_string()
}

#[test]
fn a_name_alone_is_a_mesh_of_one_as() {
    let network = network(r#""Backend": {"Type": "bgp"}"#);
    let Backend::Bgp(settings) = &network.backend else { panic!("{:?}", network.backend) };
    assert_eq!(settings.encapsulation, Encapsulation::Never);
    let bgp = network.bgp.unwrap();
    assert_eq!((bgp.asn, bgp.port, bgp.router_id, bgp.multipath), (DEFAULT_AS, 179, None, 64));
    assert_eq!((bgp.mesh, bgp.reflectors), (Some(Session::default()), None));
    assert!(bgp.peers.is_empty() && bgp.allowed.is_empty() && bgp.announce == Announce::default());
}

#[test]
fn every_key_says_what_it_means() {
    let read = bgp(
        r#", "AS": 65001, "ListenPort": 1179, "RouterID": "192.0.2.1", "Multipath": 4, "Encapsulation": "cross-subnet", "VNI": 7,
        "NodeMesh": {"KeyFile": "/k/mesh", "BFD": true, "HoldTime": 9, "Keepalive": 2, "SendHoldTime": 30},
        "RouteReflectors": {"Nodes": ["spine-*"], "ClusterID": "0.0.0.1"},
        "AllowRoutes": ["0.0.0.0/0"], "BMPStations": ["192.0.2.9:11019", "[2001:db8::9]:11019"],
        "Announce": {"Prefixes": ["10.96.0.0/12"], "Aggregates": ["10.244.0.0/16"], "SuppressSpecifics": true, "LocalPref": 200,
            "Communities": ["64512:1"], "LargeCommunities": ["64512:1:2"]},
        "Peers": [
            {"Name": "tor", "Address": "192.0.2.254", "AS": 65000, "KeyFile": "/k/tor", "Import": "accept", "Required": true,
             "BFD": {"Interval": 50, "Multiplier": 3, "Strict": true}, "Role": "customer", "TTLSecurity": 1, "AddPath": "receive",
             "MaxPrefixes": {"Limit": 100, "Warning": 90, "Restart": 300}, "GracefulRestart": 60, "LongLived": 3600, "Families": ["ipv4"], "NodeSelector": ["rack1-*"]},
            {"Interface": "eth1", "AS": "external", "Import": "reject", "Passive": true, "ConnectRetry": 30},
            {"Range": "192.0.2.0/24", "AS": "internal", "Limit": 5, "MaxPrefixes": {"Limit": 9, "Action": "warn"}, "Keys": ["1:2:hmac-sha-256:/k/ao"]}
        ]"#,
    );
    assert_eq!((read.asn, read.port, read.multipath), (65001, 1179, 4));
    assert_eq!(read.stations[1], "[2001:db8::9]:11019".parse().unwrap());
    assert_eq!(read.mesh.as_ref().map(|mesh| mesh.hold_secs), Some(9));
    assert_eq!(read.announce.aggregates[0].specifics, Specifics::Suppressed);
    assert_eq!(read.announce.said.local_pref, Some(200));
    let [tor, link, range] = read.peers.as_slice() else { panic!("{:?}", read.peers) };
    assert_eq!((tor.name.as_str(), tor.remote_as), ("tor", RemoteAs::Exactly(65000)));
    assert_eq!(tor.session.necessity, Necessity::Required);
    assert_eq!((tor.session.role, tor.session.path_ids), (Some(Role::Customer), Some(PathIdMode::Receive)));
    let excess = Excess::Ended(Some(Duration::from_secs(300)));
    assert_eq!(tor.session.limit, Some(PrefixLimit { most: 100, warning: 90, excess }));
    assert_eq!(range.session.limit, Some(PrefixLimit { excess: Excess::Warned, ..PrefixLimit::of(9) }));
    assert_eq!(read.mesh.as_ref().and_then(|mesh| mesh.keepalive), Some(Duration::from_secs(2)));
    assert_eq!(tor.session.families, Some(vec![Family::IPV4]));
    let liveness = tor.session.liveness.unwrap();
    assert_eq!((liveness.settings.transmit, liveness.strictness), (Duration::from_millis(50), Strictness::Strict));
    assert!(matches!(tor.session.distance, Some(Distance::Secured(hops)) if hops.get() == 1));
    assert_eq!(tor.session.graceful.map(|it| (it.restart_secs, it.long_lived_secs)), Some((60, 3600)));
    assert!(matches!(&tor.session.authentication, Some(Authentication::Md5(file)) if file.ends_with("tor")));
    assert!(matches!(link.place, PeerPlace::Link(name) if name.as_str() == "eth1"));
    assert_eq!((link.session.direction, link.session.connect_retry), (Direction::Passive, Duration::from_secs(30)));
    assert!(matches!(range.place, PeerPlace::Range(_, 5)));
    let Some(Authentication::Ao(keys)) = &range.session.authentication else { panic!("{:?}", range.session) };
    assert_eq!((keys[0].send, keys[0].receive, keys[0].algorithm), (1, 2, AoAlgorithm::HmacSha256));
}

#[test]
fn beside_another_backend_there_is_no_mesh() {
    let network =
        network(r#""BGP": {"AS": 65001, "Peers": [{"Address": "192.0.2.254", "AS": 65000, "Import": "accept"}]}"#);
    assert!(matches!(network.backend, Backend::Vxlan(_)));
    let bgp = network.bgp.unwrap();
    assert_eq!((bgp.asn, bgp.mesh, bgp.peers.len()), (65001, None, 1));
    let twice = r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "bgp"}, "BGP": {}}"#;
    let said = read_network(twice, Division::Claimed).map(|network| network.backend).unwrap_err().to_string();
    assert!(said.contains("BGP = \"{…}\": the backend is bgp already"), "{said}");
}

#[test]
fn a_peer_that_speaks_evpn_makes_the_nodes_vtep_known_and_the_object_says_how() {
    let peer = r#"{"Address": "192.0.2.254", "AS": 65000, "Import": "accept", "Families": ["ipv4", "evpn"]}"#;
    let beside = |port: &str, evpn: &str| {
        let backend = format!(r#""Backend": {{"Type": "vxlan", "VNI": 100{port}}}"#);
        network(&format!(r#"{backend}, "BGP": {{{evpn}"Peers": [{peer}]}}"#))
    };
    let usual = beside(r#", "Port": 4789"#, "");
    assert!(usual.warnings.is_empty(), "{:?}", usual.warnings);
    let all: std::collections::BTreeSet<Advertised> = [Advertised::Hosts, Advertised::Prefixes].into();
    let bgp = usual.bgp.unwrap();
    assert_eq!(bgp.peers[0].session.families, Some(vec![Family::IPV4, Family::EVPN]));
    assert_eq!(bgp.evpn, Some(Evpn { target: None, number: None, advertised: all }));
    let said = r#""EVPN": {"RouteTarget": "65000:7", "RouteDistinguisher": 9, "Advertise": "prefixes"}, "#;
    let evpn = beside("", said).bgp.unwrap().evpn.unwrap();
    assert_eq!((evpn.target.unwrap().to_string(), evpn.number), ("rt:65000:7".to_owned(), Some(9)));
    assert_eq!(evpn.advertised, [Advertised::Prefixes].into());
    assert_eq!(beside("", r#""EVPN": false, "#).bgp.unwrap().evpn, None);
    let warned = beside("", "").warnings;
    assert!(warned[0].contains("fabrics send VXLAN to UDP 4789, this network to 8472"), "{warned:?}");
    let alone = network(r#""Backend": {"Type": "vxlan", "Port": 4789}, "BGP": {"EVPN": true}"#).warnings;
    assert!(alone[0].contains("no peer speaks it"), "{alone:?}");
    for (text, said) in [
        (format!(r#""Backend": {{"Type": "host-gw"}}, "BGP": {{"Peers": [{peer}]}}"#), "host-gw has no VXLAN"),
        (
            format!(r#""Backend": {{"Type": "bgp", "Peers": [{peer}]}}"#),
            "bgp has no VXLAN that a fabric could be the other",
        ),
        (format!(r#""Backend": {{"Type": "vxlan", "VNI": 0}}, "BGP": {{"Peers": [{peer}]}}"#), "network identifier 0"),
        (r#""BGP": {"EVPN": {"RouteTarget": "x"}}"#.to_owned(), "BGP.EVPN.RouteTarget = \"x\": it is no route target"),
        (r#""BGP": {"EVPN": {"Advertise": ["macs"]}}"#.to_owned(), "write \"hosts\" or \"prefixes\""),
        (r#""BGP": {"EVPN": {"VNI": 7}}"#.to_owned(), "BGP.EVPN.VNI: it is not a known key"),
    ] {
        let text = format!(r#"{{"Network": "10.244.0.0/16", {text}}}"#);
        let wrong = read_network(&text, Division::Claimed).map(|network| network.warnings).unwrap_err().to_string();
        assert!(wrong.contains(said), "{text}: {wrong}");
    }
}

#[test]
fn a_peer_that_is_not_listened_to_is_said_to_be() {
    let network = network(r#""BGP": {"Peers": [{"Address": "192.0.2.254", "AS": "external"}]}"#);
    assert!(network.warnings[0].contains("192.0.2.254: no Import is written"), "{:?}", network.warnings);
}

#[test]
fn mistakes_are_named_with_key_value_reason_and_fix() {
    for (fields, said) in [
        (r#""AS": 0"#, "Backend.AS = \"0\""),
        (r#""AS": "x""#, "Backend.AS = \"x\""),
        (r#""NodeMesh": {"HoldTime": 9, "Keepalive": 4}"#, "the hold time is 9 s; write at most a third of it, 3"),
        (r#""NodeMesh": {"MaxPrefixes": {"Warning": 5}}"#, "NodeMesh.MaxPrefixes.Limit: it is missing"),
        (r#""RouterID": "0.0.0.0""#, "it is no BGP identifier; write one in the form of an IPv4 address"),
        (r#""Encapsulation": "gre""#, "there is no such encapsulation; write \"never\", \"vxlan\""),
        (r#""Peers": {}"#, "Backend.Peers = \"{…}\": it is an object; write a list"),
        (r#""Peers": [{"AS": 1}]"#, "Backend.Peers[0].Address: nothing says where the peer is"),
        (r#""Peers": [{"Address": "192.0.2.1", "Interface": "eth0", "AS": 1}]"#, "more than one key says where"),
        (r#""Peers": [{"Address": "fe80::1", "AS": 1}]"#, "write Interface with the link that the peer is on"),
        (r#""Peers": [{"Address": "192.0.2.1"}]"#, "Backend.Peers[0].AS: it is missing"),
        (r#""Peers": [{"Address": "192.0.2.1", "AS": 1, "Holdtime": 2}]"#, "RFC 4271 knows none between 0 and 3"),
        (r#""Peers": [{"Address": "192.0.2.1", "AS": 1, "Hold": 30}]"#, "Backend.Peers[0].Hold: it is not a known key"),
        (r#""Peers": [{"Address": "192.0.2.1", "AS": 1, "Import": "x"}]"#, "Policies has none of this name"),
        (r#""BMPAdjRibOut": "policy""#, "it is no stage"),
        (
            r#""Peers": [{"Address": "192.0.2.1", "AS": 1, "Keys": ["1:2:hmac-sha-256:/k", "1:3:hmac-sha-256:/k"]}]"#,
            "an earlier one has its SendID or RecvID",
        ),
        (r#""Peers": [{"Address": "192.0.2.1", "AS": 1, "KeyFile": "k"}]"#, "it is no path from the root"),
        (r#""Peers": [{"Address": "192.0.2.1", "AS": 1, "Role": "boss"}]"#, "RFC 9234 has no such role"),
        (r#""Peers": [{"Address": "192.0.2.1", "AS": 1}, {"Address": "192.0.2.1", "AS": 2}]"#, "another of this name"),
        (r#""RouteReflectors": {"Nodes": ["a"]}"#, "Backend.RouteReflectors.ClusterID: it is missing"),
        (r#""AllowRoutes": ["10.0.0.1/8"]"#, "it has host bits set; write \"10.0.0.0/8\""),
        (r#""BMPStations": ["192.0.2.9"]"#, "it is no address with a port; write its address and port"),
        (r#""NodeMesh": "yes""#, "Backend.NodeMesh = \"yes\""),
    ] {
        let all = wrong(fields);
        assert!(all.contains(said), "{fields}: {all}");
    }
}

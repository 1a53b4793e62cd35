//! WireGuard's devices and peers on the real kernel, with `wg` as the independent observer: made, read back, changed by the peer,
//! and nothing else touched. On the lab's second kernel, because not every machine's own has WireGuard.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod overlay;
mod sandbox;

use backends::diff::diff;
use backends::plan::{Change, Plan};
use backends::state::{
    KernelState, Link, LinkKind, Peer, PeerKey, Remote, Route, RouteKey, Scope, Tag, Via, WireGuard,
};
use ipam::{Mac, PublicKey, SecretKey};
use ipnet::IpNet;
use kernel::Hand;
use netns_harness::in_guest;
use overlay::{link as name, net};
use sandbox::{Sandbox, needs, wait_for};

const DEVICE: &str = "flannel-wg";

/// A key pair of `wg`'s making.
fn key_pair(node: &Sandbox) -> (PublicKey, SecretKey) {
    needs("wg", "wireguard-tools");
    let private = node.sh("wg genkey");
    let public = node.sh(&format!("echo '{}' | wg pubkey", private.trim()));
    (public.trim().parse().unwrap(), private.trim().parse().unwrap())
}

fn scope() -> Scope {
    Scope { links: vec![name(DEVICE)], sysctls: Vec::new(), ..overlay::scope() }
}

fn device(key: PublicKey, port: u16) -> KernelState {
    let kind = LinkKind::WireGuard(WireGuard { port, key: Some(key), mark: 0 });
    let mut state = KernelState::default();
    let link = Link { kind, mac: Mac([0; 6]), mtu: 1420, up: true, link_local: false, tag: Tag::Ours };
    state.links.insert(name(DEVICE), link);
    state.addresses.insert((name(DEVICE), net("10.1.0.0/32")), Tag::Ours);
    let unreachable = Route { via: Via::Unreachable, tag: Tag::Ours };
    state.routes.insert(RouteKey::new(net("10.0.0.0/8")), unreachable.clone());
    state.routes.insert(RouteKey::new(net("fd00::/16")), unreachable);
    state
}

fn peer(state: &mut KernelState, key: PublicKey, (remote, allowed): (&str, &[&str])) {
    let mut allowed: Vec<IpNet> = allowed.iter().map(|text| net(text)).collect();
    allowed.sort_unstable();
    for destination in &allowed {
        let route = Route { via: Via::Device(name(DEVICE)), tag: Tag::Ours };
        state.routes.insert(RouteKey::new(*destination), route);
    }
    let remote = Remote::Told(remote.parse().unwrap());
    let peer = Peer { remote, keepalive_secs: 0, preshared: None, allowed, tag: Tag::Ours };
    state.peers.insert(PeerKey { link: name(DEVICE), key }, peer);
}

/// Any key that is somebody's.
fn numbered(number: u32) -> PublicKey {
    let mut octets = [9; 32];
    octets[..4].copy_from_slice(&number.to_be_bytes());
    PublicKey::new(octets).unwrap()
}

fn settle(hand: &mut Hand, wanted: &KernelState) -> Plan {
    let plan = diff(&hand.observe(&scope()).unwrap(), wanted);
    let outcome = hand.apply(&scope(), &plan);
    assert_eq!(outcome.failures, []);
    let is = hand.observe(&scope()).unwrap();
    assert_eq!(diff(&is, wanted).changes, [], "{is}");
    plan
}

#[test]
fn a_device_and_its_peers_are_as_wg_shows_them_and_a_second_look_changes_nothing() -> anyhow::Result<()> {
    in_guest(|| {
        let node = Sandbox::new();
        let (public, private) = key_pair(&node);
        let shared = SecretKey::new([5; 32]);
        node.run(|| {
            let mut hand = Hand::open().unwrap();
            hand.keep_key(public, private);
            let mut wanted = device(public, 51820);
            peer(&mut wanted, numbered(1), ("192.0.2.1:51820", &["10.2.0.0/24", "fd00:2::/64"]));
            peer(&mut wanted, numbered(2), ("[2001:db8::2]:51999", &["10.3.0.0/24"]));
            let two = PeerKey { link: name(DEVICE), key: numbered(2) };
            let peer = wanted.peers.get_mut(&two).unwrap();
            (peer.preshared, peer.keepalive_secs) = (Some(shared), 25);
            settle(&mut hand, &wanted);
            let writes = hand.writes();
            settle(&mut hand, &wanted);
            assert_eq!(hand.writes(), writes);
        });
        let dump = node.sh(&format!("wg show {DEVICE} dump"));
        let mut lines: Vec<String> = dump.lines().map(|line| line.replace('\t', " ")).collect();
        lines[1..].sort();
        let (one, two) = (numbered(1), numbered(2));
        let mut peers = [
            format!("{one} (none) 192.0.2.1:51820 10.2.0.0/24,fd00:2::/64 0 0 0 off"),
            format!("{two} {} [2001:db8::2]:51999 10.3.0.0/24 0 0 0 25", shared.expose_base64()),
        ];
        peers.sort();
        assert_eq!(lines[0], format!("{} {public} 51820 off", private.expose_base64()));
        // The order of a peer's prefixes is the kernel's.
        assert_eq!(lines[1..].iter().map(|line| line.len()).collect::<Vec<_>>(), peers.each_ref().map(String::len));
        assert_eq!(lines[2..], peers[1..], "{dump}");
        let routes = node.sh("ip route; ip -6 route");
        assert!(routes.contains("10.2.0.0/24 dev flannel-wg proto 84 scope link"), "{routes}");
        assert!(routes.contains("fd00:2::/64 dev flannel-wg proto 84"), "{routes}");
        assert!(routes.contains("unreachable 10.0.0.0/8 proto 84"), "{routes}");
        Ok(())
    })
}

/// Two nodes with a wire between them: ours, and one that is set up by hand as flannel does.
fn two() -> (Sandbox, Sandbox, (PublicKey, SecretKey), PublicKey) {
    let (ours, theirs) = (Sandbox::new(), Sandbox::new());
    ours.wire("u0", &theirs, "u0");
    ours.sh("ip address add 192.0.2.1/24 dev u0");
    theirs.sh("ip address add 192.0.2.2/24 dev u0");
    let (mine, (public, private)) = (key_pair(&ours), key_pair(&theirs));
    let secret = private.expose_base64();
    theirs.sh(&format!(
        "ip link add flannel-wg type wireguard; echo {secret} | wg set flannel-wg listen-port 51820 private-key /proc/self/fd/0; \
         ip link set flannel-wg mtu 1420 up; ip address add 10.2.0.0/32 dev flannel-wg; \
         ip route add 10.0.0.0/8 dev flannel-wg scope link; \
         wg set flannel-wg peer {} endpoint 192.0.2.1:51820 allowed-ips 10.1.0.0/24",
        mine.0
    ));
    (ours, theirs, mine, public)
}

#[test]
fn a_session_outlasts_changes_of_others_and_roaming_is_not_undone() -> anyhow::Result<()> {
    in_guest(|| {
        let (ours, theirs, (public, private), other) = two();
        let mut wanted = device(public, 51820);
        peer(&mut wanted, other, ("192.0.2.2:51820", &["10.2.0.0/24"]));
        let mut hand = ours.run(|| Hand::open().unwrap());
        hand.keep_key(public, private);
        ours.run(|| settle(&mut hand, &wanted));
        ours.sh("ping -c 1 -W 5 -I 10.1.0.0 10.2.0.0");
        let handshakes = || ours.sh(&format!("wg show {DEVICE} latest-handshakes | grep {other}"));
        let before = handshakes();
        // It is another address now that they send from.
        theirs.sh("ip address flush dev u0; ip address add 192.0.2.3/24 dev u0; ping -c 1 -W 5 -I 10.2.0.0 10.1.0.0");
        let endpoint = || ours.sh(&format!("wg show {DEVICE} endpoints | grep {other}"));
        wait_for("the kernel learns where the peer is", || endpoint().contains("192.0.2.3:").then_some(()));
        let nothing = ours.run(|| settle(&mut hand, &wanted));
        assert_eq!(nothing.changes, []);
        // Others come, change and go.
        peer(&mut wanted, numbered(1), ("192.0.2.9:51820", &["10.3.0.0/24"]));
        ours.run(|| settle(&mut hand, &wanted));
        peer(&mut wanted, numbered(2), ("192.0.2.9:51820", &["10.3.0.0/24"]));
        wanted.peers.remove(&PeerKey { link: name(DEVICE), key: numbered(1) });
        ours.run(|| settle(&mut hand, &wanted));
        assert!(endpoint().contains("192.0.2.3:"), "{}", endpoint());
        assert_eq!(handshakes(), before);
        let sessions = ours.run(|| hand.sessions(&[name(DEVICE)]).unwrap());
        let session = sessions.iter().find(|session| session.peer.key == other).unwrap();
        assert!(session.handshake.is_some() && session.received > 0 && session.sent > 0, "{session:?}");
        // A new lease is worth more than what was learnt.
        let mut moved = wanted.clone();
        peer(&mut moved, other, ("192.0.2.2:51820", &["10.2.0.0/24"]));
        moved.peers.get_mut(&PeerKey { link: name(DEVICE), key: other }).unwrap().keepalive_secs = 20;
        let lease = diff(
            &KernelState { peers: wanted.peers.clone(), ..KernelState::default() },
            &KernelState { peers: moved.peers.clone(), ..KernelState::default() },
        );
        assert_eq!(lease.changes.len(), 1, "{lease}");
        assert!(
            !lease.to_string().contains("endpoint") && lease.to_string().contains("persistent-keepalive 20"),
            "{lease}"
        );
        ours.run(|| assert_eq!(hand.apply(&scope(), &lease).failures, []));
        assert_eq!(handshakes(), before);
        ours.sh("ping -c 1 -W 5 -I 10.1.0.0 10.2.0.0");
        Ok(())
    })
}

#[test]
fn five_thousand_peers_come_at_once_and_one_goes_alone() -> anyhow::Result<()> {
    in_guest(|| {
        let node = Sandbox::new();
        let (public, private) = key_pair(&node);
        node.run(|| {
            let mut hand = Hand::open().unwrap();
            hand.keep_key(public, private);
            let mut wanted = device(public, 51820);
            for number in 1..=5000_u32 {
                let [_, _, c, d] = number.to_be_bytes();
                peer(&mut wanted, numbered(number), ("192.0.2.1:51820", &[&format!("10.{c}.{d}.0/24")]));
            }
            settle(&mut hand, &wanted);
            wanted.peers.remove(&PeerKey { link: name(DEVICE), key: numbered(77) });
            wanted.routes.remove(&RouteKey::new(net("10.0.77.0/24")));
            let plan = settle(&mut hand, &wanted);
            assert_eq!(plan.changes.len(), 2, "{plan}");
        });
        assert_eq!(node.sh(&format!("wg show {DEVICE} peers | wc -l")).trim(), "4999");
        Ok(())
    })
}

#[test]
fn what_an_earlier_flannel_left_is_taken_over_in_place() -> anyhow::Result<()> {
    in_guest(|| {
        let (ours, _theirs, (public, private), other) = two();
        let secret = private.expose_base64();
        ours.sh(&format!(
            "ip link add flannel-wg mtu 1420 type wireguard; echo {secret} | wg set flannel-wg listen-port 51820 private-key /proc/self/fd/0; \
             ip link set flannel-wg up; ip address add 10.1.0.0/32 dev flannel-wg; ip route add 10.0.0.0/8 dev flannel-wg scope link; \
             wg set flannel-wg peer {other} endpoint 192.0.2.2:51820 allowed-ips 10.2.0.0/24; \
             wg set flannel-wg peer {} endpoint 192.0.2.7:51820; ping -c 1 -W 5 10.2.0.0",
            numbered(7)
        ));
        let handshakes = || ours.sh(&format!("wg show {DEVICE} latest-handshakes | grep {other}"));
        let (before, index) = (handshakes(), ours.sh("ip -o link show flannel-wg | cut -d: -f1"));
        let mut wanted = device(public, 51820);
        peer(&mut wanted, other, ("192.0.2.2:51820", &["10.2.0.0/24"]));
        let mut hand = ours.run(|| Hand::open().unwrap());
        // Not even the private key is needed for what has it already.
        let plan = ours.run(|| settle(&mut hand, &wanted));
        assert!(plan.changes.contains(&Change::PeerDelete(PeerKey { link: name(DEVICE), key: numbered(7) })), "{plan}");
        assert_eq!((handshakes(), ours.sh("ip -o link show flannel-wg | cut -d: -f1")), (before, index));
        ours.sh("ping -c 1 -W 5 10.2.0.0");
        Ok(())
    })
}

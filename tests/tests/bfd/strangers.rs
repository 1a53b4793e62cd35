//! Packets that nobody should believe, and trouble that a node may have.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::Result;
use bgp::bfd::{Packet, State};
use ipam::Family::{V4, V6};
use netns_harness::Lab;
use towpathd::bgp::liveness::{BfdHops, BfdKey, BfdState};

use crate::ours::{Ours, direct, every};

/// Two of ours on a link.
fn two(lab: &Lab, family: ipam::Family) -> Result<(Ours, Ours, [BfdKey; 2])> {
    let [one, other] = [lab.node("one")?, lab.node("other")?];
    let keys = [direct(other.address(family)?), direct(one.address(family)?)];
    let (mut one, mut other) = (Ours::start(one)?, Ours::start(other)?);
    one.watch(keys[0], every(50, 3));
    other.watch(keys[1], every(50, 3));
    one.next(&keys[0], BfdState::Up)?;
    other.next(&keys[1], BfdState::Up)?;
    Ok((one, other, keys))
}

#[test]
fn forged_packets_take_nothing_down() -> Result<()> {
    let lab = Lab::new("bfdforge")?;
    let (mut one, other, keys) = two(&lab, V4)?;
    let to = SocketAddr::new(keys[1].remote, 3784);
    // A packet that is true in all but what a router leaves of it; one to nobody; from where nobody is; and noise.
    let down = Packet { state: State::Down, multiplier: 3, my_discriminator: 7, receive_us: 1, ..Packet::default() };
    other.node.namespace().within(|| {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        for ttl in [254, 64, 1] {
            socket.set_ttl(ttl)?;
            socket.send_to(&down.encode(), to)?;
        }
        socket.set_ttl(255)?;
        socket.send_to(&Packet { your_discriminator: 0x0bad_cafe, ..down }.encode(), to)?;
        socket.send_to(&Packet { multiplier: 0, ..down }.encode(), to)?;
        socket.send_to(&Packet { my_discriminator: 0, ..down }.encode(), to)?;
        for length in 0..200 {
            socket.send_to(&vec![0x20; length], to)?;
        }
        for _ in 0..20_000 {
            socket.send_to(&Packet { your_discriminator: 0x0bad_cafe, ..down }.encode(), to)?;
        }
        Ok(())
    })?;
    assert_eq!(one.wait(Duration::from_secs(1), &keys[0])?, None, "{:?}", one.told);
    // The same from a neighbour, who may say so, is believed.
    other.node.namespace().within(|| {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.set_ttl(255)?;
        socket.send_to(&down.encode(), to)?;
        Ok(())
    })?;
    one.next(&keys[0], BfdState::Down)?;
    one.next(&keys[0], BfdState::Up)?;
    Ok(())
}

#[test]
fn link_local_addresses_are_watched_by_their_link_also_when_it_is_made_anew() -> Result<()> {
    let lab = Lab::new("bfdlinklocal")?;
    let [one, other] = [lab.node("one")?, lab.node("other")?];
    let keys = [("fe80::b:1", "fe80::b:2"), ("fe80::b:2", "fe80::b:1")]
        .map(|(local, remote)| BfdKey { local: local.parse().unwrap(), ..direct(remote.parse().unwrap()) });
    let give = |node: &netns_harness::Node, address| node.ip(&format!("address add {address}/64 dev eth0 nodad"));
    give(&one, keys[0].local)?;
    let (mut one, mut other) = (Ours::start(one)?, Ours::start(other)?);
    one.watch(keys[0], every(50, 3));
    other.watch(keys[1], every(50, 3));
    // The other's address is not there yet: what cannot be sent is tried again.
    assert_eq!(one.wait(Duration::from_millis(500), &keys[0])?, None);
    give(&other.node, keys[1].local)?;
    one.next(&keys[0], BfdState::Up)?;
    other.next(&keys[1], BfdState::Up)?;
    let addresses = one.node.wire().addresses()?;
    one.node.wire().remove()?;
    other.next(&keys[1], BfdState::Down)?;
    one.node.wire().replace(1500, &addresses)?;
    give(&one.node, keys[0].local)?;
    one.next(&keys[0], BfdState::Down)?;
    one.next(&keys[0], BfdState::Up)?;
    other.next(&keys[1], BfdState::Up)?;
    Ok(())
}

#[test]
fn a_port_that_somebody_else_has_is_taken_when_it_is_free() -> Result<()> {
    let lab = Lab::new("bfdport")?;
    let [one, other] = [lab.node("one")?, lab.node("other")?];
    let keys = [direct(other.address(V6)?), direct(one.address(V6)?)];
    let taken = one.namespace().within(|| Ok(UdpSocket::bind(("::", 3784))?))?;
    let (mut one, mut other) = (Ours::start(one)?, Ours::start(other)?);
    one.watch(keys[0], every(50, 3));
    other.watch(keys[1], every(50, 3));
    assert_eq!(one.wait(Duration::from_secs(1), &keys[0])?, None);
    drop(taken);
    one.next(&keys[0], BfdState::Up)?;
    other.next(&keys[1], BfdState::Up)?;
    // Nothing is watched: nobody listens.
    one.leave(&keys[0]);
    other.next(&keys[1], BfdState::AdminDown)?;
    netns_harness::wait_for("the port to be free", crate::ours::LIMIT, || {
        one.node.namespace().within(|| Ok(UdpSocket::bind(("::", 3784))?)).map(drop)
    })?;
    assert_eq!(keys[0].hops, BfdHops::Single);
    Ok(())
}

#[test]
fn packets_are_those_of_a_neighbour() -> Result<()> {
    let lab = Lab::new("bfdwire")?;
    let [one, other] = [lab.node("one")?, lab.node("other")?];
    let key = direct(other.address(V4)?);
    let socket = other.namespace().within(|| Ok(UdpSocket::bind(("0.0.0.0", 3784))?))?;
    socket.set_read_timeout(Some(crate::ours::LIMIT))?;
    let mut ours = Ours::start(one)?;
    ours.watch(key, every(50, 3));
    let mut buffer = [0; 100];
    let (length, from) = socket.recv_from(&mut buffer)?;
    let packet = Packet::decode(&buffer[..length]).unwrap();
    assert_eq!((packet.state, packet.your_discriminator, packet.echo_us, length), (State::Down, 0, 0, 24));
    assert_eq!((packet.transmit_us, packet.receive_us, packet.multiplier), (1_000_000, 50_000, 3));
    assert!(from.port() >= 49152, "{from}");
    Ok(())
}

//! The udp backend's proxy between two namespaces, with the real TUN devices, and beside a plain loop that sends and takes
//! one packet a datagram as flannel's proxy does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod datagrams;
mod sandbox;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use datagrams::{Node, PORT, PlainLoop, connect, device};
use kernel::tun;
use sandbox::wait_for;

/// So many octets one way, each of them checked.
fn transfer(from: &Node, to: &Node, octets: usize) {
    let (mut sender, mut receiver) = connect(from, to);
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        receiver.read_to_end(&mut all).expect("all of it");
        all
    });
    let sent: Vec<u8> = (0..octets).map(|n| (n * 7 / 3) as u8).collect();
    sender.write_all(&sent).expect("sending");
    drop(sender);
    assert!(reading.join().unwrap() == sent, "what came is not what was sent");
}

#[test]
fn packets_of_every_size_and_long_streams_get_across_both_ways() {
    let [one, two] = Node::pair();
    let proxies = [one.proxy(), two.proxy()];
    transfer(&one, &two, 30_000_000);
    transfer(&two, &one, 3_000_000);
    for size in [0, 1, 1444, 1445, 4000, 20_000] {
        one.sandbox.sh(&format!("ping -c 2 -i 0.01 -W 5 -s {size} 10.1.2.0"));
    }
    let traffic = proxies[0].traffic();
    assert!(traffic.sent > 20_000 && traffic.received > 2000, "each packet is a datagram: {traffic:?}");
    assert_eq!((traffic.refused, traffic.no_node), (0, 0), "{traffic:?}");
}

#[test]
fn a_plain_loop_such_as_flannels_is_understood_and_understands() {
    let [one, two] = Node::pair();
    let _proxy = one.proxy();
    let plain = PlainLoop::start(&two, Ipv4Addr::new(192, 0, 2, 1));
    transfer(&one, &two, 2_000_000);
    transfer(&two, &one, 2_000_000);
    one.sandbox.sh("ping -c 2 -i 0.01 -W 5 -s 4000 10.1.2.0");
    plain.end();
}

#[test]
fn a_plain_loop_takes_over_the_device_that_the_proxy_leaves() {
    let [one, two] = Node::pair();
    let (first, _second) = (one.proxy(), two.proxy());
    transfer(&one, &two, 2_000_000);
    drop(first);
    let plain = PlainLoop::start(&one, Ipv4Addr::new(192, 0, 2, 2));
    transfer(&one, &two, 2_000_000);
    transfer(&two, &one, 2_000_000);
    plain.end();
    let _again = one.proxy();
    transfer(&one, &two, 2_000_000);
}

#[test]
fn connections_outlive_the_proxy_because_the_device_stays() {
    let [one, two] = Node::pair();
    let (first, _second) = (one.proxy(), two.proxy());
    let (mut sender, mut receiver) = connect(&one, &two);
    sender.write_all(b"before").unwrap();
    receiver.read_exact(&mut [0; 6]).unwrap();
    drop(first);
    one.sandbox.sh("ip link show flannel0");
    sender.write_all(b"between").unwrap();
    let _again = one.proxy();
    let mut came = [0; 7];
    receiver.read_exact(&mut came).unwrap();
    assert_eq!(&came, b"between");
}

#[test]
fn a_device_that_is_deleted_ends_the_proxy_and_another_takes_the_new_one() {
    let [one, two] = Node::pair();
    let (first, _second) = (one.proxy(), two.proxy());
    one.sandbox.sh("ip link delete flannel0");
    wait_for("the end of a proxy without a device", || (!first.runs()).then_some(()));
    drop(first);
    let missing = one.sandbox.run(|| kernel::tun::Tun::attach(device())).unwrap_err();
    assert_eq!(missing.errno(), libc::ENODEV);
    one.sandbox.run(|| tun::make(device())).unwrap();
    one.sandbox.sh("ip link set flannel0 mtu 1472 up && ip address add 10.1.1.0/32 dev flannel0");
    one.sandbox.sh("ip route add 10.1.0.0/16 dev flannel0");
    let _again = one.proxy();
    one.sandbox.sh("ping -c 1 -W 5 10.1.2.0");
}

#[test]
fn a_sender_hears_of_addresses_that_no_node_has_and_of_packets_that_are_too_old() {
    let [one, two] = Node::pair();
    let (first, _second) = (one.proxy(), two.proxy());
    let unknown = one.sandbox.try_sh("ping -c 1 -W 5 10.1.77.1");
    // Beside it the kernel says on any interface which multicast groups it is in.
    assert!(!unknown.status.success() && first.traffic().no_node >= 1);
    // ICMP is told nothing (RFC 792); UDP is, and passes it on to a socket that asks.
    let socket = one.sandbox.run(|| UdpSocket::bind((one.address(), 0))).unwrap();
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the value lives longer than the call.
    let asked =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_IP, libc::IP_RECVERR, (&raw const on).cast(), 4) };
    assert_eq!(asked, 0);
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.connect(("10.1.77.1", 9)).unwrap();
    socket.send(b"x").unwrap();
    let error = socket.recv(&mut [0; 8]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH), "{error}");
    let socket = one.sandbox.run(|| UdpSocket::bind((one.address(), 0))).unwrap();
    socket.set_ttl(1).unwrap();
    socket.send_to(b"x", ("10.1.2.0", 9)).unwrap();
    wait_for("a packet too old", || (first.traffic().aged == 1).then_some(()));
}

#[test]
fn datagrams_that_are_none_of_ours_are_dropped_and_make_the_node_send_nothing() {
    let [one, two] = Node::pair();
    let (first, second) = (one.proxy(), two.proxy());
    let socket = two.sandbox.run(|| UdpSocket::bind("192.0.2.2:0")).unwrap();
    let target = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), PORT);
    let packet = |from: [u8; 4], to: [u8; 4], ttl: u8| {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, ttl, 17, 0, 0];
        packet.extend(from.into_iter().chain(to).chain([0, 9, 0, 9, 0, 8, 0, 0]));
        let sum: u32 = packet[..20].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    };
    let hostile: Vec<Vec<u8>> = vec![
        vec![],
        vec![0x45],
        vec![0xff; 1400],
        // To a third node, to the network's own address, back to the second, to the world: none is passed on.
        packet([10, 1, 2, 0], [10, 1, 77, 1], 64),
        packet([10, 1, 2, 0], [192, 0, 2, 2], 64),
        packet([10, 1, 2, 0], [10, 1, 2, 0], 64),
        packet([10, 1, 2, 0], [8, 8, 8, 8], 64),
        packet([10, 1, 2, 0], [255, 255, 255, 255], 64),
        // In this node's own name.
        packet([10, 1, 1, 5], [10, 1, 1, 0], 64),
        // Longer than what came.
        packet([10, 1, 2, 0], [10, 1, 1, 0], 64)[..27].to_vec(),
    ];
    for datagram in &hostile {
        socket.send_to(datagram, target).unwrap();
    }
    wait_for("all of them dropped", || (first.traffic().foreign == hostile.len() as u64).then_some(()));
    for _ in 0..1000 {
        // Too old, and such that the host would answer if it got them.
        socket.send_to(&packet([10, 1, 2, 0], [10, 1, 1, 0], 1), target).unwrap();
    }
    wait_for("the old ones dropped", || (first.traffic().aged == 1000).then_some(()));
    assert_eq!((first.traffic().sent, second.traffic().received), (0, 0), "the node answered");
    assert!(first.runs() && second.runs());
    one.sandbox.sh("ping -c 1 -W 5 10.1.2.0");
}

#[test]
fn a_path_that_carries_less_than_the_uplink_loses_nothing() {
    let [one, two] = Node::pair();
    let proxies = [one.proxy(), two.proxy()];
    // What a router on the way would say (ICMP fragmentation needed), said by the route here.
    one.sandbox.sh("ip route add 192.0.2.2 dev eth0 mtu 1300");
    transfer(&one, &two, 1_000_000);
    one.sandbox.sh("ping -c 2 -i 0.01 -W 5 -s 4000 10.1.2.0");
    assert_eq!(proxies[0].traffic().refused, 0);
}

//! Batches and requests on the real kernel: every refusal is known by its message, and what is right is done.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod sandbox;

use kernel::codec::{MAKE, REPLACE, neighbour, route};
use kernel::netlink::{Batch, Messages, Protocol, Request, Socket};
use sandbox::Sandbox;

/// A namespace with a device, and its index.
fn node() -> (Sandbox, u32) {
    let node = Sandbox::new();
    node.sh("ip link add u0 type veth peer name u1; ip link set u0 up; ip link set u1 up");
    let index = node.sh("ip -o link show u0 | cut -d: -f1").trim().parse().unwrap();
    (node, index)
}

fn mac(number: usize) -> ipam::Mac {
    let [.., a, b] = number.to_be_bytes();
    ipam::Mac([2, 0, 0, 0, a, b])
}

fn address(number: usize) -> std::net::IpAddr {
    std::net::Ipv4Addr::from_bits((10 << 24) | u32::try_from(number).unwrap()).into()
}

#[test]
fn a_refusal_is_told_by_the_key_of_its_message_and_the_rest_is_done() {
    let (node, index) = node();
    node.run(|| {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        // Full datagrams, one that is not, failures first, last, in the middle, and several in one datagram.
        for count in [1, 2, 63, 64, 65, 128, 1000] {
            let wrong = |number: &usize| *number == 0 || *number == count - 1 || number % 7 == 3;
            let mut batch = Batch::new(&mut socket);
            for number in 0..count {
                let link = if wrong(&number) { 9999 } else { index };
                batch.push(number, (neighbour::NEW, REPLACE), |body| {
                    neighbour::set(body, link, address(count * 1000 + number), mac(number));
                });
            }
            let refused = batch.finish();
            let keys: Vec<usize> = refused.iter().map(|refused| refused.key).collect();
            assert_eq!(keys, (0..count).filter(wrong).collect::<Vec<_>>());
            assert!(refused.iter().all(|refused| refused.refusal.errno == libc::ENODEV));
            let request = Request { kind: neighbour::GET, flags: 0, doing: "listing neighbours" };
            let there = socket.dump(&request, |body| neighbour::of_link(body, index)).unwrap();
            let ours = |messages: Messages<'_>| {
                let entries = messages.filter_map(|message| neighbour::Entry::read(&message));
                entries
                    .filter(|entry| (0..count).any(|number| entry.address == Some(address(count * 1000 + number))))
                    .count()
            };
            assert_eq!(ours(there), count - keys.len());
        }
    });
}

#[test]
fn the_kernels_words_come_with_the_refusal() {
    let (node, _) = node();
    node.run(|| {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        let key = backends::state::RouteKey::new("10.1.0.0/16".parse().unwrap());
        let mut batch = Batch::new(&mut socket);
        batch.push(7, (route::NEW, MAKE), |body| route::set(body, key, route::Target::Object(4711)));
        batch.push(8, (route::NEW, MAKE), |body| route::set(body, key, route::Target::Blackhole));
        let refused = batch.finish();
        assert_eq!(refused.len(), 1);
        assert_eq!((refused[0].key, refused[0].refusal.words.as_deref()), (7, Some("Nexthop id does not exist")));

        let request = Request { kind: route::NEW, flags: MAKE, doing: "adding a route to nowhere" };
        let error = socket.request(&request, |body| route::set(body, key, route::Target::Object(4711))).unwrap_err();
        assert_eq!(error.errno(), libc::EINVAL);
        assert_eq!(
            error.to_string(),
            "adding a route to nowhere: Invalid argument (os error 22): Nexthop id does not exist"
        );
    });
}

#[test]
fn a_batch_after_a_refused_one_is_not_confused() {
    let (node, index) = node();
    node.run(|| {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        for round in 0..3 {
            let mut batch = Batch::new(&mut socket);
            for number in 0..500 {
                batch.push(number, (neighbour::DELETE, 0), |body| neighbour::delete(body, index, address(number)));
            }
            assert_eq!(batch.finish().len(), 500, "round {round}");
        }
    });
}

#[test]
fn a_list_that_changes_all_the_time_is_still_whole() {
    let (node, _) = node();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                node.sh("ip -batch - <<END\nlink add x0 type bridge\nlink delete x0\nEND");
            }
        });
        node.run(|| {
            let mut socket = Socket::open(Protocol::Route).unwrap();
            for _ in 0..200 {
                let request = Request { kind: libc::RTM_GETLINK, flags: 0, doing: "listing links" };
                let links = socket.dump(&request, kernel::codec::link::all).unwrap();
                let names = links.filter_map(|message| kernel::codec::link::Entry::read(&message)?.name);
                let stable = names.filter(|name| ["lo", "u0", "u1"].contains(&name.as_str())).count();
                assert_eq!(stable, 3);
            }
        });
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

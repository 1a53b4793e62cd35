//! How many packets a second go by the udp backend's proxy, beside a plain read and write loop in the same run: `cargo run
//! --release -p kernel --example datagrams`. Needs root. Ratios are what counts; other work on the machine slows both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/datagrams/mod.rs"]
mod datagrams;
#[path = "../tests/sandbox/mod.rs"]
mod sandbox;

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use datagrams::{Node, PlainLoop, connect};

/// Octets of payload in a full packet of TCP on a device of 1,472: 20 of IPv4, 32 of TCP with time stamps.
const PAYLOAD: f64 = 1420.0;
const LASTS: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;

fn main() {
    let (mut plain, mut proxied) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // Each on devices of its own: what the proxy asks of one stays with it.
        let [one, two] = Node::pair();
        let loops =
            [PlainLoop::start(&one, Ipv4Addr::new(192, 0, 2, 2)), PlainLoop::start(&two, Ipv4Addr::new(192, 0, 2, 1))];
        plain.push(packets_a_second(&one, &two));
        loops.into_iter().for_each(PlainLoop::end);
        let [one, two] = Node::pair();
        let _proxies = [one.proxy(), two.proxy()];
        proxied.push(packets_a_second(&one, &two));
    }
    let middle = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let (plain, proxied) = (middle(plain), middle(proxied));
    println!("plain loop {plain:>10.0} packets/s, proxy {proxied:>10.0} packets/s, ratio {:.1}", proxied / plain);
}

/// Of one TCP stream.
fn packets_a_second(from: &Node, to: &Node) -> f64 {
    let (mut sender, mut receiver) = connect(from, to);
    let sending = std::thread::spawn(move || {
        let (octets, began) = (vec![7; 1 << 18], Instant::now());
        while began.elapsed() < LASTS {
            sender.write_all(&octets).expect("sending");
        }
    });
    let (mut octets, mut all, began) = (vec![0; 1 << 18], 0, Instant::now());
    while let Ok(length @ 1..) = receiver.read(&mut octets) {
        all += length;
    }
    let took = began.elapsed().as_secs_f64();
    sending.join().expect("the sender");
    all as f64 / PAYLOAD / took
}

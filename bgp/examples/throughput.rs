//! How fast and how large: routes from one peer to another through decode, table and encode, without sockets.
//!
//! `cargo run --release -p bgp --example throughput -- 500000 20` sends 500,000 /24s, twenty an UPDATE with attributes of their own (the method of
//! bgperf2-like rigs: a path of four systems and a community), and prints seconds and bytes; compare only what ran side by side.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)] // a clock and the process's own memory are what it is about

use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp::machine::collision::Side;
use bgp::policy::Policy;
use bgp::rib::{PeerId, Settings};
use bgp::speaker::{LocalAddresses, PeerConfig, Readiness, RemoteAs, Speaker};
use bgp::wire::capability::Capability;
use bgp::wire::packing::Sheet;
use bgp::wire::terms::{FamilyTerms, Terms};
use bgp::wire::{AsPath, Attributes, Community, Family, MessageLimit, NextHop, Nlri, Open, Origin, message};
use ipnet::{IpNet, Ipv4Net};

const IN: PeerId = PeerId(1);
const OUT: PeerId = PeerId(2);

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().unwrap());
    let (routes, shared) = (arguments.next().unwrap_or(500_000), arguments.next().unwrap_or(20));
    let input = updates(routes, shared);
    let before = resident();
    let mut speaker = speaker();
    establish(&mut speaker, IN, 65001);
    establish(&mut speaker, OUT, 65002);
    let (mut out, mut longest) = (0, Duration::ZERO);
    let begun = Instant::now();
    // As a socket hands it over, and as a session takes it: 64 KiB, then what changed is decided and encoded.
    for piece in input.chunks(64 << 10) {
        let piece_begun = Instant::now();
        speaker.received(IN, Side::Incoming, piece, Duration::from_secs(1));
        out += drain(&mut speaker);
        longest = longest.max(piece_begun.elapsed());
    }
    let took = begun.elapsed();
    let after = resident();
    let begun = Instant::now();
    speaker.closed(IN, Side::Incoming, Duration::from_secs(2));
    let withdrawn = drain(&mut speaker);
    let lost = begun.elapsed();
    let kib = |bytes: usize| bytes >> 10;
    println!("{routes} routes, {shared} an UPDATE: in {} KiB, out {} KiB", kib(input.len()), kib(out));
    println!("in, decided, out: {took:?}, {:.0} ns a route", took.as_secs_f64() * 1e9 / routes as f64);
    println!("of them the longest 64 KiB: {longest:?}");
    println!(
        "resident: {} KiB before, {} KiB after, {} bytes a route",
        kib(before),
        kib(after),
        (after - before) / routes
    );
    println!("peer lost, all withdrawn: {lost:?}, {} KiB out", kib(withdrawn));
    let held = speaker.rib().destinations();
    println!("peak: {} KiB; {held} destinations left", kib(peak()));
}

fn speaker() -> Speaker {
    let us = [192, 0, 2, 254].into();
    let settings = Settings { asn: 65000, identifier: us, cluster: us, preferences: Default::default(), seed: 0x5eed };
    Speaker::new(settings, Readiness::Complete)
}

fn establish(speaker: &mut Speaker, id: PeerId, asn: u32) {
    let now = Duration::ZERO;
    let [high, low] = id.0.to_be_bytes();
    let address = std::net::Ipv4Addr::new(192, 0, high, low);
    let config = PeerConfig {
        import: Some(Arc::new(Policy::accept())),
        export: Some(Arc::new(Policy::accept())),
        graceful: None,
        ..PeerConfig::new(address.into(), RemoteAs::Exactly(asn))
    };
    speaker.add_peer(id, config, now);
    let local = LocalAddresses { v4: Some([192, 0, 2, 254].into()), v6: None };
    speaker.connected(id, Side::Incoming, local, now);
    let capabilities = vec![Capability::MultiProtocol(Family::IPV4), Capability::FourOctetAs(asn)];
    let open = Open { asn, hold_secs: 90, identifier: address, capabilities };
    let hello = [message::open(&open), message::keepalive()].concat();
    speaker.received(id, Side::Incoming, &hello, now);
    drain(speaker);
}

/// Takes everything that there is for the peers, as sockets that never fill.
fn drain(speaker: &mut Speaker) -> usize {
    let mut bytes = 0;
    loop {
        let more = speaker.flush();
        drop(speaker.outputs());
        for id in [IN, OUT] {
            while let Some(chunk) = speaker.pull(id, Side::Incoming) {
                bytes += chunk.len();
            }
        }
        if !more {
            return bytes;
        }
    }
}

fn updates(routes: usize, shared: usize) -> Vec<u8> {
    let family = FamilyTerms::plain(Family::IPV4);
    let terms = Terms { limit: MessageLimit::Standard, families: vec![family], ..Terms::canonical() };
    let mut bytes = Vec::new();
    for first in (0..routes).step_by(shared) {
        let number = u32::try_from(first / shared).unwrap();
        let attributes = Attributes {
            origin: Origin::Igp,
            as_path: AsPath::sequence(vec![65001, 100 + number % 5000, 3356, 200_000 + number]),
            communities: vec![Community(0xfde9_0000 | number & 0xffff)],
            ..Attributes::default()
        };
        let net =
            |n: usize| IpNet::from(Ipv4Net::new((0x0100_0000 + (u32::try_from(n).unwrap() << 8)).into(), 24).unwrap());
        let listed = (first..routes.min(first + shared)).map(|n| (0, Nlri::Prefix(net(n))));
        Sheet::new(&attributes, NextHop::V4([192, 0, 2, 1].into()), family, &terms)
            .announce(listed, &mut bytes)
            .unwrap();
    }
    bytes
}

fn resident() -> usize {
    status("VmRSS:")
}

fn peak() -> usize {
    status("VmHWM:")
}

fn status(name: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

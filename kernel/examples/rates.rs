//! How fast plans go into the kernel and states come out of it, in a namespace of its own.
//!
//! `cargo run --release -p kernel --example rates` as root. Figures depend on the machine; the ratios do not much.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../tests/overlay/mod.rs"]
mod overlay;
#[path = "../tests/sandbox/mod.rs"]
mod sandbox;

use std::time::{Duration, Instant};

use backends::diff::diff;
use backends::state::KernelState;
use kernel::Hand;
use kernel::codec::route::Which;
use kernel::codec::{neighbour, nexthop, route};
use kernel::netlink::{Protocol, Request, Socket};

use overlay::{Style, alone, node, scope, with_peers};

/// How often each figure is taken; the median is shown.
const PASSES: usize = 5;

fn main() {
    for peers in [5_000, 15_000] {
        let passes: Vec<Figures> = (0..PASSES).map(|_| measure(peers)).collect();
        let median = |pick: fn(&Figures) -> Duration| {
            let mut times: Vec<Duration> = passes.iter().map(pick).collect();
            times.sort();
            times[PASSES / 2]
        };
        let (all, bare, observe) = (median(|f| f.all), median(|f| f.bare), median(|f| f.observe));
        let rate = f64::from(peers) / all.as_secs_f64();
        println!("{peers} peers: all {all:?} ({rate:.0} peers/s, {:.0} messages/s)", 4.0 * rate);
        println!("  observe {observe:?}, bare dumps {bare:?}, ratio {:.2}", observe.as_secs_f64() / bare.as_secs_f64());
        println!("  diff of equal states {:?}", median(|f| f.diff));
        println!("  one more {:?}, one less {:?}", median(|f| f.more), median(|f| f.less));
        println!("  remove all {:?}", median(|f| f.removed));
        let routes = median(|f| f.routes);
        println!("  routes alone {routes:?} ({:.0} messages/s)", f64::from(peers) / routes.as_secs_f64());
    }
}

struct Figures {
    all: Duration,
    routes: Duration,
    observe: Duration,
    bare: Duration,
    diff: Duration,
    more: Duration,
    less: Duration,
    removed: Duration,
}

fn measure(peers: u32) -> Figures {
    let node = node();
    node.run(|| {
        let mut hand = Hand::open().unwrap();
        let base = alone();
        let wanted = with_peers(base.clone(), 1..=peers, Style::Objects);
        let apply = |from: &KernelState, to: &KernelState, hand: &mut Hand| {
            let plan = diff(from, to);
            let start = Instant::now();
            let outcome = hand.apply(&scope(), &plan);
            let time = start.elapsed();
            assert_eq!(outcome.failures, []);
            time
        };
        apply(&KernelState::default(), &base, &mut hand);
        let without_routes = KernelState { routes: base.routes.clone(), ..wanted.clone() };
        apply(&base, &without_routes, &mut hand);
        let routes = apply(&without_routes, &wanted, &mut hand);
        apply(&wanted, &base, &mut hand);
        let all = apply(&base, &wanted, &mut hand);
        let bare = bare_dumps();
        let start = Instant::now();
        let seen = hand.observe(&scope()).unwrap();
        let observe = start.elapsed();
        assert_eq!(seen, wanted);
        let start = Instant::now();
        assert!(diff(&seen, &wanted).is_empty());
        let compared = start.elapsed();
        let (mut more, mut less) = (Vec::new(), Vec::new());
        for number in peers + 1..peers + 100 {
            let one = with_peers(KernelState::default(), number..=number, Style::Objects);
            more.push(apply(&KernelState::default(), &one, &mut hand));
            less.push(apply(&one, &KernelState::default(), &mut hand));
        }
        more.sort();
        less.sort();
        let removed = apply(&wanted, &base, &mut hand);
        Figures { all, routes, observe, bare, diff: compared, more: more[50], less: less[50], removed }
    })
}

/// The four dumps without anybody who reads them: the floor.
fn bare_dumps() -> Duration {
    let mut socket = Socket::open(Protocol::Route).unwrap();
    let link = std::fs::read_to_string("/proc/thread-self/net/dev_snmp6/flannel.7").unwrap();
    let link = link.split_whitespace().nth(1).unwrap().parse().unwrap();
    let mut list = |kind, body: &dyn Fn(&mut kernel::netlink::Body<'_>)| {
        let request = Request { kind, flags: 0, doing: "listing" };
        socket.dump(&request, body).unwrap().count()
    };
    let start = Instant::now();
    let mut count = list(nexthop::GET, &nexthop::all);
    count += list(route::GET, &|body| route::of_family(body, ipam::Family::V4, Which::Tagged));
    count += list(neighbour::GET, &|body| neighbour::of_link(body, link));
    count += list(neighbour::GET, &|body| neighbour::forwarding_of_link(body, link));
    let time = start.elapsed();
    assert!(count > 20_000);
    time
}

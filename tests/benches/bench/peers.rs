//! What the kernel is made to hold for many peers: by us, by `ip -batch` and `bridge -batch`, in turn, in one namespace.

pub mod beside_vxlan;

use std::net::IpAddr;

use anyhow::{Result, ensure};
use backends::LinkName;
use backends::cluster::RouteStyle;
use backends::diff::diff;
use ipam::Family;
use ipam::table::Record;
use kernel::netlink::socket::{Protocol, Request, Socket};
use netns_harness::{Lab, Node};

use crate::cluster::{batches, desired, lease, scope};
use crate::figures::{Bound, goal, heading, median, millis, note};
use crate::floor::floor;

const PASSES: usize = 5;

/// Peers from nothing, one more, and a look with nothing to do.
pub fn measure() -> Result<()> {
    let lab = Lab::new("benchpeers")?;
    let node = lab.node("worker")?;
    let local = node.address(Family::V4)?;
    heading("Peers from nothing to programmed (nexthop, route, neighbour and FDB entry each)");
    let mut ours = [Vec::new(), Vec::new()];
    let (mut batch, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..PASSES {
        bare.push(floor(&node, 5_000)?);
        ours[0].push(from_nothing(&node, local, 5_000)?);
        batch.push(by_batch(&node, 5_000)?);
        ours[1].push(from_nothing(&node, local, 15_000)?);
    }
    let [five, fifteen] = ours.map(median);
    note("5,000 peers, ours", five, "ms");
    note("5,000 peers, the kernel alone (datagrams written before)", median(bare.clone()), "ms");
    note("ours against the kernel alone", five / median(bare.clone()), "times");
    note("the kernel alone against the batches", median(batch.clone()) / median(bare), "times faster");
    note("5,000 peers, ip -batch + bridge -batch (classic routes)", median(batch.clone()), "ms");
    note("15,000 peers, ours", fifteen, "ms");
    goal("times faster than the batches at 5,000", median(batch) / five, Bound::AtLeast(15.0));
    goal("15,000 against 5,000", fifteen / five, Bound::AtMost(6.0));
    heading("One more peer");
    let [few, many] = [5_000, 15_000].map(|peers| one_more(&node, local, peers, RouteStyle::Objects));
    let classic = one_more(&node, local, 5_000, RouteStyle::Gateways)?;
    let (few, many) = (few?, many?);
    note("with 5,000 present, ours", few * 1000.0, "µs");
    note("with 15,000 present, ours", many * 1000.0, "µs");
    note("with 5,000 present, the classic three entries by netlink", classic * 1000.0, "µs");
    goal("ours against classic", few / classic, Bound::AtMost(1.0 / 6.0));
    goal("15,000 against 5,000", many / few, Bound::AtMost(1.3));
    heading("A look at the whole with nothing to do");
    for peers in [5_000, 15_000] {
        look(&node, local, peers)?;
    }
    beside_vxlan::measure()
}

fn uplink() -> LinkName {
    LinkName::new("eth0").expect("a name")
}

fn from_nothing(node: &Node, local: IpAddr, peers: u32) -> Result<f64> {
    let (base, whole, _) = desired(uplink(), local, peers, RouteStyle::Objects);
    let scope = scope(&base);
    let time = node.namespace().within(move || {
        let mut hand = kernel::Hand::open()?;
        let made = {
            let seen = hand.observe(&scope)?;
            hand.apply(&scope, &diff(&seen, &base))
        };
        ensure!(made.failures.is_empty(), "{:?}", made.failures);
        let (time, outcome) = millis(|| hand.apply(&scope, &diff(&base, whole.state())));
        ensure!(outcome.failures.is_empty(), "{:?}", outcome.failures.first());
        Ok(time)
    })?;
    node.ip("link del flannel.1")?;
    Ok(time)
}

fn by_batch(node: &Node, peers: u32) -> Result<f64> {
    node.ip("link add flannel.1 type vxlan id 1 dstport 8472 dev eth0 nolearning")?;
    node.ip("link set flannel.1 up")?;
    let (neighbours, fdb, routes) = batches(peers)?;
    let (time, done) = millis(|| -> Result<()> {
        node.namespace().feed(["ip", "-batch", "-"], &neighbours)?;
        node.namespace().feed(["bridge", "-batch", "-"], &fdb)?;
        node.namespace().feed(["ip", "-batch", "-"], &routes)?;
        Ok(())
    });
    done?;
    node.ip("link del flannel.1")?;
    Ok(time)
}

/// The median of a hundred peers that come one at a time; each goes again before the next.
fn one_more(node: &Node, local: IpAddr, peers: u32, routes: RouteStyle) -> Result<f64> {
    let (base, mut whole, mut table) = desired(uplink(), local, peers, routes);
    let scope = scope(&base);
    let time = node.namespace().within(move || {
        let mut hand = kernel::Hand::open()?;
        let made = {
            let seen = hand.observe(&scope)?;
            hand.apply(&scope, &diff(&seen, whole.state()))
        };
        ensure!(made.failures.is_empty(), "{:?}", made.failures.first());
        let mut times = Vec::new();
        for i in 0..100 {
            let newcomer = lease(peers + 1 + i);
            let touched = table.apply(Record::Lease(newcomer.clone()));
            let (time, outcome) = millis(|| hand.apply(&scope, &whole.update(&touched, &table)));
            ensure!(outcome.failures.is_empty(), "{:?}", outcome.failures);
            times.push(time);
            let touched = table.apply(Record::Gone(newcomer.key));
            hand.apply(&scope, &whole.update(&touched, &table));
        }
        Ok(median(times))
    })?;
    node.ip("link del flannel.1")?;
    Ok(time)
}

/// `observe` and `diff` of everything, beside dumps of the same four kinds that nobody reads.
fn look(node: &Node, local: IpAddr, peers: u32) -> Result<()> {
    let (base, whole, _) = desired(uplink(), local, peers, RouteStyle::Objects);
    let scope = scope(&base);
    let (ours, bare) = node.namespace().within(move || {
        let mut hand = kernel::Hand::open()?;
        let made = {
            let seen = hand.observe(&scope)?;
            hand.apply(&scope, &diff(&seen, whole.state()))
        };
        ensure!(made.failures.is_empty(), "{:?}", made.failures.first());
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..9 {
            bare.push(millis(dump_everything).0);
            let before = hand.writes();
            let (time, plan) = millis(|| hand.observe(&scope).map(|observed| diff(&observed, whole.state())));
            let plan = plan?;
            ensure!(plan.is_empty() && hand.writes() == before, "a second look would change:\n{plan}");
            ours.push(time);
        }
        Ok((median(ours), median(bare)))
    })?;
    node.ip("link del flannel.1")?;
    note(&format!("{peers} peers, ours"), ours, "ms");
    note(&format!("{peers} peers, the bare dumps"), bare, "ms");
    goal(&format!("{peers} peers, ours against the bare dumps"), ours / bare, Bound::AtMost(5.0));
    Ok(())
}

/// Routes, next-hop objects, neighbours and FDB entries (RTM_GETROUTE, RTM_GETNEXTHOP, RTM_GETNEIGH twice).
fn dump_everything() -> Result<usize> {
    const KINDS: [(u16, u8, usize); 4] = [(26, 2, 12), (106, 0, 8), (30, 2, 12), (30, 7, 12)];
    let mut socket = Socket::open(Protocol::Route)?;
    let mut messages = 0;
    for (kind, family, length) in KINDS {
        let request = Request { kind, flags: 0, doing: "dump for comparison" };
        let mut header = vec![0; length];
        header[0] = family;
        messages += socket.dump(&request, |body| body.fixed(&header))?.count();
    }
    Ok(messages)
}

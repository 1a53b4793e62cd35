//! Every backend's peers beside VXLAN's, in turns: 5,000 from nothing, and one more. For a peer of WireGuard's the kernel multiplies
//! points of a curve, which no other backend's needs: there the kernel alone stands beside us.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use backends::cluster::RouteStyle;
use backends::diff::diff;
use backends::ipip::IpipSettings;
use backends::udp::UdpSettings;
use backends::wireguard::{Mode, WireGuardSettings};
use backends::{Backend, KernelState};
use ipam::table::Record;
use ipam::{BackendData, Family, SecretKey, Stack};
use ipnet::IpNet;
use netns_harness::{Lab, Node};

use super::{PASSES, uplink};
use crate::cluster::{NETWORK, desired_by, lease_by, scope, vxlan};
use crate::figures::{Bound, goal, heading, median, millis, note};
use crate::{floor, guest};

/// What the program is told to do the part in a guest.
pub const THERE: &str = "peers-there";

const PEERS: u32 = 5_000;
const NEWCOMERS: u32 = 50;
const GUEST_LIMIT: Duration = Duration::from_secs(1800);

/// What the machine's own kernel has, and the rest in a guest.
pub fn measure() -> Result<()> {
    let lab = Lab::new("benchbeside")?;
    let node = lab.node("worker")?;
    beside(&node, &Backend::HostGw)?;
    beside(&node, &Backend::Udp(UdpSettings::new(backends::udp::DEFAULT_PORT)))?;
    guest::run(&[THERE], GUEST_LIMIT)
}

/// The part of it that is done in a guest.
pub fn there() -> Result<()> {
    let lab = Lab::new("benchbeside")?;
    let node = lab.node("worker")?;
    let network: IpNet = NETWORK.parse()?;
    beside(&node, &Backend::Ipip(IpipSettings::new(&Stack::V4(network))))?;
    let settings = WireGuardSettings::new(Mode::Separate, &Stack::V4(network));
    wireguard(&node, &Backend::WireGuard(settings.expect("a mode without a family of its own")))
}

fn beside(node: &Node, backend: &Backend) -> Result<()> {
    let name = backend.name();
    heading(&format!("The same peers by {name}, beside VXLAN in turn"));
    let (mut all, mut one) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..PASSES {
        for (at, backend) in [&vxlan(), backend].into_iter().enumerate() {
            let times = by_backend(node, backend)?;
            all[at].push(times[0]);
            one[at].push(times[1]);
        }
    }
    let [[all_vxlan, all], [one_vxlan, one]] = [all, one].map(|of| of.map(median));
    note("5,000 peers, VXLAN", all_vxlan, "ms");
    note(&format!("5,000 peers, {name}"), all, "ms");
    goal(&format!("{name} against VXLAN"), all / all_vxlan, Bound::AtMost(1.2));
    note("one more with 5,000 present, VXLAN", one_vxlan * 1000.0, "µs");
    note(&format!("one more with 5,000 present, {name}"), one * 1000.0, "µs");
    goal(&format!("{name} against VXLAN"), one / one_vxlan, Bound::AtMost(1.2));
    Ok(())
}

fn wireguard(node: &Node, backend: &Backend) -> Result<()> {
    heading("The same peers by wireguard, beside VXLAN and the kernel alone (datagrams written before) in turn");
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    let mut one = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..PASSES {
        let times =
            [by_backend(node, backend)?, floor::wireguard(node, (PEERS, NEWCOMERS))?, by_backend(node, &vxlan())?];
        for (at, times) in times.into_iter().enumerate() {
            all[at].push(times[0]);
            one[at].push(times[1]);
        }
    }
    for (what, times, in_unit, unit) in
        [("5,000 peers", all, 1.0, "ms"), ("one more with 5,000 present", one, 1000.0, "µs")]
    {
        let [ours, alone, vxlan] = times.map(median);
        note(&format!("{what}, ours"), ours * in_unit, unit);
        note(&format!("{what}, the kernel alone"), alone * in_unit, unit);
        note(&format!("{what}, VXLAN"), vxlan * in_unit, unit);
        note("the kernel alone against VXLAN", alone / vxlan, "times");
        goal("ours against the kernel alone", ours / alone, Bound::AtMost(1.2));
    }
    Ok(())
}

/// Milliseconds for all peers from nothing, and for one more; and all of it gone again.
fn by_backend(node: &Node, backend: &Backend) -> Result<[f64; 2]> {
    let local: IpAddr = node.address(Family::V4)?;
    let (base, mut whole, mut table) = desired_by(backend, (uplink(), local), PEERS, RouteStyle::Objects);
    let scope = scope(&base);
    let own = lease_by(backend, 60_000);
    node.namespace().within(move || {
        let mut hand = kernel::Hand::open()?;
        for endpoint in own.endpoints.values() {
            if let BackendData::WireGuard { key, .. } = &endpoint.data {
                // Nothing is sent: which private key it is, is of no account.
                hand.keep_key(**key, SecretKey::new([7; 32]));
            }
        }
        let seen = hand.observe(&scope)?;
        let made = hand.apply(&scope, &diff(&seen, &base));
        ensure!(made.failures.is_empty(), "{:?}", made.failures);
        let (all, outcome) = millis(|| hand.apply(&scope, &diff(&base, whole.state())));
        ensure!(outcome.failures.is_empty(), "{:?}", outcome.failures.first());
        let mut times = Vec::new();
        for i in 1..=NEWCOMERS {
            let newcomer = lease_by(backend, PEERS + i);
            let touched = table.apply(Record::Lease(newcomer.clone()));
            let (time, outcome) = millis(|| hand.apply(&scope, &whole.update(&touched, &table)));
            ensure!(outcome.failures.is_empty(), "{:?}", outcome.failures);
            times.push(time);
            let touched = table.apply(Record::Gone(newcomer.key.clone()));
            hand.apply(&scope, &whole.update(&touched, &table));
        }
        let gone = hand.apply(&scope, &diff(whole.state(), &KernelState::default()));
        ensure!(gone.failures.is_empty(), "{:?}", gone.failures.first());
        Ok([all, median(times)])
    })
}

//! Between peers of one AS: we reflect for clients and for nobody else (RFC 4456), and are somebody's client.

use anyhow::{Context, Result};
use bgp::rib::PeerId;
use bgp::speaker::config::Reflects;
use bgp::speaker::{Readiness, RemoteAs};
use ipam::Family::V4;
use netns_harness::{Lab, Node};

use crate::driver::{Driver, PEER};
use crate::neighbour::frr::Frr;
use crate::neighbour::{LIMIT, Neighbour, OUR_AS, address};
use crate::speaker::{OURS, config, has, is_up, local, nlri, originate, speaker};

const OTHER: PeerId = PeerId(2);
/// What the first of two routers has.
const FIRST: &str = "10.91.0.0/16";

/// A router of our AS with one route; `about_us` are lines about us.
fn inside(node: Node, us: &Node, (net, about_us): (&str, &str)) -> Result<Frr> {
    let (own, ours) = (address(&node, V4), address(us, V4));
    let config = format!(
        "router bgp {OUR_AS}\n bgp router-id {own}\n no bgp network import-check\n neighbor {ours} remote-as {OUR_AS}\n \
         neighbor {ours} timers connect 1\n address-family ipv4 unicast\n  network {net}\n{about_us}\n exit-address-family\nexit\n"
    );
    Frr::run(node, &config.replace("US", &ours.to_string()))
}

fn two(lab: &Lab, us: &Node, reflects: Reflects) -> Result<([Frr; 2], Driver)> {
    let [one, two] = [lab.node("one")?, lab.node("two")?];
    let routers = [inside(one, us, (FIRST, ""))?, inside(two, us, ("10.92.0.0/16", ""))?];
    let mut driver = Driver::new(speaker(us, Readiness::Complete), us.namespace().clone(), local(us))?;
    for (id, router) in [PEER, OTHER].into_iter().zip(&routers) {
        let mut config = config(router.node());
        (config.remote_as, config.reflects) = (RemoteAs::Internal, reflects);
        driver.add_peer(id, config);
    }
    driver.until(LIMIT, |driver| is_up(driver, PEER) && is_up(driver, OTHER))?;
    driver.until(LIMIT, |driver| has(driver, FIRST) && has(driver, "10.92.0.0/16"))?;
    Ok((routers, driver))
}

#[test]
fn clients_hear_of_each_other_who_began_a_route_and_through_whom_it_came() -> Result<()> {
    let lab = Lab::new("bgpreflect")?;
    let us = lab.node("us")?;
    let ([one, two], mut driver) = two(&lab, &us, Reflects::ForClient)?;
    driver.until(LIMIT, |_| two.has(FIRST))?;
    let answer = two.route(FIRST)?;
    let (first, ours) = (address(one.node(), V4), address(&us, V4));
    for text in [format!("Originator: {first}"), format!("Cluster list: {ours}"), format!("{first} ")] {
        assert!(answer.contains(&text), "{text} is not in {answer}");
    }
    assert!(!one.route(FIRST)?.contains("Originator"), "it came back to where it began");
    one.ask("clear bgp *")?;
    driver.until(LIMIT, |driver| is_up(driver, PEER) && two.has(FIRST))
}

#[test]
fn two_of_our_as_for_whom_we_do_not_reflect_hear_our_routes_and_not_each_others() -> Result<()> {
    let lab = Lab::new("bgpnoreflect")?;
    let us = lab.node("us")?;
    let ([one, two], mut driver) = two(&lab, &us, Reflects::No)?;
    originate(&mut driver, &us, &OURS[..1]);
    driver.until(LIMIT, |_| one.has(OURS[0]) && two.has(OURS[0]))?;
    assert!(!two.has(FIRST), "{}", two.route(FIRST)?);
    Ok(())
}

#[test]
fn a_client_of_frrs_hears_what_another_client_says() -> Result<()> {
    let lab = Lab::new("bgpclient")?;
    let [us, other, node] = [lab.node("us")?, lab.node("other")?, lab.node("frr")?];
    let frr = inside(node, &us, (FIRST, "  neighbor US route-reflector-client"))?;
    let [ours, its] = [address(&us, V4), address(&other, V4)];
    let about = format!("neighbor {its} remote-as {OUR_AS}");
    let timers = format!("neighbor {its} timers connect 1");
    frr.told(&["configure terminal", &format!("router bgp {OUR_AS}"), &about, &timers])?;
    let mut drivers = Vec::new();
    for (node, net) in [(&us, OURS[0]), (&other, "10.93.0.0/16")] {
        let mut driver = Driver::new(speaker(node, Readiness::Complete), node.namespace().clone(), local(node))?;
        let mut config = config(frr.node());
        config.remote_as = RemoteAs::Internal;
        driver.add_peer(PEER, config);
        originate(&mut driver, node, &[net]);
        drivers.push(driver);
    }
    let [mut driver, mut second] = <[Driver; 2]>::try_from(drivers).ok().context("two")?;
    second.until(LIMIT, |_| frr.has("10.93.0.0/16"))?;
    driver.until(LIMIT, |driver| has(driver, "10.93.0.0/16"))?;
    let explained = driver.speaker.rib().explain(&nlri("10.93.0.0/16"));
    assert_eq!(explained[0].attributes.originator.map(std::net::IpAddr::from), Some(its));
    assert_eq!(explained[0].attributes.clusters.len(), 1);
    assert_ne!(ours, its);
    // The other one is no client, and hears of a client all the same (RFC 4456 section 6).
    second.until(LIMIT, |second| has(second, OURS[0]))
}

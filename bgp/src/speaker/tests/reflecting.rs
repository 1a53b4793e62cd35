//! Reflection that begins and ends under a session.

use super::*;
use crate::speaker::config::Reflects;

const FOUR: &str = "10.1.0.0/16";

#[test]
fn whoever_leaves_a_cluster_is_told_what_it_refused_and_a_client_that_came_ends_no_session() {
    let mut world = World::with([65001, 65001], |_, config| config.remote_as = RemoteAs::Internal);
    let (cluster, now) = ([1, 1, 1, 1].into(), secs(0));
    world.speakers[1].reflect(&[], cluster, now);
    let reflected = Attributes { clusters: vec![cluster], ..Attributes::default() };
    world.speakers[0].rib().originate(&nlri(FOUR), &reflected, NextHop::V4([10, 0, 0, 9].into()));
    world.pass(secs(1));
    assert!(world.established() && !world.knows(1, FOUR));
    let (speaker, own, now) = (&mut world.speakers[1], [10, 0, 0, 2].into(), world.now);
    speaker.reflect(&[(PEER, Reflects::ForClient)], own, now);
    world.pass(secs(1));
    assert!(world.knows(1, FOUR) && world.established());
    let status = world.speakers[1].status(PEER).unwrap();
    assert_eq!((status.flaps, status.agreement.unwrap().relation), (0, crate::rib::Relation::Client));
}

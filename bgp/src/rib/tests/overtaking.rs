//! Who says little is heard soon, whoever says much; and never in the wrong order.

use super::*;

/// A table of 3,000 routes of peer 1 waits for peer 9.
fn table() -> Rib {
    let mut rib = rib();
    (1..=2).for_each(|peer| rib.add_source(PeerId(peer), source(peer, Relation::External)));
    rib.join(PeerId(9), terms(Relation::External, PathIds::Absent));
    settle(&mut rib);
    while rib.take(PeerId(9)).is_some() {}
    for first in (0..3000).step_by(500) {
        say(&mut rib, 1, Some(&path(1)), &(first..first + 500).map(net).collect::<Vec<_>>());
    }
    settle(&mut rib);
    rib
}

/// How many octets peer 9 hears before it is told of this route for the last time.
fn before(rib: &mut Rib, number: usize) -> usize {
    let IpNet::V4(net) = net(number) else { panic!("IPv4") };
    let [a, b, c, _] = net.network().octets();
    let (mut octets, mut at) = (0, None);
    while let Some(chunk) = rib.take(PeerId(9)) {
        if chunk.windows(4).any(|window| window == [24, a, b, c]) {
            at = Some(octets);
        }
        octets += chunk.len();
    }
    at.unwrap()
}

#[test]
fn a_change_of_another_route_overtakes_a_table() {
    let mut rib = table();
    let waits = rib.queued(PeerId(9));
    assert!(waits > 10_000, "{waits}");
    say(&mut rib, 2, Some(&path(2)), &[net(5000)]);
    settle(&mut rib);
    assert_eq!(before(&mut rib, 5000), 0);
}

#[test]
fn a_change_of_a_route_that_waits_stays_behind_it() {
    let mut rib = table();
    let waits = rib.queued(PeerId(9));
    say(&mut rib, 1, None, &[net(7)]);
    settle(&mut rib);
    assert_eq!(before(&mut rib, 7), waits);
}

#[test]
fn a_route_that_was_forgotten_meanwhile_stays_behind_its_own_withdrawal() {
    let mut rib = table();
    say(&mut rib, 1, None, &[net(7)]);
    settle(&mut rib);
    // Another comes into its place, and it gets a new one.
    say(&mut rib, 2, Some(&path(2)), &[net(6000)]);
    settle(&mut rib);
    let waits = rib.queued(PeerId(9));
    say(&mut rib, 2, Some(&path(2)), &[net(7)]);
    settle(&mut rib);
    assert_eq!(before(&mut rib, 7), waits);
}

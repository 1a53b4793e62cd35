//! Nodes that change their ways in any order, with news of each other that come as late as can be: whoever sends, sends what
//! the receiver takes, at every step; and when all want the same and the news are in, all have it and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use ipam::table::Record;
use ipam::{BackendData, Endpoint, LeaseKey, Mac, NodeName, Spare, Stack};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NAMES: [&str; 4] = ["vxlan vni=1 port=8472", "vxlan vni=1 port=4789", "vxlan vni=2 port=8472", "host-gw"];

fn carrier(index: usize) -> Carrier {
    Carrier::new(NAMES[index % NAMES.len()]).unwrap()
}

fn data(carrier: &Carrier) -> BackendData {
    match carrier.setting("vni") {
        Some(vni) => BackendData::Vxlan { vni: vni.parse().unwrap(), mac: Mac([2; 6]) },
        None => BackendData::Other(carrier.backend().into()),
    }
}

fn lease(number: u8, main: &Carrier, position: Option<&Position>) -> Lease {
    let subnet = format!("10.244.{number}.0/24").parse().unwrap();
    let endpoint = Endpoint { subnet, public: [192, 0, 2, number].into(), data: data(main) };
    let rollout = position.map(|position| {
        let spare = |(carrier, promised): &(Carrier, u64)| Spare {
            carrier: carrier.clone(),
            promised: *promised,
            data: Stack::V4(data(carrier)),
        };
        let Position { main, target, ready, clock, spares } = position.clone();
        Box::new(Rollout { main, target, ready, clock, spares: spares.iter().map(spare).collect(), mtu: None })
    });
    let node = NodeName::new(&format!("n{number}")).unwrap();
    Lease { key: LeaseKey::new(&format!("k{number}")), node, since: 1, endpoints: Stack::V4(endpoint), rollout }
}

fn key(number: usize) -> LeaseKey {
    LeaseKey::new(&format!("k{number}"))
}

/// A node: what it knows, what it says, what its kernel does.
#[derive(Default)]
struct Member {
    table: LeaseTable,
    target: usize,
    position: Option<Position>,
    holds: BTreeSet<Carrier>,
    sends: BTreeMap<LeaseKey, Carrier>,
    patches: usize,
}

struct Crowd {
    members: Vec<Member>,
    store: BTreeMap<LeaseKey, Lease>,
}

impl Crowd {
    fn new(count: usize) -> Crowd {
        let mut crowd = Crowd { members: (0..count).map(|_| Member::default()).collect(), store: BTreeMap::new() };
        // Twice: a store tells all that it has before it tells what is new.
        for number in (0..count).chain(0..count) {
            crowd.hear(number, usize::MAX);
            crowd.turn(number, Made::Whole);
        }
        crowd
    }

    /// Some of the news reach a node; `which` as bits.
    fn hear(&mut self, number: usize, which: usize) {
        let member = &mut self.members[number];
        for (index, other) in (0..16).map(|index| (index, key(index))) {
            if index == number || which & (1 << index) == 0 {
                continue;
            }
            let record = self.store.get(&other).map_or(Record::Gone(other), |lease| Record::Lease(lease.clone()));
            member.table.apply(record);
        }
    }

    /// The node does what follows, as far as its kernel lets it, and says what there is to say.
    fn turn(&mut self, number: usize, made: Made) {
        let member = &mut self.members[number];
        let target = carrier(member.target);
        let first = member.position.is_none();
        let position = member.position.clone().unwrap_or_else(|| Position::first(&target, &member.table));
        let held = position.held(&target, &member.table);
        let wanted: BTreeSet<Carrier> = held.iter().cloned().collect();
        if made == Made::Whole {
            let leases = member.table.leases().filter(|lease| lease.key != key(number));
            let choice = |lease: &Lease| Some((lease.key.clone(), position.choice(&held, lease)?.clone()));
            member.sends = leases.filter_map(choice).collect();
            member.holds = wanted;
        } else if made == Made::Base {
            member.holds.extend(wanted);
        }
        let next = if first { position } else { position.next(&target, &member.table, made) };
        if member.position.as_ref() != Some(&next) {
            member.patches += 1;
            self.store.insert(key(number), lease(number as u8, &next.main, Some(&next)));
            member.position = Some(next);
        }
    }

    fn check(&self) -> Result<(), String> {
        for (from, sender) in self.members.iter().enumerate() {
            for (to, receiver) in self.members.iter().enumerate().filter(|(to, _)| *to != from) {
                let acquainted = receiver.table.get(&key(from)).is_some();
                let Some(sent) = sender.sends.get(&key(to)).filter(|_| acquainted) else { continue };
                if !receiver.holds.contains(sent) {
                    let (s, r) = (&sender.position, &receiver.position);
                    return Err(format!("{from} sends {sent} to {to}, which holds {:?}\n{s:?}\n{r:?}", receiver.holds));
                }
            }
        }
        Ok(())
    }

    fn calm(&mut self, target: usize) {
        self.members.iter_mut().for_each(|member| member.target = target);
        for _ in 0..12 {
            for number in 0..self.members.len() {
                self.hear(number, usize::MAX);
                self.turn(number, Made::Whole);
            }
        }
    }

    fn check_settled(&self, target: usize) -> Result<(), String> {
        for (number, member) in self.members.iter().enumerate() {
            let position = member.position.as_ref().unwrap();
            let settled = position.main == carrier(target) && position.spares.is_empty() && position.ready;
            if !settled || member.holds.len() != 1 || member.sends.len() + 1 != self.members.len() {
                return Err(format!(
                    "{number} has not come to its end: {position:?} {:?} {:?}",
                    member.holds, member.sends
                ));
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Configured(usize, usize),
    Turn(usize, usize, u8),
    Restart(usize),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        2 => (0usize..5, 0usize..4).prop_map(|(number, target)| Happening::Configured(number, target)),
        12 => (0usize..5, any::<usize>(), 0u8..8).prop_map(|(number, which, made)| Happening::Turn(number, which, made)),
        1 => (0usize..5).prop_map(Happening::Restart),
    ];
    proptest::collection::vec(one, 1..250)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn whoever_sends_sends_what_the_receiver_takes(count in 2usize..5, history in happenings(), last in 0usize..4) {
        let mut crowd = Crowd::new(count);
        for happening in history {
            match happening {
                Happening::Configured(number, target) => crowd.members[number % count].target = target,
                Happening::Turn(number, which, made) => {
                    let made = match made { 0 => Made::Nothing, 1 => Made::Base, _ => Made::Whole };
                    crowd.hear(number % count, which);
                    crowd.turn(number % count, made);
                }
                // Its kernel stays, and what it said; of the others it learns all at once.
                Happening::Restart(number) => {
                    crowd.hear(number % count, usize::MAX);
                    crowd.turn(number % count, Made::Whole);
                }
            }
            crowd.check().map_err(TestCaseError::fail)?;
        }
        crowd.calm(last);
        crowd.check().map_err(TestCaseError::fail)?;
        crowd.check_settled(last).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn a_change_costs_each_node_few_words() {
    let mut crowd = Crowd::new(12);
    crowd.calm(0);
    crowd.members.iter_mut().for_each(|member| member.patches = 0);
    crowd.calm(3);
    crowd.check_settled(3).unwrap();
    let most = crowd.members.iter().map(|member| member.patches).max().unwrap();
    assert!(most <= 4, "its target, that it is ready, its main way, and that it has no other: {most} words");
}

#[test]
fn one_of_flannels_holds_a_change_up_until_it_says_the_same() {
    let mut crowd = Crowd::new(3);
    let flannels = |index| lease(9, &carrier(index), None);
    crowd.store.insert(key(9), flannels(0));
    crowd.calm(2);
    let position = crowd.members[0].position.clone().unwrap();
    assert_eq!((position.main.as_str(), position.ready), (NAMES[0], false));
    let waits: Vec<_> = crowd.store.values().filter_map(|lease| position.waits_for(lease)).collect();
    assert_eq!(waits, [Wait::Silent]);
    assert_eq!(crowd.members[0].sends[&key(9)], carrier(0));
    crowd.store.insert(key(9), flannels(2));
    crowd.calm(2);
    assert!(crowd.members.iter().all(|member| member.position.as_ref().unwrap().main == carrier(2)));
    assert_eq!(crowd.members[0].sends[&key(9)], carrier(2));
}

#[test]
fn one_that_joins_in_the_middle_is_reached_and_reaches_all() {
    let mut crowd = Crowd::new(3);
    crowd.members[0].target = 3;
    crowd.hear(0, usize::MAX);
    crowd.turn(0, Made::Whole);
    crowd.members.push(Member { target: 3, ..Member::default() });
    for _ in 0..3 {
        for number in [3, 0, 1, 2] {
            crowd.hear(number, usize::MAX);
            crowd.turn(number, Made::Whole);
            crowd.check().unwrap();
        }
    }
    assert_eq!(crowd.members[3].position.as_ref().unwrap().main, carrier(0), "what the others have");
    assert!(crowd.members.iter().all(|member| member.sends.len() == 3));
    crowd.calm(3);
    crowd.check_settled(3).unwrap();
}

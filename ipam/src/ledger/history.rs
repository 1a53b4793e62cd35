//! Any history of a ledger, by us, by `host-local` and by crashes, against a model: no address twice, none forgotten.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::tests::{Scratch, owner, sets};
use super::*;

/// What happens to a ledger, by whom: us, host-local, or a crash.
#[derive(Clone, Debug)]
enum Step {
    /// An ADD that is killed before it is done, or one that answers.
    Reserve(u8, bool),
    /// Asks for one IPv4 address.
    Ask(u8, u8),
    /// As a plugin that others execute.
    ReserveOnce(u8),
    Release(u8),
    /// Keeps the owners below this number.
    Collect(u8),
    /// STATUS, which changes nothing.
    Look,
    /// host-local, which knows nothing of us, gives the first free address.
    Foreign(u8),
    /// A crash between making an IPv4 file and writing into it.
    CrashEmpty(u8),
    /// A crash between writing the file and noting it as the last one.
    CrashUnnoted(u8, u8),
    /// A crash between noting what has to cool and removing it.
    CrashCooling(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..24, any::<bool>()).prop_map(|(n, done)| Step::Reserve(n, done)),
        2 => (0_u8..24, 0_u8..18).prop_map(|(n, address)| Step::Ask(n, address)),
        2 => (0_u8..24).prop_map(Step::ReserveOnce),
        4 => (0_u8..24).prop_map(Step::Release),
        1 => (0_u8..32).prop_map(Step::Collect),
        1 => Just(Step::Look),
        1 => (24_u8..32).prop_map(Step::Foreign),
        1 => (2_u8..15).prop_map(Step::CrashEmpty),
        1 => (0_u8..24, 2_u8..15).prop_map(|(n, address)| Step::CrashUnnoted(n, address)),
        1 => (2_u8..15).prop_map(Step::CrashCooling),
    ]
}

/// Whether an ADD came to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    Yes,
    Killed,
}

/// The files and who the model says they belong to.
struct History {
    scratch: Scratch,
    ledger: Ledger,
    sets: Vec<RangeSet>,
    held: BTreeMap<String, String>,
    /// What the last ADD of each owner answered that was not killed: a runtime keeps it, and passes it to DEL.
    told: BTreeMap<u8, Vec<IpAddr>>,
}

fn name(n: u8) -> Owner {
    owner(&format!("c{n}"))
}

impl History {
    fn new() -> History {
        let scratch = Scratch::new();
        let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/28", "fd00:9::/124"]));
        History { scratch, ledger, sets, held: BTreeMap::new(), told: BTreeMap::new() }
    }

    fn write(&mut self, address: &str, owner: &Owner) {
        self.scratch.write(address, &owner.inscription());
        self.held.insert(address.to_owned(), owner.inscription());
    }

    /// An ADD. Whatever it gives was nobody's, or this owner's by an earlier one.
    fn reserve(&mut self, n: u8, wanted: &[IpAddr], done: Done) {
        let (owner, now) = (name(n), UNIX_EPOCH);
        let Ok(given) = self.ledger.reserve(&Claim { owner: &owner, sets: &self.sets, wanted, now }, &NoCensus) else {
            return;
        };
        assert!(wanted.iter().all(|wanted| given.iter().any(|given| given.address.addr() == *wanted)));
        if done == Done::Yes && self.told.contains_key(&n) {
            // Its wire is there already.
            self.ledger.withdraw(&owner, &given).unwrap();
            return;
        }
        if done == Done::Yes {
            self.ledger.settle(&owner).unwrap();
            self.told.insert(n, given.iter().map(|given| given.address.addr()).collect());
        }
        for reservation in given {
            let before = self.held.insert(reservation.address.addr().to_string(), owner.inscription());
            let expected = (reservation.origin == Origin::Earlier).then(|| owner.inscription());
            assert_eq!(before, expected, "{}", reservation.address);
        }
    }

    fn take(&mut self, step: Step, now: SystemTime) {
        match step {
            Step::Reserve(n, true) => self.reserve(n, &[], Done::Yes),
            Step::Reserve(n, false) => self.reserve(n, &[], Done::Killed),
            Step::Ask(n, address) => self.reserve(n, &[IpAddr::from([10, 9, 0, address])], Done::Yes),
            Step::ReserveOnce(n) => {
                let owner = name(n);
                let claim = Claim { owner: &owner, sets: &self.sets, wanted: &[], now };
                if let Ok(given) = self.ledger.reserve_once(&claim, &NoCensus) {
                    self.told.insert(n, given.iter().map(|given| given.address.addr()).collect());
                    for reservation in given {
                        let before = self.held.insert(reservation.address.addr().to_string(), owner.inscription());
                        assert_eq!(before, None, "{}", reservation.address);
                    }
                }
            }
            Step::Release(n) => {
                let told = self.told.get(&n).cloned().unwrap_or_default();
                self.ledger.release(&name(n), &told, now).unwrap();
                self.told.remove(&n);
                self.held.retain(|_, holder| *holder != name(n).inscription());
            }
            Step::Collect(n) => {
                let valid: Vec<Owner> = (0..n).map(name).collect();
                self.ledger.retain(&valid, now).unwrap();
                self.told.retain(|other, _| *other < n);
                self.held.retain(|_, holder| valid.iter().any(|owner| owner.inscription() == *holder));
            }
            Step::Look => drop(self.ledger.ready(&self.sets, &NoCensus)),
            Step::Foreign(n) => {
                let mut candidates = self.sets[0].candidates(None).map(|(address, _)| address.to_string());
                if let Some(free) = candidates.find(|address| !self.scratch.path(address).exists()) {
                    drop(candidates);
                    self.write(&free, &name(n));
                    self.scratch.write("last_reserved_ip.0", &free);
                }
            }
            Step::CrashEmpty(n) => {
                let address = format!("10.9.0.{n}");
                if !self.scratch.path(&address).exists() {
                    self.scratch.write(&address, "");
                }
            }
            Step::CrashUnnoted(n, address) => {
                let address = format!("10.9.0.{address}");
                if !self.scratch.path(&address).exists() {
                    self.ledger.suspect(&name(n)).unwrap();
                    self.write(&address, &name(n));
                }
            }
            Step::CrashCooling(n) => self.scratch.write("last_reserved_ip.cooling", &format!("0 10.9.0.{n}\n")),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_history_gives_an_address_twice_or_forgets_one(steps in proptest::collection::vec((step(), 0_u64..40), 1..120)) {
        let (mut history, mut now) = (History::new(), UNIX_EPOCH);
        for (step, seconds) in steps {
            history.take(step, now);
            now += Duration::from_secs(seconds);
            let mut entries = history.scratch.entries();
            entries.retain(|_, content| !content.is_empty());
            prop_assert_eq!(&entries, &history.held);
        }
    }
}

//! The ledger on a real disk: files to the byte, crashes, garbage, and no address twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "what the ledger leaves on disk is what is tested")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::UNIX_EPOCH;

use super::*;

/// A data directory of its own for one test, gone afterwards.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("towpath-ledger-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(super) fn ledger(&self) -> Ledger {
        Ledger::new(&self.0, &Identifier::new("net1").unwrap())
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.0.join("net1").join(file)
    }

    pub(super) fn write(&self, file: &str, content: &str) {
        fs::create_dir_all(self.0.join("net1")).unwrap();
        fs::write(self.path(file), content).unwrap();
    }

    /// The address files and what they say.
    pub(super) fn entries(&self) -> BTreeMap<String, String> {
        let Ok(entries) = fs::read_dir(self.0.join("net1")) else { return BTreeMap::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let addresses = names.filter(|name| name.parse::<IpAddr>().is_ok());
        addresses.map(|name| (name.clone(), fs::read_to_string(self.path(&name)).unwrap())).collect()
    }
}

/// What most tests want of a ledger: whatever comes next, now, and nobody to look after the dead.
pub(super) trait Plainly {
    fn give(&self, owner: &Owner, sets: &[RangeSet]) -> Result<Vec<Reservation>, LedgerError>;
    fn back(&self, owner: &Owner) -> Result<Vec<IpAddr>, LedgerError>;
}

impl Plainly for Ledger {
    fn give(&self, owner: &Owner, sets: &[RangeSet]) -> Result<Vec<Reservation>, LedgerError> {
        self.reserve(&Claim { owner, sets, wanted: &[], now: UNIX_EPOCH }, &NoCensus)
    }

    fn back(&self, owner: &Owner) -> Result<Vec<IpAddr>, LedgerError> {
        self.release(owner, &[], UNIX_EPOCH)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

pub(super) fn owner(container: &str) -> Owner {
    Owner { container: Identifier::new(container).unwrap(), ifname: "eth0".to_owned() }
}

pub(super) fn sets(subnets: &[&str]) -> Vec<RangeSet> {
    let range = |subnet: &&str| {
        Range::new(RangeText { subnet: subnet.parse().unwrap(), start: None, end: None, gateway: None }).unwrap()
    };
    subnets.iter().map(|subnet| RangeSet::new(vec![range(subnet)]).unwrap()).collect()
}

pub(super) fn addresses(reservations: &[Reservation]) -> Vec<String> {
    reservations.iter().map(|reservation| reservation.address.to_string()).collect()
}

#[test]
fn the_files_are_those_of_host_local_to_the_byte() {
    let scratch = Scratch::new();
    let reserved = scratch.ledger().give(&owner("abc"), &sets(&["10.9.0.0/29", "fd00:9::/125"])).unwrap();
    scratch.ledger().settle(&owner("abc")).unwrap();
    assert_eq!(addresses(&reserved), ["10.9.0.2/29", "fd00:9::2/125"]);
    assert_eq!(reserved[1].gateway.to_string(), "fd00:9::1");
    assert_eq!(fs::read(scratch.path("10.9.0.2")).unwrap(), b"abc\r\neth0");
    assert_eq!(fs::read(scratch.path("fd00:9::2")).unwrap(), b"abc\r\neth0");
    assert_eq!(fs::read(scratch.path("last_reserved_ip.0")).unwrap(), b"10.9.0.2");
    assert_eq!(fs::read(scratch.path("last_reserved_ip.1")).unwrap(), b"fd00:9::2");
    assert_eq!(fs::read(scratch.path("lock")).unwrap(), b"");
    assert_eq!(fs::read_dir(scratch.0.join("net1")).unwrap().count(), 5);
}

#[test]
fn a_shorter_address_leaves_nothing_of_the_longer_one_in_the_note() {
    let scratch = Scratch::new();
    scratch.write("last_reserved_ip.0", "10.9.0.254");
    let reserved = scratch.ledger().give(&owner("abc"), &sets(&["10.9.0.0/24"])).unwrap();
    assert_eq!(addresses(&reserved), ["10.9.0.2/24"]);
    assert_eq!(fs::read(scratch.path("last_reserved_ip.0")).unwrap(), b"10.9.0.2");
}

#[test]
fn an_address_given_back_is_not_given_again_at_once() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/29"]));
    let mut given = Vec::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        given.extend(addresses(&ledger.give(&owner(name), &sets).unwrap()));
        assert_eq!(ledger.back(&owner(name)).unwrap().len(), 1);
    }
    assert_eq!(given, ["10.9.0.2/29", "10.9.0.3/29", "10.9.0.4/29", "10.9.0.5/29", "10.9.0.6/29", "10.9.0.2/29"]);
    assert!(scratch.entries().is_empty());
}

#[test]
fn an_owner_who_asks_again_gets_the_same_and_it_is_not_its_to_withdraw() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/29", "fd00:9::/125"]));
    let first = ledger.give(&owner("a"), &sets).unwrap();
    let second = ledger.give(&owner("a"), &sets).unwrap();
    assert_eq!(addresses(&first), addresses(&second));
    assert!(second.iter().all(|reservation| reservation.origin == Origin::Earlier));
    ledger.withdraw(&owner("a"), &second).unwrap();
    assert_eq!(ledger.holdings(&owner("a")).unwrap().len(), 2);
    ledger.withdraw(&owner("a"), &first).unwrap();
    assert!(scratch.entries().is_empty());
}

#[test]
fn a_used_up_range_is_named_with_its_size_and_nothing_stays_reserved() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/24", "fd00:9::/126"]));
    for name in ["a", "b"] {
        ledger.give(&owner(name), &sets).unwrap();
    }
    let error = ledger.give(&owner("c"), &sets).unwrap_err().to_string();
    assert!(error.starts_with("no address is left in fd00:9::1-fd00:9::3: all 2 are in use, see "), "{error}");
    assert_eq!(scratch.entries().len(), 4, "the IPv4 address of the refused request was given back");
    ledger.back(&owner("a")).unwrap();
    assert_eq!(addresses(&ledger.give(&owner("c"), &sets).unwrap())[1], "fd00:9::2/126");
}

#[test]
fn what_a_crash_left_empty_is_cleared_by_any_release_and_given_anew_when_needed() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/29"]));
    for file in ["10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5", "10.9.0.6"] {
        scratch.write(file, "");
    }
    assert_eq!(addresses(&ledger.give(&owner("a"), &sets).unwrap()), ["10.9.0.2/29"]);
    assert!(ledger.back(&owner("nobody")).unwrap().is_empty());
    assert_eq!(scratch.entries().into_keys().collect::<Vec<_>>(), ["10.9.0.2"]);
}

#[test]
fn an_owner_finds_its_own_address_in_a_range_that_is_used_up() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/29"]));
    for name in ["a", "b", "c", "d", "e"] {
        ledger.give(&owner(name), &sets).unwrap();
    }
    assert_eq!(addresses(&ledger.give(&owner("b"), &sets).unwrap()), ["10.9.0.3/29"]);
}

#[test]
fn old_files_with_the_container_alone_count_when_there_are_no_newer_ones() {
    let scratch = Scratch::new();
    let ledger = scratch.ledger();
    scratch.write("10.9.0.2", "old\n");
    scratch.write("10.9.0.3", "both");
    scratch.write("10.9.0.4", "both\r\neth0");
    scratch.write("10.9.0.5", "both\r\neth1");
    assert_eq!(ledger.back(&owner("old")).unwrap(), ["10.9.0.2".parse::<IpAddr>().unwrap()]);
    assert_eq!(ledger.back(&owner("both")).unwrap(), ["10.9.0.4".parse::<IpAddr>().unwrap()]);
    assert_eq!(scratch.entries().into_keys().collect::<Vec<_>>(), ["10.9.0.3", "10.9.0.5"]);
}

#[test]
fn garbage_is_left_alone_and_in_nobodys_way() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/29"]));
    scratch.write("README", "a\r\neth0");
    scratch.write("10.9.0.300", "a\r\neth0");
    scratch.write("192.0.2.7", "somebody else, from an earlier subnet");
    scratch.write("last_reserved_ip.0", "\0\u{fffd} not an address");
    fs::create_dir(scratch.path("10.9.0.2")).unwrap();
    fs::write(scratch.path("10.9.0.3"), [0xff, 0xfe, 0]).unwrap();
    assert_eq!(addresses(&ledger.give(&owner("a"), &sets).unwrap()), ["10.9.0.4/29"]);
    ledger.back(&owner("a")).unwrap();
    for kept in ["README", "10.9.0.300", "192.0.2.7", "10.9.0.2", "10.9.0.3"] {
        assert!(scratch.path(kept).exists(), "{kept}");
    }
}

#[test]
fn a_ledger_that_never_was_holds_nothing_and_is_not_made_to_say_so() {
    let scratch = Scratch::new();
    let ledger = scratch.ledger();
    assert!(ledger.holdings(&owner("a")).unwrap().is_empty());
    assert!(ledger.back(&owner("a")).unwrap().is_empty());
    assert!(!scratch.0.join("net1").exists());
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let scratch = Scratch::new();
    fs::write(scratch.0.join("net1"), "a file in its place").unwrap();
    let error = scratch.ledger().give(&owner("a"), &sets(&["10.9.0.0/29"])).unwrap_err().to_string();
    assert!(error.contains("net1/lock in the address ledger"), "{error}");
}

#[test]
fn threads_that_ask_at_once_get_different_addresses_until_there_are_none() {
    let scratch = Scratch::new();
    let sets = sets(&["10.9.0.0/27", "fd00:9::/123"]);
    let ask = |thread: u32| {
        let (scratch, sets) = (&scratch, &sets);
        move || {
            let asked = (0..5).map(|n| scratch.ledger().give(&owner(&format!("c{thread}-{n}")), sets));
            asked.filter_map(Result::ok).flat_map(|given| addresses(&given)).collect::<Vec<_>>()
        }
    };
    let mut given: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|thread| scope.spawn(ask(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    given.sort();
    let count = given.len();
    given.dedup();
    assert_eq!((given.len(), count), (58, 58), "29 of each family, each once, for 40 who asked");
    assert_eq!(scratch.entries().len(), 58);
}

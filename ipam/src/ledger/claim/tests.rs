//! Addresses that are asked for, cooling, and what is done when a range is used up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "what the ledger leaves on disk is what is tested")]

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use super::super::tests::{Plainly, Scratch, addresses, owner, sets};
use super::super::{Ledger, NoCensus};
use super::*;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn give_at(ledger: &Ledger, container: &str, sets: &[RangeSet], seconds: u64) -> String {
    let owner = owner(container);
    let claim = Claim { owner: &owner, sets, wanted: &[], now: at(seconds) };
    addresses(&ledger.reserve(&claim, &NoCensus).unwrap()).remove(0)
}

fn ask(ledger: &Ledger, container: &str, sets: &[RangeSet], wanted: &[&str]) -> Result<Vec<String>, LedgerError> {
    let wanted: Vec<IpAddr> = wanted.iter().map(|address| address.parse().unwrap()).collect();
    let owner = owner(container);
    let claim = Claim { owner: &owner, sets, wanted: &wanted, now: at(0) };
    ledger.reserve(&claim, &NoCensus).map(|given| addresses(&given))
}

/// Everybody whose name begins like this.
struct Names {
    gone: &'static str,
    lost: &'static str,
}

impl Census for Names {
    fn fate(&self, entry: &Entry<'_>) -> Fate {
        match entry.container {
            name if !self.gone.is_empty() && name.starts_with(self.gone) => Fate::Gone,
            name if !self.lost.is_empty() && name.starts_with(self.lost) => Fate::Lost,
            _ => Fate::Alive,
        }
    }
}

#[test]
fn an_address_freed_a_moment_ago_comes_after_all_others_and_the_coolest_first() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/29"]));
    for name in ["a", "b", "c", "d", "e"] {
        give_at(&ledger, name, &sets, 0);
    }
    // 10.9.0.6 was given last; round robin alone would give .2, which is the warmest.
    for (name, seconds) in [("c", 100), ("e", 101), ("a", 102)] {
        ledger.release(&owner(name), &[], at(seconds)).unwrap();
    }
    let given =
        [give_at(&ledger, "x", &sets, 103), give_at(&ledger, "y", &sets, 103), give_at(&ledger, "z", &sets, 103)];
    assert_eq!(given, ["10.9.0.4/29", "10.9.0.6/29", "10.9.0.2/29"]);
}

#[test]
fn after_a_minute_round_robin_goes_on_as_host_locals() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/28"]));
    for name in ["a", "b", "c"] {
        give_at(&ledger, name, &sets, 0);
    }
    scratch.write("last_reserved_ip.0", "10.9.0.14");
    ledger.release(&owner("a"), &[], at(0)).unwrap();
    assert_eq!(give_at(&ledger, "x", &sets, 59), "10.9.0.5/28");
    scratch.write("last_reserved_ip.0", "10.9.0.14");
    assert_eq!(give_at(&ledger, "y", &sets, 61), "10.9.0.2/28");
}

#[test]
fn a_note_of_cooling_that_is_garbage_or_a_directory_is_in_nobodys_way() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/29"]));
    ledger.give(&owner("a"), &sets).unwrap();
    fs::write(scratch.path("last_reserved_ip.cooling"), [0xff, 0, 0xfe, 10]).unwrap();
    assert_eq!(addresses(&ledger.give(&owner("b"), &sets).unwrap()), ["10.9.0.3/29"]);
    fs::remove_file(scratch.path("last_reserved_ip.cooling")).unwrap();
    fs::create_dir(scratch.path("last_reserved_ip.cooling")).unwrap();
    assert_eq!(ledger.back(&owner("a")).unwrap().len(), 1);
}

#[test]
fn addresses_that_are_asked_for_are_given_from_their_sets() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/29", "fd00:9::/125"]));
    assert_eq!(ask(&ledger, "a", &sets, &["fd00:9::4"]).unwrap(), ["10.9.0.2/29", "fd00:9::4/125"]);
    assert_eq!(ask(&ledger, "b", &sets, &["fd00:9::6", "10.9.0.6"]).unwrap(), ["10.9.0.6/29", "fd00:9::6/125"]);
    assert_eq!(ask(&ledger, "b", &sets, &["10.9.0.6"]).unwrap()[0], "10.9.0.6/29", "whose it is already");
    assert_eq!(fs::read(scratch.path("last_reserved_ip.0")).unwrap(), b"10.9.0.6", "as host-local notes it");
}

#[test]
fn an_address_that_cannot_be_had_is_refused_by_name_and_nothing_stays() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/29", "fd00:9::/125"]));
    ask(&ledger, "a", &sets, &["10.9.0.4", "fd00:9::4"]).unwrap();
    for (wanted, message) in [
        (&["10.9.0.1"][..], "the address 10.9.0.1 that was asked for is the gateway's: ask for another"),
        (
            &["10.9.0.0"],
            "10.9.0.0 that was asked for is in none of the ranges 10.9.0.1-10.9.0.6 and fd00:9::1-fd00:9::7",
        ),
        (&["10.9.0.2", "192.0.2.1"], "192.0.2.1 that was asked for is in none of the ranges"),
        (&["10.9.0.2", "10.9.0.3"], "10.9.0.2 and 10.9.0.3 were both asked for, and 10.9.0.1-10.9.0.6 gives one"),
        (&["10.9.0.2", "fd00:9::4"], "the address fd00:9::4 that was asked for is in use by a/eth0"),
    ] {
        let error = ask(&ledger, "b", &sets, wanted).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert_eq!(scratch.entries().len(), 2, "{wanted:?}");
    }
}

#[test]
fn who_would_not_notice_a_second_time_is_refused_it() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/29"]));
    let (a, others) = (owner("a"), self::sets(&["10.8.0.0/29"]));
    let claim = Claim { owner: &a, sets: &sets, wanted: &[], now: at(0) };
    ledger.reserve_once(&claim, &NoCensus).unwrap();
    let error = ledger.reserve_once(&claim, &NoCensus).unwrap_err().to_string();
    assert!(error.starts_with("10.9.0.2 has been allocated to a/eth0 already"), "{error}");
    ledger.reserve_once(&Claim { sets: &others, ..claim }, &NoCensus).unwrap();
}

#[test]
fn a_used_up_range_names_who_is_nowhere_to_be_seen_and_gives_only_what_is_gone_for_sure() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/28"]));
    for n in 0..13 {
        ledger.give(&owner(&format!("{}{n}", ["gone", "lost", "well"][n % 3])), &sets).unwrap();
    }
    let x = owner("x");
    let claim = Claim { owner: &x, sets: &sets, wanted: &[], now: at(0) };
    let error = ledger.reserve(&claim, &Names { gone: "", lost: "lost" }).unwrap_err().to_string();
    let lost = "all 13 are in use, 4 of them by containers of which nothing is left on this node \
                (lost1/eth0, lost4/eth0, lost7/eth0, lost10/eth0): a DEL for these or a GC gives their addresses back, see ";
    assert!(error.contains(lost), "{error}");
    let error = ledger.reserve(&claim, &Names { gone: "", lost: "" }).unwrap_err().to_string();
    assert!(error.contains("all 13 are in use, see "), "{error}");
    assert_eq!(scratch.entries().len(), 13);
    let census = Names { gone: "gone", lost: "lost" };
    let given = addresses(&ledger.reserve(&claim, &census).unwrap());
    assert_eq!(scratch.entries()[given[0].trim_end_matches("/28")], "x\r\neth0");
    assert!(scratch.entries().len() == 13 && ledger.back(&owner("gone0")).unwrap().is_empty());
    let wanted = ["10.9.0.5".parse().unwrap()];
    let y = owner("y");
    let given = ledger.reserve(&Claim { owner: &y, wanted: &wanted, ..claim }, &census).unwrap();
    assert_eq!(addresses(&given), ["10.9.0.5/28"], "gone3 had it");
}

#[test]
fn many_taken_addresses_in_a_row_are_passed_by() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/24"]));
    for n in 2..200 {
        scratch.write(&format!("10.9.0.{n}"), &format!("c{n}\r\neth0"));
    }
    assert_eq!(addresses(&ledger.give(&owner("a"), &sets).unwrap()), ["10.9.0.200/24"]);
}

#[test]
fn a_ledger_is_ready_when_an_address_could_be_given_and_stays_as_it_is() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/29"]));
    ledger.ready(&sets, &NoCensus).unwrap();
    assert!(scratch.entries().is_empty());
    for name in ["a", "b", "c", "d", "e"] {
        ledger.give(&owner(name), &sets).unwrap();
    }
    let error = ledger.ready(&sets, &Names { gone: "", lost: "b" }).unwrap_err().to_string();
    assert!(
        error.contains("all 5 are in use, 1 of them by containers of which nothing is left on this node (b/eth0)"),
        "{error}"
    );
    ledger.ready(&sets, &Names { gone: "c", lost: "" }).unwrap();
    scratch.write("10.9.0.2", "");
    ledger.ready(&sets, &NoCensus).unwrap();
    assert_eq!(scratch.entries().len(), 5);
}

#[test]
fn collecting_keeps_valid_owners_and_what_is_no_owner() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/28"]));
    for name in ["a", "b", "c"] {
        ledger.give(&owner(name), &sets).unwrap();
    }
    for (file, text) in [("10.9.0.5", "b"), ("10.9.0.6", "old"), ("10.9.0.7", ""), ("10.9.0.8", "?!"), ("README", "c")]
    {
        scratch.write(file, text);
    }
    let stale = ledger.retain(&[owner("b")], at(0)).unwrap();
    assert_eq!(stale.len(), 3, "{stale:?}");
    assert_eq!(scratch.entries().into_keys().collect::<Vec<_>>(), ["10.9.0.3", "10.9.0.5", "10.9.0.8"]);
    assert!(scratch.path("README").exists());
    assert_eq!(give_at(&ledger, "x", &sets, 1), "10.9.0.7/28", "what was collected has to cool as well");
}

#[test]
fn what_another_request_gave_away_meanwhile_is_noticed_and_left_alone() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/29"]));
    let given = ledger.give(&owner("a"), &sets).unwrap();
    assert!(ledger.confirms(&owner("a"), given[0].address.addr()));
    ledger.back(&owner("a")).unwrap();
    assert!(!ledger.confirms(&owner("a"), given[0].address.addr()));
    scratch.write("10.9.0.2", "b\r\neth0");
    ledger.withdraw(&owner("a"), &given).unwrap();
    assert_eq!(scratch.entries()["10.9.0.2"], "b\r\neth0");
}

#[test]
fn a_request_that_was_killed_is_remembered_until_its_owner_is_deleted() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/28"]));
    let a = owner("a");
    let marks = || fs::read_to_string(scratch.path("lock")).unwrap().lines().count();
    // Killed; somebody else comes between; the second attempt asks for another address, and is done.
    ledger.give(&a, &sets).unwrap();
    ledger.give(&owner("b"), &sets).unwrap();
    ledger.settle(&owner("b")).unwrap();
    assert_eq!(marks(), 1);
    assert_eq!(ask(&ledger, "a", &sets, &["10.9.0.9"]).unwrap(), ["10.9.0.9/28"]);
    ledger.settle(&a).unwrap();
    assert_eq!((marks(), scratch.entries().len()), (1, 3));
    let told = ["10.9.0.9".parse().unwrap()];
    assert_eq!(ledger.release(&a, &told, at(0)).unwrap().len(), 2, "also what the killed one left");
    assert_eq!((marks(), scratch.entries().len()), (0, 1));
    // One that only asks again gets what it left.
    let first = addresses(&ledger.give(&a, &sets).unwrap());
    ledger.give(&owner("c"), &sets).unwrap();
    assert_eq!(addresses(&ledger.give(&a, &sets).unwrap()), first);
    ledger.retain(&[], at(0)).unwrap();
    assert_eq!((marks(), scratch.entries().len()), (0, 0));
}

#[test]
fn with_its_answer_an_owner_is_released_without_a_look_at_others() {
    let scratch = Scratch::new();
    let (ledger, sets) = (scratch.ledger(), sets(&["10.9.0.0/28", "fd00:9::/124"]));
    let told: Vec<IpAddr> = ledger.give(&owner("a"), &sets).unwrap().iter().map(|given| given.address.addr()).collect();
    ledger.settle(&owner("a")).unwrap();
    scratch.write("10.9.0.9", "");
    assert_eq!(ledger.release(&owner("a"), &told, at(0)).unwrap(), told);
    assert!(scratch.path("10.9.0.9").exists(), "it was not looked at");
    // The same answer again, when the address is another's by now.
    scratch.write("10.9.0.2", "b\r\neth0");
    assert!(ledger.release(&owner("a"), &told, at(0)).unwrap().is_empty());
    assert_eq!(scratch.entries().into_keys().collect::<Vec<_>>(), ["10.9.0.2"]);
}

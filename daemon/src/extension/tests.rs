//! When which command runs, and what becomes of commands that misbehave.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use backends::extension::{CommandLine, ExtensionSettings};
use ipam::{BackendData, Endpoint, Lease, LeaseKey, NodeName, Stack};
use tokio::time::Instant;

use super::agenda::{Agenda, Next, Step};
use super::orders::{Call, Orders};
use super::process;

fn line(text: &str) -> Option<CommandLine> {
    Some(CommandLine::parse(text).unwrap())
}

fn settings() -> ExtensionSettings {
    ExtensionSettings {
        pre_startup: line("pre"),
        post_startup: line("post $SUBNET"),
        subnet_add: line("add $SUBNET"),
        subnet_remove: line("remove $SUBNET"),
    }
}

fn lease(number: u8, output: &str) -> Lease {
    Lease {
        key: LeaseKey::new(&format!("uid-{number}")),
        node: NodeName::new(&format!("node-{number}")).unwrap(),
        since: 0,
        endpoints: Stack::V4(Endpoint {
            subnet: format!("10.1.{number}.0/24").parse().unwrap(),
            public: format!("192.0.2.{number}").parse().unwrap(),
            data: BackendData::Extension { output: output.into() },
        }),
        rollout: None,
    }
}

fn orders(peers: &[Lease]) -> Orders {
    let networks = Stack::V4("10.1.0.0/16".parse().unwrap());
    let settings = settings();
    let all = (peers.iter(), std::iter::empty());
    Orders::to_prepare(&settings).with_lease(&settings, (&networks, &lease(1, "")), all)
}

/// Runs all that is due, with success; what it was, with the subnet that it was about.
fn run_all(agenda: &mut Agenda, orders: &Orders, now: Instant) -> Vec<String> {
    let mut ran = Vec::new();
    while let Next::Run(step, call) = agenda.next(orders, now) {
        let subnet = call.environment.iter().find(|(name, _)| *name == "SUBNET").map_or("", |(_, value)| value);
        ran.push(format!("{} {subnet}", step.name()).trim().to_owned());
        agenda.ended((step, call), Ok("said".to_owned()), now);
    }
    ran
}

#[tokio::test]
async fn the_nodes_own_come_first_then_peers_each_once() {
    let (mut agenda, now) = (Agenda::default(), Instant::now());
    let before = Orders::to_prepare(&settings());
    assert_eq!(agenda.report(&before).output, None);
    assert_eq!(run_all(&mut agenda, &before, now), ["PreStartupCommand"]);
    assert_eq!(agenda.report(&before).output.as_deref(), Some("said"));
    let two = orders(&[lease(2, "a"), lease(3, "")]);
    assert!(!agenda.report(&two).prepared);
    let expected = ["PostStartupCommand 10.1.1.0/24", "SubnetAddCommand 10.1.2.0/24", "SubnetAddCommand 10.1.3.0/24"];
    assert_eq!(run_all(&mut agenda, &two, now), expected);
    assert!(agenda.report(&two).prepared);
    assert_eq!(agenda.next(&two, now), Next::Idle);
    // One changes, one goes, and comes back.
    assert_eq!(
        run_all(&mut agenda, &orders(&[lease(2, "b")]), now),
        ["SubnetRemoveCommand 10.1.3.0/24", "SubnetAddCommand 10.1.2.0/24"]
    );
    assert_eq!(run_all(&mut agenda, &orders(&[lease(2, "b"), lease(3, "")]), now), ["SubnetAddCommand 10.1.3.0/24"]);
    // The same node with another subnet: the old one is taken back first.
    let moved = Lease { endpoints: lease(9, "b").endpoints, ..lease(2, "b") };
    assert_eq!(
        run_all(&mut agenda, &orders(&[moved, lease(3, "")]), now),
        ["SubnetRemoveCommand 10.1.2.0/24", "SubnetAddCommand 10.1.9.0/24"]
    );
}

#[tokio::test]
async fn what_fails_is_tried_again_later_and_holds_up_nobody_else() {
    let (mut agenda, now) = (Agenda::default(), Instant::now());
    let two = orders(&[lease(2, ""), lease(3, "")]);
    for _ in 0..2 {
        let Next::Run(step, call) = agenda.next(&two, now) else { panic!("nothing to run") };
        agenda.ended((step, call), Ok(String::new()), now);
    }
    let Next::Run(step, call) = agenda.next(&two, now) else { panic!("nothing to run") };
    agenda.ended((step, call), Err("no such peer".to_owned()), now);
    assert_eq!(run_all(&mut agenda, &two, now), ["SubnetAddCommand 10.1.3.0/24"]);
    let report = agenda.report(&two);
    assert_eq!(report.faults[&LeaseKey::new("uid-2")], "SubnetAddCommand failed: no such peer");
    assert!(report.prepared, "a peer's trouble is the peer's");
    assert_eq!(agenda.next(&two, now), Next::At(now + Duration::from_secs(1)));
    let mut later = now;
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        later += Duration::from_secs(pause);
        let Next::Run(step, call) = agenda.next(&two, later) else { panic!("nothing to run after {pause} s") };
        assert_eq!(step, Step::Add(LeaseKey::new("uid-2")));
        agenda.ended((step, call), Err("no such peer".to_owned()), later);
    }
    // Another lease is another matter, and tried at once; one that is gone is taken back, for half of it may have been done.
    assert_eq!(
        run_all(&mut agenda, &orders(&[lease(2, "new"), lease(3, "")]), later),
        ["SubnetAddCommand 10.1.2.0/24"]
    );
    assert!(agenda.report(&two).faults.is_empty());
}

#[tokio::test]
async fn what_an_earlier_life_knew_and_is_gone_is_taken_back_and_given_up_in_the_end() {
    let (mut agenda, mut now) = (Agenda::default(), Instant::now());
    let (networks, settings) = (Stack::V4("10.1.0.0/16".parse().unwrap()), settings());
    let gone = [lease(7, "")];
    let orders = Orders::default().with_lease(&settings, (&networks, &lease(1, "")), (std::iter::empty(), gone.iter()));
    let mut tried = 0;
    loop {
        match agenda.next(&orders, now) {
            Next::Run(Step::PostStartup, call) => agenda.ended((Step::PostStartup, call), Ok(String::new()), now),
            Next::Run(step, call) => {
                tried += 1;
                agenda.ended((step, call), Err("it is not there".to_owned()), now);
            }
            Next::At(moment) => now = moment,
            Next::Idle => break,
        }
    }
    assert_eq!(tried, 10);
}

fn call(text: &str, input: &str) -> Call {
    let environment = vec![("SUBNET", "10.1.2.0/24".to_owned())];
    Call { line: CommandLine::parse(text).unwrap(), environment, input: input.to_owned() }
}

async fn run(text: &str) -> Result<String, String> {
    process::run(&call(text, "from the peer\n"), ("TestCommand", Duration::from_secs(20))).await
}

#[tokio::test]
async fn a_command_gets_its_environment_and_input_and_its_output_is_taken() {
    assert_eq!(run("echo  to $SUBNET").await.unwrap(), "to 10.1.2.0/24");
    assert_eq!(
        run("sh -c 'read line; echo $line; echo noise >&2; echo $SUBNET'").await.unwrap(),
        "from the peer\n10.1.2.0/24"
    );
    assert_eq!(run("cat").await.unwrap(), "from the peer");
    assert_eq!(run("true").await.unwrap(), "");
    // What looks like a shell's is only an argument.
    assert_eq!(run("echo '; rm -rf $SUBNET'").await.unwrap(), "; rm -rf $SUBNET");
}

#[tokio::test]
async fn what_goes_wrong_is_one_sentence() {
    let missing = run("there-is-no-such-program x").await.unwrap_err();
    assert!(
        missing.contains("there-is-no-such-program cannot be started") && missing.contains("installed"),
        "{missing}"
    );
    let failed = run("sh -c 'echo first >&2; echo the reason >&2; exit 3'").await.unwrap_err();
    assert!(failed.ends_with("ended with exit status: 3: the reason"), "{failed}");
    assert!(run("$NOTHING").await.unwrap_err().contains("nothing is left"));
    assert!(run("sh -c 'printf \"\\377\"'").await.unwrap_err().contains("not UTF-8"));
    let long = run("sh -c 'yes | head -c 10000000'").await.unwrap_err();
    assert!(long.contains("more than 16384 octets"), "{long}");
}

#[tokio::test]
async fn a_command_that_never_ends_is_killed_with_all_that_it_started() {
    let mark = format!("31536{}", std::process::id());
    let text = format!("sh -c 'sleep {mark} & sleep {mark}'");
    let ended = process::run(&call(&text, ""), ("TestCommand", Duration::from_millis(300))).await;
    assert!(ended.unwrap_err().contains("was killed"));
    let deadline = Instant::now() + Duration::from_secs(10);
    while running(&mark) {
        assert!(Instant::now() < deadline, "a child lives on");
        tokio::task::yield_now().await;
    }
}

/// Whether a process with this argument lives.
fn running(argument: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| line.split(|octet| *octet == 0).any(|word| word == argument.as_bytes()))
}

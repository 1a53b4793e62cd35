//! Nothing of a lab is left: after a drop, a panic, a `kill -9`; and labs do not disturb each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use ipam::Family;
use netns_harness::{Lab, Process, labs, remove_lab, sweep, wait_for};

const LIMIT: Duration = Duration::from_secs(10);

/// What can be seen of a lab from outside.
struct Traces {
    id: String,
    directory: PathBuf,
    sleeper: i32,
}

impl Traces {
    fn of(lab: &Lab, sleeper: &Process) -> Traces {
        let sleeper = sleeper.pid().unwrap().as_raw_nonzero().get();
        Traces { id: lab.id().to_owned(), directory: lab.directory().to_owned(), sleeper }
    }

    /// As a child prints them.
    fn read(line: &str) -> Traces {
        let words: Vec<&str> = line.split_whitespace().collect();
        Traces { id: words[0].into(), directory: words[1].into(), sleeper: words[2].parse().unwrap() }
    }

    fn print(&self) {
        println!("\n{} {} {}", self.id, self.directory.display(), self.sleeper);
    }

    fn left(&self) -> Vec<String> {
        let names = std::fs::read_dir("/run/netns").into_iter().flatten();
        let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut left: Vec<String> = names.filter(|name| name.starts_with(&format!("{}.", self.id))).collect();
        left.extend(labs().unwrap().into_iter().filter(|id| *id == self.id));
        let files = [&self.directory, &Path::new("/run/netns-harness").join(&self.id)];
        left.extend(files.iter().filter(|path| path.exists()).map(|path| path.display().to_string()));
        if self.sleeper_lives() {
            left.push(format!("process {}", self.sleeper));
        }
        left
    }

    fn sleeper_lives(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.sleeper)).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    fn expect_nothing(&self) {
        wait_for("the lab to be gone", LIMIT, || {
            let left = self.left();
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .unwrap();
    }
}

/// A lab with one of each.
fn furnish(lab: &Lab) -> Result<Traces> {
    let node = lab.node("alpha")?;
    let pod = node.bare_pod("web", &ipam::Stack::V4("10.1.0.2".parse()?))?;
    node.reach(&pod, Family::V4)?;
    let mut command = Command::new("sleep");
    command.arg("600");
    Ok(Traces::of(lab, &node.start("sleeper", command)?))
}

/// Runs the named test again in a process of its own, which does what it does as a child, and tells its traces.
fn child(test: &str, role: &str) -> (Child, Traces) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env("LAB_CHILD", role);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let line = lines.find(|line| line.starts_with("lab-")).expect("the child made no lab");
    // What else it says is read away: it must not meet a closed pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (child, Traces::read(&line))
}

fn role() -> Option<String> {
    std::env::var("LAB_CHILD").ok()
}

#[test]
fn nothing_is_left_after_a_drop() {
    let lab = Lab::new("drop").unwrap();
    let traces = furnish(&lab).unwrap();
    assert_eq!(lab.namespaces().unwrap().len(), 3, "switch, node, pod");
    assert!(traces.sleeper_lives());
    drop(lab);
    traces.expect_nothing();
}

#[test]
fn handles_that_outlive_their_lab_say_that_it_is_gone() {
    let lab = Lab::new("handles").unwrap();
    let node = lab.node("alpha").unwrap();
    lab.remove().unwrap();
    let error = node.run(["true"]).unwrap_err();
    assert!(format!("{error:#}").contains("no network namespace"), "{error:#}");
}

#[test]
fn nothing_is_left_after_a_panic() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let lab = Lab::new("panic").unwrap();
        sender.send(furnish(&lab).unwrap()).unwrap();
        panic!("as tests do");
    });
    assert!(panicked.join().is_err());
    receiver.recv().unwrap().expect_nothing();
}

#[test]
fn after_a_kill_the_next_sweep_removes_all() {
    if role().is_some() {
        let lab = Lab::new("victim").unwrap();
        furnish(&lab).unwrap().print();
        // Until it is killed: nobody writes to its standard input.
        std::io::stdin().read_line(&mut String::new()).unwrap();
        std::process::abort();
    }
    let (mut child, traces) = child("after_a_kill_the_next_sweep_removes_all", "victim");
    assert!(traces.sleeper_lives());
    assert!(!sweep().unwrap().contains(&traces.id), "a lab was swept while its owner lives");
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the sleeper to die with its parent", LIMIT, || {
        ensure!(!traces.sleeper_lives(), "it lives");
        Ok(())
    })
    .unwrap();
    // The labs of other tests sweep as well, so this may be done already, or being done.
    let next = Lab::new("next").unwrap();
    assert_ne!(next.id(), traces.id);
    traces.expect_nothing();
}

#[test]
fn a_kept_lab_outlives_its_process_until_it_is_removed() {
    if role().is_some() {
        let lab = Lab::to_keep("kept").unwrap();
        furnish(&lab).unwrap().print();
        return;
    }
    let (mut child, traces) = child("a_kept_lab_outlives_its_process_until_it_is_removed", "keeper");
    assert!(child.wait().unwrap().success());
    assert!(!sweep().unwrap().contains(&traces.id), "a kept lab was swept");
    assert!(traces.sleeper_lives(), "what runs in a kept lab goes on");
    assert!(labs().unwrap().contains(&traces.id));
    remove_lab(&traces.id).unwrap();
    traces.expect_nothing();
    let error = remove_lab(&traces.id).unwrap_err().to_string();
    assert!(error.contains("no lab is called"), "{error}");
}

#[test]
fn two_labs_side_by_side_have_the_same_addresses_and_do_not_meet() {
    let labs = [Lab::new("twin").unwrap(), Lab::new("twin").unwrap()];
    assert_ne!(labs[0].id(), labs[1].id());
    let nodes: Vec<_> = labs.iter().map(|lab| lab.node("alpha").unwrap()).collect();
    for (lab, node) in labs.iter().zip(&nodes) {
        for family in Family::ALL {
            node.reach(lab.switch(), family).unwrap();
        }
    }
    assert_eq!(nodes[0].addresses().unwrap(), nodes[1].addresses().unwrap());
    let [first, second] = labs;
    drop(first);
    nodes[1].reach(second.switch(), Family::V4).unwrap();
}

#[test]
fn names_that_cannot_be_are_refused() {
    assert!(Lab::new("two words").is_err());
    let lab = Lab::new("names").unwrap();
    for name in ["", "a b", "a.b", "sixteen-letters-"] {
        assert!(lab.node(name).is_err(), "{name}");
    }
    lab.node("alpha").unwrap();
    let error = lab.node("alpha").err().expect("the name is taken").to_string();
    assert!(error.contains("alpha"), "{error}");
}

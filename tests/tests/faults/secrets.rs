//! Passwords: a wrong one is named and the right one is taken later; and whatever is said anywhere, it is never a password.

use anyhow::{Context, Result, ensure};
use netns_harness::Daemon;

use crate::ask::{lines, run_with, towpathctl, wait_page, wait_well};
use crate::cluster::{Cluster, PREFIX, subnets};
use crate::lease::{APART, Ghost};
use crate::picture::Picture;

const PASSWORD: &str = "correct-horse-battery";

/// `etcdctl` as root, with a password on standard input where it is asked for.
fn ctl(cluster: &Cluster, words: &[&str], input: &str) -> Result<String> {
    let station = &cluster.etcd()?.members()[0].station;
    station.feed([&["env", "ETCDCTL_API=3", "etcdctl", "--user=root:topmost"], words].concat(), input)
}

fn set_password(cluster: &Cluster, password: &str) -> Result<()> {
    ctl(cluster, &["user", "passwd", "flannel", "--interactive=false"], &format!("{password}\n")).map(drop)
}

#[test]
fn a_wrong_password_is_named_and_no_password_is_ever_shown() -> Result<()> {
    let mut cluster = Cluster::on_etcd("password", APART)?;
    let prefix = format!("{PREFIX}/");
    for words in [
        &["user", "add", "root:topmost"] as &[&str],
        &["user", "add", "flannel:something-else"],
        &["role", "add", "network"],
        &["role", "grant-permission", "--prefix=true", "network", "readwrite", &prefix],
        &["user", "grant-role", "flannel", "network"],
        &["auth", "enable"],
    ] {
        cluster.etcd()?.ctl(words)?;
    }
    let node = cluster.lab.node("alpha")?;
    let alpha = cluster.start(&node, |mut options| {
        options.environment.push(("FLANNELD_ETCD_PASSWORD".to_owned(), PASSWORD.to_owned()));
        options.flag("--etcd-username=flannel").flag("--log-level=trace")
    })?;
    wait_page(&alpha, 503, "user flannel is unknown there or has another password")?;
    assert_eq!(lines(&alpha, 0, &["WARN", "has another password"]).len(), 1);
    set_password(&cluster, PASSWORD)?;
    wait_well(&alpha)?;
    let (before, picture) = (subnets(&alpha)?, Picture::of(&node)?);
    set_password(&cluster, "changed")?;
    cluster.etcd()?.members()[0].process.restart()?;
    cluster.etcd()?.wait_ready(crate::cluster::LIMIT)?;
    wait_page(&alpha, 200, "user flannel is unknown there or has another password")?;
    picture.compare(&Picture::of(&node)?)?;
    set_password(&cluster, PASSWORD)?;
    wait_well(&alpha)?;
    assert_eq!(subnets(&alpha)?, before);
    // What it may not do is named as well.
    ctl(&cluster, &["role", "revoke-permission", "--prefix=true", "network", &prefix], "")?;
    cluster.etcd()?.members()[0].process.restart()?;
    wait_page(&alpha, 200, "grant user flannel a role with readwrite on the prefix")?;
    ctl(&cluster, &["role", "grant-permission", "--prefix=true", "network", "readwrite", &prefix], "")?;
    wait_well(&alpha)?;
    let ghost = Ghost::numbered(77);
    ctl(&cluster, &["put", &format!("{PREFIX}/subnets/{}", ghost.key()), &ghost.value()], "")?;
    crate::cluster::wait_route(&node, &ghost.subnet())?;
    nothing_shows_it(&alpha)
}

fn nothing_shows_it(alpha: &Daemon) -> Result<()> {
    let mut said = vec![("the log", alpha.log())];
    for page in ["/readyz", "/metrics"] {
        said.push((page, alpha.get(page)?.body));
    }
    for words in [&["status"] as &[&str], &["status", "-o", "json"], &["plan"], &["explain", "10.244.77.1"]] {
        let answer = towpathctl(alpha, words)?;
        said.push(("towpathctl", answer.out + &answer.err));
    }
    let flags = ["--node-name=a", "--etcd-username=flannel"];
    for (command, code) in [("--print-config", 0), ("--check-config", 0), ("--store-directory=relative", 2)] {
        let variables = [("FLANNELD_ETCD_PASSWORD", PASSWORD)];
        let answer = run_with(alpha.node(), "towpathd", &[&flags, [command].as_slice()].concat(), &variables)?;
        ensure!(answer.code == Some(code), "{command}: {answer:?}");
        said.push((command, answer.out + &answer.err));
    }
    let login = format!("--etcd-endpoints=http://root:{PASSWORD}@192.0.2.1:2379");
    let answer = run_with(alpha.node(), "towpathd", &["--check-config", "--node-name=a", &login], &[])?;
    ensure!(answer.code == Some(2), "a password in an endpoint: {answer:?}");
    said.push(("an endpoint", answer.out + &answer.err));
    let state = std::fs::read_dir(alpha.node().directory().join("state"))?.next().context("a state file")??.path();
    said.push(("the state file", std::fs::read_to_string(state)?));
    // As it is, and as base64 and hexadecimal digits would show it.
    let octets: Vec<String> = PASSWORD.bytes().map(|octet| octet.to_string()).collect();
    for shape in [PASSWORD.to_owned(), "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5".to_owned(), octets.join(", ")] {
        let shown: Vec<&str> = said.iter().filter(|(_, text)| text.contains(&shape)).map(|(what, _)| *what).collect();
        assert_eq!(shown, Vec::<&str>::new(), "{shape} is shown");
    }
    Ok(())
}

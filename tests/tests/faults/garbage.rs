//! Rubbish in the store, a kind at a time: said once, shown, counted, no harm to anybody else, and mended when it is good again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use netns_harness::{Daemon, Etcd, wait_for};
use serde_json::Value;

use crate::ask::{lines, status, wait_metric, wait_well};
use crate::cluster::{Cluster, LIMIT, PREFIX, wait_route};
use crate::lease::{APART, Ghost, put, subnet};
use crate::picture::Picture;

/// What becomes of a node whose lease is no good any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its lease cannot be understood: it is left as it was last good.
    Kept,
    /// It is understood, and nothing can be sent to it.
    Removed,
}

/// A text in the place of a ghost's lease, a word with which it is refused, and what becomes of the ghost.
struct Rubbish(String, &'static str, Fate);

/// What may stand in the place of a lease, as a file or as a value alike. `own` is what the node itself publishes.
fn rubbish(good: &str, own: &Own) -> Vec<Rubbish> {
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from} in {good}");
        good.replace(from, to)
    };
    let (public, mac) = ("192.0.2.77", "02:00:00:00:01:4d");
    let kept = |text: String, word| Rubbish(text, word, Fate::Kept);
    let removed = |text: String, word| Rubbish(text, word, Fate::Removed);
    vec![
        kept(good[..good.len() / 2].to_owned(), "JSON"),
        kept("\u{1}\u{2}\u{7f}\u{0}\u{fffd}".to_owned(), "JSON"),
        kept("[".repeat(60_000), "JSON"),
        kept(format!("{{\"a\":{}", "{\"a\":".repeat(5_000)), "JSON"),
        kept("[]".to_owned(), ""),
        kept("\"lease\"".to_owned(), "JSON"),
        kept("{}".to_owned(), ""),
        kept(format!("\"{}\"", "x".repeat(100_000)), "at most"),
        kept(with("\"VNI\":1", "\"VNI\":\"1\""), "VNI"),
        kept(with("\"VNI\":1", "\"VNI\":-1"), "VNI"),
        kept(with("\"VNI\":1", "\"VNI\":16777216"), "VNI"),
        kept(with(&format!("\"{mac}\""), "7"), "VtepMAC"),
        kept(with(mac, "02:00:00:00:01"), "VtepMAC"),
        kept(with(mac, "01:00:5e:00:00:01"), "VtepMAC"),
        kept(with(mac, "00:00:00:00:00:00"), "VtepMAC"),
        kept(with(mac, "ff:ff:ff:ff:ff:ff"), "VtepMAC"),
        kept(with(&format!("\"{public}\""), "[1]"), "JSON"),
        kept(with(public, "192.0.2.777"), "JSON"),
        kept(with(public, "224.0.0.1"), "224.0.0.1"),
        kept(with(public, "127.0.0.1"), "127.0.0.1"),
        kept(with(public, "0.0.0.0"), "0.0.0.0"),
        kept(with(public, "255.255.255.255"), "255.255.255.255"),
        kept(with(public, "10.244.77.5"), "inside its own pod subnet"),
        removed(with(public, &own.public), "this node's own"),
        removed(with(mac, &own.mac), "this node's own VTEP MAC"),
        removed(with("\"VNI\":1", "\"VNI\":2"), "its VNI is 2"),
        removed(with("\"vxlan\"", "\"host-gw\""), "publishes backend `host-gw`"),
    ]
}

/// Keys that no lease may have, with a word of the reason.
fn keys(own: &Own) -> Vec<(String, &'static str)> {
    let half = own.subnet.replace(".0/24", ".128/25");
    vec![
        ("10.99.1.0/24".to_owned(), "not inside the cluster's network"),
        ("10.244.0.0/16".to_owned(), "as wide as the cluster's network"),
        ("10.0.0.0/8".to_owned(), "not inside the cluster's network"),
        ("0.0.0.0/0".to_owned(), "not inside the cluster's network"),
        (half, "this node's own"),
        ("10.244.88.64/26".to_owned(), "an older"),
    ]
}

/// What the node itself publishes.
struct Own {
    subnet: String,
    public: String,
    mac: String,
}

/// A node that looks at a store full of rubbish.
struct Scene<'a> {
    cluster: &'a Cluster,
    alpha: Daemon,
    own: Own,
    /// Goes on being told about; its number goes up.
    marks: std::cell::Cell<u8>,
}

impl Scene<'_> {
    fn new(cluster: &mut Cluster) -> Result<Scene<'_>> {
        let [alpha, _beta] = cluster.join_all(["alpha", "beta"])?;
        let lease = &status(&alpha)?["lease"]["subnets"][0];
        let text = |key: &str| Ok(lease[key].as_str().with_context(|| lease.to_string())?.to_owned()) as Result<String>;
        let own = Own { subnet: subnet(&alpha)?.to_string(), public: text("public")?, mac: text("mac")? };
        Ok(Scene { cluster, alpha, own, marks: std::cell::Cell::new(0) })
    }

    fn put(&self, key: &str, text: &str) -> Result<()> {
        match self.directory() {
            Some(leases) => {
                // In one step: a file that is written in place is seen empty in between, which is another fault.
                fs::write(leases.join("draft"), text)?;
                Ok(fs::rename(leases.join("draft"), leases.join(format!("{key}.json")))?)
            }
            None => put(self.etcd()?, key, text),
        }
    }

    fn remove(&self, key: &str) -> Result<()> {
        match self.directory() {
            Some(leases) => Ok(fs::remove_file(leases.join(format!("{key}.json")))?),
            None => self.etcd()?.ctl(&["del", &format!("{PREFIX}/subnets/{key}")]).map(drop),
        }
    }

    fn good(&self, ghost: &Ghost) -> String {
        if self.directory().is_some() { ghost.file() } else { ghost.value() }
    }

    fn directory(&self) -> Option<PathBuf> {
        self.cluster.directory().ok().map(|store| store.join("leases"))
    }

    fn etcd(&self) -> Result<&Etcd> {
        self.cluster.etcd()
    }

    /// Waits until all that was written before has been seen: what is written now has.
    fn settle(&self) -> Result<()> {
        self.marks.set(self.marks.get() + 1);
        let mark = Ghost { public: format!("198.51.100.{}", self.marks.get()), ..Ghost::numbered(99) };
        self.put(&mark.key(), &self.good(&mark))?;
        wait_for("what was written last to be seen", LIMIT, || {
            let fdb = self.alpha.node().run(["bridge", "fdb", "show", "dev", "flannel.1"])?;
            ensure!(fdb.contains(&format!(" dst {} ", mark.public)), "it has not come");
            Ok(())
        })
    }

    /// What is wrong with a key, as `towpathctl status` has it.
    fn fault(&self, key: &str) -> Result<String> {
        let status = status(&self.alpha)?;
        let all = [&status["peers"], &status["faults"]].into_iter().flat_map(Value::as_array).flatten();
        let of_key = |fault: &&Value| fault["key"].as_str().is_some_and(|it| it.trim_end_matches(".json") == key);
        let fault = all.filter(of_key).find_map(|fault| fault["fault"].as_str());
        Ok(fault.with_context(|| format!("no fault of {key} in {status}"))?.to_owned())
    }

    /// A fault is there: counted, shown, logged once, and once only however often the same is written.
    fn is_told_once(&self, (key, text): (&str, &str), word: &str) -> Result<()> {
        let log = self.alpha.log().len();
        for _ in 0..3 {
            self.put(key, text)?;
        }
        wait_metric(&self.alpha, "towpath_lease_faults", 1.0)?;
        let fault = self.fault(key)?;
        ensure!(fault.contains(word), "no `{word}` in: {fault}");
        ensure!(fault.len() < 500, "it is {} bytes long", fault.len());
        self.settle()?;
        let said = lines(&self.alpha, log, &["WARN", &format!("lease {key}")]);
        let said: Vec<_> = said.iter().filter(|line| line.contains(&fault)).collect();
        ensure!(said.len() == 1, "said {} times: {said:#?}", said.len());
        Ok(())
    }

    fn is_mended(&self, key: &str) -> Result<()> {
        let log = self.alpha.log().len();
        wait_metric(&self.alpha, "towpath_lease_faults", 0.0)?;
        let said = lines(&self.alpha, 0, &[&format!("lease {key}"), "no fault any more"]);
        ensure!(!said.is_empty(), "not said: {}", &self.alpha.log()[log..]);
        wait_well(&self.alpha)
    }
}

fn each_is_told_and_harms_nobody(mut cluster: Cluster) -> Result<()> {
    let beta = |cluster: &Cluster| subnet(&cluster.daemons[1]);
    let scene = Scene::new(&mut cluster)?;
    let ghost = Ghost::numbered(77);
    let (key, good) = (ghost.key(), scene.good(&ghost));
    scene.put(&key, &good)?;
    wait_route(scene.alpha.node(), &ghost.subnet())?;
    scene.settle()?;
    let of_ghost = |picture: &Picture| {
        let lines = [ghost.subnet.as_str(), &ghost.mac].map(|word| picture.lines(&[word]).join("\n"));
        lines.join("\n")
    };
    let before = of_ghost(&Picture::of(scene.alpha.node())?);
    for Rubbish(text, word, fate) in rubbish(&good, &scene.own) {
        let shown: String = text.chars().take(200).collect();
        let told = || -> Result<()> {
            scene.is_told_once((&key, &text), word)?;
            let now = Picture::of(scene.alpha.node())?;
            match fate {
                Fate::Kept => ensure!(of_ghost(&now) == before, "its entries were {before}, are {}", of_ghost(&now)),
                Fate::Removed => ensure!(now.lines(&["route", &ghost.subnet]).is_empty(), "its route is there"),
            }
            wait_route(scene.alpha.node(), &beta(scene.cluster)?)?;
            scene.put(&key, &good)?;
            scene.is_mended(&key)?;
            wait_route(scene.alpha.node(), &ghost.subnet())
        };
        told().with_context(|| format!("with `{shown}`, refused for `{word}`"))?;
    }
    odd_keys(&scene)
}

fn odd_keys(scene: &Scene<'_>) -> Result<()> {
    scene.put("10.244.88.0-24", &scene.good(&Ghost::numbered(88)))?;
    wait_route(scene.alpha.node(), &Ghost::numbered(88).subnet())?;
    scene.settle()?;
    let before = Picture::of(scene.alpha.node())?;
    let mut odd: Vec<(String, String, &str)> = Vec::new();
    for (subnet, word) in keys(&scene.own) {
        let ghost = Ghost { subnet, ..Ghost::numbered(66) };
        let text = scene.good(&ghost).replace("2020-01-01", "2021-01-01");
        odd.push((ghost.key(), text, word));
    }
    let good = scene.good(&Ghost::numbered(65));
    for (key, word) in [("nonsense", ""), ("10.244.65.1-24", ""), ("10.244.65.0-33", ""), ("10.244.65.0-24&x", "")] {
        odd.push((key.to_owned(), good.clone(), word));
    }
    for (key, text, word) in odd {
        scene.is_told_once((&key, &text), word).with_context(|| format!("key {key}"))?;
        let now = Picture::of(scene.alpha.node())?;
        assert_eq!(without_mark(&before, &now), Vec::<String>::new(), "key {key}");
        scene.remove(&key)?;
        wait_metric(&scene.alpha, "towpath_lease_faults", 0.0).with_context(|| format!("key {key}"))?;
    }
    wait_well(&scene.alpha)
}

/// What differs, but for the mark's own address.
fn without_mark(before: &Picture, now: &Picture) -> Vec<String> {
    let differs = before.less(now).into_iter().chain(now.less(before));
    differs.filter(|line| !line.contains("198.51.100.")).map(str::to_owned).collect()
}

#[test]
fn rubbish_in_a_directory_is_told_once_and_harms_nobody() -> Result<()> {
    each_is_told_and_harms_nobody(Cluster::on_directory("rubbishdir", APART)?)
}

#[test]
fn rubbish_in_etcd_is_told_once_and_harms_nobody() -> Result<()> {
    each_is_told_and_harms_nobody(Cluster::on_etcd("rubbishetcd", APART)?)
}

#[test]
fn things_that_are_no_files_harm_nobody() -> Result<()> {
    let mut cluster = Cluster::on_directory("nofiles", APART)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let leases = cluster.directory()?.join("leases");
    let ghost = Ghost::numbered(77);
    let file = leases.join("10.244.77.0-24.json");
    type Make = fn(&Path) -> Result<()>;
    let kinds: [(&str, Make); 6] = [
        ("a directory", |path| Ok(fs::create_dir(path)?)),
        ("a hundred megabytes", |path| Ok(fs::File::create(path)?.set_len(100 << 20)?)),
        ("a pipe that nobody writes to", |path| run(&["mkfifo", &path.to_string_lossy()])),
        ("a link to nowhere", |path| Ok(std::os::unix::fs::symlink("/nowhere", path)?)),
        ("a link to itself", |path| Ok(std::os::unix::fs::symlink(path, path)?)),
        ("a device without end", |path| Ok(std::os::unix::fs::symlink("/dev/zero", path)?)),
    ];
    for (kind, make) in kinds {
        make(&file)?;
        ghost_beside(&leases, &alpha).context(kind)?;
        // A link to nowhere is nothing (yet); all else is a fault.
        let faults = if kind == "a link to nowhere" { 0.0 } else { 1.0 };
        wait_metric(&alpha, "towpath_lease_faults", faults).context(kind)?;
        wait_route(alpha.node(), &subnet(&beta)?)?;
        if file.is_dir() {
            fs::remove_dir(&file)?
        } else {
            fs::remove_file(&file)?
        }
        wait_metric(&alpha, "towpath_lease_faults", 0.0).context(kind)?;
    }
    // A name does not write lines of its own, nor fill the log.
    for name in ["a\n2026-01-01T00:00:00Z  INFO forged.json", &format!("{}.json", "\u{1b}[31mlong".repeat(20))] {
        fs::write(leases.join(name), "x")?;
        wait_metric(&alpha, "towpath_lease_faults", 1.0)?;
        fs::remove_file(leases.join(name))?;
        wait_metric(&alpha, "towpath_lease_faults", 0.0)?;
    }
    let log = alpha.log();
    assert!(!log.contains("\n2026-01-01") && !log.contains('\u{1b}'), "{log}");
    assert!(log.lines().all(|line| line.len() < 700), "{log}");
    // Somebody's notes are nobody's business.
    for name in [".10.244.76.0-24.json.part", "notes.txt", ".hidden.json", "10.244.76.0-24.json~"] {
        fs::write(leases.join(name), Ghost::numbered(76).file())?;
    }
    ghost.write(&cluster.directory()?)?;
    wait_route(alpha.node(), &ghost.subnet())?;
    wait_metric(&alpha, "towpath_lease_faults", 0.0)?;
    assert_eq!(status(&alpha)?["peers"].as_array().map(Vec::len), Some(2));
    wait_well(&alpha)
}

#[test]
fn every_line_of_a_log_for_machines_is_json_whatever_is_in_the_store() -> Result<()> {
    let mut cluster = Cluster::on_directory("jsonlog", APART)?;
    let node = cluster.lab.node("alpha")?;
    let alpha = cluster.start(&node, |options| options.flag("--log-format=json").flag("--log-level=debug"))?;
    wait_well(&alpha)?;
    let leases = cluster.directory()?.join("leases");
    for name in ["\"quoted\\\".json", "two\nlines.json", "\u{202e}right to left.json", "\u{1}\u{7f}.json"] {
        fs::write(leases.join(name), "{\"node\": \"a\nb\"}")?;
        wait_metric(&alpha, "towpath_lease_faults", 1.0)?;
        fs::remove_file(leases.join(name))?;
        wait_metric(&alpha, "towpath_lease_faults", 0.0)?;
    }
    cluster.configure("{\"Network\": \"\\u0000\n\"}")?;
    crate::ask::wait_page(&alpha, 200, "degraded: net-conf.json")?;
    alpha.stop()?;
    for line in alpha.log().lines() {
        let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        assert!(line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    Ok(())
}

/// Another lease comes and goes: what was there before has been seen then.
fn ghost_beside(leases: &Path, daemon: &Daemon) -> Result<()> {
    let beside = Ghost::numbered(78);
    let file = leases.join("10.244.78.0-24.json");
    fs::write(&file, beside.file())?;
    wait_route(daemon.node(), &beside.subnet())?;
    fs::remove_file(file)?;
    crate::lease::wait_no_route(daemon.node(), &beside.subnet())
}

fn run(words: &[&str]) -> Result<()> {
    let status = std::process::Command::new(words[0]).args(&words[1..]).status()?;
    ensure!(status.success(), "{words:?}: {status}");
    Ok(())
}

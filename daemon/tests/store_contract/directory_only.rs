//! What only a directory can promise: readable files, odd things under their names, and daemons that are killed anywhere.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use ipam::{Family, Pool, Stack};
use towpathd::store::directory::{Directory, Pace};
use towpathd::store::terms::Terms;
use towpathd::store::{Claim, Store, Wish};

use crate::node::{NETWORK, Node, claim, claim_before, dual_claim, net, until};
use crate::place::{Place, Scratch, a_day, seconds};

/// A pool of the subnets 1 to `last`.
fn small_pool(last: u8) -> Stack<Pool> {
    let (first, last) = (net("10.244.1.0/24"), net(&format!("10.244.{last}.0/24")));
    Stack::V4(Pool { network: net("10.244.0.0/16"), length: 24, first, last })
}

#[tokio::test]
async fn a_lease_is_a_file_that_a_person_can_read() {
    let place = Place::directory("readable");
    let previous = Some(Stack::Dual { v4: net("10.244.3.0/24"), v6: net("fd00:1:0:3::/64") });
    let _node = Node::holding(place.store(), Claim { previous, ..dual_claim(1) }).await;
    let file = place.path().join("leases/10.244.3.0-24.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    let text = fs::read_to_string(file).unwrap();
    let time = |line: &str| line.contains("\": \"20") && line.ends_with("Z\",");
    let (times, others): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| time(line));
    let names: Vec<&str> = times.iter().map(|line| line.trim().split('"').nth(1).unwrap()).collect();
    assert_eq!(names, ["acquired", "renewed", "expires"]);
    let expected = r#"{
  "node": "node-1",
  "subnets": [
    "10.244.3.0/24",
    "fd00:1:0:3::/64"
  ],
  "PublicIP": "192.168.0.1",
  "PublicIPv6": "2001:db8::1",
  "BackendType": "vxlan",
  "BackendData": {
    "VNI": 1,
    "VtepMAC": "02:00:00:00:00:01"
  },
  "BackendV6Data": {
    "VNI": 1,
    "VtepMAC": "02:00:00:00:00:01"
  }
}"#;
    assert_eq!(others.join("\n"), expected);
}

#[tokio::test]
async fn an_ipv6_only_lease_is_a_file_too() {
    let place = Place::directory("v6only");
    let Stack::Dual { v6: pool, .. } = dual_claim(1).pools else { panic!("both families") };
    let Stack::Dual { v6: published, .. } = dual_claim(1).published else { panic!("both families") };
    let node =
        Node::holding(place.store(), Claim { pools: Stack::V6(pool), published: Stack::V6(published), ..claim(1) })
            .await;
    let name = node.subnet(Family::V6).to_string().replace('/', "-");
    assert_eq!(place.keys(), [name]);
}

#[tokio::test]
async fn a_missing_directory_is_made() {
    let scratch = Scratch::new("made");
    let store = scratch.0.join("var/lib/store");
    let mut node = Node::start(Store::Directory(Directory::new(&store, a_day())));
    node.until("the missing network", |node| node.trouble.is_some()).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&store), mode(&store.join("leases"))), (0o755, 0o755));
    fs::write(store.join("net-conf.json"), NETWORK).unwrap();
    node.until("the network", |node| node.network.as_deref() == Some(NETWORK) && node.trouble.is_none()).await;
}

#[tokio::test]
async fn odd_things_under_a_leases_name_are_garbage() {
    let place = Place::directory("odd");
    place.put_lease("10.244.5.0-24", 5);
    let file = |name: &str| place.path().join("leases").join(name);
    fs::create_dir(file("10.244.6.0-24.json")).unwrap();
    fs::File::create(file("10.244.7.0-24.json")).unwrap().set_len(100 << 20).unwrap();
    let made = Command::new("mkfifo").arg(file("10.244.8.0-24.json")).status().unwrap();
    assert!(made.success());
    fs::write(file("10.244.9.0-24.json"), place.lease_text("10.244.5.0-24", 5)).unwrap();
    symlink("/dev/zero", file("10.244.10.0-24.json")).unwrap();
    for ignored in ["README", "10.244.11.0-24.json~", ".10.244.12.0-24.json", ".x.part"] {
        fs::write(file(ignored), "not a lease").unwrap();
    }
    let mut node = Node::start(place.store());
    node.until("everything", |node| node.records.len() >= 6).await;
    assert_eq!((node.records.len(), node.garbage().len()), (6, 5), "{:#?}", node.records);
    for reason in ["not a regular file", "104857600 bytes long", "would be 10.244.5.0-24.json"] {
        assert!(node.garbage().iter().any(|said| said.contains(reason)), "{reason}: {:#?}", node.garbage());
    }
}

#[tokio::test]
async fn a_network_behind_a_link_is_followed() {
    // As Kubernetes puts a ConfigMap in place: net-conf.json -> ..data/net-conf.json, and ..data is swapped.
    let place = Place::directory("links");
    let root = place.path();
    fs::remove_file(root.join("net-conf.json")).unwrap();
    for (version, text) in [("..1", NETWORK), ("..2", "second")] {
        fs::create_dir(root.join(version)).unwrap();
        fs::write(root.join(version).join("net-conf.json"), text).unwrap();
    }
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/net-conf.json", root.join("net-conf.json")).unwrap();
    let mut node = Node::start(place.store());
    node.until("the first", |node| node.network.as_deref() == Some(NETWORK)).await;
    symlink("..2", root.join("..next")).unwrap();
    fs::rename(root.join("..next"), root.join("..data")).unwrap();
    node.until("the second", |node| node.network.as_deref() == Some("second")).await;
}

#[tokio::test]
async fn the_slow_look_finds_what_no_notice_tells() {
    let place = Place::directory("slow");
    let elsewhere = Scratch::new("slow-elsewhere");
    let (there, here) = (elsewhere.0.join("there.json"), place.path().join("net-conf.json"));
    fs::write(&there, NETWORK).unwrap();
    fs::remove_file(&here).unwrap();
    symlink(&there, here).unwrap();
    let pace = Pace { slow_look: Duration::from_millis(200), ..Pace::default() };
    let mut node = Node::start(Store::Directory(Directory::new(&place.path(), a_day()).at_pace(pace)));
    node.until("the first", |node| node.network.as_deref() == Some(NETWORK)).await;
    fs::write(&there, "second").unwrap();
    node.until("the second", |node| node.network.as_deref() == Some("second")).await;
}

#[tokio::test]
async fn a_scribbled_over_lease_is_put_right() {
    let place = Place::directory("scribbled");
    let mut node = Node::holding(place.store(), claim_before(1, "10.244.3.0/24")).await;
    let before = fs::read_to_string(place.path().join("leases/10.244.3.0-24.json")).unwrap();
    for scribble in ["", "{", "\u{0}"].repeat(20) {
        place.put_raw("10.244.3.0-24", scribble);
        let now = || fs::read_to_string(place.path().join("leases/10.244.3.0-24.json")).unwrap();
        until("the lease in its place", || {
            node.heard_already();
            now() == before
        })
        .await;
    }
    node.heard_already();
    assert_eq!(node.subnet(Family::V4), net("10.244.3.0/24"));
}

#[tokio::test]
async fn leftovers_are_swept_when_they_are_old() {
    let place = Place::directory("leftovers");
    fs::create_dir_all(place.path().join("leases")).unwrap();
    let leftover = |name: &str, age: u64| {
        let path = place.path().join("leases").join(name);
        let modified = SystemTime::now() - Duration::from_secs(age);
        fs::File::create(&path).unwrap().set_modified(modified).unwrap();
        path
    };
    let (old, young) = (leftover(".10.244.3.0-24.json.0.part", 3600), leftover(".10.244.4.0-24.json.1.part", 0));
    let somebodys = leftover(".bashrc", 3600);
    let mut node = Node::start(place.store());
    node.until("the first look", |node| node.log.iter().any(|line| line.contains("snapshot"))).await;
    assert_eq!([old, young, somebodys].map(|path| path.exists()), [false, true, true]);
}

#[tokio::test]
async fn an_ended_lease_is_inherited_by_exactly_one_and_only_when_nothing_else_is_left() {
    for round in 0..8 {
        let place = Place::directory(&format!("inherit-{round}"));
        let ended = place.lease_text("10.244.2.0-24", 9).replace("2126-01-01", "2026-01-02");
        place.put_raw("10.244.2.0-24", &ended);
        let first = Node::holding(place.store(), Claim { pools: small_pool(2), ..claim(1) }).await;
        assert_eq!(first.subnet(Family::V4), net("10.244.1.0/24"), "a free one comes first");
        // Three want what is left, and its old holder is back and wants it too.
        let mut nodes: Vec<Node> = [2, 3, 4, 9]
            .map(|number| Node::start_with(place.store(), Wish::Hold(Claim { pools: small_pool(2), ..claim(number) })))
            .into_iter()
            .collect();
        for node in &mut nodes {
            node.until("a lease or a trouble", |node| node.mine.is_some() || node.trouble.is_some()).await;
        }
        let holders: Vec<&Node> = nodes.iter().filter(|node| node.mine.is_some()).collect();
        assert_eq!(holders.len(), 1, "round {round}");
        let text = fs::read_to_string(place.path().join("leases/10.244.2.0-24.json")).unwrap();
        assert!(text.contains(&format!("\"{}\"", holders[0].lease().node)), "{text}");
    }
}

/// The other end of the next test: a daemon that holds a lease until it is killed. Does nothing when it is run by itself.
#[tokio::test]
async fn a_claimer_that_will_be_killed() {
    let Ok(number) = std::env::var("CLAIMER") else { return };
    let path = std::env::var("CLAIMER_STORE").unwrap();
    let store = Store::Directory(Directory::new(Path::new(&path), seconds(2, 1)));
    let wish = Wish::Hold(Claim { pools: small_pool(6), ..claim(number.parse().unwrap()) });
    let mut node = Node::start_with(store, wish);
    loop {
        node.next().await;
    }
}

#[tokio::test]
async fn two_hundred_kills_leave_no_lease_held_twice() {
    let place = Place::directory("kills");
    let mut claimers = Vec::new();
    for round in 0..200_u32 {
        // Eight nodes for six subnets, three at a time: there is something to fight for, and leases end meanwhile.
        let claimer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "directory_only::a_claimer_that_will_be_killed"])
            .env("CLAIMER", (round * 5 % 8 + 1).to_string())
            .env("CLAIMER_STORE", place.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        claimers.push(claimer);
        if claimers.len() == 3 {
            let mut victim = claimers.remove(0);
            let chance = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), round) % 12_000;
            tokio::time::sleep(Duration::from_micros(chance)).await;
            victim.kill().unwrap();
            victim.wait().unwrap();
        }
    }
    for mut claimer in claimers {
        claimer.kill().unwrap();
        claimer.wait().unwrap();
    }
    for key in place.keys() {
        let text = fs::read_to_string(place.path().join(format!("leases/{key}.json"))).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{key}: {text}");
    }
    // A quiet moment: six of them start again, and each has a lease of its own.
    let mut nodes = Vec::new();
    for number in 1..=6 {
        // Whoever was killed while it took an ended lease over keeps others from that until it is swept.
        let pace = Pace { slow_look: Duration::from_secs(1), sweep_after: Duration::from_secs(2) };
        let store = Store::Directory(Directory::new(&place.path(), seconds(20, 10)).at_pace(pace));
        nodes.push(Node::start_with(store, Wish::Hold(Claim { pools: small_pool(6), ..claim(number) })));
    }
    for node in &mut nodes {
        node.until("a lease", |node| node.mine.is_some()).await;
    }
    let subnets: BTreeSet<_> = nodes.iter().map(|node| node.subnet(Family::V4)).collect();
    assert_eq!((subnets.len(), place.keys().len()), (6, 6));
}

/// The other end of the next test, in a mount namespace of its own. Does nothing when it is run by itself.
#[tokio::test]
async fn a_store_on_a_small_disk() {
    let Ok(path) = std::env::var("SMALL_DISK") else { return };
    let mount = |options: &[&str]| assert!(Command::new("mount").args(options).arg(&path).status().unwrap().success());
    mount(&["-t", "tmpfs", "-o", "size=64k", "tmpfs"]);
    let root = Path::new(&path);
    fs::write(root.join("net-conf.json"), NETWORK).unwrap();
    fs::create_dir(root.join("leases")).unwrap();
    while fs::write(root.join(format!("ballast-{}", fs::read_dir(root).unwrap().count())), [0; 4096]).is_ok() {}
    let store = Store::Directory(Directory::new(root, Terms::of_a_day(Duration::from_secs(60))));
    let mut node = Node::start_with(store, Wish::Hold(claim(1)));
    node.until("the full disk", |node| node.trouble.as_ref().is_some_and(|said| said.contains("free some space")))
        .await;
    assert_eq!(fs::read_dir(root.join("leases")).unwrap().count(), 0, "a draft stays");
    mount(&["-o", "remount,ro"]);
    node.until("the mode", |node| {
        node.trouble.as_ref().is_some_and(|said| said.contains("mount the file system read-write"))
    })
    .await;
    mount(&["-o", "remount,rw,size=1m"]);
    node.until("a lease", |node| node.mine.is_some() && node.trouble.is_none()).await;
}

#[test]
fn a_full_or_read_only_disk_is_said_and_waited_for() {
    let scratch = Scratch::new("disk");
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "directory_only::a_store_on_a_small_disk"])
        .env("SMALL_DISK", &scratch.0)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "this test needs root and mount namespaces: {}", String::from_utf8_lossy(&said));
}

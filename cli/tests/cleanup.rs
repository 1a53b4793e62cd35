//! `towpathctl cleanup` on the real kernel: in namespaces of its own for network and mounts, so that nothing of the machine is
//! seen or touched. What daemons leave is made by hand, beside things that look alike and are somebody else's.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};

use backends::LinkName;
use ipam::ledger::{Identifier, Owner};
use kernel::netns::Netns;
use kernel::nft::nat::{Nat, Wanted};
use kernel::tag::Tag;

/// What a daemon with the default subnet file and another instance leave, in the words of `ip` and `nft`.
const LEFT: &str = r#"
    ip link add eth0 type veth peer name eth1
    ip address add 192.0.2.1/24 dev eth0 && ip link set eth0 up && ip link set eth1 up
    ip link add flannel.1 type vxlan id 1 dstport 8472 local 192.0.2.1 dev eth0 nolearning
    ip link set flannel.1 alias 'towpath /run/flannel/subnet.env' up
    ip address add 10.244.1.0/32 dev flannel.1
    ip nexthop add id 1409286145 via 10.244.2.0 dev flannel.1 onlink proto 84
    ip route add 10.244.2.0/24 nhid 1409286145 proto 84
    ip neigh add 10.244.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent protocol 84
    bridge fdb add 02:00:00:00:00:02 dev flannel.1 dst 192.0.2.2 self permanent extern_learn
    ip route add blackhole 10.244.1.0/24 proto 84
    nft 'add table inet towpath { comment "towpath /run/flannel/subnet.env"; }'
    nft 'add chain inet towpath postrouting { type nat hook postrouting priority srcnat; }'
    mkdir -p /run/flannel
    printf 'FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n' > /run/flannel/subnet.env
    ip link add flannel.2 type vxlan id 2 dstport 8473 local 192.0.2.1 dev eth0 nolearning
    ip link set flannel.2 alias 'towpath /run/second/subnet.env' up
    ip route add blackhole 10.99.1.0/24 proto 84
    nft 'add table inet towpath_run/second/subnet.env { comment "towpath /run/second/subnet.env"; }'
    mkdir -p /run/second
    printf 'FLANNEL_NETWORK=10.99.0.0/16\nFLANNEL_SUBNET=10.99.1.1/24\n' > /run/second/subnet.env
"#;

/// What is somebody else's and must stay, and how it is seen to be there.
const FOREIGN: &str = r#"
    ip link add flannel.9 type vxlan id 9 dstport 8479 local 192.0.2.1 dev eth0 && ip link set flannel.9 up
    ip link add vethpod type veth peer name eth2 && ip link set vethpod alias 'towpath-pod 0123456789ab'
    ip link add cni0 type bridge && ip address add 10.244.1.1/24 dev cni0 && ip link set cni0 up
    ip route add 10.55.0.0/16 via 192.0.2.77 dev eth0 proto static
    ip route add blackhole 10.56.0.0/16
    ip nexthop add id 7 via 192.0.2.78 dev eth0
    nft add table inet towpaths; nft add table ip towpath; nft add table inet towpath_theirs
"#;
const SEEN: &str = r#"
    ip -o link show flannel.9; ip -o link show vethpod; ip -o link show cni0
    ip route show 10.55.0.0/16; ip route show 10.56.0.0/16; ip nexthop show id 7
    nft list tables | sort
"#;

/// A filter without our own tables.
const MINE_OUT: &str = "grep -v 'inet towpath$\\|towpath_run'";

/// Runs a script in namespaces of its own; `towpathctl` in it is ours. `/run` and `/var/lib/towpath` are empty there.
fn command(text: &str) -> Command {
    let towpathctl = env!("CARGO_BIN_EXE_towpathctl");
    let begin = "mount -t tmpfs none /run && mkdir -p /tmp && mount -t tmpfs none /var/lib && ip link set lo up";
    let script = format!("set -e\n{begin}\ntowpathctl() {{ {towpathctl} \"$@\"; }}\n{text}");
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "sh", "-c", &script]);
    command
}

/// What a script printed, which must end well: root, and the packages iproute2 and nftables are needed.
fn printed(text: &str) -> String {
    let output = command(text).output().expect("`unshare` of the package util-linux");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success(),
        "run as root, with iproute2 and nftables installed; {}\n{out}{err}",
        output.status
    );
    out.into_owned()
}

const SPARED: &str = "
Left as they are: pods' interfaces, host ports and bridge, their addresses in /var/lib/cni, sysctls, and the lease in the store
(`towpathctl release` gives it back while towpathd runs). Pods keep running and cannot reach other nodes.
";

#[test]
fn all_that_is_ours_goes_and_nothing_else() {
    let out = printed(&format!(
        "{LEFT}{FOREIGN}
        ({SEEN}) | {MINE_OUT} > /run/before
        towpathctl cleanup --yes
        ({SEEN}) | {MINE_OUT} > /run/after
        echo ----; diff /run/before /run/after; ip -o link show type vxlan | cut -d: -f2
        ip route show proto 84; ip nexthop show proto 84; find /run/flannel /run/second -type f
        towpathctl cleanup --yes"
    ));
    let expected = format!(
        "\
nft delete table inet towpath
ip route delete blackhole 10.244.1.0/24 proto 84 metric 0
ip route delete blackhole 10.99.1.0/24 proto 84 metric 0
ip link delete flannel.1    # and with it 1 route, 1 next hop, 1 neighbour, 1 forwarding entry
nft delete table inet towpath_run/second/subnet.env
ip link delete flannel.2
rm /run/flannel/subnet.env
rm /run/second/subnet.env
{SPARED}removed
----
 flannel.9
nothing of towpath's is left here
"
    );
    assert_eq!(out, expected);
}

#[test]
fn the_plugins_table_goes_with_its_last_pod_and_never_before() {
    let once = "echo ready; read go; towpathctl cleanup --yes; nft list tables";
    let mut child = command(&format!("{once}; {once}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare of the package util-linux");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut go = child.stdin.take().expect("piped");
    let mut said = String::new();
    let mut until_ready = || {
        let mut line = String::new();
        while line != "ready\n" {
            said.push_str(&line);
            line.clear();
            assert_ne!(out.read_line(&mut line).expect("what the script says"), 0, "{said}");
        }
    };
    until_ready();
    let netns = Netns::open(Path::new(&format!("/proc/{}/ns/net", child.id()))).expect("the script's namespace");
    let owner = Owner { container: Identifier::new("c1").expect("a container"), ifname: "eth0".into() };
    let tag = Tag::new("cbr0", &owner);
    let leaving = vec!["10.244.1.2".parse().expect("an address")];
    let wanted = Wanted { leaving, ..Wanted::default() };
    let add = || Nat::open().expect("a socket").add(&tag, &wanted).expect("nftables");
    netns.run(add).expect("entering it");
    go.write_all(b"go\n").expect("the script reads");
    until_ready();
    let remove = || Nat::open().expect("a socket").remove(&tag).expect("nftables");
    netns.run(remove).expect("entering it");
    go.write_all(b"go\n").expect("the script reads");
    out.read_to_string(&mut said).expect("what the script says");
    assert!(child.wait().expect("the script's end").success(), "{said}");
    let table = "nft delete table inet towpath-pods    # no pod has anything in it\n";
    assert_eq!(said, format!("nothing of towpath's is left here\ntable inet towpath-pods\n{table}{SPARED}removed\n"));
}

#[test]
fn one_of_two_instances_goes_alone() {
    let out = printed(&format!(
        "{LEFT}
        towpathctl cleanup --yes --subnet-file /run/second/subnet.env
        echo ----; ip -o link show type vxlan | cut -d: -f2; ip route show type blackhole; nft list tables
        find /run/flannel /run/second -type f
        rm /run/flannel/subnet.env; towpathctl cleanup --yes --subnet-file /run/flannel/subnet.env > /run/said
        echo ----; ip route show type blackhole"
    ));
    let (out, rest) = out.rsplit_once("----\n").expect("the mark");
    assert_eq!(rest, "", "the last one's blackholes go even without its subnet file");
    let (_, after) = out.split_once("----\n").expect("the mark");
    assert_eq!(
        after, " flannel.1\nblackhole 10.244.1.0/24 proto 84 \ntable inet towpath\n/run/flannel/subnet.env\n",
        "{out}"
    );
}

#[test]
fn a_dry_run_and_a_missing_yes_remove_nothing() {
    let out = printed(&format!(
        "{LEFT}
        towpathctl cleanup --dry-run
        towpathctl cleanup < /dev/null 2>&1 || echo $?
        echo ----; ip -o link show type vxlan | cut -d: -f2; nft list tables; find /run/flannel -type f"
    ));
    assert!(out.contains("towpathctl: there is no terminal to ask on: say --yes if it is to be done\n2\n"), "{out}");
    let (_, after) = out.split_once("----\n").expect("the mark");
    assert!(after.contains("flannel.1\n flannel.2\ntable inet towpath\n") && after.contains("subnet.env"), "{out}");
}

#[test]
fn a_daemon_that_runs_is_not_pulled_the_ground_from_under() {
    let text = format!(
        "{LEFT}
        echo ready; read go
        towpathctl cleanup --yes 2>&1 || echo $?
        ip -o link show flannel.1 > /dev/null && echo still there
        towpathctl cleanup --yes --force | tail -1"
    );
    let mut child = command(&text).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("the script's first word");
    assert_eq!(line, "ready\n");
    // What a daemon holds as long as it lives: an abstract socket named after its device.
    let path = format!("/proc/{}/ns/net", child.id());
    let name =
        || SocketAddr::from_abstract_name(backends::instance::device_lock(LinkName::new("flannel.1").expect("a name")));
    let hold = || UnixListener::bind_addr(&name().expect("a name")).expect("the lock is free");
    let held = Netns::open(Path::new(&path)).expect("the script's namespace").run(hold).expect("entering it");
    child.stdin.take().expect("piped").write_all(b"go\n").expect("the script reads");
    let mut said = String::new();
    out.read_to_string(&mut said).expect("what the script says");
    assert!(child.wait().expect("the script's end").success(), "{said}");
    drop(held);
    let refused = "towpathctl: a towpathd runs on this node and holds flannel.1, and would put everything back: stop it \
                   first, or say --force\n2\nstill there\nremoved\n";
    assert!(said.ends_with(refused), "{said}");
}

#[test]
fn what_flannel_left_is_flannels() {
    let out = printed(
        "ip link add eth0 type veth peer name eth1 && ip address add 192.0.2.1/24 dev eth0 && ip link set eth0 up
        ip link add flannel.1 type vxlan id 1 dstport 8472 local 192.0.2.1 dev eth0 nolearning
        mkdir -p /run/flannel && echo FLANNEL_NETWORK=10.244.0.0/16 > /run/flannel/subnet.env
        nft add table inet flannel-ipv4
        towpathctl cleanup --yes; towpathctl cleanup --yes --subnet-file /run/flannel/subnet.env
        ip -o link show type vxlan | cut -d: -f2; cat /run/flannel/subnet.env; nft list tables",
    );
    let nothing = "nothing of towpath's is left here\n";
    assert_eq!(out, format!("{nothing}{nothing} flannel.1\nFLANNEL_NETWORK=10.244.0.0/16\ntable inet flannel-ipv4\n"));
}

#[test]
fn a_state_file_is_known_by_what_stands_in_it() {
    let subnet_file = std::path::Path::new("/run/flannel/subnet.env");
    let directory = std::path::Path::new("/var/lib/towpath/state");
    let state_file = backends::instance::state_file(directory, ["a", "directory /s"], subnet_file);
    let out = printed(&format!(
        "mkdir -p /run/flannel {0} && echo FLANNEL_MTU=1450 > /run/flannel/subnet.env
        echo '{{\"format\":1,\"node\":\"a\",\"store\":\"directory /s\"}}' > {1}
        echo '{{\"format\":1,\"node\":\"b\",\"store\":\"directory /s\"}}' > {0}/b-00000000.json
        echo precious > {0}/notes.json
        towpathctl cleanup --yes; find /run/flannel {0} -type f | sort",
        directory.display(),
        state_file.display()
    ));
    let rm = format!("rm /run/flannel/subnet.env\nrm {}\n", state_file.display());
    let kept = "/var/lib/towpath/state/b-00000000.json\n/var/lib/towpath/state/notes.json\n";
    assert_eq!(out, format!("{rm}{SPARED}removed\n{kept}"));
}

#[test]
fn without_the_capability_it_says_which() {
    let out = printed(&format!(
        "{LEFT} setpriv --bounding-set -all --inh-caps -all {0} cleanup --yes 2>&1 || echo $?",
        env!("CARGO_BIN_EXE_towpathctl")
    ));
    assert!(out.ends_with("run towpathctl as root\n2\n"), "{out}");
}

//! `towpathctl cleanup`: nothing of ours is left, nothing of anybody else's is touched, and never under a daemon that runs.

use anyhow::{Result, ensure};
use netns_harness::{Daemon, Node};

use crate::ask::{Said, run, wait_well};
use crate::cluster::{Cluster, DUAL};
use crate::picture::Picture;

/// Things of others that look as much like ours as they can.
const FOREIGN: &str = "
ip link add flannel.77 type vxlan id 77 dstport 4789 dev eth0
ip link set flannel.77 alias 'somebody else' up
ip link add br-other type bridge
ip addr add 172.30.0.1/24 dev br-other
ip link set br-other up
ip route add 10.99.0.0/16 via 172.30.0.9 dev br-other proto 84 onlink
ip route add 10.98.0.0/16 via 172.30.0.9 dev br-other proto static onlink
ip route add blackhole 10.97.0.0/16 proto static
ip nexthop add id 7 via 172.30.0.8 dev br-other onlink proto static
ip neigh add 172.30.0.9 lladdr 02:00:00:00:00:09 dev br-other nud permanent protocol 84
bridge fdb append 02:00:00:00:00:09 dev flannel.77 dst 192.0.2.99 self permanent
nft 'add table ip towpath; add chain ip towpath out { type nat hook postrouting priority 100; }'
nft 'add rule ip towpath out masquerade; add table inet others; add chain inet others forward'
";

fn cleanup(daemon: &Daemon, words: &[&str]) -> Result<Said> {
    let socket = format!("--socket={}", daemon.status_socket().display());
    let state = format!("--state-directory={}", daemon.node().directory().join("state").display());
    let file = format!("--subnet-file={}", daemon.subnet_file().display());
    run(daemon.node(), "towpathctl", &[&[socket.as_str(), "cleanup", &state, &file], words].concat())
}

#[test]
fn cleanup_leaves_nothing_of_ours_and_everything_else() -> Result<()> {
    let mut cluster = Cluster::on_directory("cleanup", DUAL)?;
    let nodes = ["alpha", "beta"].map(|name| cluster.lab.node(name));
    let nodes: Vec<Node> = nodes.into_iter().collect::<Result<_>>()?;
    nodes[0].run(["sh", "-ec", FOREIGN])?;
    let before = Picture::of(&nodes[0])?;
    let mut daemons = Vec::new();
    for node in &nodes {
        daemons.push(cluster.start(node, |options| options.flag("--ip-blackhole-route"))?);
    }
    daemons.iter().try_for_each(wait_well)?;
    cluster.wait_acquainted()?;
    let alpha = &daemons[0];
    let running = Picture::of(alpha.node())?;
    assert_eq!(before.less(&running), Vec::<&str>::new(), "something of others is gone");

    let refused = cleanup(alpha, &["--yes"])?;
    ensure!(refused.code == Some(2) && refused.err.contains("stop it first, or say --force"), "{refused:?}");
    running.compare(&Picture::of(alpha.node())?)?;
    alpha.stop()?;
    let dry = cleanup(alpha, &["--dry-run"])?;
    assert_eq!(dry.code, Some(0), "{dry:?}");
    for word in
        ["ip link delete flannel.1 ", "ip link delete flannel-v6.1 ", "nft delete table inet towpath", "subnet.env"]
    {
        assert!(dry.out.contains(word), "no `{word}` in:\n{}", dry.out);
    }
    for word in ["flannel.77", "br-other", "others", "10.99.0.0", "10.97.0.0"] {
        assert!(!dry.out.contains(word), "`{word}` in:\n{}", dry.out);
    }
    // Nobody can be asked: nothing is removed.
    let unasked = cleanup(alpha, &[])?;
    assert_eq!(unasked.code, Some(2), "{unasked:?}");
    running.compare(&Picture::of(alpha.node())?)?;
    assert!(alpha.subnet_file().exists());

    let done = cleanup(alpha, &["--yes"])?;
    assert_eq!(done.code, Some(0), "{done:?}");
    before.compare(&Picture::of(alpha.node())?)?;
    assert!(!alpha.subnet_file().exists());
    assert_eq!(std::fs::read_dir(alpha.node().directory().join("state"))?.count(), 0);
    assert_eq!(cleanup(alpha, &["--yes"])?.out, "nothing of towpath's is left here\n");
    // And it can begin again.
    alpha.restart()?;
    wait_well(alpha)?;
    cluster.wait_acquainted()?;
    running.compare(&Picture::of(alpha.node())?)
}

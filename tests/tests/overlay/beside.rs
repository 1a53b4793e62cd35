//! Beside the real firewalld, ufw, Docker, libvirt and netavark (podman's), from Debian: pods talk after each has started, was reloaded, and after somebody
//! flushed all rules there are; and what is taken off the node leaves nothing of ours in their chains.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ipam::{Family, Stack};
use netns_harness::{Daemon, Node, Pod, Process, Signal, wait_for};

use crate::cluster::{Cluster, DUAL, LIMIT, status};

/// Two nodes with a pod each; on the first one is the other program.
struct Pair {
    cluster: Cluster,
    alpha: Daemon,
    pods: [Pod; 2],
}

impl Pair {
    fn new(name: &str) -> Result<Pair> {
        let mut cluster = Cluster::on_directory(name, DUAL)?;
        let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
        let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
        let pair = Pair { cluster, alpha, pods };
        pair.talk("before anything")?;
        Ok(pair)
    }

    /// New connections, both ways, in both families.
    fn talk(&self, when: &str) -> Result<()> {
        let [one, other] = &self.pods;
        for family in Family::ALL {
            wait_for(&format!("{family} {when}"), LIMIT, || one.reach(other, family).and(other.reach(one, family)))?;
        }
        Ok(())
    }

    /// Nothing of our table's helps where this fails.
    fn is_cut(&self, family: Family) -> Result<()> {
        ensure!(self.pods[0].reach(&self.pods[1], family).is_err(), "{family} passes");
        Ok(())
    }

    fn sh(&self, script: &str) -> Result<String> {
        self.alpha.node().run(["sh", "-ec", script])
    }

    /// What somebody does while our daemon cannot see it, so that it is seen to cut pods off; and that they talk when it can.
    fn unseen(&self, what: &str, does: impl FnOnce() -> Result<()>) -> Result<()> {
        self.alpha.signal(Signal::STOP)?;
        does()?;
        Family::ALL.into_iter().try_for_each(|family| self.is_cut(family)).context(what.to_owned())?;
        self.alpha.signal(Signal::CONT)?;
        self.talk(what)
    }

    /// Takes us off the node.
    fn clean(&self) -> Result<()> {
        self.alpha.stop()?;
        let node = self.alpha.node();
        let ctl = self.cluster.binaries.find("towpathctl")?;
        let words = [
            ctl.display().to_string(),
            format!("--socket={}", self.alpha.status_socket().display()),
            "cleanup".to_owned(),
            format!("--state-directory={}", node.directory().join("state").display()),
            format!("--subnet-file={}", self.alpha.subnet_file().display()),
            "--yes".to_owned(),
        ];
        node.run(words)?;
        // `towpath-pods` and the like are the pods' own, and they are still there.
        let rules = self.sh("nft list ruleset; iptables-save; ip6tables-save")?;
        let left: Vec<&str> = rules.lines().filter(|line| line.contains("towpath /")).collect();
        ensure!(left.is_empty(), "left: {left:?}");
        Ok(())
    }
}

#[test]
fn beside_ufw_pods_talk_whatever_it_does_and_its_chains_are_left_as_they_were() -> Result<()> {
    let pair = Pair::new("ufw")?;
    let directory = pair.alpha.node().directory().display().to_string();
    // It keeps its files where they are: each node of the lab has a copy of them.
    pair.sh(&format!("cp -a /etc/ufw {directory}/ufw; cp -a /etc/default/ufw {directory}/ufw.default"))
        .context("this test needs ufw: apt-get install ufw")?;
    let ufw = |words: &str| {
        let binds =
            format!("mount --bind {directory}/ufw /etc/ufw; mount --bind {directory}/ufw.default /etc/default/ufw");
        pair.sh(&format!("unshare --mount sh -ec '{binds}; exec ufw {words}'")).with_context(|| format!("ufw {words}"))
    };
    // The tunnel's own packets are its input chain's business, and what every manual says.
    ufw("allow 8472/udp")?;
    for words in ["--force enable", "default reject routed"] {
        pair.unseen(&format!("after ufw {words}"), || {
            // What our rules stand behind came with an earlier one.
            pair.sh("iptables -F FORWARD; ip6tables -F FORWARD")?;
            ufw("disable")?;
            ufw("--force enable")?;
            ufw(words).map(drop)
        })?;
    }
    ufw("reload")?;
    pair.talk("after ufw reload")?;
    pair.sh("nft flush ruleset")?;
    ufw("--force enable")?;
    pair.talk("after a flush of all rules")?;
    // What somebody says of certain pods is heard before.
    ufw("route deny from 10.244.0.0/16 port 7777 proto tcp")?;
    let rules = |pair: &Pair| pair.sh("iptables-save | grep -v '^[#:]'; ip6tables-save | grep -v '^[#:]'");
    ensure!(rules(&pair)?.contains("towpath /"), "{}", rules(&pair)?);
    pair.clean()?;
    ensure!(rules(&pair)?.contains("-A FORWARD -j ufw-reject-forward"), "{}", rules(&pair)?);
    Ok(())
}

/// Starts a message bus of the node's own, and gives its address.
pub fn bus(node: &Node) -> Result<String> {
    let directory = node.directory().display().to_string();
    let bus = format!("unix:path={directory}/bus");
    let policy = "<policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/><allow send_type=\"method_call\"/>\
                  <allow send_type=\"signal\"/><allow send_requested_reply=\"true\"/><allow receive_type=\"method_call\"/>\
                  <allow receive_type=\"method_return\"/><allow receive_type=\"error\"/><allow receive_type=\"signal\"/></policy>";
    let configuration = node.directory().join("bus.conf");
    std::fs::write(
        &configuration,
        format!("<busconfig><type>system</type><listen>{bus}</listen><auth>EXTERNAL</auth>{policy}</busconfig>"),
    )?;
    let mut command = Command::new("dbus-daemon");
    command.arg(format!("--config-file={}", configuration.display())).args(["--nofork", "--nopidfile"]);
    let said = node.start("dbus", command).context("this test needs dbus: apt-get install dbus-daemon")?;
    said.wait_ready(LIMIT, || Ok(std::fs::metadata(format!("{directory}/bus")).map(drop)?))?;
    Ok(bus)
}

/// firewalld on a bus of the node's own.
struct Firewalld {
    /// Kept for its log.
    _daemon: Process,
    bus: String,
}

impl Firewalld {
    fn start(pair: &Pair) -> Result<Firewalld> {
        let directory = pair.alpha.node().directory().display().to_string();
        let bus = bus(pair.alpha.node())?;
        std::fs::create_dir(format!("{directory}/firewalld"))?;
        let mut command = Command::new("firewalld");
        command
            .args(["--nofork", "--nopid", "--log-target=console", "--system-config"])
            .arg(format!("{directory}/firewalld"));
        command.env("DBUS_SYSTEM_BUS_ADDRESS", &bus);
        let daemon = pair
            .alpha
            .node()
            .start("firewalld", command)
            .context("this test needs firewalld: apt-get install firewalld")?;
        let firewalld = Firewalld { _daemon: daemon.clone(), bus };
        daemon.wait_ready(LIMIT, || firewalld.sh(pair, "firewall-cmd --state"))?;
        Ok(firewalld)
    }

    fn sh(&self, pair: &Pair, script: &str) -> Result<()> {
        pair.sh(&format!("export DBUS_SYSTEM_BUS_ADDRESS={}; {script}", self.bus)).map(drop)
    }
}

#[test]
fn beside_firewalld_what_is_named_opens_it_for_good_and_its_tables_are_never_written_to() -> Result<()> {
    let pair = Pair::new("firewalld")?;
    let firewalld = Firewalld::start(&pair)?;
    // The tunnel's own packets are the input chain's business, and what every manual says.
    firewalld.sh(&pair, "firewall-cmd --permanent --add-port=8472/udp; firewall-cmd --reload")?;
    let named = "the chain filter_FORWARD of table inet firewalld drops pods' packets of ";
    let said = || {
        let log = pair.alpha.log();
        let lines: Vec<String> = log.lines().filter(|line| line.contains(named)).map(str::to_owned).collect();
        ensure!(
            ["10.244.0.0/16", "fd00:10:244::/48"].iter().all(|net| lines.iter().any(|it| it.contains(net))),
            "{log}"
        );
        Ok(lines)
    };
    let lines = wait_for("both networks to be named", LIMIT, said)?;
    Family::ALL.into_iter().try_for_each(|family| pair.is_cut(family))?;
    for line in lines {
        let (_, command) = line.rsplit_once("): ").context("no command in it")?;
        firewalld.sh(&pair, command.trim_end_matches(['"', '}']))?;
    }
    pair.talk("after what was named")?;
    pair.alpha.wait_log("no other program's firewall drops pods' packets any more", LIMIT)?;
    firewalld.sh(&pair, "firewall-cmd --reload")?;
    pair.talk("after a reload")?;
    firewalld.sh(&pair, "firewall-cmd --complete-reload")?;
    pair.talk("after a complete reload")?;
    ensure!(
        !pair.sh("nft list table inet firewalld")?.contains("towpath"),
        "something of ours is in firewalld's table"
    );
    Ok(())
}

#[test]
fn beside_docker_pods_talk_whether_it_starts_ends_or_starts_again() -> Result<()> {
    let pair = Pair::new("docker")?;
    let directory = pair.alpha.node().directory().join("docker");
    std::fs::create_dir(&directory)?;
    let place = |name: &str| directory.join(name).display().to_string();
    let mut command = Command::new("unshare");
    // It wants /run/docker, and one for the machine may be there.
    command.args([
        "--mount",
        "sh",
        "-ec",
        "mkdir -p /run/docker; mount -t tmpfs docker /run/docker; exec dockerd \"$@\"",
        "sh",
    ]);
    command.arg(format!("--host=unix://{}", place("socket"))).arg(format!("--data-root={}", place("lib")));
    command.arg(format!("--exec-root={}", place("exec"))).arg(format!("--pidfile={}", place("pid")));
    command.args(["--storage-driver=vfs", "--ipv6", "--fixed-cidr-v6=fd00:d0c::/64", "--experimental", "--ip6tables"]);
    let mut docker = None;
    pair.unseen("after Docker has started", || {
        // It lets packets fall where it was the one that made this host forward: it starts before us at a boot.
        pair.sh("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")?;
        let started = pair
            .alpha
            .node()
            .start("dockerd", command)
            .context("this test needs dockerd: apt-get install docker.io")?;
        started.wait_log("Daemon has completed initialization", LIMIT)?;
        docker = Some(started);
        Ok(())
    })?;
    let docker = docker.context("it has started")?;
    pair.sh("nft flush ruleset")?;
    pair.talk("after a flush of all rules")?;
    docker.stop()?;
    docker.restart()?;
    docker.wait_log("Daemon has completed initialization", LIMIT)?;
    pair.talk("after Docker has started again")?;
    // By now it found the host forwarding IPv4 already, and says nothing of it.
    let rules = |pair: &Pair| pair.sh("ip6tables -S FORWARD");
    ensure!(rules(&pair)?.matches("towpath /").count() == 2, "{}", rules(&pair)?);
    pair.clean()?;
    ensure!(rules(&pair)?.contains("-P FORWARD DROP"), "{}", rules(&pair)?);
    docker.stop().map(drop)
}

/// Its default network, and no program for names and addresses in it, which would outlive this; no machines, which want users of their own.
const LIBVIRT: &str = "
mount --make-rprivate /
mkdir -p $0/run
mount --bind $0/run /run
for kind in lib cache log; do mount -t tmpfs $kind /var/$kind; mkdir /var/$kind/libvirt; done
mkdir -p $0/drivers $0/etc/qemu/networks/autostart
drivers=$(echo /usr/lib/*/libvirt/connection-driver)
cp $drivers/libvirt_driver_network.so $0/drivers
mount --bind $0/drivers $drivers
sed '/<dhcp>/,/<.dhcp>/d; s/<ip /<dns enable=\"no\"\\/>&/' /etc/libvirt/qemu/networks/default.xml >$0/etc/qemu/networks/default.xml
ln -sf ../default.xml $0/etc/qemu/networks/autostart/default.xml
mount --bind $0/etc /etc/libvirt
exec libvirtd";

#[test]
fn beside_libvirt_pods_talk_whether_it_starts_or_starts_again() -> Result<()> {
    let pair = Pair::new("libvirt")?;
    let node = pair.alpha.node();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", LIBVIRT]).arg(node.directory().join("libvirt"));
    std::fs::create_dir(node.directory().join("libvirt"))?;
    let stands = || {
        wait_for("libvirt's rules", LIMIT, || {
            let rules = pair.sh("iptables -S FORWARD")?;
            // Those of its network stand before whatever else there is.
            ensure!(rules.lines().nth(1) == Some("-A FORWARD -j LIBVIRT_FWX"), "{rules}");
            // It begins its network once a boot, and goes on with what it has written down.
            std::fs::metadata(node.directory().join("libvirt/run/libvirt/network/default.xml"))?;
            Ok(())
        })
    };
    let needed = "this test needs libvirt: apt-get install libvirt-daemon libvirt-daemon-config-network";
    let libvirt = node.start("libvirtd", command).context(needed)?;
    stands().context(needed)?;
    pair.talk("after libvirt has started")?;
    ensure!(!status(&pair.cluster, &pair.alpha)?.contains("degraded"), "{}", status(&pair.cluster, &pair.alpha)?);
    pair.unseen("after a flush, libvirt's rules, and a policy that drops", || {
        pair.sh("nft flush ruleset; iptables -P FORWARD DROP; ip6tables -P FORWARD DROP")?;
        // It writes its chains once in its life.
        libvirt.stop()?;
        libvirt.restart()?;
        stands()
    })?;
    libvirt.stop()?;
    libvirt.restart()?;
    stands()?;
    pair.talk("after libvirt has started again beside our rules")?;
    pair.clean()?;
    stands()
}

/// What podman tells it of a container with a published port.
const NETAVARK: &str = r#"{"container_id": "2d0fe608dc86", "container_name": "web",
    "networks": {"podman": {"interface_name": "eth0", "static_ips": ["10.88.0.2"]}},
    "port_mappings": [{"container_port": 7, "host_ip": "", "host_port": 18080, "protocol": "tcp", "range": 1}],
    "network_info": {"podman": {"dns_enabled": false, "driver": "bridge", "id": "53ce4390f2ad", "internal": false, "ipv6_enabled": false,
        "name": "podman", "network_interface": "podman0", "subnets": [{"gateway": "10.88.0.1", "subnet": "10.88.0.0/16"}],
        "ipam_options": {"driver": "host-local"}}}}"#;

#[test]
fn beside_podmans_netavark_pods_and_containers_talk_whether_containers_come_or_go() -> Result<()> {
    let pair = Pair::new("netavark")?;
    let container = pair.alpha.node().pod_station("container")?;
    let netavark = |verb: &str| {
        let place = container.namespace().path().display().to_string();
        let directory = pair.alpha.node().directory().display().to_string();
        pair.sh(&format!(
            "/usr/lib/podman/netavark --config {directory}/netavark {verb} {place} <<'END'\n{NETAVARK}\nEND\n"
        ))
        .context("this test needs netavark: apt-get install netavark")
    };
    container.set_addresses(Some(Stack::V4("10.88.0.2".parse()?)));
    pair.unseen("after a container has started", || {
        pair.sh("iptables -P FORWARD DROP; iptables -F FORWARD; ip6tables -P FORWARD DROP; ip6tables -F FORWARD")?;
        netavark("setup").map(drop)
    })?;
    container.serve_echo()?;
    let published = SocketAddr::new(pair.alpha.node().address(Family::V4)?, 18080);
    for pod in &pair.pods {
        wait_for("a container to reach a pod", LIMIT, || container.reach(pod, Family::V4))?;
    }
    wait_for("a pod to reach the published port", LIMIT, || pair.pods[0].connect(published, LIMIT).map(drop))?;
    netavark("teardown")?;
    pair.talk("after the container has ended")?;
    pair.clean()
}

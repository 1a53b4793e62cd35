//! WireGuard, on the kernel that has it, with `wg` as the judge: all modes, both families, and sessions that outlast what the
//! daemon does.

use anyhow::{Context, Result, ensure};
use ipam::{Family, Stack};
use ipnet::IpNet;
use netns_harness::{Daemon, DaemonOptions, Matrix, Node, Pace, Pod, Signal, Stream, in_guest, wait_for};
use std::time::Duration;

use crate::cluster::{Cluster, LIMIT, PREFIX, counted, killed_and_back, nth, subnets, told};
use crate::picture::Picture;

/// A configuration with more of the backend's keys.
fn network(families: &str, backend: &str) -> String {
    let four = r#""Network": "10.244.0.0/16""#;
    let six = r#""IPv6Network": "fd00:10:244::/48", "EnableIPv6": true"#;
    let networks = match families {
        "4" => four.to_owned(),
        "6" => format!(r#"{six}, "EnableIPv4": false"#),
        _ => format!("{four}, {six}"),
    };
    format!(r#"{{{networks}, "Backend": {{"Type": "wireguard"{backend}}}}}"#)
}

fn pods(cluster: &Cluster, daemons: &[Daemon]) -> Result<Vec<Pod>> {
    daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect()
}

fn wait_talk(pods: &[Pod]) -> Result<()> {
    let stations: Vec<_> = pods.iter().map(|pod| &**pod).collect();
    wait_for("the pods to talk", LIMIT, || Matrix::measure(&stations)?.check())
}

/// `wg show all WHAT`, in a fixed order.
fn wg(daemon: &Daemon, what: &str) -> Result<Vec<String>> {
    let said = daemon.node().run(["wg", "show", "all", what])?;
    let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    Ok(lines)
}

/// Two nodes in this mode: their pods talk, and neither a look nor a crash of the daemon writes anything or ends a session.
fn talk_and_stay(name: &str, (families, backend): (&str, &str), devices: &[(&str, &str)]) -> Result<()> {
    let mut cluster = Cluster::on_directory(name, &network(families, backend))?;
    let daemons = cluster.join_all(["alpha", "beta"])?;
    let pods = pods(&cluster, &daemons)?;
    wait_talk(&pods)?;
    let [alpha, _] = &daemons;
    assert_eq!(told(alpha, "FLANNEL_MTU")?, "1420");
    let ports = wg(alpha, "listen-port")?;
    let expected: Vec<String> = devices.iter().map(|(device, port)| format!("{device}\t{port}")).collect();
    assert_eq!(ports, expected);
    let (picture, sessions) = (Picture::of(alpha.node())?, wg(alpha, "latest-handshakes")?);
    ensure!(sessions.len() == devices.len() && !sessions.iter().any(|line| line.ends_with("\t0")), "{sessions:?}");
    killed_and_back(alpha, &picture)?;
    assert_eq!(wg(alpha, "latest-handshakes")?, sessions, "a handshake was lost, or made anew");
    wait_talk(&pods)
}

#[test]
fn each_family_has_a_device_of_its_own_in_separate_mode() -> Result<()> {
    in_guest(|| {
        let devices = [("flannel-wg", "51820"), ("flannel-wg-v6", "51821")];
        talk_and_stay("wgdual", ("46", ""), &devices)?;
        talk_and_stay("wgfour", ("4", r#", "ListenPort": 40000"#), &[("flannel-wg", "40000")])?;
        talk_and_stay("wgsix", ("6", r#", "ListenPortV6": 40001"#), &[("flannel-wg-v6", "40001")])
    })
}

#[test]
fn one_device_carries_both_families_in_the_other_modes() -> Result<()> {
    in_guest(|| {
        for (name, mode) in [("wgauto", "auto"), ("wgover4", "ipv4"), ("wgover6", "ipv6")] {
            let mode = format!(r#", "Mode": "{mode}""#);
            talk_and_stay(name, ("46", &mode), &[("flannel-wg", "51820")]).with_context(|| mode.clone())?;
        }
        // Flannel ends with a crash here, or sends everything into the tunnel.
        talk_and_stay("wgauto4", ("4", r#", "Mode": "auto""#), &[("flannel-wg", "51820")])?;
        talk_and_stay("wgauto6", ("6", r#", "Mode": "auto""#), &[("flannel-wg", "51820")])
    })
}

#[test]
fn a_node_that_comes_or_goes_touches_no_other_session_and_no_packet() -> Result<()> {
    in_guest(|| {
        let shared = r#", "PSK": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", "PersistentKeepaliveInterval": 25"#;
        let mut cluster = Cluster::on_etcd("wgchurn", &network("4", shared))?;
        let daemons = cluster.join_all(["alpha", "beta"])?;
        let pods = pods(&cluster, &daemons)?;
        wait_talk(&pods)?;
        // A guest with one processor answers no more than so many in time.
        let pace = Pace { per_sec: 50, at_most: Duration::from_secs(600) };
        let running = Stream::start(&pods[0], &pods[1], Family::V4, pace)?;
        let [alpha, beta] = &daemons;
        let before = wg(alpha, "latest-handshakes")?;
        assert!(wg(alpha, "preshared-keys")?[0].ends_with("AQE="));
        assert!(wg(alpha, "persistent-keepalive")?[0].ends_with("\t25"));
        let value = r#"{"PublicIP":"192.0.2.99","BackendType":"wireguard","BackendData":{"PublicKey":"KEY"}}"#;
        let key = format!("{PREFIX}/subnets/10.244.77.0-24");
        for (published, expected) in [
            ("CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=", 2),
            ("CgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgo=", 2),
            // Nobody's key, and no key: what was good last stays.
            ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 2),
            ("garbage", 2),
            (&wg(alpha, "public-key")?[0].replace("flannel-wg\t", ""), 1),
        ] {
            cluster.etcd()?.ctl(&["put", &key, &value.replace("KEY", published)])?;
            wait_for(&format!("the node with {published}"), LIMIT, || {
                let peers = wg(alpha, "peers")?;
                ensure!(peers.len() == expected, "{peers:?}");
                let known = peers.iter().any(|line| line.contains(published));
                ensure!(known == published.contains("kJ") || known == published.contains("oK"), "{peers:?}");
                Ok(())
            })?;
        }
        cluster.etcd()?.ctl(&["del", &key])?;
        wait_for("the node to be gone", LIMIT, || {
            ensure!(wg(alpha, "peers")?.len() == 1, "{:?}", wg(alpha, "peers")?);
            Ok(())
        })?;
        assert_eq!(wg(alpha, "latest-handshakes")?, before);
        running.wait_more(10, LIMIT)?;
        let report = running.stop()?;
        ensure!(report.lost() == 0, "{report:?}");
        let lease = cluster.etcd()?.ctl(&["get", "--prefix", &format!("{PREFIX}/subnets/")])?;
        ensure!(lease.contains(r#""BackendType":"wireguard""#) && lease.contains(r#""PublicKey":""#), "{lease}");
        ensure!(!beta.log().contains("AQE="), "the shared key is in the log");
        Ok(())
    })
}

#[test]
fn nothing_leaves_in_clear_while_there_is_no_tunnel() -> Result<()> {
    in_guest(|| {
        let mut cluster = Cluster::on_directory("wgstrict", &network("4", ""))?;
        let daemons = cluster.join_all(["alpha", "beta"])?;
        let pods = pods(&cluster, &daemons)?;
        wait_talk(&pods)?;
        let [alpha, _] = &daemons;
        // Whatever leaves by the uplink for a pod, as it would by the default route.
        let seen = "type filter hook postrouting priority -400; oifname eth0 ip daddr 10.244.0.0/16 counter";
        alpha.node().run(["nft", &format!("table inet seen {{ chain clear {{ {seen}; }}; }}")])?;
        let to = pods[1].address(Family::V4)?.to_string();
        let program = cluster.binaries.find("towpathctl")?;
        let socket = format!("--socket={}", alpha.status_socket().display());
        let explained = alpha.node().run([program.as_os_str(), "explain".as_ref(), to.as_ref(), socket.as_ref()])?;
        ensure!(explained.contains("dev flannel-wg, encrypted for "), "{explained}");
        let said = ctl(&cluster, alpha, "status")?;
        ensure!(said.contains("flannel-wg: handshake "), "{said}");
        alpha.signal(Signal::STOP)?;
        alpha.node().ip("link delete flannel-wg")?;
        let route = alpha.node().run(["sh", "-c", &format!("ip route get {to} 2>&1; true")])?;
        ensure!(pods[0].reach(&pods[1], Family::V4).is_err(), "it arrived");
        let clear = alpha.node().run(["nft", "list", "table", "inet", "seen"])?;
        ensure!(clear.contains("counter packets 0 bytes 0"), "{clear}");
        alpha.signal(Signal::CONT)?;
        ensure!(route.contains("unreachable") || route.contains("No route to host"), "{route}");
        // And the daemon makes it anew, with the same key.
        wait_talk(&pods)
    })
}

/// What `wg genkey` and `wg pubkey` say.
fn key_pair(node: &Node) -> Result<(String, String)> {
    let private = node.run(["wg", "genkey"])?.trim().to_owned();
    let public = node.run(["sh", "-c", &format!("echo {private} | wg pubkey")])?.trim().to_owned();
    Ok((private, public))
}

#[test]
fn a_flannel_node_cannot_tell_us_from_its_like_not_even_after_its_reboot() -> Result<()> {
    in_guest(|| {
        let mut cluster = Cluster::on_etcd("wgflannel", &network("4", ""))?;
        let [alpha] = cluster.join_all(["alpha"])?;
        let ours = wg(&alpha, "public-key")?[0].replace("flannel-wg\t", "");
        let (subnet, network) = (subnets(&alpha)?, "10.244.0.0/16");
        let allowed = subnet.get(Family::V4).context("a subnet")?.to_string();
        let node = cluster.lab.node("flannel")?;
        let theirs: IpNet = "10.244.200.0/24".parse()?;
        let pods = [cluster.pod(&alpha, "web")?, node.bare_pod("old", &Stack::V4(nth(&theirs, 10)))?];
        node.set_sysctl("net/ipv4/ip_forward", "1")?;
        let endpoint = alpha.node().address(Family::V4)?;
        // As flanneld does at every start: another device, on /run another key.
        for _ in 0..2 {
            let (private, public) = key_pair(&node)?;
            node.run(["sh", "-c", "ip link delete flannel-wg 2>&1; true"])?;
            node.run([
                "sh",
                "-ec",
                &format!(
                    "ip link add flannel-wg mtu 1420 type wireguard
                 echo {private} | wg set flannel-wg listen-port 51820 private-key /proc/self/fd/0
                 ip addr add 10.244.200.0/32 dev flannel-wg; ip link set flannel-wg up
                 ip route add {network} dev flannel-wg scope link
                 wg set flannel-wg peer {ours} endpoint {endpoint}:51820 persistent-keepalive 0 allowed-ips {allowed}"
                ),
            ])?;
            let value = format!(
                r#"{{"PublicIP":"{}","PublicIPv6":null,"BackendType":"wireguard","BackendData":{{"PublicKey":"{public}","Port":51820}}}}"#,
                node.address(Family::V4)?
            );
            cluster.etcd()?.ctl(&["put", &format!("{PREFIX}/subnets/10.244.200.0-24"), &value])?;
            wait_talk(&pods)?;
            assert_eq!(wg(&alpha, "peers")?, [format!("flannel-wg\t{public}")]);
        }
        Ok(())
    })
}

#[test]
fn another_shared_key_is_named_in_status_and_one_from_the_environment_is_used() -> Result<()> {
    in_guest(|| {
        let mut cluster = Cluster::on_directory("wgpsk", &network("4", ""))?;
        let shared = |text: &str| vec![("FLANNELD_WIREGUARD_PSK".to_owned(), text.to_owned())];
        let (one, two) =
            ("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=");
        let mut daemons = Vec::new();
        for (name, key) in [("alpha", one), ("beta", two)] {
            let node = cluster.lab.node(name)?;
            daemons.push(cluster.start(&node, |options| DaemonOptions { environment: shared(key), ..options })?);
        }
        daemons.iter().try_for_each(|daemon| daemon.wait_ready(LIMIT))?;
        cluster.wait_acquainted()?;
        let pods = pods(&cluster, &daemons)?;
        // On the node that is asked for a session: which of them asks first each time is chance.
        wait_for("status to name the shared key", LIMIT, || {
            ensure!(pods[0].reach(&pods[1], Family::V4).is_err(), "they talk");
            ensure!(pods[1].reach(&pods[0], Family::V4).is_err(), "they talk");
            let said = [ctl(&cluster, &daemons[0], "status")?, ctl(&cluster, &daemons[1], "status")?];
            ensure!(said.iter().any(|said| said.contains("the shared key (PSK) is another there, or")), "{said:?}");
            Ok(())
        })?;
        let [alpha, beta] = &daemons[..] else { anyhow::bail!("two daemons") };
        assert_eq!(counted(alpha, "towpath_wireguard_sessions_missing")?, 1.0, "{}", alpha.log());
        assert!(wg(alpha, "preshared-keys")?[0].ends_with(one) && wg(beta, "preshared-keys")?[0].ends_with(two));
        for daemon in &daemons {
            ensure!(![one, two].iter().any(|key| daemon.log().contains(key)), "a key is in the log");
        }
        Ok(())
    })
}

/// What towpathctl says on a node.
fn ctl(cluster: &Cluster, daemon: &Daemon, word: &str) -> Result<String> {
    let program = cluster.binaries.find("towpathctl")?;
    let socket = format!("--socket={}", daemon.status_socket().display());
    daemon.node().run([program.as_os_str(), word.as_ref(), socket.as_ref()])
}

/// From which of three pods to which, and in which family.
const AROUND: [(usize, usize, Family); 3] = [(0, 1, Family::V4), (1, 2, Family::V6), (2, 0, Family::V4)];

/// Packets on each of these ways.
fn around(pods: &[Pod]) -> Result<Vec<Stream>> {
    let pace = Pace { per_sec: 40, at_most: Duration::from_secs(600) };
    AROUND.into_iter().map(|(from, to, family)| Stream::start(&pods[from], &pods[to], family, pace)).collect()
}

#[test]
fn new_keys_for_all_nodes_cost_no_packet() -> Result<()> {
    in_guest(|| {
        let mut cluster = Cluster::on_directory("wgrotate", &network("46", r#", "Mode": "auto""#))?;
        let daemons = cluster.join_all(["alpha", "beta", "gamma"])?;
        let pods = pods(&cluster, &daemons)?;
        wait_talk(&pods)?;
        let streams = around(&pods)?;
        for (turn, port) in [(0, "51822"), (1, "51820")] {
            let before: Vec<_> = daemons.iter().map(|daemon| wg(daemon, "public-key")).collect::<Result<_>>()?;
            let said = ctl(&cluster, &daemons[turn], "rotate-keys")?;
            ensure!(said.contains(port), "{said}");
            if turn == 1 {
                // In the midst of it.
                daemons[2].kill()?;
                daemons[2].restart()?;
            }
            for (daemon, before) in daemons.iter().zip(&before) {
                wait_for("one device, with another key", Duration::from_secs(90), || {
                    let (keys, ports) = (wg(daemon, "public-key")?, wg(daemon, "listen-port")?);
                    ensure!(keys.len() == 1 && keys != *before && ports[0].ends_with(port), "{keys:?} {ports:?}");
                    Ok(())
                })
                .with_context(|| daemon.log_tail(40))?;
            }
            wait_talk(&pods)?;
        }
        for (stream, way) in streams.into_iter().zip(AROUND) {
            stream.wait_more(10, LIMIT)?;
            let report = stream.stop()?;
            ensure!(report.lost() == 0, "{way:?}: {report:?}");
        }
        for daemon in &daemons {
            let files =
                daemon.node().run(["sh", "-c", &format!("ls {}/wgkey*", daemon.node().directory().display())])?;
            ensure!(files.trim().ends_with("wgkey.2") && files.lines().count() == 1, "old keys remain: {files}");
        }
        Ok(())
    })
}

#[test]
fn from_vxlan_to_wireguard_and_back_no_packet_is_lost() -> Result<()> {
    in_guest(|| {
        let vxlan = r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}"#;
        let mut cluster = Cluster::on_directory("wgchange", vxlan)?;
        let daemons = cluster.join_all(["alpha", "beta"])?;
        let pods = pods(&cluster, &daemons)?;
        wait_talk(&pods)?;
        let pace = Pace { per_sec: 50, at_most: Duration::from_secs(600) };
        let running = Stream::start(&pods[0], &pods[1], Family::V4, pace)?;
        for (configuration, device) in [(network("4", ""), "flannel-wg"), (vxlan.to_owned(), "flannel.1")] {
            cluster.configure(&configuration)?;
            for daemon in &daemons {
                wait_for(&format!("{device} alone"), Duration::from_secs(90), || {
                    let links =
                        daemon.node().run(["sh", "-c", "ip -o link show | grep -o 'flannel[^:@]*' | sort -u"])?;
                    ensure!(links.trim() == device, "{links}");
                    Ok(())
                })
                .with_context(|| daemon.log_tail(40))?;
            }
            running.wait_more(10, LIMIT)?;
            wait_talk(&pods)?;
        }
        let report = running.stop()?;
        ensure!(report.lost() == 0, "{report:?}");
        Ok(())
    })
}

#[test]
fn another_mode_and_other_ports_cost_no_packet() -> Result<()> {
    in_guest(|| {
        let mut cluster = Cluster::on_directory("wgmode", &network("46", ""))?;
        let daemons = cluster.join_all(["alpha", "beta", "gamma"])?;
        let pods = pods(&cluster, &daemons)?;
        wait_talk(&pods)?;
        let streams = around(&pods)?;
        // One port for both modes: the kernel cannot hold both at a time, and they go round by others.
        let steps = [
            (r#", "Mode": "auto""#, vec!["51820"]),
            (r#", "Mode": "ipv6", "ListenPort": 51900"#, vec!["51900"]),
            // Two apart, as the ports of two generations of keys are elsewhere.
            (r#", "ListenPort": 51900, "ListenPortV6": 51902"#, vec!["51900", "51902"]),
            ("", vec!["51820", "51821"]),
        ];
        for (turn, (backend, expected)) in steps.iter().enumerate() {
            cluster.configure(&network("46", backend))?;
            if turn % 2 == 1 {
                daemons[2].kill()?;
                daemons[2].restart()?;
            }
            for daemon in &daemons {
                wait_for(&format!("the ports {expected:?} alone"), Duration::from_secs(120), || {
                    let said = wg(daemon, "listen-port")?;
                    let mut ports: Vec<_> = said.iter().filter_map(|line| line.split('\t').nth(1)).collect();
                    ports.sort_unstable();
                    ensure!(ports == *expected, "{said:?}");
                    Ok(())
                })
                .with_context(|| daemons.each_ref().map(|daemon| daemon.log_tail(40)).join("\n"))?;
            }
            wait_talk(&pods)?;
        }
        for daemon in &daemons {
            ensure!(!daemon.log().contains("cannot hold"), "{}", daemon.log());
        }
        for (stream, way) in streams.into_iter().zip(AROUND) {
            stream.wait_more(10, LIMIT)?;
            let report = stream.stop()?;
            ensure!(report.lost() == 0, "{way:?}: {report:?}");
        }
        Ok(())
    })
}

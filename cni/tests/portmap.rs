//! Under the name `portmap`, in a list behind other plugins, and with pods that the reference `portmap` made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;
mod traffic;

use serde_json::{Value, json};
use stage::{Answer, REFERENCE, Stage, output};
use traffic::{NEIGHBOUR4, ask, called_as, inside, neighbour, serve, shell, tagged};

/// The reference plugins start `iptables`, which is found by PATH.
fn call(stage: &Stage, plugin: &str, verb: &str, (container, pod): (&str, &str), config: &Value) -> Answer {
    let variables = [
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", container),
        ("CNI_NETNS", pod),
        ("CNI_IFNAME", "eth0"),
    ];
    stage.call(plugin, &variables, config.to_string().as_bytes())
}

fn bridge(stage: &Stage) -> Value {
    let range = json!({ "type": "host-local", "subnet": "10.9.0.0/24", "dataDir": stage.path("ledger"),
                        "routes": [{ "dst": "0.0.0.0/0" }] });
    json!({ "cniVersion": "1.0.0", "name": "net1", "type": "bridge", "bridge": "cni0", "isGateway": true,
            "hairpinMode": true, "ipMasq": true, "ipam": range })
}

fn portmap(previous: &Value, list: &Value) -> Value {
    json!({ "cniVersion": "1.0.0", "name": "net1", "type": "portmap", "prevResult": previous,
            "runtimeConfig": { "portMappings": list } })
}

#[test]
fn behind_the_reference_bridge_it_opens_ports_and_passes_the_result_on() {
    let mut stage = Stage::new();
    let outside = neighbour(&mut stage);
    let (node, pod) = (stage.netns(), stage.pod("a"));
    let (ours, theirs) = (called_as(&stage, "portmap"), format!("{REFERENCE}/bridge"));
    let list = json!([{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }]);
    let previous = call(&stage, &theirs, "ADD", ("a", &pod), &bridge(&stage)).success();
    let result = call(&stage, &ours, "ADD", ("a", &pod), &portmap(&previous, &list)).success();
    assert_eq!((&result["ips"], &result["interfaces"]), (&previous["ips"], &previous["interfaces"]));
    serve(&pod, "a", 80);
    assert_eq!(ask(&outside, "tcp", "192.0.2.1:8080"), Some(format!("a {NEIGHBOUR4}")));
    assert_eq!(ask(&node, "tcp", "127.0.0.1:8080"), Some("a 10.9.0.1".to_owned()));
    call(&stage, &ours, "CHECK", ("a", &pod), &portmap(&result, &list)).success();
    call(&stage, &ours, "DEL", ("a", &pod), &portmap(&result, &json!([]))).success();
    assert!(tagged(&node).is_empty());
    let mut alone = portmap(&previous, &list);
    alone.as_object_mut().unwrap().remove("prevResult");
    let (code, message) = call(&stage, &ours, "ADD", ("a", &pod), &alone).error();
    assert!(code == 7 && message.contains("prevResult"), "{message}");
}

#[test]
fn what_the_reference_plugins_made_with_iptables_is_deleted_and_their_other_pods_live_on() {
    assert!(output("iptables", &["-V"]).status.success(), "this test needs iptables: apt-get install iptables");
    let mut stage = Stage::new();
    let outside = neighbour(&mut stage);
    let (node, a, b) = (stage.netns(), stage.pod("a"), stage.pod("b"));
    let [ours, our_bridge] = ["portmap", "bridge"].map(|name| called_as(&stage, name));
    let [theirs, their_bridge] = ["portmap", "bridge"].map(|name| format!("{REFERENCE}/{name}"));
    let before = shell(&node, "iptables -t nat -S");
    let mut configs = Vec::new();
    for (container, pod, port) in [("a", &a, 81), ("b", &b, 82)] {
        let list = json!([{ "hostPort": port, "containerPort": 80, "protocol": "tcp" }]);
        let previous = call(&stage, &their_bridge, "ADD", (container, pod), &bridge(&stage)).success();
        call(&stage, &theirs, "ADD", (container, pod), &portmap(&previous, &list)).success();
        configs.push(portmap(&previous, &list));
        serve(pod, container, 80);
    }
    call(&stage, &ours, "DEL", ("a", &a), &configs[0]).success();
    call(&stage, &our_bridge, "DEL", ("a", &a), &bridge(&stage)).success();
    let rules = shell(&node, "iptables -t nat -S");
    assert!(!rules.contains("\"a\\\"") && !rules.contains("--dports 81"), "{rules}");
    assert_eq!(ask(&outside, "tcp", "192.0.2.1:82"), Some(format!("b {NEIGHBOUR4}")));
    call(&stage, &ours, "DEL", ("b", &b), &configs[1]).success();
    call(&stage, &our_bridge, "DEL", ("b", &b), &bridge(&stage)).success();
    let chains = |rules: &str| rules.lines().filter(|line| line.starts_with("-N ")).count();
    let after = shell(&node, "iptables -t nat -S");
    assert_eq!(chains(&after), chains(&before) + 3, "but for the chains that all of their pods share: {after}");
}

#[test]
fn a_pod_of_the_reference_portmap_keeps_its_port_beside_ours() {
    let mut stage = Stage::new();
    let outside = neighbour(&mut stage);
    let (a, b) = (stage.pod("a"), stage.pod("b"));
    let [theirs, their_bridge] = ["portmap", "bridge"].map(|name| format!("{REFERENCE}/{name}"));
    let list = json!([{ "hostPort": 81, "containerPort": 80, "protocol": "tcp" }]);
    let previous = call(&stage, &their_bridge, "ADD", ("a", &a), &bridge(&stage)).success();
    call(&stage, &theirs, "ADD", ("a", &a), &portmap(&previous, &list)).success();
    serve(&a, "a", 80);
    let ports = json!([{ "hostPort": 81, "containerPort": 80 }, { "hostPort": 82, "containerPort": 80 }]);
    let config = stage.config("1.0.0", json!({ "bridge": "br1", "runtimeConfig": { "portMappings": ports } }));
    stage.towpath("ADD", "b", &b, &config).success();
    serve(&b, "b", 80);
    assert_eq!(ask(&outside, "tcp", "192.0.2.1:81"), Some(format!("a {NEIGHBOUR4}")));
    assert_eq!(ask(&outside, "tcp", "192.0.2.1:82"), Some(format!("b {NEIGHBOUR4}")));
}

/// There is no SCTP on this side of the packets: one is written by hand, and what arrives is looked at.
#[test]
fn sctp_is_led_to_the_pod() {
    let mut stage = Stage::new();
    let outside = neighbour(&mut stage);
    let (node, pod) = (stage.netns(), stage.pod("a"));
    let list = json!([{ "hostPort": 132, "containerPort": 80, "protocol": "sctp" }]);
    stage
        .towpath("ADD", "a", &pod, &stage.config("1.0.0", json!({ "runtimeConfig": { "portMappings": list } })))
        .success();
    shell(&pod, "nft 'table inet seen { chain input { type filter hook input priority 0; sctp dport 80 counter; }; }'");
    let init = inside(&outside, || {
        // Ports 9 and 132, no tag, the checksum, and one chunk INIT of 20 octets (RFC 9260 section 3.3.2).
        let mut packet = vec![0, 9, 0, 132, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20];
        packet.extend([0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
        let checksum = crc32c(&packet).to_le_bytes();
        packet[8..12].copy_from_slice(&checksum);
        let octets: String = packet.iter().map(|octet| format!("\\x{octet:02x}")).collect();
        output(
            "python3",
            &[
                "-c",
                &format!(
                    "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 132).sendto(b'{octets}', ('192.0.2.1', 0))"
                ),
            ],
        )
    });
    assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    traffic::wait_for("the packet in the pod", || !shell(&pod, "nft list table inet seen").contains("packets 0"));
    assert!(shell(&node, "nft list map inet towpath-pods ports4").contains("sctp . 132"));
}

/// RFC 9260 appendix A.
fn crc32c(octets: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !octets.iter().fold(u32::MAX, |crc, octet| (0..8).fold(crc ^ u32::from(*octet), step))
}

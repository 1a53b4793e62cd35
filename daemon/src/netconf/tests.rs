//! What is promised of net-conf.json.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{Division, LONGEST, Network};
use crate::config::Mistakes;
use backends::Backend;
use backends::masquerade::{Exceptions, Segments, TowardsNodes};
use backends::vxlan::VxlanSettings;

use crate::path_probe::PathProbe;
use ipam::Family;
use proptest::prelude::*;

fn read(text: &str) -> Result<Network, Mistakes> {
    super::read(text, Division::Claimed)
}

fn good(text: &str) -> Network {
    read(text).unwrap_or_else(|mistakes| panic!("{text}: {mistakes}"))
}

fn wrong(text: &str) -> Vec<String> {
    let Err(Mistakes(mistakes)) = read(text) else { panic!("{text} was taken") };
    mistakes.iter().map(ToString::to_string).collect()
}

/// The file with an IPv4 network and these fields more.
fn with(fields: &str) -> String {
    format!(r#"{{"Network": "10.244.0.0/16", {fields}}}"#)
}

fn vxlan(network: &Network) -> &VxlanSettings {
    let Backend::Vxlan(settings) = &network.backend else { panic!("{:?}", network.backend) };
    settings
}

/// Length, first and last subnet of a family.
fn pool(network: &Network, family: Family) -> String {
    let pool = network.pools.get(family).unwrap();
    format!("{} {} {} {}", pool.network, pool.length, pool.first, pool.last)
}

#[test]
fn one_key_is_enough() {
    let network = good(r#"{"Network": "10.244.0.0/16"}"#);
    assert_eq!(network.networks.to_string(), "10.244.0.0/16");
    assert_eq!(pool(&network, Family::V4), "10.244.0.0/16 24 10.244.1.0/24 10.244.255.0/24");
    let settings = vxlan(&network);
    assert_eq!((settings.vni(), settings.port, settings.mtu), (1, 8472, None));
    assert!(!settings.gbp && !settings.learning && !settings.direct_routing && network.warnings.is_empty());
    assert_eq!(settings.devices().to_string(), "flannel.1");
}

#[test]
fn every_key_says_what_it_means() {
    let network = good(
        r#"{"EnableIPv4": true, "EnableIPv6": true, "EnableNFTables": true,
            "Network": "10.0.0.0/8", "SubnetLen": 20, "SubnetMin": "10.10.0.0", "SubnetMax": "10.99.0.0",
            "IPv6Network": "fd00::/40", "IPv6SubnetLen": 56, "IPv6SubnetMin": "fd00:0:0:100::", "IPv6SubnetMax": "fd00:0:8::",
            "Backend": {"Type": "VXLAN", "VNI": 4096, "Port": 4789, "MTU": 9000, "GBP": true, "Learning": true,
                        "DirectRouting": true, "Name": "flannel.4096", "MacPrefix": "0E-2A"}}"#,
    );
    assert_eq!(network.networks.to_string(), "10.0.0.0/8 fd00::/40");
    assert_eq!(pool(&network, Family::V4), "10.0.0.0/8 20 10.10.0.0/20 10.99.0.0/20");
    assert_eq!(pool(&network, Family::V6), "fd00::/40 56 fd00:0:0:100::/56 fd00:0:8::/56");
    let settings = vxlan(&network);
    assert_eq!((settings.vni(), settings.port, settings.mtu), (4096, 4789, Some(9000)));
    assert!(settings.gbp && settings.learning && settings.direct_routing);
    assert_eq!(network.warnings, [""; 0]);
}

#[test]
fn a_backend_is_known_by_its_name_in_any_case() {
    for (name, backend) in [("Host-GW", Backend::HostGw), ("host-gw", Backend::HostGw), ("ALLOC", Backend::Alloc)] {
        let network = good(&with(&format!(r#""Backend": {{"Type": "{name}"}}"#)));
        assert_eq!((network.backend, network.warnings), (backend, Vec::<String>::new()));
    }
}

#[test]
fn commands_are_words_and_what_needs_a_shell_is_refused_with_its_key() {
    let text = r#""Backend": {"Type": "extension", "SubnetAddCommand": "ip route add $SUBNET", "PostStartupCommand": "",
        "ShutdownCommand": "x"}"#;
    let network = good(&with(text));
    let Backend::Extension(settings) = &network.backend else { panic!("{:?}", network.backend) };
    assert_eq!(settings.subnet_add.as_ref().map(|line| line.text()), Some("ip route add $SUBNET"));
    assert!(settings.post_startup.is_none() && network.warnings.len() == 1);
    let said = wrong(&with(r#""Backend": {"Type": "extension", "PreStartupCommand": "echo $(hostname)"}"#));
    let expected = "Backend.PreStartupCommand = \"echo $(hostname)\": no shell reads it, and `$(` is for one; write one program \
                    with its arguments, or sh -c '…' for more";
    assert_eq!(said, [expected]);
}

#[test]
fn udp_carries_ipv4_alone() {
    let udp = |port| Backend::Udp(backends::udp::UdpSettings::new(port));
    let network = good(&with(r#""Backend": {"Type": "UDP"}"#));
    assert_eq!((network.backend, network.warnings.len()), (udp(8285), 0));
    assert_eq!(good(&with(r#""Backend": {"Type": "udp", "Port": 0}"#)).backend, udp(8285));
    let dual = r#""IPv6Network": "fd00::/48", "EnableIPv6": true, "Backend": {"Type": "udp", "Port": 9}"#;
    let network = good(&with(dual));
    assert_eq!((network.backend, network.warnings.len()), (udp(9), 1));
    let only = r#"{"EnableIPv4": false, "EnableIPv6": true, "IPv6Network": "fd00::/48", "Backend": {"Type": "udp"}}"#;
    let refusal = read(only).unwrap_err().to_string();
    assert!(refusal.contains("the udp backend carries IPv4 alone"), "{refusal}");
}

#[test]
fn what_is_not_masqueraded_is_a_list_of_networks_and_a_switch() {
    assert_eq!(good(&with(r#""VNI2": 0"#)).exceptions, Exceptions::default());
    let segments = ["false", "true"].map(|value| good(&with(&format!(r#""clampMss": {value}"#))).segments);
    let probes = ["false", "true"].map(|value| good(&with(&format!(r#""PathProbe": {value}"#))).path_probe);
    assert_eq!(probes, [PathProbe::Off, PathProbe::On]);
    assert_eq!(segments, [Segments::Untouched, Segments::Clamped]);
    let network = good(&with(
        r#""NonMasqueradeCIDRs": ["fd00::/8", "10.0.0.0/8", "192.0.2.9/24", "10.0.0.0/8"], "nonMasqueradeNodes": true"#,
    ));
    let kept: Vec<String> = network.exceptions.kept_towards.iter().map(ToString::to_string).collect();
    assert_eq!(kept, ["10.0.0.0/8", "192.0.2.0/24", "fd00::/8"]);
    assert_eq!(network.exceptions.nodes, TowardsNodes::Kept);
    assert_eq!(network.warnings, ["NonMasqueradeCIDRs = 192.0.2.9/24 has host bits set; 192.0.2.0/24 is used"]);
}

#[test]
fn ipip_has_flannels_option_and_an_mtu_that_leaves_room_for_pods() {
    let ipip = |fields: &str| {
        let network = good(&with(&format!(r#""Backend": {{"Type": "IPIP"{fields}}}"#)));
        let Backend::Ipip(settings) = network.backend else { panic!("{:?}", network.backend) };
        (settings.devices().to_string(), settings.direct_routing, settings.device_mtu(Family::V4, 1500))
    };
    assert_eq!(ipip(""), ("flannel.ipip".to_owned(), false, 1480));
    assert_eq!(ipip(r#", "directrouting": true, "MTU": 1400"#), ("flannel.ipip".to_owned(), true, 1380));
    let said = wrong(&with(r#""Backend": {"Type": "ipip", "MTU": 70}"#));
    assert!(said[0].contains("Backend.MTU = \"70\": the tunnel's header leaves too little for pods"), "{said:?}");
}

#[test]
fn lengths_and_bounds_follow_from_the_network_as_in_flannel() {
    for (text, expected) in [
        (r#"{"Network": "10.1.0.0/22"}"#, "10.1.0.0/22 24 10.1.1.0/24 10.1.3.0/24"),
        (r#"{"Network": "10.1.0.0/23"}"#, "10.1.0.0/23 25 10.1.0.128/25 10.1.1.128/25"),
        (r#"{"Network": "10.1.0.0/28"}"#, "10.1.0.0/28 30 10.1.0.4/30 10.1.0.12/30"),
        (r#"{"Network": "10.1.0.0/16", "SubnetLen": 30}"#, "10.1.0.0/16 30 10.1.0.4/30 10.1.255.252/30"),
        (r#"{"Network": "10.1.0.0/16", "SubnetLen": 0}"#, "10.1.0.0/16 24 10.1.1.0/24 10.1.255.0/24"),
        (r#"{"Network": "10.1.0.0/16", "SubnetMin": "0.0.0.0"}"#, "10.1.0.0/16 24 10.1.1.0/24 10.1.255.0/24"),
        (r#"{"Network": "10.1.0.0/16", "SubnetMin": "10.1.0.0"}"#, "10.1.0.0/16 24 10.1.0.0/24 10.1.255.0/24"),
    ] {
        assert_eq!(pool(&good(text), Family::V4), expected, "{text}");
    }
    for (network, expected) in [
        ("fd00::/62", "fd00::/62 64 fd00:0:0:1::/64 fd00:0:0:3::/64"),
        ("fd00::/63", "fd00::/63 65 fd00::8000:0:0:0/65 fd00:0:0:1:8000::/65"),
        ("fd00::/124", "fd00::/124 126 fd00::4/126 fd00::c/126"),
    ] {
        let text = format!(r#"{{"EnableIPv4": false, "EnableIPv6": true, "IPv6Network": "{network}"}}"#);
        assert_eq!(pool(&good(&text), Family::V6), expected);
        assert_eq!(vxlan(&good(&text)).devices().to_string(), "flannel-v6.1");
    }
}

#[test]
fn keys_match_in_any_case_and_the_last_of_several_counts() {
    let network = good(
        r#"{"network": "10.1.0.0/16", "NETWORK": "10.2.0.0/16", "subnetLEN": 25,
            "backend": {"type": "host-gw"}, "BackEnd": {"tYpE": "Vxlan", "vni": 5, "VNI": 6, "pOrt": 1}}"#,
    );
    assert_eq!(pool(&network, Family::V4), "10.2.0.0/16 25 10.2.0.128/25 10.2.255.128/25");
    assert_eq!((vxlan(&network).vni(), vxlan(&network).port), (6, 1));
    let expected =
        ["Network", "Backend", "Backend.VNI"].map(|key| format!("{key} is there more than once; the last one counts"));
    for warning in expected {
        assert!(network.warnings.contains(&warning), "{warning}: {:?}", network.warnings);
    }
    // A mistake that a later duplicate corrects is none.
    assert_eq!(vxlan(&good(&with(r#""Backend": {"Type": "vxlan", "VNI": "x", "vni": 7}"#))).vni(), 7);
}

#[test]
fn null_is_as_good_as_absent() {
    let text =
        with(r#""SubnetLen": null, "SubnetMin": null, "EnableIPv4": null, "Backend": null, "IPv6Network": null"#);
    assert_eq!(pool(&good(&text), Family::V4), "10.244.0.0/16 24 10.244.1.0/24 10.244.255.0/24");
    assert_eq!(vxlan(&good(&with(r#""Backend": {"Type": "vxlan", "VNI": null, "MTU": 0, "Port": 0}"#))).port, 8472);
}

#[test]
fn what_harms_nothing_is_a_warning() {
    for (text, expected) in [
        (with(r#""Netwrok": 1"#), "Netwrok is not a known key and says nothing; did you mean Network?"),
        (with(r#""SubnetLength": 1"#), "did you mean SubnetLen?"),
        (with(r#""comment": {"a": []}"#), "comment is not a known key and says nothing"),
        (
            with(r#""Backend": {"Type": "vxlan", "Prot": 1}"#),
            "Backend.Prot is not a known key and says nothing; did you mean Backend.Port?",
        ),
        (with(r#""Backend": {"Type": "host-gw", "Port": 1}"#), "Backend.Port is not a known key and says nothing"),
        (with(r#""IPv6Network": "fd00::/48""#), "IPv6Network is not used, because EnableIPv6 is not true"),
        (
            r#"{"Network": "10.244.3.4/16"}"#.to_owned(),
            "Network = 10.244.3.4/16 has host bits set; 10.244.0.0/16 is used",
        ),
    ] {
        let warnings = good(&text).warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(expected), "{text}: {warnings:?}");
    }
}

#[test]
fn each_wrong_key_is_named_with_its_value_the_reason_and_the_fix() {
    let fields = [
        (r#""EnableIPv4": "true""#, r#"EnableIPv4 = "true": it is a text; write true or false, without quotes"#),
        (r#""EnableIPv6": 1"#, "EnableIPv6 = \"1\": it is a number"),
        (r#""EnableNFTables": []"#, "EnableNFTables = \"[…]\": it is a list"),
        (r#""EnableIPv6": true"#, "IPv6Network: it is missing, and EnableIPv6 is true; write an IPv6 network"),
        (r#""Network": "10.0.0.0""#, "it is not an IPv4 network; write an IPv4 network, as in \"10.244.0.0/16\""),
        (r#""Network": "10.0.0.0/33""#, "it is not an IPv4 network"),
        (r#""Network": "fd00::/48""#, "it is not an IPv4 network"),
        (r#""Network": "ten""#, "it is not an IPv4 network"),
        (r#""Network": 10"#, "Network = \"10\": it is a number; write a text in quotes"),
        (r#""Network": """#, "it is not an IPv4 network"),
        (r#""Network": "0.0.0.0/0""#, "it overlaps 0.0.0.0/8"),
        (r#""Network": "127.5.0.0/16""#, "it overlaps 127.0.0.0/8, the loopback addresses"),
        (r#""Network": "128.0.0.0/1""#, "it overlaps 224.0.0.0/4, the multicast addresses"),
        (r#""Network": "10.0.0.0/29""#, "too small for four subnets; write one of at most /28"),
        (r#""SubnetLen": "24""#, "it is a text; write a whole number from 0 to 30, without quotes"),
        (r#""SubnetLen": 24.0"#, "it is not a whole number"),
        (r#""SubnetLen": 31"#, "it is out of range"),
        (r#""SubnetLen": -1"#, "it is out of range"),
        (r#""SubnetLen": 17"#, "Network has no room for four subnets of it; write 18 to 30"),
        (r#""SubnetMin": "10.1.0.0""#, "it is not in the network 10.244.0.0/16"),
        (r#""SubnetMin": "10.244.1.1""#, "no subnet of length 24 begins there; write 10.244.1.0, where one does"),
        (r#""SubnetMin": "10.244.1.0/24""#, "it is not an IPv4 address; write one, without a prefix length"),
        (r#""SubnetMin": 10"#, "it is a number"),
        (r#""SubnetMax": "10.245.0.0""#, "it is not in the network"),
        (r#""SubnetMax": "10.244.200.7""#, "no subnet of length 24 begins there"),
        (r#""SubnetMax": "fd00::""#, "it is not an IPv4 address"),
        (r#""SubnetMin": "10.244.9.0", "SubnetMax": "10.244.8.0""#, "it is above SubnetMax (10.244.8.0)"),
        (r#""NonMasqueradeCIDRs": "10.0.0.0/8""#, "NonMasqueradeCIDRs = \"10.0.0.0/8\": it is a text; write a list"),
        (r#""NonMasqueradeCIDRs": ["10.0.0.1"]"#, "NonMasqueradeCIDRs = \"10.0.0.1\": it is not a network"),
        (r#""NonMasqueradeCIDRs": [7]"#, "NonMasqueradeCIDRs = \"7\": it is not a network"),
        (r#""NonMasqueradeNodes": 1"#, "NonMasqueradeNodes = \"1\": it is a number"),
        (r#""Backend": "vxlan""#, r#"Backend = "vxlan": it is a text, not an object; write {"Type": "vxlan"}"#),
        (r#""Backend": {}"#, "Backend.Type: it is missing; write \"vxlan\" or \"host-gw\" or"),
        (r#""Backend": {"Type": 1}"#, "Backend.Type = \"1\": it is a number"),
        (r#""Backend": {"Type": ""}"#, "there is no such backend"),
        (r#""Backend": {"Type": "vxlna"}"#, "there is no such backend; did you mean vxlan?"),
        (r#""Backend": {"Type": "IPsec"}"#, "no such backend, on purpose; wireguard encrypts without a second daemon"),
        (r#""Backend": {"Type": "tencent-vpc"}"#, "no such backend, on purpose; let the cloud's own controller"),
        (r#""Backend": {"Type": "udp", "Port": 65536}"#, "Backend.Port = \"65536\": it is out of range"),
    ];
    let options = [
        (
            r#""VNI": 16777216"#,
            "Backend.VNI = \"16777216\": it is out of range; write a whole number from 0 to 16777215",
        ),
        (r#""VNI": 99999999999999999999999"#, "it is not a whole number"),
        (r#""VNI": "1""#, "it is a text"),
        (r#""VNI": 16000000"#, "makes a device name longer than 15 bytes: use at most 9999999"),
        (r#""Port": 65536"#, "it is out of range"),
        (r#""Port": -1"#, "it is out of range"),
        (r#""Port": true"#, "it is true or false"),
        (r#""MTU": 117"#, "too little for pods; write at least 118"),
        (r#""MTU": 70000"#, "it is out of range"),
        (r#""MTU": 1.5"#, "it is not a whole number"),
        (r#""GBP": "on""#, "it is a text"),
        (r#""Learning": 0"#, "it is a number"),
        (r#""DirectRouting": {}"#, "it is an object"),
    ];
    let options = options.map(|(option, expected)| (format!(r#""Backend": {{"Type": "vxlan", {option}}}"#), expected));
    let fields = fields.map(|(field, expected)| (field.to_owned(), expected));
    for (field, expected) in fields.into_iter().chain(options) {
        let found = wrong(&with(&field));
        assert!(found.len() == 1 && found[0].contains(expected), "{field}: {found:#?}");
    }
}

#[test]
fn each_wrong_ipv6_key_is_named_too() {
    for (fields, expected) in [
        (r#""IPv6Network": "10.0.0.0/8""#, "it is not an IPv6 network"),
        (r#""IPv6Network": "::/0""#, "it overlaps ::/8"),
        (r#""IPv6Network": "::1/128""#, "it overlaps ::/8"),
        (r#""IPv6Network": "fe80::/64""#, "the link-local addresses"),
        (r#""IPv6Network": "ff00::/16""#, "the multicast addresses"),
        (r#""IPv6Network": "fd00::/125""#, "too small for four subnets; write one of at most /124"),
        (r#""IPv6Network": "fd00::/48", "IPv6SubnetLen": 127"#, "it is out of range"),
        (r#""IPv6Network": "fd00::/48", "IPv6SubnetLen": 49"#, "no room for four subnets of it; write 50 to 126"),
        (r#""IPv6Network": "fd00::/48", "IPv6SubnetMin": "fd01::""#, "it is not in the network"),
        (r#""IPv6Network": "fd00::/48", "IPv6SubnetMax": "fd00::1""#, "begins there"),
        (r#""IPv6Network": "fd00::/48", "IPv6SubnetMax": "10.0.0.0""#, "it is not an IPv6 address"),
        (r#""IPv6Network": "fd00::/48", "Backend": {"Type": "vxlan", "MTU": 1349}"#, "write at least 1350"),
        (r#""IPv6Network": "fd00::/48", "Backend": {"Type": "vxlan", "VNI": 10000}"#, "use at most 9999"),
    ] {
        let found = wrong(&with(&format!(r#""EnableIPv6": true, {fields}"#)));
        assert!(found.len() == 1 && found[0].contains(expected), "{fields}: {found:#?}");
    }
}

#[test]
fn all_mistakes_are_told_together() {
    let found = wrong(
        r#"{"EnableIPv6": 0, "Network": "ten", "SubnetLen": 99, "SubnetMin": "x", "Backend": {"Type": "vxlan", "VNI": -1, "MTU": 1}}"#,
    );
    let keys: Vec<&str> = found.iter().map(|text| text.split([' ', ':']).next().unwrap()).collect();
    assert_eq!(keys, ["EnableIPv6", "Network", "SubnetLen", "SubnetMin", "Backend.VNI", "Backend.MTU"]);
}

#[test]
fn no_family_at_all_is_a_mistake() {
    assert!(wrong(r#"{"EnableIPv4": false, "Network": "10.0.0.0/8"}"#)[0].contains("both families are switched off"));
    assert!(wrong("{}")[0].contains("Network: it is missing, and EnableIPv4 is true"));
}

#[test]
fn what_is_no_json_object_is_said_to_be_none() {
    let deep = "[".repeat(200_000);
    let long = format!("{{{}}}", " ".repeat(LONGEST));
    for (text, expected) in [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("[1]", "it is a list, not an object"),
        ("\"x\"", "it is a text, not an object"),
        ("{", "it is not JSON"),
        (r#"{"Network": "10.0.0.0/8"} x"#, "it is not JSON: trailing characters at line 1"),
        (r#"{"Network": "10.0.0.0/8",}"#, "it is not JSON: trailing comma"),
        ("\u{feff}{}", "it is not JSON"),
        (deep.as_str(), "it is not JSON: recursion limit"),
        (long.as_str(), "it is longer than 1048576 octets"),
    ] {
        let found = wrong(text);
        assert!(found.len() == 1 && found[0].contains(expected), "{:.40}: {found:?}", text);
        assert!(found[0].starts_with("net-conf.json: "), "{found:?}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}", cut in 0_usize..300, put in any::<char>()) {
        drop(read(&text));
        let whole = with(r#""SubnetMin": "10.244.1.0", "Backend": {"Type": "vxlan", "VNI": 1, "MTU": 9000}"#);
        let (before, after): (String, String) = (whole.chars().take(cut).collect(), whole.chars().skip(cut + 1).collect());
        drop(read(&format!("{before}{put}{after}")));
        drop(read(&before));
    }

    #[test]
    fn a_pool_that_is_taken_lies_aligned_in_its_network(
        (v6, address, prefix, length) in (any::<bool>(), any::<u128>(), 0_u8..=130, 0_u8..=130),
    ) {
        let network = match v6 {
            true => format!("{}/{prefix}", std::net::Ipv6Addr::from(address)),
            false => format!("{}/{prefix}", std::net::Ipv4Addr::from(address as u32)),
        };
        let text = match v6 {
            true => format!(r#"{{"EnableIPv4": false, "EnableIPv6": true, "IPv6Network": "{network}", "IPv6SubnetLen": {length}}}"#),
            false => format!(r#"{{"Network": "{network}", "SubnetLen": {length}}}"#),
        };
        let network = match read(&text) {
            Err(Mistakes(mistakes)) => {
                prop_assert!(!mistakes.is_empty());
                return Ok(());
            }
            Ok(network) => network,
        };
        for pool in network.pools.values() {
            prop_assert_eq!(pool.network, pool.network.trunc());
            prop_assert!(pool.length >= pool.network.prefix_len() + 2 && pool.first <= pool.last);
            for subnet in [pool.first, pool.last] {
                prop_assert!(pool.network.contains(&subnet) && subnet == subnet.trunc());
                prop_assert_eq!(subnet.prefix_len(), pool.length);
            }
        }
    }
}

#[test]
fn where_kubernetes_gives_the_subnets_only_the_network_counts() {
    // Too small for four subnets, bounds and lengths that fit nowhere: nobody takes from it.
    let text = r#"{"Network": "10.244.0.0/24", "SubnetLen": 99, "SubnetMin": "192.0.2.1", "SubnetMax": true}"#;
    let network = super::read(text, Division::Assigned).unwrap();
    assert_eq!(network.networks.to_string(), "10.244.0.0/24");
    assert_eq!(network.warnings.len(), 3, "{:?}", network.warnings);
    assert!(network.warnings[0].contains("SubnetLen says nothing here"), "{:?}", network.warnings);
    assert_eq!(wrong(text).len(), 3, "where nodes take them, they are mistakes");
    let Err(Mistakes(mistakes)) = super::read("{}", Division::Assigned) else { panic!("without a network") };
    assert!(mistakes[0].to_string().contains("Network"), "{mistakes:?}");
}

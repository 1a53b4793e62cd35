//! What is promised of `subnet.env`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{PodMode, SubnetFile, read, write};
use crate::scratch::Scratch;
use ipam::Stack;
use ipnet::IpNet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn v4() -> SubnetFile {
    let (networks, subnets) = (Stack::V4(net("10.244.0.0/16")), Stack::V4(net("10.244.7.0/24")));
    SubnetFile { networks, subnets, mtu: 1450, masquerade: true, pods: PodMode::Bridge }
}

fn dual() -> SubnetFile {
    SubnetFile {
        networks: Stack::Dual { v4: net("10.244.0.0/16"), v6: net("fd00:10:244::/48") },
        subnets: Stack::Dual { v4: net("10.244.7.0/24"), v6: net("fd00:10:244:7::/64") },
        mtu: 1430,
        masquerade: false,
        pods: PodMode::Bridge,
    }
}

#[test]
fn the_text_is_flannels_to_the_byte() {
    let golden = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.7.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
    assert_eq!(v4().to_string(), golden);
    let golden = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.7.1/24\nFLANNEL_IPV6_NETWORK=fd00:10:244::/48\n\
                  FLANNEL_IPV6_SUBNET=fd00:10:244:7::1/64\nFLANNEL_MTU=1430\nFLANNEL_IPMASQ=false\n";
    assert_eq!(dual().to_string(), golden);
    let v6 = SubnetFile {
        networks: Stack::V6(net("fd00:10:244::/48")),
        subnets: Stack::V6(net("fd00:10:244:7::/64")),
        ..dual()
    };
    let golden = "FLANNEL_IPV6_NETWORK=fd00:10:244::/48\nFLANNEL_IPV6_SUBNET=fd00:10:244:7::1/64\nFLANNEL_MTU=1430\n\
                  FLANNEL_IPMASQ=false\n";
    assert_eq!(v6.to_string(), golden);
    let routed = SubnetFile { pods: PodMode::Routed, ..v6 };
    assert_eq!(routed.to_string(), format!("{golden}TOWPATH_POD_MODE=routed\n"));
}

#[test]
fn what_was_written_is_read_again() {
    let scratch = Scratch::new("subnet-again");
    let path = scratch.0.join("run/subnet.env");
    assert_eq!(read(&path).unwrap(), None);
    for file in [v4(), dual()] {
        write(&path, &file).unwrap();
        let previous = read(&path).unwrap().unwrap();
        assert_eq!((previous.subnets, previous.networks.len()), (file.subnets, file.networks.values().count()));
    }
}

#[test]
fn it_is_rewritten_only_when_it_says_something_else_or_is_not_readable() {
    let scratch = Scratch::new("subnet-rewritten");
    let path = scratch.0.join("subnet.env");
    let inode = || fs::metadata(&path).unwrap().ino();
    write(&path, &v4()).unwrap();
    let first = inode();
    write(&path, &v4()).unwrap();
    assert_eq!(inode(), first, "it was rewritten for nothing");
    write(&path, &SubnetFile { mtu: 1400, ..v4() }).unwrap();
    assert!(fs::read_to_string(&path).unwrap().contains("FLANNEL_MTU=1400\n"));
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    write(&path, &SubnetFile { mtu: 1400, ..v4() }).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1, "a draft was left");
}

#[test]
fn reading_is_tolerant() {
    let scratch = Scratch::new("subnet-tolerant");
    let path = scratch.0.join("subnet.env");
    let previous = |text: &[u8]| {
        fs::write(&path, text).unwrap();
        read(&path).unwrap()
    };
    let lists =
        b"# left by another\n\nFLANNEL_NETWORK=10.1.0.0/16, 10.2.0.0/16\nexport FLANNEL_SUBNET=\"10.1.9.1/24\"\r\n";
    let found = previous(lists).unwrap();
    assert_eq!(found.networks, [net("10.1.0.0/16"), net("10.2.0.0/16")]);
    assert_eq!(found.subnets, Stack::V4(net("10.1.9.0/24")));
    let twice = previous(b"FLANNEL_SUBNET=10.1.1.1/24\nFLANNEL_SUBNET = 10.1.2.1/24\nFLANNEL_MTU=many\n").unwrap();
    assert_eq!(twice.subnets, Stack::V4(net("10.1.2.0/24")));
    for nothing in [&b""[..], b"FLANNEL_NETWORK=10.1.0.0/16\n", b"FLANNEL_SUBNET=\n", b"\xff\xfe\0 nonsense"] {
        assert_eq!(previous(nothing), None);
    }
}

#[test]
fn what_is_wrong_in_it_is_named() {
    let scratch = Scratch::new("subnet-wrong");
    let path = scratch.0.join("subnet.env");
    for (text, expected) in [
        ("FLANNEL_SUBNET=10.1.1.1", r#"has FLANNEL_SUBNET="10.1.1.1", which is not an IPv4 network with its length"#),
        ("FLANNEL_SUBNET=fd00::1/64", "which is not an IPv4 network"),
        ("FLANNEL_IPV6_SUBNET=10.1.1.1/24", "which is not an IPv6 network with its length; remove the file"),
        ("FLANNEL_NETWORK=10.1.0.0/16,x\nFLANNEL_SUBNET=10.1.1.1/24", r#"has FLANNEL_NETWORK="x""#),
    ] {
        fs::write(&path, text).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = read(&scratch.0).unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
    let error = write(&path.join("below-a-file"), &v4()).unwrap_err().to_string();
    assert!(error.contains("cannot be written") && error.contains("--subnet-file"), "{error}");
}

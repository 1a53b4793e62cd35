//! What is promised of the state file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use backends::fingerprint::Fingerprint;

use super::{CHECKSUM, LastKnown, Owner, load, save};
use crate::labels::Labels;
use crate::scratch::Scratch;
use crate::store::Instructions;
use ipam::{BackendData, Endpoint, Lease, LeaseKey, Mac, NodeName, Stack};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

fn file(scratch: &Scratch) -> PathBuf {
    scratch.0.join("sub/n1.json")
}

fn owner() -> Owner {
    Owner { node: NodeName::new("n1").unwrap(), store: "etcd /coreos.com/network http://127.0.0.1:2379".to_owned() }
}

fn lease(number: u16) -> Lease {
    let [high, low] = number.to_be_bytes();
    let v4 = Endpoint {
        subnet: ipnet::IpNet::new(Ipv4Addr::new(10, high, low, 0).into(), 24).unwrap(),
        public: IpAddr::V4(Ipv4Addr::new(192, 168, high, low)),
        data: BackendData::Vxlan { vni: 1, mac: Mac([2, 0, 0, 0, high, low]) },
    };
    let v6 = Endpoint {
        subnet: ipnet::IpNet::new(Ipv6Addr::new(0xfd00, 0, 0, number, 0, 0, 0, 0).into(), 64).unwrap(),
        public: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number)),
        data: BackendData::Other("wireguard".into()),
    };
    let endpoints = if number.is_multiple_of(2) { Stack::V4(v4) } else { Stack::Dual { v4, v6 } };
    let node = NodeName::new(&format!("node-{number}")).unwrap();
    Lease {
        key: LeaseKey::new(&format!("k,\n\"checksum\":\"{number}")),
        node,
        since: u64::from(number),
        endpoints,
        rollout: None,
    }
}

fn state(leases: u16) -> LastKnown {
    let instructions =
        Instructions { public: Some(Stack::V4([192, 0, 2, 9].into())), labels: Labels::parse("rack=a").unwrap() };
    let network = Some("{\"Network\": \"10.0.0.0/8\",\n\"checksum\":\"\"}\n".to_owned());
    let former = Some("{\"Network\": \"10.0.0.0/8\", \"Backend\": {\"Type\": \"bgp\"}}".to_owned());
    LastKnown { network, former, own: Some(lease(7)), instructions, leases: (0..leases).map(lease).collect() }
}

/// The text with the checksum that belongs to it.
fn summed(body: &str) -> String {
    let mut sum = Fingerprint::default();
    sum.feed(body.as_bytes());
    format!("{body}{CHECKSUM}{sum}\"}}\n")
}

#[test]
fn what_was_saved_is_loaded_and_it_is_json_for_people_too() {
    let scratch = Scratch::new("state-loaded");
    assert_eq!(load(&file(&scratch), &owner()).unwrap(), None);
    for state in [LastKnown::default(), state(1), state(3)] {
        save(&file(&scratch), &owner(), &state).unwrap();
        assert_eq!(load(&file(&scratch), &owner()).unwrap(), Some(state));
    }
    let text = fs::read_to_string(file(&scratch)).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((json["format"].as_u64(), json["node"].as_str()), (Some(1), Some("n1")));
    assert!(json["saved_at"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(json["leases"].as_array().unwrap().len(), 3);
    assert_eq!(fs::metadata(file(&scratch)).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn fifteen_thousand_leases_come_back() {
    let scratch = Scratch::new("state-many");
    let state = state(15_000);
    save(&file(&scratch), &owner(), &state).unwrap();
    assert_eq!(load(&file(&scratch), &owner()).unwrap(), Some(state));
}

#[test]
fn a_file_cut_short_or_altered_anywhere_is_refused_as_damaged() {
    let scratch = Scratch::new("state-damaged");
    save(&file(&scratch), &owner(), &state(2)).unwrap();
    let whole = fs::read(file(&scratch)).unwrap();
    // `{"format":1` is looked at before the checksum: altered there it is another format, which is refused as well.
    let beginning = "{\"format\":1".len();
    for length in 0..whole.len() {
        fs::write(file(&scratch), &whole[..length]).unwrap();
        let error = load(&file(&scratch), &owner()).unwrap_err().to_string();
        assert!(length == beginning - 1 || error.contains("is damaged and not used"), "{length}: {error}");
    }
    for position in 0..whole.len() {
        let mut altered = whole.clone();
        altered[position] ^= 0x11;
        fs::write(file(&scratch), &altered).unwrap();
        let error = load(&file(&scratch), &owner()).unwrap_err().to_string();
        assert!(position == beginning - 1 || error.contains("is damaged and not used"), "{position}: {error}");
    }
    fs::write(file(&scratch), b"\xff\xfe{}").unwrap();
    assert!(load(&file(&scratch), &owner()).unwrap_err().to_string().contains("it does not begin as one"));
}

#[test]
fn what_another_release_wrote_is_refused_by_its_number() {
    let scratch = Scratch::new("state-format");
    fs::create_dir_all(file(&scratch).parent().unwrap()).unwrap();
    fs::write(file(&scratch), "{\"format\":2,\"everything\":\"else\"}").unwrap();
    let error = load(&file(&scratch), &owner()).unwrap_err().to_string();
    assert!(error.contains("its format is 2, this release reads 1; it is written anew"), "{error}");
}

#[test]
fn what_is_another_nodes_or_another_stores_is_refused() {
    let scratch = Scratch::new("state-foreign");
    let other_node = Owner { node: NodeName::new("n2").unwrap(), ..owner() };
    let other_store = Owner { store: "directory /x".to_owned(), ..owner() };
    for (written_by, expected) in [
        (other_node, "it is of node `n2`, not `n1`"),
        (other_store, "it is of store `directory /x`, not `etcd /coreos.com/network http://127.0.0.1:2379`"),
    ] {
        save(&file(&scratch), &written_by, &state(1)).unwrap();
        let error = load(&file(&scratch), &owner()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn garbage_with_a_right_checksum_is_refused_with_the_place() {
    let scratch = Scratch::new("state-garbage");
    fs::create_dir_all(file(&scratch).parent().unwrap()).unwrap();
    let head = format!("{{\"format\":1,\"node\":\"n1\",\"store\":\"{}\",\"saved_at\":1", owner().store);
    for (body, expected) in [
        (format!("{head},\"network\":null,\"own\":null,\"leases\":[{{}}]"), "missing field"),
        (format!("{head},\"network\":5,\"own\":null,\"leases\":[]"), "invalid type: integer `5`"),
        ("{\"format\":1".to_owned(), "missing field `node`"),
        (format!("{head} nonsense"), "expected"),
    ] {
        fs::write(file(&scratch), summed(&body)).unwrap();
        let error = load(&file(&scratch), &owner()).unwrap_err().to_string();
        assert!(error.contains("is damaged and not used") && error.contains(expected), "{body}: {error}");
    }
}

#[test]
fn what_the_system_refuses_is_named_with_the_file() {
    let scratch = Scratch::new("state-system");
    fs::write(scratch.0.join("sub"), "a file").unwrap();
    let error = save(&file(&scratch), &owner(), &state(1)).unwrap_err().to_string();
    assert!(error.contains("sub/n1.json cannot be written") && error.contains("--state-directory"), "{error}");
    let error = load(&scratch.0, &owner()).unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
}

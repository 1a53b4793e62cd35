//! Layout, reading back, and reading what nobody should send.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::IpAddr;

use ipam::Mac;
use proptest::prelude::*;

use super::*;

fn header(kind: u16) -> Header {
    Header { kind, flags: 5, sequence: 7 }
}

#[test]
fn a_message_has_the_layout_of_the_kernels_header() {
    let mut datagram = Datagram::default();
    datagram.push(header(24), |body| {
        body.fixed(&[1, 2, 3]);
        body.u8(9, 4);
    });
    let mut expected = vec![28, 0, 0, 0, 24, 0, 5, 0, 7, 0, 0, 0, 0, 0, 0, 0];
    expected.extend([1, 2, 3, 0, 5, 0, 9, 0, 4, 0, 0, 0]);
    // Written for little-endian machines; on others the numbers' octets stand the other way round.
    if cfg!(target_endian = "little") {
        assert_eq!(datagram.bytes(), expected);
    }
}

#[test]
fn what_is_written_is_read_back() {
    let mac: Mac = "02:00:5e:00:53:01".parse().unwrap();
    let address: IpAddr = "2001:db8::1".parse().unwrap();
    let mut datagram = Datagram::default();
    datagram.push(header(16), |body| {
        body.fixed(&[0; 16]);
        body.text(3, "flannel.1");
        body.mac(1, mac);
        body.nest(18, |info| {
            info.text(1, "vxlan");
            info.nest(2, |data| {
                data.u32(1, 77);
                data.be16(15, 8472);
                data.flag(23);
                data.address(17, address);
            });
        });
    });
    datagram.push(header(17), |body| body.fixed(&[9; 4]));

    let mut messages = Messages::new(datagram.bytes());
    let link = messages.next().unwrap();
    assert_eq!(link.header, header(16));
    let attributes = link.attributes(16);
    assert_eq!(attributes.get(3).unwrap().text(), Some("flannel.1"));
    assert_eq!(attributes.get(1).unwrap().mac(), Some(mac));
    let data = attributes.get(18).unwrap().nested().get(2).unwrap().nested();
    assert_eq!(data.get(1).unwrap().u32(), Some(77));
    assert_eq!(data.get(15).unwrap().be16(), Some(8472));
    assert_eq!(data.get(23).unwrap().bytes, &[] as &[u8]);
    assert_eq!(data.get(17).unwrap().address(), Some(address));
    assert_eq!(messages.next().unwrap().fixed(), Some([9_u8; 4]));
    assert_eq!(messages.next(), None);
}

#[test]
fn an_attribute_longer_than_its_length_field_is_noticed() {
    let mut datagram = Datagram::default();
    datagram.push(header(1), |body| body.bytes(1, &vec![0; 70_000]));
    assert!(datagram.is_too_long());
    datagram.clear();
    assert!(!datagram.is_too_long() && datagram.is_empty());
}

#[test]
fn the_acknowledgement_is_asked_of_the_last_message() {
    let mut datagram = Datagram::default();
    datagram.push(header(1), |_| {});
    datagram.push(header(2), |_| {});
    datagram.flag_last(0x100);
    let flags: Vec<u16> = Messages::new(datagram.bytes()).map(|m| m.header.flags).collect();
    assert_eq!(flags, [5, 0x105]);
}

fn error_message(flags: u16, body: impl FnOnce(&mut Body<'_>)) -> Vec<u8> {
    let mut datagram = Datagram::default();
    datagram.push(Header { kind: 2, flags, sequence: 1 }, body);
    datagram.bytes().to_vec()
}

fn refusal(bytes: &[u8]) -> Refusal {
    Messages::new(bytes).next().unwrap().verdict().unwrap().unwrap_err()
}

#[test]
fn the_kernels_words_are_found_behind_the_quoted_message() {
    let head = |quoted: u32| {
        let mut fixed = (-22_i32).to_ne_bytes().to_vec();
        fixed.extend(quoted.to_ne_bytes());
        fixed.extend([0; 12]);
        fixed
    };
    let capped = error_message(0x300, |body| {
        body.fixed(&head(1000));
        body.text(1, "Nexthop has invalid gateway");
    });
    assert_eq!(refusal(&capped), Refusal { errno: 22, words: Some("Nexthop has invalid gateway".to_owned()) });
    let whole = error_message(0x200, |body| {
        body.fixed(&head(24));
        body.fixed(&[0xff; 8]);
        body.text(1, "No such device");
    });
    assert_eq!(refusal(&whole).words.as_deref(), Some("No such device"));
    let silent = error_message(0x100, |body| body.fixed(&head(24)));
    assert_eq!(refusal(&silent), Refusal { errno: 22, words: None });
}

#[test]
fn a_zero_is_the_acknowledgement() {
    let bytes = error_message(0x100, |body| body.fixed(&[0; 20]));
    assert_eq!(Messages::new(&bytes).next().unwrap().verdict(), Some(Ok(())));
}

/// Reads everything that can be read, as deep as nests go.
fn read_all(bytes: &[u8]) {
    fn walk(attributes: Attributes<'_>, depth: usize) {
        for attribute in attributes {
            let _numbers = (attribute.u8(), attribute.u16(), attribute.u32(), attribute.be16(), attribute.be64());
            let _others = (attribute.text(), attribute.address(), attribute.mac(), attribute.be32());
            if depth < 8 {
                walk(attribute.nested(), depth + 1);
            }
        }
    }
    for message in Messages::new(bytes) {
        let _verdict = message.verdict();
        let _fixed: Option<[u8; 12]> = message.fixed();
        walk(message.attributes(0), 0);
        walk(message.attributes(12), 0);
        walk(message.attributes(usize::from(u16::MAX)), 0);
    }
}

proptest! {
    #[test]
    fn any_octets_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        read_all(&bytes);
    }

    #[test]
    fn a_true_message_cut_or_altered_anywhere_can_be_read(cut in 0_usize..120, at in 0_usize..120, to: u8) {
        let mut bytes = error_message(0x200, |body| {
            body.fixed(&(-1_i32).to_ne_bytes());
            body.nest(1, |inside| {
                inside.text(2, "some words");
                inside.nest(3, |deep| deep.be64(4, 5));
            });
            body.u32(7, 8);
        });
        if let Some(byte) = bytes.get_mut(at) {
            *byte = to;
        }
        bytes.truncate(cut);
        read_all(&bytes);
    }

    #[test]
    fn attributes_come_back_as_they_were_written(values in proptest::collection::vec((1_u16..0x3fff, proptest::collection::vec(any::<u8>(), 0..40)), 0..20)) {
        let mut datagram = Datagram::default();
        datagram.push(header(1), |body| values.iter().for_each(|(kind, bytes)| body.bytes(*kind, bytes)));
        let message = Messages::new(datagram.bytes()).next().unwrap();
        let read: Vec<(u16, Vec<u8>)> = message.attributes(0).map(|a| (a.kind, a.bytes.to_vec())).collect();
        prop_assert_eq!(read, values);
    }
}

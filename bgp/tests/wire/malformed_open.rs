//! OPENs that brought other speakers down, headers out of step, and the exact answer to each.

use bgp::wire::header::{HEADER_BYTES, frame};
use bgp::wire::notification::cease;
use bgp::wire::{Capability, Message, MessageLimit, Notification, Open, Refresh, message};

/// Version 4, AS 64500, hold time 90 s, identifier 192.0.2.1, then optional parameters with their length.
fn open(parameters: &[u8]) -> Vec<u8> {
    [&[4, 0xfb, 0xf4, 0, 90, 192, 0, 2, 1][..], parameters].concat()
}

fn capabilities(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    open(&[&[length + 2, 2, length], bytes].concat())
}

#[track_caller]
fn refused(body: &[u8]) -> (u8, u8, Vec<u8>) {
    let Notification { code, subcode, data } = Open::decode(body).expect_err("the OPEN is taken");
    (code, subcode, data)
}

#[test]
fn cve_2022_40302_an_extended_length_that_is_cut_off() {
    for parameters in [&[1, 255][..], &[255, 255], &[255, 255, 0], &[2, 255, 0], &[3, 255, 0, 1]] {
        assert_eq!(refused(&open(parameters)), (2, 0, vec![]));
    }
}

#[test]
fn cve_2022_40318_an_extended_parameter_that_is_cut_off() {
    for parameters in [&[255, 255, 0, 1, 2][..], &[255, 255, 0, 2, 2, 0], &[255, 255, 0, 3, 2, 0, 9]] {
        assert_eq!(refused(&open(parameters)), (2, 0, vec![]));
    }
}

#[test]
fn cve_2022_43681_an_open_that_ends_after_an_option_type() {
    assert_eq!(refused(&open(&[1, 2])), (2, 0, vec![]));
    assert_eq!(refused(&open(&[])), (2, 0, vec![]));
    assert_eq!(refused(&open(&[4, 2, 9, 1, 4])), (2, 0, vec![]));
}

#[test]
fn cve_2022_37032_a_capability_past_the_end() {
    assert_eq!(refused(&capabilities(&[65, 4, 0, 0])), (2, 0, vec![]));
    assert_eq!(refused(&capabilities(&[65])), (2, 0, vec![]));
}

#[test]
fn cve_2022_36440_an_option_that_is_no_capability() {
    assert_eq!(refused(&open(&[2, 1, 0])), (2, 4, vec![]));
    assert_eq!(refused(&open(&[255, 255, 0, 3, 255, 0, 0])), (2, 4, vec![]));
}

#[test]
fn cve_2022_37035_graceful_restart_of_a_wrong_length() {
    for value in [&[][..], &[0], &[0, 0, 0], &[0, 0, 0, 1, 1], &[0, 0, 0, 1, 1, 0x80, 0]] {
        let length = u8::try_from(value.len()).unwrap();
        assert_eq!(refused(&capabilities(&[&[64, length], value].concat())), (2, 0, vec![]), "{value:?}");
    }
}

#[test]
fn cve_2023_31489_long_lived_graceful_restart_of_a_wrong_length() {
    for length in (1..14).filter(|length| length % 7 != 0) {
        let value = vec![0; length];
        assert_eq!(refused(&capabilities(&[&[71, length as u8][..], &value].concat())), (2, 0, vec![]));
    }
}

#[test]
fn cve_2024_31949_capabilities_without_content_end() {
    let open = Open::decode(&capabilities(&[67, 0, 64, 2, 0, 0, 67, 0])).unwrap();
    assert_eq!(open.capabilities.len(), 2);
}

#[test]
fn cve_2018_5378_to_5381_an_unknown_family_in_a_capability_is_kept_and_ends() {
    let open = Open::decode(&capabilities(&[1, 4, 0xff, 0xff, 0, 0xff])).unwrap();
    assert!(matches!(open.capabilities[..], [Capability::MultiProtocol(family)] if !family.is_known()));
}

#[test]
fn cve_2018_5378_a_notification_with_any_data_is_read() {
    for data in [&[][..], &[0; 1], &[0xff; 4000]] {
        let body = [&[2, 1][..], data].concat();
        let notification = Notification::decode(&body).unwrap();
        assert_eq!(notification.data, data);
        assert!(!notification.to_string().is_empty());
    }
}

#[test]
fn cve_2019_16159_a_shutdown_text_longer_than_its_message() {
    let lies = Notification { code: 6, subcode: cease::SHUTDOWN, data: vec![255, b'a', b'b'] };
    assert_eq!(lies.text(), None);
    let long = Notification::cease(cease::SHUTDOWN, &"ü".repeat(200));
    assert_eq!((long.data.len(), long.text().unwrap().chars().count()), (255, 127));
    let control = Notification { code: 6, subcode: cease::RESET, data: vec![3, b'\n', 0xff, b'x'] };
    assert_eq!(control.text().unwrap(), "\u{fffd}\u{fffd}x");
}

#[test]
fn cve_2025_43970_to_43973_a_software_version_of_length_0_is_kept_as_it_came() {
    for value in [&[75, 0][..], &[75, 1, 0], &[75, 1, 9], &[73, 1, 200], &[73, 3, 1, b'a', 7]] {
        let open = Open::decode(&capabilities(value)).unwrap();
        assert!(matches!(open.capabilities[..], [Capability::Unknown(..)]), "{value:?}");
    }
}

#[test]
fn ghsa_gjrg_no_capability_is_read_beyond_its_own_length() {
    // Four octets of an AS, said to be two: what follows is not taken for them.
    assert_eq!(refused(&capabilities(&[65, 2, 0, 0, 2, 0])), (2, 0, vec![]));
    assert_eq!(refused(&capabilities(&[1, 3, 0, 1, 0, 2, 0])), (2, 0, vec![]));
    assert_eq!(refused(&capabilities(&[69, 3, 0, 1, 1, 2, 0])), (2, 0, vec![]));
    assert_eq!(refused(&capabilities(&[5, 5, 0, 1, 0, 1, 0])), (2, 0, vec![]));
    assert_eq!(refused(&capabilities(&[2, 1, 0])), (2, 0, vec![]));
    assert_eq!(refused(&capabilities(&[9, 0])), (2, 0, vec![]));
}

#[test]
fn an_open_that_cannot_be_is_refused_with_its_subcode() {
    let at = |place: usize, value: &[u8]| {
        let mut body = open(&[0]);
        body[place..place + value.len()].copy_from_slice(value);
        body
    };
    assert_eq!(refused(&at(0, &[3])), (2, 1, vec![0, 4]));
    assert_eq!(refused(&at(1, &[0, 0])), (2, 2, vec![]));
    assert_eq!(refused(&at(3, &[0, 1])), (2, 6, vec![]));
    assert_eq!(refused(&at(3, &[0, 2])), (2, 6, vec![]));
    assert_eq!(refused(&at(5, &[0; 4])), (2, 3, vec![]));
    assert_eq!(refused(&capabilities(&[65, 4, 0, 0, 0, 0])), (2, 2, vec![]));
    assert!(Open::decode(&at(3, &[0, 0])).is_ok() && Open::decode(&at(3, &[0, 3])).is_ok());
}

#[test]
fn a_header_out_of_step_is_told_as_soon_as_it_is_seen() {
    let refused = |bytes: &[u8]| frame(bytes, MessageLimit::Standard).map(|frame| frame.is_some());
    let error = |subcode, data: &[u8]| Err(Notification::new(1, subcode).with(data));
    assert_eq!(refused(&[0xff, 0xfe]), error(1, &[]));
    let header = |length: u16, kind: u8| [&[0xff; 16][..], &length.to_be_bytes(), &[kind]].concat();
    for length in [0, 18, 4097, 65535] {
        assert_eq!(refused(&header(length, 2)), error(2, &length.to_be_bytes()));
    }
    for (length, kind) in [(28, 1), (22, 2), (20, 3), (18, 4), (20, 4), (22, 5)] {
        assert_eq!(refused(&header(length, kind)), error(2, &length.to_be_bytes()), "{kind}");
    }
    assert_eq!(refused(&header(23, 0)), error(3, &[0]));
    assert_eq!(refused(&header(23, 6)), error(3, &[6]));
    assert_eq!(refused(&header(23, 2)[..18]), Ok(false), "the type is not there yet");
    assert_eq!(refused(&header(23, 2)), Ok(false), "the body is not there yet");
    assert_eq!(refused(&message::keepalive()), Ok(true));
}

#[test]
fn an_extended_limit_holds_for_update_alone() {
    let header = |kind: u8| [&[0xff; 16][..], &5000_u16.to_be_bytes(), &[kind]].concat();
    let frames = |kind| frame(&header(kind), MessageLimit::Extended).is_ok();
    assert_eq!([1, 2, 3, 4, 5].map(frames), [false, true, true, false, true]);
}

#[test]
fn a_marker_of_a_refresh_with_a_wrong_length_is_answered_with_the_whole_message() {
    for subtype in [1, 2] {
        let body = [0, 1, subtype, 1, 0];
        let error = Refresh::decode(&body).unwrap_err();
        assert_eq!((error.code, error.subcode), (7, 1));
        assert_eq!(error.data, [&[0xff; 16][..], &[0, 24, 5], &body].concat());
    }
}

#[test]
fn more_capabilities_than_255_bytes_use_the_long_form() {
    let capabilities: Vec<Capability> = (0..40).map(|n| Capability::Unknown(128 + n, vec![n; 30])).collect();
    let sent = Open { asn: 70000, hold_secs: 90, identifier: [192, 0, 2, 1].into(), capabilities };
    let bytes = message::open(&sent);
    assert_eq!(bytes[HEADER_BYTES + 1..HEADER_BYTES + 3], [0x5b, 0xa0], "AS_TRANS");
    assert_eq!(bytes[HEADER_BYTES + 9..HEADER_BYTES + 11], [255, 255]);
    let frame = frame(&bytes, MessageLimit::Standard).unwrap().unwrap();
    let Ok(Message::Open(read)) = Message::decode(&frame, &crate::bytes::terms()) else { panic!("no OPEN") };
    assert_eq!(read.capabilities, sent.capabilities);
}

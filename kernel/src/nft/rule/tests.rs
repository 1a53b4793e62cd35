//! Rules against the words of `nft --debug=netlink`, and as properties: what is written comes back, what is altered does not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use proptest::prelude::*;

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn rule(matches: &[Match], verdict: Verdict) -> Rule {
    Rule { matches: matches.to_vec(), verdict }
}

/// In the words of `nft --debug=netlink`, whose output for the same rules stands on the right side of the table.
fn words(rule: &Rule) -> Vec<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let word = |expression: &Expression| match expression {
        Expression::Meta(key) => format!("meta {key:?}"),
        Expression::Payload { base, offset, length } => format!("payload {length}b @ {base:?} + {offset}"),
        Expression::Mask(mask) => format!("& {}", hex(mask)),
        Expression::Compare { equal, value } => format!("{} {}", if *equal { "==" } else { "!=" }, hex(value)),
        other => format!("{other:?}"),
    };
    compile(rule).unwrap().iter().map(word).collect()
}

#[test]
fn rules_compile_as_nft_compiles_the_same_words_in_an_inet_table() {
    let table: [(&[Match], &[&str]); 11] = [
        (&[Match::Source(net("10.244.0.0/16"))], &["meta NfProto", "== 02", "payload 2b @ Network + 12", "== 0af4"]),
        (
            &[Match::Source(net("10.244.1.1/32")), Match::DestinationNot(net("10.244.0.0/15"))],
            &[
                "meta NfProto",
                "== 02",
                "payload 4b @ Network + 12",
                "== 0af40101",
                "payload 4b @ Network + 16",
                "& fffe0000",
                "!= 0af40000",
            ],
        ),
        (
            &[Match::SourceNot(net("0.0.0.0/0"))],
            &["meta NfProto", "== 02", "payload 4b @ Network + 12", "& 00000000", "!= 00000000"],
        ),
        (
            &[Match::Destination(net("2001:db8::/53"))],
            &[
                "meta NfProto",
                "== 0a",
                "payload 16b @ Network + 24",
                "& fffffffffffff8000000000000000000",
                "== 20010db8000000000000000000000000",
            ],
        ),
        (&[Match::SourceNot(net("ff00::/8"))], &["meta NfProto", "== 0a", "payload 1b @ Network + 8", "!= ff"]),
        (&[Match::Family(Family::V6)], &["meta NfProto", "== 0a"]),
        (&[Match::UdpDestinationPort(8472)], &["meta L4Proto", "== 11", "payload 2b @ Transport + 2", "== 2118"]),
        (&[Match::UdpSourcePort(8285)], &["payload 2b @ Transport + 0", "== 205d"]),
        (&[Match::VxlanNetwork(0x01_0203)], &["payload 4b @ Transport + 12", "== 01020300"]),
        (&[Match::TcpSyn], &["meta L4Proto", "== 06", "payload 1b @ Transport + 13", "& 06", "== 02"]),
        (&[Match::DestinationLocal], &["FibDestinationType", "== 02000000"]),
    ];
    for (matches, expected) in table {
        let mut expected = expected.to_vec();
        expected.push("NoTrack");
        assert_eq!(words(&rule(matches, Verdict::NoTrack)), expected, "{matches:?}");
    }
}

#[test]
fn a_prefix_comes_back_without_its_host_bits() {
    let written = rule(&[Match::Source(net("10.1.2.3/16"))], Verdict::Return);
    let read = recognise(&compile(&written).unwrap());
    assert_eq!(read, rule(&[Match::Source(net("10.1.0.0/16"))], Verdict::Return));
}

#[test]
fn what_is_not_a_rule_of_ours_is_foreign() {
    let foreign = rule(&[], Verdict::Foreign);
    let mark = || Expression::Meta(MetaKey::Mark);
    let table: [Vec<Expression>; 9] = [
        vec![],
        vec![mark()],
        vec![mark(), Expression::Verdict(ACCEPT)],
        vec![Expression::Verdict(0)],
        vec![Expression::Verdict(ACCEPT), Expression::Verdict(ACCEPT)],
        vec![Expression::Masquerade { flags: RANDOM_FULLY | 1 }],
        vec![mark(), Expression::equal(&[0; 4]), Expression::Verdict(ACCEPT)],
        // An address of the wrong length, and one without its family.
        vec![
            Expression::Meta(MetaKey::NfProto),
            Expression::equal(&[2]),
            Expression::Payload { base: Base::Network, offset: 12, length: 16 },
            Expression::equal(&[0; 16]),
            Expression::Verdict(ACCEPT),
        ],
        vec![
            Expression::Payload { base: Base::Network, offset: 12, length: 1 },
            Expression::equal(&[10]),
            Expression::Verdict(ACCEPT),
        ],
    ];
    for expressions in table {
        assert_eq!(recognise(&expressions), foreign, "{expressions:?}");
    }
    assert_eq!(compile(&foreign), None);
}

prop_compose! {
    fn any_net()(v4: bool, bits: u128, length in 0..=128u8) -> IpNet {
        let address = if v4 { Ipv4Addr::from(bits as u32).into() } else { Ipv6Addr::from(bits).into() };
        IpNet::new(address, if v4 { length / 4 } else { length }).unwrap().trunc()
    }
}

fn any_match() -> impl Strategy<Value = Match> {
    prop_oneof![
        (any::<u32>(), any::<u32>()).prop_map(|(mask, value)| Match::Mark { mask, value }),
        any_net().prop_map(Match::Source),
        any_net().prop_map(Match::SourceNot),
        any_net().prop_map(Match::Destination),
        any_net().prop_map(Match::DestinationNot),
        any::<bool>().prop_map(|v4| Match::Family(if v4 { Family::V4 } else { Family::V6 })),
        any::<u16>().prop_map(Match::UdpDestinationPort),
        any::<u16>().prop_map(Match::UdpSourcePort),
        (0_u32..1 << 24).prop_map(Match::VxlanNetwork),
        Just(Match::DestinationLocal),
        Just(Match::TcpSyn),
    ]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let verdicts = [
        Verdict::Return,
        Verdict::Accept,
        Verdict::Masquerade,
        Verdict::MasqueradeFullyRandom,
        Verdict::NoTrack,
        Verdict::ClampSegment,
        Verdict::SourceNat(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))),
        Verdict::SourceNatFullyRandom(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    (proptest::collection::vec(any_match(), 0..6), proptest::sample::select(verdicts.to_vec()))
        .prop_map(|(matches, verdict)| Rule { matches, verdict })
}

proptest! {
    #[test]
    fn every_rule_comes_back_as_it_was_written(rule in any_rule()) {
        prop_assert_eq!(recognise(&compile(&rule).unwrap()), rule);
    }

    #[test]
    fn an_expression_taken_out_or_repeated_never_passes_for_the_same_rule(
        rule in any_rule(),
        index: prop::sample::Index,
        repeat: bool,
    ) {
        let mut expressions = compile(&rule).unwrap();
        let at = index.index(expressions.len());
        if repeat {
            let twice = expressions[at].clone();
            expressions.insert(at, twice);
        } else {
            expressions.remove(at);
        }
        prop_assert_ne!(recognise(&expressions), rule);
    }
}

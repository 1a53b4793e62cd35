//! Who nobody named, and who means no good: ranges with limits, many connections, half messages.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Result;
use bgp::wire::capability::{Capability, GracefulRestart};
use bgp::wire::{Family, Open, message};
use netns_harness::{Lab, Node};
use towpathd::bgp::wish::{PORT, Range};

use crate::bird;
use crate::{LIMIT, Speaker, neighbour, v4};

fn connect(from: &Node, to: &Node) -> Result<TcpStream> {
    let address = SocketAddr::new(v4(to).into(), PORT);
    from.namespace().within(move || {
        let stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(stream)
    })
}

/// What an honest peer says first.
fn open(asn: u32, identifier: [u8; 4]) -> Vec<u8> {
    let capabilities = vec![Capability::MultiProtocol(Family::IPV4), Capability::FourOctetAs(asn)];
    message::open(&Open { asn, hold_secs: 90, identifier: identifier.into(), capabilities })
}

fn range(us: &Node, most: u16) -> Range {
    let prefix = ipnet::IpNet::new(v4(us).into(), 16).unwrap().trunc();
    Range { prefix, most, template: neighbour(IpAddr::from([0, 0, 0, 0])) }
}

/// Reads until the connection ends; the last NOTIFICATION's code and subcode, if there was one.
fn farewell(mut stream: TcpStream) -> Option<(u8, u8)> {
    let mut bytes = Vec::new();
    // A reset is an end too.
    stream.read_to_end(&mut bytes).ok();
    let (mut rest, mut last) = (bytes.as_slice(), None);
    while let Some(head) = rest.get(..19) {
        let length = usize::from(u16::from_be_bytes([head[16], head[17]]));
        last = if head[18] == 3 { Some((rest[19], rest[20])) } else { last };
        rest = &rest[length..];
    }
    last
}

#[test]
fn neighbours_of_a_range_come_by_themselves_up_to_its_limit_and_are_forgotten_when_they_go() -> Result<()> {
    let lab = Lab::new("shellrange")?;
    let us = lab.node("us")?;
    let bird = bird::start(&lab, "bird", v4(&us).into(), "")?;
    let other = lab.node("other")?;
    let mut speaker = Speaker::start(&us)?;
    speaker.wish.ranges = vec![range(&us, 1)];
    speaker.tell();
    speaker.until("the session of the range", |it| it.is_up(&v4(&bird.node).to_string()))?;
    // There is no room for another.
    assert_eq!(farewell(connect(&other, &us)?), None);
    assert_eq!(speaker.peers().len(), 1);
    bird.ask("disable towpath")?;
    speaker.until("it to be forgotten", |it| it.peers().is_empty())?;
    Ok(())
}

#[test]
fn a_thousand_connections_half_a_message_and_a_message_byte_by_byte_disturb_nobody() -> Result<()> {
    let lab = Lab::new("shellstrange")?;
    let us = lab.node("us")?;
    let bird = bird::start(&lab, "bird", v4(&us).into(), "hold time 6; keepalive time 2;")?;
    let other = lab.node("other")?;
    let mut speaker = Speaker::start(&us)?;
    speaker.want("bird", neighbour(v4(&bird.node).into()));
    let mut passive = neighbour(v4(&other).into());
    passive.session.direction = bgp::speaker::Direction::Passive;
    speaker.want("other", passive);
    speaker.until("the session", |it| it.is_up("bird"))?;
    // A message of which the rest never comes.
    let mut half = connect(&other, &us)?;
    half.write_all(&open(65002, [10, 0, 0, 9])[..20])?;
    let crowd: Vec<TcpStream> = (0..1000).map(|_| connect(&other, &us)).collect::<Result<_>>()?;
    let ended = crowd.into_iter().filter(|stream| farewell(stream.try_clone().unwrap()).is_none()).count();
    assert_eq!(ended, 1000, "all but the first are closed without a word");
    drop(half);
    // One that comes slowly is whole in the end.
    let mut slow = connect(&other, &us)?;
    slow.set_nodelay(true)?;
    for byte in [open(65002, [10, 0, 0, 9]), message::keepalive()].concat() {
        slow.write_all(&[byte])?;
    }
    speaker.until("the slow session", |it| it.is_up("other"))?;
    let honest = speaker.peer("bird").unwrap();
    assert_eq!((honest.flaps, honest.state.as_str()), (0, "Established"));
    // Who has our own identifier, or another AS than was said, is told so.
    drop(slow);
    speaker.until("the slow session to end", |it| !it.is_up("other"))?;
    let mut liar = connect(&other, &us)?;
    liar.write_all(&open(65009, [10, 0, 0, 9]))?;
    assert_eq!(farewell(liar), Some((2, 2)));
    Ok(())
}

#[test]
fn who_is_no_neighbour_is_closed_without_a_word() -> Result<()> {
    let lab = Lab::new("shellnobody")?;
    let (us, other) = (lab.node("us")?, lab.node("other")?);
    let mut speaker = Speaker::start(&us)?;
    speaker.until("it to listen", |_| connect(&other, &us).is_ok())?;
    let mut stream = connect(&other, &us)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok();
    assert!(bytes.is_empty(), "{bytes:?}");
    Ok(())
}

#[test]
fn a_second_connection_takes_a_sessions_place_only_with_an_open_that_means_it() -> Result<()> {
    let lab = Lab::new("shellsecond")?;
    let [us, other] = [lab.node("us")?, lab.node("other")?];
    let mut speaker = Speaker::start(&us)?;
    let mut passive = neighbour(v4(&other).into());
    passive.session.direction = bgp::speaker::Direction::Passive;
    speaker.want("other", passive);
    let open = |asn| {
        let restart = GracefulRestart { restart_secs: 60, ..GracefulRestart::default() };
        let capabilities = vec![
            Capability::MultiProtocol(Family::IPV4),
            Capability::FourOctetAs(asn),
            Capability::GracefulRestart(restart),
        ];
        message::open(&Open { asn: 65002, hold_secs: 90, identifier: v4(&other), capabilities })
    };
    let mut first = None;
    speaker.until("it to listen", |_| {
        first = first.take().or_else(|| connect(&other, &us).ok());
        first.is_some()
    })?;
    let mut session = first.unwrap();
    session.write_all(&[open(65002), message::keepalive()].concat())?;
    speaker.until("the session", |it| it.is_up("other"))?;
    // Nothing at all, half an OPEN, and one of somebody else: none of them is a restart (RFC 4724 section 4.2).
    let silent = connect(&other, &us)?;
    for bytes in [&open(65002)[..20], &open(65003)[..]] {
        let mut stream = connect(&other, &us)?;
        stream.write_all(bytes)?;
        if bytes.len() > 20 {
            assert_eq!(farewell(stream), None, "closed without a word");
        }
    }
    let peer = speaker.peer("other").unwrap();
    assert_eq!((peer.state.as_str(), peer.flaps), ("Established", 0), "{peer:?}");
    drop(silent);
    // This is one.
    let mut anew = connect(&other, &us)?;
    anew.write_all(&[open(65002), message::keepalive()].concat())?;
    speaker.until("the new session", |it| {
        it.peer("other").is_some_and(|peer| peer.flaps == 1 && peer.state == "Established")
    })?;
    farewell(session);
    Ok(())
}

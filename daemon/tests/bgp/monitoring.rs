//! A BMP station: it hears what a real neighbour says, what is chosen, and when a session ends.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result};
use bgp::bmp::Stage;
use bgp::wire::terms::Terms;
use bgp::wire::{Family, MessageLimit, Update};
use netns_harness::{Lab, Node};

use crate::bird::{self, THEIRS};
use crate::{OURS, Speaker, neighbour, v4};

const ROUTE_MONITORING: u8 = 0;
const PEER_DOWN: u8 = 2;
const PEER_UP: u8 = 3;
const INITIATION: u8 = 4;

/// Peer types (RFC 7854 section 4.2, RFC 9069 section 4.1), and the flags L and O of what is told (RFC 8671 section 4).
const GLOBAL: [u8; 2] = [0, 0];
const CHOSEN: [u8; 2] = [3, 0];
const BEFORE_POLICY: [u8; 2] = [0, 0x10];
const AFTER_POLICY: [u8; 2] = [0, 0x50];

/// One that listens and keeps what it is told.
struct Station {
    listener: TcpListener,
    stream: Option<TcpStream>,
    bytes: Vec<u8>,
}

impl Station {
    fn new(node: &Node) -> Result<(Station, SocketAddr)> {
        let address = SocketAddr::from((v4(node), 11019));
        let listener = node.namespace().within(move || Ok(TcpListener::bind(address)?))?;
        listener.set_nonblocking(true)?;
        Ok((Station { listener, stream: None, bytes: Vec::new() }, address))
    }

    /// Takes what has come.
    fn listen(&mut self) -> Result<()> {
        if let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true)?;
            (self.stream, self.bytes) = (Some(stream), Vec::new());
        }
        let Some(stream) = &mut self.stream else { return Ok(()) };
        match stream.read_to_end(&mut self.bytes) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Whole messages: their types and what follows the common header.
    fn messages(&mut self) -> Result<Vec<(u8, &[u8])>> {
        self.listen()?;
        let (mut rest, mut messages) = (self.bytes.as_slice(), Vec::new());
        while let Some(header) = rest.first_chunk::<6>() {
            assert_eq!(header[0], 3, "the version of BMP");
            let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
            let Some((message, others)) = rest.split_at_checked(length) else { break };
            messages.push((header[5], &message[6..]));
            rest = others;
        }
        Ok(messages)
    }

    /// Whether a prefix was announced in a view.
    fn has(&mut self, view: [u8; 2], prefix: &str) -> Result<bool> {
        self.any(view, prefix, |update| update.announced().map(|(_, list)| list).collect())
    }

    /// Whether it was withdrawn.
    fn lost(&mut self, view: [u8; 2], prefix: &str) -> Result<bool> {
        self.any(view, prefix, |update| update.withdrawn().collect())
    }

    fn any(
        &mut self,
        view: [u8; 2],
        prefix: &str,
        lists: impl for<'u, 'b> Fn(&'u Update<'b>) -> Vec<&'u bgp::wire::NlriList<'b>>,
    ) -> Result<bool> {
        let wanted = prefix.parse()?;
        for (kind, body) in self.messages()? {
            let Some((header, update)) = body.split_at_checked(42).filter(|_| kind == ROUTE_MONITORING) else {
                continue;
            };
            let frame = bgp::wire::header::frame(update, MessageLimit::Extended).ok().flatten().context("no UPDATE")?;
            assert_eq!(frame.length, update.len(), "an UPDATE a message");
            let update = Update::decode(frame.body, &Terms::canonical()).ok().context("it cannot be read")?;
            let named =
                lists(&update).iter().any(|list| list.iter().any(|(_, nlri)| nlri == bgp::wire::Nlri::Prefix(wanted)));
            if header[..2] == view && named {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[test]
fn a_station_hears_what_peers_say_what_is_chosen_and_when_a_session_ends() -> Result<()> {
    let lab = Lab::new("shellbmp")?;
    let (us, there) = (lab.node("us")?, lab.node("station")?);
    let bird = bird::start(&lab, "bird", v4(&us).into(), "")?;
    let mut speaker = Speaker::start(&us)?;
    speaker.want("bird", neighbour(v4(&bird.node).into()));
    speaker.until("their routes", |it| THEIRS.iter().all(|net| it.knows(net)))?;
    // It comes when everything has been said already, and hears it all the same.
    let (mut station, address) = Station::new(&there)?;
    speaker.wish.monitoring.name = "us".into();
    speaker.wish.monitoring.stations.insert(address);
    speaker.tell();
    for net in THEIRS {
        speaker.until("what the peer said", |_| station.has(GLOBAL, net).unwrap())?;
        speaker.until("what was chosen", |_| station.has(CHOSEN, net).unwrap())?;
    }
    speaker.until("what begins here", |_| station.has(CHOSEN, OURS).unwrap())?;
    let messages = station.messages()?;
    assert_eq!(messages[0].0, INITIATION);
    assert!(messages[0].1.ends_with(&[0, 2, 0, 2, b'u', b's']));
    let (_, up) = messages.iter().find(|(kind, _)| *kind == PEER_UP).context("no peer up")?;
    assert_eq!((up[0], &up[22..26]), (GLOBAL[0], v4(&bird.node).octets().as_slice()));
    // Both OPENs, each with its marker.
    assert_eq!(up[62..78], [0xff; 16]);
    bird.ask("disable static1")?;
    speaker.until("a route to be withdrawn", |_| station.lost(GLOBAL, THEIRS[0]).unwrap())?;
    speaker.until("it to be chosen no longer", |_| station.lost(CHOSEN, THEIRS[0]).unwrap())?;
    bird.ask("disable towpath")?;
    let ended = |station: &mut Station| {
        let messages = station.messages().unwrap();
        messages.iter().any(|(kind, body)| *kind == PEER_DOWN && body[42] == 3)
    };
    speaker.until("the end of the session", |_| ended(&mut station))?;
    bird.ask("enable towpath")?;
    speaker.until("the session to be told again", |_| {
        let ups =
            station.messages().unwrap().iter().filter(|(kind, body)| *kind == PEER_UP && body[0] == GLOBAL[0]).count();
        ups == 2
    })?;
    assert_eq!(speaker.peer("bird").map(|peer| peer.flaps), Some(1));
    Ok(())
}

#[test]
fn a_station_hears_what_each_peer_is_told_before_policy_and_after_it() -> Result<()> {
    let lab = Lab::new("shellbmpout")?;
    let (us, there) = (lab.node("us")?, lab.node("station")?);
    let bird = bird::start(&lab, "bird", v4(&us).into(), "")?;
    let mut speaker = Speaker::start(&us)?;
    let mut told = neighbour(v4(&bird.node).into());
    told.session.export = Some(std::sync::Arc::new(bgp::policy::Policy::reject()));
    speaker.want("bird", told.clone());
    speaker.until("their routes", |it| THEIRS.iter().all(|net| it.knows(net)))?;
    let (mut station, address) = Station::new(&there)?;
    speaker.wish.monitoring.stations.insert(address);
    speaker.wish.monitoring.told = [Stage::BeforePolicy, Stage::AfterPolicy].into();
    speaker.tell();
    speaker.until("what would be told", |_| station.has(BEFORE_POLICY, OURS).unwrap())?;
    assert!(!station.has(AFTER_POLICY, OURS)?, "the policy rejects it");
    // Under the session the policy becomes another one, and what begins here another prefix.
    told.session.export = Some(std::sync::Arc::new(bgp::policy::Policy::accept()));
    speaker.want("bird", told);
    speaker.until("what is told", |_| station.has(AFTER_POLICY, OURS).unwrap() && bird.says("show route", OURS))?;
    speaker.wish.announced.remove(&OURS.parse()?);
    speaker.tell();
    speaker.until("it to be taken back", |_| {
        station.lost(AFTER_POLICY, OURS).unwrap() && station.lost(BEFORE_POLICY, OURS).unwrap()
    })?;
    for view in [BEFORE_POLICY, AFTER_POLICY] {
        assert!(!station.has(view, THEIRS[0])?, "nobody is told its own routes");
    }
    // A session that comes again is told of again.
    bird.ask("restart towpath")?;
    speaker.until("everything once more", |_| {
        let messages = station.messages().unwrap();
        let up = messages.iter().rposition(|(kind, body)| *kind == PEER_UP && body[0] == GLOBAL[0]).unwrap();
        let later = messages[up..].iter().filter(|(kind, body)| *kind == ROUTE_MONITORING && body[..2] == AFTER_POLICY);
        messages.iter().any(|(kind, _)| *kind == PEER_DOWN) && later.count() > 1
    })?;
    Ok(())
}

#[test]
fn a_station_that_goes_comes_again_and_is_told_everything_anew() -> Result<()> {
    let lab = Lab::new("shellbmpagain")?;
    let (us, there) = (lab.node("us")?, lab.node("station")?);
    let bird = bird::start(&lab, "bird", v4(&us).into(), "")?;
    let (mut station, address) = Station::new(&there)?;
    let mut speaker = Speaker::start(&us)?;
    speaker.wish.monitoring.stations.insert(address);
    speaker.want("bird", neighbour(v4(&bird.node).into()));
    let families = [Family::IPV4, Family::IPV6, Family::EVPN].len();
    speaker.until("everything", |it| {
        it.settled.len() == families && THEIRS.iter().all(|net| station.has(GLOBAL, net).unwrap())
    })?;
    station.stream = None;
    station.bytes.clear();
    speaker.until("everything anew", |_| {
        station.messages().is_ok_and(|messages| messages.first().is_some_and(|(kind, _)| *kind == INITIATION))
            && THEIRS.iter().all(|net| station.has(CHOSEN, net).unwrap() && station.has(GLOBAL, net).unwrap())
    })?;
    speaker.wish.monitoring.stations.clear();
    speaker.tell();
    speaker.until("the connection to end", |_| {
        let stream = station.stream.as_mut().unwrap();
        matches!(stream.read(&mut [0; 4096]), Ok(0))
    })?;
    assert_eq!(speaker.peer("bird").map(|peer| peer.flaps), Some(0));
    Ok(())
}

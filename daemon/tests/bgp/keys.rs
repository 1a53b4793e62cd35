//! TCP-AO, ours against ours and against nobody who has no key, on the lab's second kernel: few distributions' kernels have it. And what is so on those.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Result;
use netns_harness::{Lab, Node, in_guest};
use towpathd::bgp::views::PeerView;
use towpathd::bgp::wish::{AoAlgorithm, AoKey, Authentication, Place, Range};

use crate::{OURS, Speaker, neighbour, v4, v6};

const THEIRS: [&str; 2] = ["10.72.0.0/16", "2001:db8:72::/48"];

/// Two speakers with keys of files.
struct Pair {
    us: (Node, Speaker),
    them: (Node, Speaker),
    directory: PathBuf,
    /// Over which family they speak.
    six: bool,
}

/// A key by its SendID and RecvID, in a file of that name; the other end has the numbers the other way.
fn key(directory: &Path, (send, receive): (u8, u8)) -> AoKey {
    AoKey { send, receive, algorithm: AoAlgorithm::HmacSha1, file: directory.join(format!("{}", send.min(receive))) }
}

impl Pair {
    fn start(lab: &Lab) -> Result<Pair> {
        let (us, them) = (lab.node("us")?, lab.node("them")?);
        let directory = us.directory().to_owned();
        for number in [1, 3, 5] {
            std::fs::write(directory.join(number.to_string()), format!("secret {number}\n"))?;
        }
        let one = Speaker::start(&us)?;
        let two = Speaker::start_as(&them, (65002, v4(&them).octets(), THEIRS))?;
        Ok(Pair { us: (us, one), them: (them, two), directory, six: false })
    }

    /// Keys of both ends, as ours has their numbers.
    fn keys(&mut self, ours: &[&AoKey], theirs: &[&AoKey]) {
        let theirs = theirs.iter().map(|key| AoKey { send: key.receive, receive: key.send, ..(*key).clone() });
        let theirs: Vec<AoKey> = theirs.collect();
        self.theirs(Some(Authentication::Ao(theirs)));
        let remote = if self.six { v6(&self.them.0) } else { v4(&self.them.0).into() };
        let mut wanted = neighbour(remote);
        wanted.authentication = Some(Authentication::Ao(ours.iter().map(|key| (*key).clone()).collect()));
        self.us.1.want("them", wanted);
    }

    fn theirs(&mut self, authentication: Option<Authentication>) {
        let remote = if self.six { v6(&self.us.0) } else { v4(&self.us.0).into() };
        let mut wanted = neighbour(remote);
        wanted.session.remote_as = bgp::speaker::RemoteAs::Exactly(65001);
        wanted.authentication = authentication;
        self.them.1.want("us", wanted);
    }

    fn until_up(&mut self) -> Result<()> {
        self.us.1.until("the session", |it| it.is_up("them") && it.knows(THEIRS[0]))?;
        self.them.1.until("their end of it", |it| it.is_up("us") && it.knows(OURS))
    }

    /// Until both sign with the key that the other end wants, which is `send` of ours and `receive` of theirs.
    fn until_signed_with(&mut self, (send, receive): (u8, u8)) -> Result<()> {
        let signs = |peer: Option<PeerView>, send: u8, asks: u8| {
            let wanted = format!("TCP-AO: the peer asked for key {send}, and is asked for key {asks}");
            peer.is_some_and(|peer| peer.agreed.contains(&wanted))
        };
        self.us.1.until("our key", |it| signs(it.peer("them"), send, receive))?;
        self.them.1.until("their key", |it| signs(it.peer("us"), receive, send))
    }

    /// How often each end lost a session. One may be lost before both ends have it: both open a connection, and each end ends one (RFC 4271 section 6.8).
    fn interruptions(&self) -> [u32; 2] {
        [self.us.1.peer("them"), self.them.1.peer("us")].map(|peer| peer.unwrap().flaps)
    }
}

#[test]
fn a_key_follows_another_under_a_session_whichever_end_begins() -> Result<()> {
    in_guest(|| {
        let lab = Lab::new("aoroll")?;
        let mut pair = Pair::start(&lab)?;
        let directory = pair.directory.clone();
        let [first, second, third] = [(1, 2), (3, 4), (6, 5)].map(|numbers| key(&directory, numbers));
        pair.keys(&[&first], &[&first]);
        pair.until_up()?;
        pair.until_signed_with((1, 2))?;
        let before = pair.interruptions();
        // We begin: the peer is asked for a key that it does not have yet, and goes on with what it has.
        pair.keys(&[&second, &first], &[&first]);
        pair.us.1.until("the peer to be asked", |it| {
            it.peer("them").is_some_and(|peer| peer.agreed.iter().any(|said| said.ends_with("asked for key 4")))
        })?;
        pair.keys(&[&second, &first], &[&second, &first]);
        pair.until_signed_with((3, 4))?;
        // The old one goes, and they begin with a third, of another algorithm.
        let third = AoKey { algorithm: AoAlgorithm::HmacSha256, ..third };
        pair.keys(&[&second], &[&third, &second]);
        pair.keys(&[&third, &second], &[&third, &second]);
        pair.until_signed_with((6, 5))?;
        pair.keys(&[&third], &[&third]);
        pair.until_signed_with((6, 5))?;
        // A key in use that is another one now is for the next session; until then nothing changes.
        std::fs::write(&third.file, "another\n")?;
        pair.us.1.wish.announced.remove(&OURS.parse()?);
        pair.us.1.tell();
        pair.them.1.until("it to be heard", |it| !it.knows(OURS))?;
        assert_eq!(pair.interruptions(), before);
        Ok(())
    })
}

#[test]
fn where_a_session_cannot_be_signed_there_is_none_and_others_do_not_notice() -> Result<()> {
    let lab = Lab::new("aonone")?;
    let (us, there) = (lab.node("us")?, lab.node("there")?);
    let other = crate::bird::start(&lab, "other", v4(&us).into(), "")?;
    let signless = crate::bird::start(&lab, "signless", v4(&us).into(), "")?;
    std::fs::write(us.directory().join("1"), "secret\n")?;
    let mut speaker = Speaker::start(&us)?;
    let key = key(us.directory(), (1, 2));
    let mut signed = neighbour(v4(&signless.node).into());
    signed.authentication = Some(Authentication::Ao(vec![key]));
    let mut range = Range { prefix: format!("{}/32", v4(&there)).parse()?, most: 2, template: signed.clone() };
    speaker.want("signless", signed.clone());
    speaker.want("other", neighbour(v4(&other.node).into()));
    range.template.place = Place::Address { remote: v4(&there).into(), local: None };
    speaker.wish.ranges.push(range);
    speaker.tell();
    speaker.until("the other session", |it| it.is_up("other"))?;
    // A kernel that knows TCP-AO gets no answer from a peer that does not; one that does not know it says what it lacks.
    speaker.until("why the one is not up", |it| {
        let why = it.peer("signless").and_then(|peer| peer.trouble).unwrap_or_default();
        why.contains("CONFIG_TCP_AO") || why.contains("nobody answers")
    })?;
    // Somebody of the range comes without a signature, again and again.
    for _ in 0..20 {
        let to = std::net::SocketAddr::from((v4(&us), 179));
        let said = there.namespace().within(move || {
            let wait = std::time::Duration::from_millis(300);
            let Ok(mut stream) = std::net::TcpStream::connect_timeout(&to, wait) else { return Ok(0) };
            stream.set_read_timeout(Some(wait))?;
            Ok(stream.read(&mut [0; 64]).unwrap_or(0))
        })?;
        assert_eq!(said, 0, "it was spoken with");
    }
    assert_eq!((speaker.peer("other").unwrap().flaps, speaker.is_up("signless")), (0, false));
    Ok(())
}

#[test]
fn nobody_comes_in_with_another_key_or_none_and_every_algorithm_and_family_is_spoken() -> Result<()> {
    in_guest(|| {
        let lab = Lab::new("aokeys")?;
        let mut pair = Pair::start(&lab)?;
        let directory = pair.directory.clone();
        let [first, second] = [(1, 2), (3, 4)].map(|numbers| key(&directory, numbers));
        let wrong = AoKey { file: second.file.clone(), ..first.clone() };
        let silent = |speaker: &mut Speaker, name: &'static str| {
            speaker.until("somebody who does not answer", move |it| {
                it.peer(name).and_then(|peer| peer.trouble).is_some_and(|why| why.contains("nobody answers"))
            })
        };
        pair.keys(&[&first], &[&wrong]);
        silent(&mut pair.us.1, "them")?;
        silent(&mut pair.them.1, "us")?;
        pair.theirs(None);
        silent(&mut pair.them.1, "us")?;
        assert_eq!(pair.us.1.peer("them").unwrap().traffic.connections, 0);
        // They have the newer of two alone: some attempt begins with it.
        pair.keys(&[&first, &second], &[&second]);
        pair.until_up()?;
        pair.six = true;
        let algorithms = [AoAlgorithm::HmacSha1, AoAlgorithm::AesCmac, AoAlgorithm::HmacSha256];
        for (number, algorithm) in (7..).zip(algorithms) {
            let key = AoKey { send: number, receive: number, algorithm, ..first.clone() };
            pair.keys(&[&key], &[&key]);
            // Not every kernel has the second.
            let lacks = |peer: Option<PeerView>| {
                peer.and_then(|it| it.trouble).is_some_and(|it| it.contains("cannot sign with cmac"))
            };
            pair.us.1.until("the session, or why not", |it| it.is_up("them") || lacks(it.peer("them")))?;
            if pair.us.1.is_up("them") {
                pair.until_up()?;
                pair.until_signed_with((number, number))?;
            }
            pair.us.1.wish.neighbours.clear();
            pair.us.1.tell();
            pair.us.1.until("nobody", |it| it.peers().is_empty())?;
        }
        Ok(())
    })
}

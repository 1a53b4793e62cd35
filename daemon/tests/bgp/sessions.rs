//! Sessions with BIRD: routes both ways, neighbours added and taken away, keys, distance, words at the end.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use anyhow::Result;
use backends::state::LinkName;
use bgp::speaker::RemoteAs;
use bgp::wire::terms::NextHops;
use netns_harness::Lab;
use towpathd::bgp::liveness::{BfdNews, BfdSettings, BfdState, Liveness, Strictness};
use towpathd::bgp::question::Question;
use towpathd::bgp::wish::{Authentication, Distance, Place};

use crate::bird::{self, THEIRS};
use crate::{OURS, OURS_TOO, Speaker, hops, neighbour, v4, v6};

#[test]
fn routes_go_both_ways_over_each_family_and_a_neighbour_comes_and_goes_without_touching_another() -> Result<()> {
    let lab = Lab::new("shellroutes")?;
    let us = lab.node("us")?;
    let one = bird::start(&lab, "one", v4(&us).into(), "")?;
    let two = bird::start(&lab, "two", v6(&us), "")?;
    let mut speaker = Speaker::start(&us)?;
    speaker.want("one", neighbour(v4(&one.node).into()));
    speaker.want("two", neighbour(v6(&two.node)));
    speaker.until("both sessions", |it| it.is_up("one") && it.is_up("two"))?;
    speaker.until("their routes", |it| THEIRS.iter().all(|net| it.knows(net)))?;
    speaker.until("everybody to have told all", |it| it.settled.len() == 3)?;
    for bird in [&one, &two] {
        speaker.until("our routes", |_| [OURS, OURS_TOO].iter().all(|net| bird.says("show route", net)))?;
    }
    // Both are as good: the four addresses stand together.
    speaker.until("both ways", |it| it.learnt.values().all(|hops| hops.len() == 2))?;
    speaker.wish.neighbours.remove(&crate::name("two"));
    speaker.tell();
    speaker.until("one way", |it| it.learnt.values().all(|hops| hops.len() == 1))?;
    speaker.until("BIRD to know why", |_| two.says("show protocols all towpath", "Peer de-configured"))?;
    let first = speaker.peer("one").unwrap();
    assert_eq!((first.flaps, first.state.as_str()), (0, "Established"));
    speaker.wish.announced.remove(&OURS.parse().unwrap());
    speaker.tell();
    speaker.until("one prefix to be gone", |_| !one.says("show route", OURS) && one.says("show route", OURS_TOO))?;
    one.ask("disable static1")?;
    speaker.until("their prefix to be gone", |it| !it.knows(THEIRS[0]) && it.knows(THEIRS[1]))?;
    Ok(())
}

#[test]
fn a_session_needs_the_key_and_a_key_is_changed_under_it() -> Result<()> {
    let lab = Lab::new("shellmd5")?;
    let us = lab.node("us")?;
    let bird = bird::start(&lab, "bird", v4(&us).into(), "password \"first\";")?;
    let file = us.directory().join("key");
    std::fs::write(&file, "wrong\n")?;
    let mut speaker = Speaker::start(&us)?;
    let mut with_key = neighbour(v4(&bird.node).into());
    with_key.authentication = Some(Authentication::Md5(file.clone()));
    speaker.want("bird", with_key);
    speaker.until("trouble to be said", |it| {
        it.peer("bird").and_then(|peer| peer.trouble).is_some_and(|why| why.contains("another key"))
    })?;
    assert!(!speaker.is_up("bird"));
    std::fs::write(&file, "first\n")?;
    speaker.until("the session", |it| it.is_up("bird"))?;
    // BIRD begins anew with another key; what matters is that we take ours from the file, and that no session outlives a wrong one.
    std::fs::write(&file, "second\n")?;
    bird::configure(&bird, v4(&us).into(), "password \"second\";")?;
    speaker.until("the session with the other key", |it| {
        it.is_up("bird") && bird.says("show protocols towpath", "Established")
    })?;
    Ok(())
}

#[test]
fn an_attempt_of_ours_ends_when_a_session_comes_up_the_other_way() -> Result<()> {
    let lab = Lab::new("shellattempt")?;
    let us = lab.node("us")?;
    let bird = bird::start(&lab, "bird", v4(&us).into(), "")?;
    let deaf = "table inet deaf { chain input { type filter hook input priority 0; tcp dport 179 drop; }; }";
    bird.node.feed(["nft", "-f", "-"], deaf)?;
    let mut speaker = Speaker::start(&us)?;
    speaker.want("bird", neighbour(v4(&bird.node).into()));
    speaker.until("the session that BIRD began", |it| it.is_up("bird"))?;
    speaker.until("nobody to try further", |_| {
        us.run(["ss", "-tnH", "state", "syn-sent"]).is_ok_and(|tries| tries.is_empty())
    })
}

#[test]
fn packets_from_too_far_are_not_taken() -> Result<()> {
    let lab = Lab::new("shellgtsm")?;
    let us = lab.node("us")?;
    let bird = bird::start(&lab, "bird", v4(&us).into(), "ttl security on;")?;
    let mut speaker = Speaker::start(&us)?;
    let mut near = neighbour(v4(&bird.node).into());
    near.distance = Distance::Secured(hops(1));
    speaker.want("bird", near.clone());
    speaker.until("the session", |it| it.is_up("bird"))?;
    // Somebody who sends with a hop limit of 1 may be far away.
    bird::configure(&bird, v4(&us).into(), "ttl security off;")?;
    speaker.until("the session to end", |it| !it.is_up("bird"))?;
    near.distance = Distance::Direct;
    speaker.want("bird", near);
    speaker.until("the session over one hop", |it| it.is_up("bird"))?;
    Ok(())
}

#[test]
fn a_node_that_leaves_says_so_first_and_then_with_words_and_comes_back() -> Result<()> {
    let lab = Lab::new("shellleave")?;
    let us = lab.node("us")?;
    let bird = bird::start(&lab, "bird", v4(&us).into(), "")?;
    let mut speaker = Speaker::start(&us)?;
    speaker.want("bird", neighbour(v4(&bird.node).into()));
    speaker.until("our route", |_| bird.says("show route", OURS))?;
    let (done, gone) = tokio::sync::oneshot::channel();
    speaker.end.questions.blocking_send(Question::Drain("kernel update".into(), done))?;
    let community = format!("show route all {OURS}");
    speaker.until("the community", |_| bird.says(&community, "(65535,0)"))?;
    gone.blocking_recv()?;
    speaker.until("the words", |_| bird.says("show protocols all towpath", "kernel update"))?;
    assert!(!bird.says("show route", OURS));
    speaker.ask(Question::Resume);
    speaker.until("our route again", |_| bird.says("show route", OURS))?;
    assert!(!bird.says(&community, "(65535,0)"));
    Ok(())
}

#[test]
fn a_speaker_that_ends_with_its_process_leaves_its_routes_with_its_neighbour() -> Result<()> {
    let lab = Lab::new("shellrestart")?;
    let us = lab.node("us")?;
    let bird = bird::start(&lab, "bird", v4(&us).into(), "")?;
    let mut speaker = Speaker::start(&us)?;
    speaker.want("bird", neighbour(v4(&bird.node).into()));
    speaker.until("our route", |_| bird.says("show route", OURS))?;
    drop(speaker);
    let mut speaker = Speaker::start(&us)?;
    assert!(bird.says("show route", OURS), "{}", bird.ask("show route")?);
    speaker.want("bird", neighbour(v4(&bird.node).into()));
    speaker.until("the session", |it| it.is_up("bird"))?;
    Ok(())
}

#[test]
fn a_strict_session_waits_for_bfd_and_ends_with_it() -> Result<()> {
    let lab = Lab::new("shellbfd")?;
    let us = lab.node("us")?;
    let bird = bird::start(&lab, "bird", v4(&us).into(), "")?;
    let mut speaker = Speaker::start(&us)?;
    let mut watched = neighbour(v4(&bird.node).into());
    let interval = Duration::from_millis(50);
    let settings = BfdSettings { transmit: interval, receive: interval, multiplier: hops(3) };
    watched.liveness = Some(Liveness { settings, strictness: Strictness::Strict });
    speaker.want("bird", watched);
    speaker.until("the path to be watched", |it| it.bfd.paths.borrow_and_update().len() == 1)?;
    let key = *speaker.bfd.paths.borrow().keys().next().unwrap();
    speaker.until("it to be said what is waited for", |it| {
        it.peer("bird").and_then(|peer| peer.trouble).is_some_and(|why| why.contains("BFD"))
    })?;
    let news = |state| BfdNews { key, state, reason: "no packet for 150 ms".into() };
    speaker.bfd.news.blocking_send(news(BfdState::Up))?;
    speaker.until("the session", |it| it.is_up("bird"))?;
    speaker.bfd.news.blocking_send(news(BfdState::Down))?;
    speaker.until("its end", |it| {
        it.peer("bird").and_then(|peer| peer.trouble).is_some_and(|why| why.contains("the path is down"))
    })?;
    Ok(())
}

#[test]
fn neighbours_without_addresses_find_each_other_on_their_link_and_lead_there_in_both_families() -> Result<()> {
    let lab = Lab::new("shelllink")?;
    let (us, them) = (lab.node("us")?, lab.node("them")?);
    for node in [&us, &them] {
        node.namespace().run(["ip", "address", "flush", "dev", "eth0", "scope", "global"])?;
    }
    let mut one = Speaker::start_as(&us, (65001, [10, 0, 0, 1], ["10.71.0.0/16", "2001:db8:71::/48"]))?;
    let mut two = Speaker::start_as(&them, (65002, [10, 0, 0, 2], ["10.72.0.0/16", "2001:db8:72::/48"]))?;
    let link = LinkName::new("eth0")?;
    let mut there = neighbour(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    there.place = Place::Link(link);
    there.session.remote_as = RemoteAs::External;
    there.session.families.iter_mut().for_each(|family| family.next_hops = NextHops::AlsoIpv6);
    one.want("there", there.clone());
    two.want("there", there);
    one.until("their routes", |it| it.knows("10.72.0.0/16") && it.knows("2001:db8:72::/48"))?;
    two.until("our routes", |it| it.knows("10.71.0.0/16") && it.knows("2001:db8:71::/48"))?;
    for hops in one.learnt.values() {
        assert!(hops.iter().all(|hop| hop.link == Some(link) && hop.address.is_ipv6()), "{hops:?}");
    }
    Ok(())
}

#[test]
fn what_leads_to_a_router_that_cannot_be_reached_is_not_used_until_it_can() -> Result<()> {
    let lab = Lab::new("shellhops")?;
    let us = lab.node("us")?;
    let bird = bird::start(&lab, "bird", v4(&us).into(), "")?;
    let mut speaker = Speaker::start(&us)?;
    speaker.want("bird", neighbour(v4(&bird.node).into()));
    speaker.until("their routes", |it| THEIRS.iter().all(|net| it.knows(net)))?;
    let there = format!("{}/128", v6(&bird.node));
    us.namespace().run(["ip", "route", "add", "unreachable", &there, "metric", "1"])?;
    speaker.until("one family to have no way", |it| it.knows(THEIRS[0]) && !it.knows(THEIRS[1]))?;
    us.namespace().run(["ip", "route", "del", "unreachable", &there, "metric", "1"])?;
    speaker.until("the way again", |it| it.knows(THEIRS[1]))?;
    Ok(())
}

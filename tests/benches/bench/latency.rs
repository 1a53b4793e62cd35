//! From a put to etcd to the route's notice in another node's kernel, beside what a bare watch takes in the same puts.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use etcd_client::{Client, WatchOptions};
use kernel::netlink::socket::{Protocol, Socket};
use netns_harness::{Etcd, Node};

use crate::figures::{Bound, goal, in_millis, median, note};
use crate::preload::written;

const PUTS: u32 = 200;
/// RTNLGRP_IPV4_ROUTE and RTM_NEWROUTE.
const ROUTES: (u32, u16) = (7, 24);

/// Puts one lease at a time and waits for each to arrive.
pub fn measure(etcd: &Etcd, node: &Node, prefix: &str) -> Result<()> {
    let endpoints = etcd.endpoints()?;
    let member = etcd.members().first().context("no member")?;
    let arrivals = route_arrivals(node)?;
    let (bare, ours) = member.station.namespace().within(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(puts(&endpoints, prefix, &arrivals))
    })?;
    note("a bare watch, from the put's start", bare, "ms");
    note("the route, from the put's start", ours, "ms");
    goal("the route after the bare watch has it, ms (flannel: 2.9 to 4.2)", ours - bare, Bound::AtMost(1.0));
    Ok(())
}

async fn puts(endpoints: &str, prefix: &str, arrivals: &Receiver<Instant>) -> Result<(f64, f64)> {
    let mut client = Client::connect([endpoints], None).await?;
    let options = WatchOptions::new().with_prefix();
    let mut stream = client.watch(format!("{prefix}/subnets/"), Some(options)).await?;
    stream.message().await?;
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for i in 1..=PUTS {
        let (key, value) = written("vxlan", 20_000 + i)?;
        let began = Instant::now();
        client.put(format!("{prefix}/subnets/{key}"), value, None).await?;
        stream.message().await?;
        bare.push(in_millis(began.elapsed()));
        let arrived = arrivals.recv_timeout(Duration::from_secs(10)).context("no route came")?;
        ours.push(in_millis(arrived.saturating_duration_since(began)));
    }
    Ok((median(bare), median(ours)))
}

/// When each route was made in the node's kernel.
pub fn route_arrivals(node: &Node) -> Result<Receiver<Instant>> {
    let (tell, hear) = channel();
    let mut socket = node.namespace().within(move || {
        let socket = Socket::open(Protocol::Route)?;
        socket.join(ROUTES.0)?;
        Ok(socket)
    })?;
    std::thread::spawn(move || {
        // Ends with the process, or when nothing was heard for as long as a socket waits.
        while let Ok(messages) = socket.receive("hear of routes") {
            let now = Instant::now();
            let made = messages.filter(|message| message.header.kind == ROUTES.1).count();
            if (0..made).any(|_| tell.send(now).is_err()) {
                return;
            }
        }
    });
    Ok(hear)
}

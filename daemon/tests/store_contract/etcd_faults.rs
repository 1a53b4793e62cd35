//! etcd behind a wire that falls silent, and behind wires that break after any number of bytes.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use towpathd::store::Store;
use towpathd::store::etcd::{Etcd, Patience};

use crate::etcd_server::free_ports;
use crate::node::{Node, claim, claim_before, name};
use crate::place::{Place, a_day, settings};

fn port_of(place: &Place) -> u16 {
    match place {
        Place::Etcd(server) => server.client_port,
        Place::Directory(_) => panic!("this is about etcd"),
    }
}

/// A wire to etcd: what connects to its URL is carried there, as `carry` does it.
async fn wire<F>(to: u16, carry: impl Fn(TcpStream, TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let port = free_ports(1)[0];
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((here, _)) = listener.accept().await {
            if let Ok(there) = TcpStream::connect(("127.0.0.1", to)).await {
                tokio::spawn(carry(here, there));
            }
        }
    });
    format!("http://127.0.0.1:{port}")
}

#[tokio::test]
async fn a_silent_partition_is_noticed_and_what_was_missed_is_told() {
    let place = Place::etcd("silence");
    let (pass, passing) = watch::channel(true);
    let through = wire(port_of(&place), move |here, there| {
        let ((from_here, to_here), (from_there, to_there)) = (here.into_split(), there.into_split());
        let ways = (forward(from_here, to_there, passing.clone()), forward(from_there, to_here, passing.clone()));
        async move { _ = tokio::join!(ways.0, ways.1) }
    })
    .await;
    // Nearly as quick as etcd allows by default: a client that pings every 5 s or more often is sent away.
    let second = Duration::from_secs(1);
    let patience = Patience { connect: second, request: second, ping: 6 * second, pong: second };
    let store = Store::Etcd(Etcd::new(&settings(&[&through]), a_day()).with_patience(patience));
    let mut node = Node::holding(store, claim_before(1, "10.244.33.0/24")).await;
    node.heard_already();
    assert_eq!(node.trouble, None);
    pass.send(false).unwrap();
    place.put_lease("10.244.70.0-24", 70);
    node.until("the trouble", |node| node.trouble.as_ref().is_some_and(|said| said.contains(&through))).await;
    pass.send(true).unwrap();
    node.until("what was missed", |node| node.lease_of("node-70").is_some() && node.trouble.is_none()).await;
}

/// Carries bytes while it may; what comes meanwhile is held back, and no connection is closed.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut passing: watch::Receiver<bool>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if passing.wait_for(|pass| *pass).await.is_err() || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_connection_that_breaks_anywhere_loses_nothing() {
    let place = Place::etcd("breaks");
    for number in 100..103 {
        place.put_lease(&format!("10.244.{number}.0-24"), number);
    }
    // Each endpoint's wire carries a little more than the one before it; the last one holds.
    let mut endpoints = Vec::new();
    for budget in (0..120).map(|n| n * 23).chain([usize::MAX]) {
        endpoints.push(wire(port_of(&place), move |here, there| carry_only(here, there, budget)).await);
    }
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    for number in 1..=8_u16 {
        let store = || Store::Etcd(Etcd::new(&settings(&endpoints), a_day()));
        let mut node = Node::holding(store(), claim(number)).await;
        let all = 3 + usize::from(number);
        node.until("all leases", |node| node.leases().count() == all && node.lease_of(&name(number)).is_some()).await;
        assert_eq!(place.keys().len(), all);
        node.kill();
    }
}

/// Carries so many bytes from there to here, then breaks the connection.
async fn carry_only(mut here: TcpStream, mut there: TcpStream, mut budget: usize) {
    let (mut up, mut down) = ([0; 4096], [0; 4096]);
    loop {
        tokio::select! {
            length = here.read(&mut up) => match length {
                Ok(length @ 1..) if there.write_all(&up[..length]).await.is_ok() => {}
                _ => return,
            },
            length = there.read(&mut down) => match length {
                Ok(length @ 1..) => {
                    let length = length.min(budget);
                    budget -= length;
                    if here.write_all(&down[..length]).await.is_err() || budget == 0 {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}

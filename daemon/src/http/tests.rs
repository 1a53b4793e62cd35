//! What a probe and Prometheus get over a real connection.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::*;
use crate::ask::fixture::{MemoryKernel, about, newborn, settled, tell};
use crate::ask::{About, Ask, answer};
use crate::reconcile::Reconciler;
use crate::store::Event;

/// A server whose run loop is this node's.
async fn serving((mut reconciler, mut kernel): (Reconciler, MemoryKernel)) -> SocketAddr {
    let (sender, mut asks) = mpsc::channel::<Ask>(4);
    let about: About = about();
    tokio::spawn(async move {
        while let Some(Ask { question, answer: to }) = asks.recv().await {
            to.send(answer(question, &mut reconciler, &mut kernel, &about)).unwrap();
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(
        async move { axum::serve(Entrance::new(listener), router(Ears { asks: sender, speaker: None })).await },
    );
    address
}

async fn get_page(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut page = String::new();
    connection.read_to_string(&mut page).await?;
    Ok(page)
}

#[tokio::test]
async fn a_node_that_is_well() {
    let address = serving(settled()).await;
    let page = get_page(address, "/healthz").await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.ends_with("\r\n\r\ntowpathd is running\n"), "{page}");
    let page = get_page(address, "/readyz").await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.ends_with("\r\n\r\nready\n"), "{page}");
    let page = get_page(address, "/metrics").await.unwrap();
    assert!(page.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"), "{page}");
    assert!(page.contains("\ntowpath_ready 1\n") && page.ends_with("# EOF\n"), "{page}");
    assert!(get_page(address, "/").await.unwrap().starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn a_node_that_is_not_ready_says_why_one_reason_a_line() {
    let page = get_page(serving(newborn()).await, "/readyz").await.unwrap();
    assert!(page.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{page}");
    let (_, body) = page.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        body,
        "no network configuration yet: put net-conf.json into the store\n\
         uplink: it is looked for once the network is known\n\
         no lease held: none is claimed before network and uplink are known\n\
         the peers are not known yet: the store has not told its leases\n\
         the kernel has not been brought to what is desired yet\n"
    );
}

#[tokio::test]
async fn with_the_store_away_a_node_that_works_stays_ready() {
    let (mut reconciler, kernel) = settled();
    tell(&mut reconciler, Event::Trouble("etcd does not answer:\nconnection refused".into()));
    let page = get_page(serving((reconciler, kernel)).await, "/readyz").await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    let (_, body) = page.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        body,
        "ready\ndegraded: the store cannot be used, what it said last is kept: etcd does not answer:; connection refused\n"
    );
}

#[tokio::test]
async fn a_run_loop_that_has_ended_is_said_to_have() {
    let (sender, asks) = mpsc::channel::<Ask>(4);
    drop(asks);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(
        async move { axum::serve(Entrance::new(listener), router(Ears { asks: sender, speaker: None })).await },
    );
    for path in ["/readyz", "/metrics"] {
        let page = get_page(address, path).await.unwrap();
        assert!(
            page.starts_with("HTTP/1.1 503 ") && page.ends_with("towpathd is stopping and answers no more\n"),
            "{page}"
        );
    }
    assert!(get_page(address, "/healthz").await.unwrap().starts_with("HTTP/1.1 200 "));
}

/// Seats that nobody asks anything from are given to others, however slowly their holders talk.
#[tokio::test(start_paused = true)]
async fn whoever_only_sits_there_makes_room_for_those_who_ask() {
    let address = serving(settled()).await;
    let mut idle = Vec::new();
    for number in 0..2 * entrance::SEATS {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(if number % 2 == 0 { b"GET /heal" } else { b"" }).await.unwrap();
        idle.push(connection);
    }
    let page = get_page(address, "/healthz").await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    let mut said = Vec::new();
    idle[1].read_to_end(&mut said).await.ok();
    assert!(said.is_empty(), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_used_stays() {
    let mut connection = TcpStream::connect(serving(settled()).await).await.unwrap();
    for _ in 0..5 {
        connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").await.unwrap();
        let mut page = [0; 512];
        let length = connection.read(&mut page).await.unwrap();
        assert!(page[..length].starts_with(b"HTTP/1.1 200 "));
        tokio::time::advance(entrance::PATIENCE / 2).await;
    }
}

#[tokio::test]
async fn a_port_that_somebody_has_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let (sender, _asks) = mpsc::channel::<Ask>(4);
    let error = serve(address, Ears { asks: sender, speaker: None }).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {address}: ")) && error.contains("--healthz-port"), "{error}");
}

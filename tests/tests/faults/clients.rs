//! Hostile and slow clients of the status socket and the HTTP port: the daemon still answers everybody else, and works.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netns_harness::Daemon;
use serde_json::Value;

use crate::ask::{status, towpathctl, wait_well};
use crate::cluster::{Cluster, LIMIT, wait_route};
use crate::lease::{APART, Ghost};

const HEALTH: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

fn still_works(cluster: &Cluster, daemon: &Daemon, number: u8) -> Result<()> {
    let ghost = Ghost::numbered(number);
    ghost.write(&cluster.directory()?)?;
    wait_route(daemon.node(), &ghost.subnet())
}

#[test]
fn rubbish_on_the_status_socket_is_answered_with_a_sentence_and_harms_nobody() -> Result<()> {
    let mut cluster = Cluster::on_directory("socketrubbish", APART)?;
    let alpha = cluster.join("alpha")?;
    let long = "x".repeat(1 << 20);
    let deep = "[".repeat(4000) + "\n";
    let huge = format!("{{\"ask\":\"{long}\"}}\n");
    for line in
        ["\n", "hello\n", "{}\n", "\u{0}\u{1}\n", "{\"ask\":7}\n", "{\"ask\":\"everything\"}\n", &deep, &huge, "{"]
    {
        let mut client = UnixStream::connect(alpha.status_socket())?;
        client.set_read_timeout(Some(LIMIT))?;
        // The daemon need not read all of it.
        client.write_all(line.as_bytes()).or_else(|error| match error.kind() {
            std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset => Ok(()),
            _ => Err(error),
        })?;
        client.shutdown(std::net::Shutdown::Write).ok();
        let mut answer = String::new();
        match client.read_to_string(&mut answer) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => continue,
            read => read?,
        };
        let answer: Value = serde_json::from_str(&answer).with_context(|| format!("{answer:?}"))?;
        assert_eq!(answer["exit"], 2, "{answer}");
        assert!(answer["text"].as_str().is_some_and(|text| text.len() > 10 && text.len() < 400), "{answer}");
    }
    wait_well(&alpha)?;
    still_works(&cluster, &alpha, 77)
}

#[test]
fn fifty_clients_at_once_are_all_answered_and_fifty_silent_ones_keep_nobody_away() -> Result<()> {
    let mut cluster = Cluster::on_directory("fifty", APART)?;
    let alpha = cluster.join("alpha")?;
    let path = alpha.status_socket();
    let ask = || -> Result<Value> {
        let mut client = UnixStream::connect(path)?;
        client.set_read_timeout(Some(LIMIT))?;
        client.write_all(b"{\"ask\":\"status\",\"output\":\"json\"}\n")?;
        let mut answer = String::new();
        client.read_to_string(&mut answer)?;
        let answer: Value = serde_json::from_str(&answer)?;
        Ok(serde_json::from_str(answer["text"].as_str().context("a text")?)?)
    };
    std::thread::scope(|scope| -> Result<()> {
        let clients: Vec<_> = (0..50).map(|_| scope.spawn(ask)).collect();
        for client in clients {
            assert_eq!(client.join().unwrap()?["node"], "alpha");
        }
        Ok(())
    })?;
    let silent: Vec<UnixStream> = (0..50).map(|_| UnixStream::connect(path)).collect::<std::io::Result<_>>()?;
    for _ in 0..3 {
        assert_eq!(status(&alpha)?["ready"], true);
    }
    assert_eq!(towpathctl(&alpha, &["plan"])?.code, Some(0));
    still_works(&cluster, &alpha, 77)?;
    drop(silent);
    Ok(())
}

#[test]
fn a_hundred_half_open_requests_keep_nobody_from_the_health_port() -> Result<()> {
    let mut cluster = Cluster::on_directory("slowloris", APART)?;
    let alpha = cluster.join("alpha")?;
    let open = || -> Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&HEALTH, Duration::from_secs(5))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\nX-Slow: ")?;
        Ok(stream)
    };
    let slow: Vec<TcpStream> = alpha.node().within(|| (0..100).map(|_| open()).collect())?;
    for _ in 0..5 {
        ensure!(alpha.get("/readyz")?.status == 200);
        ensure!(alpha.get("/healthz")?.status == 200);
        ensure!(alpha.metric("towpath_ready")? == Some(1.0));
    }
    still_works(&cluster, &alpha, 77)?;
    // A client that asks again and again on one connection is none of those.
    let mut patient = alpha.node().within(|| Ok(TcpStream::connect(HEALTH)?))?;
    patient.set_read_timeout(Some(LIMIT))?;
    for _ in 0..3 {
        patient.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")?;
        let mut buffer = [0; 1024];
        let read = patient.read(&mut buffer)?;
        ensure!(buffer[..read].starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&buffer[..read]));
    }
    let descriptors = alpha.metric("process_open_fds")?.context("a metric")?;
    assert!(descriptors < 150.0, "{descriptors} file descriptors are open");
    drop(slow);
    for _ in 0..300 {
        ensure!(alpha.get("/healthz")?.status == 200);
    }
    wait_well(&alpha)
}

//! One HTTP GET from inside a namespace: health, readiness, metrics. No TLS, no redirects, no chunks.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::station::Station;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// 200, 503, …
    pub status: u16,
    /// What came after the headers.
    pub body: String,
}

impl Station {
    /// Gets a page. `curl http://ADDRESS/PATH`.
    ///
    /// # Errors
    /// When nobody listens or the answer is not HTTP.
    pub fn get(&self, address: SocketAddr, path: &str) -> Result<Page> {
        let asked = self.connect(address, Duration::from_secs(5)).and_then(|mut stream| {
            // HTTP/1.0: the answer ends where the connection ends, and comes in one piece.
            write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            parse(&answer)
        });
        asked.with_context(|| format!("GET http://{address}{path} in {}", self.name()))
    }
}

fn parse(answer: &str) -> Result<Page> {
    let (head, body) = answer.split_once("\r\n\r\n").context("not HTTP")?;
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).context("not HTTP")?;
    Ok(Page { status, body: body.to_owned() })
}

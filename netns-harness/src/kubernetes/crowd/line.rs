//! [`Line`]: one connection to the API without TLS, for one request after another.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Request;
use crate::station::Station;

/// How long an answer may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// A connection that stays.
pub(super) struct Line {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
}

impl Line {
    pub fn open(from: &Station, to: SocketAddr) -> Result<Line> {
        Ok(Line { stream: BufReader::new(from.connect(to, LIMIT)?), host: to })
    }

    /// Asks, and is content with a yes.
    pub fn ask(&mut self, (method, path, body): &Request) -> Result<()> {
        let kind = if *method == "PATCH" { "application/strategic-merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        // Nobody reads the whole object that comes back.
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAccept: application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (status, said) = self.answer().with_context(|| format!("{method} {path}"))?;
        ensure!((200..300).contains(&status), "{method} {path}: {status}: {}", String::from_utf8_lossy(&said));
        Ok(())
    }

    fn answer(&mut self) -> Result<(u16, Vec<u8>)> {
        let status = self.read_line()?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).context("not HTTP")?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.read_line()?.to_ascii_lowercase();
            match line.split_once(':') {
                Some(("content-length", value)) => length = value.trim().parse()?,
                Some(("transfer-encoding", value)) => chunked = value.contains("chunked"),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = Vec::new();
        if !chunked {
            (&mut self.stream).take(length).read_to_end(&mut body)?;
            return Ok((status, body));
        }
        loop {
            let length = u64::from_str_radix(&self.read_line()?, 16)?;
            (&mut self.stream).take(length).read_to_end(&mut body)?;
            self.read_line()?;
            if length == 0 {
                return Ok((status, body));
            }
        }
    }

    fn read_line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the connection was closed");
        Ok(line.trim_end().to_owned())
    }
}

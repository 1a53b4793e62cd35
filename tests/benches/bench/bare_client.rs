//! What a client of the Kubernetes API cannot do without: it reads all Nodes and decodes of each what a pod network needs, and
//! then forgets it. One thread, TLS, HTTP/1.0 (no chunks, ends with the connection), serde.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netns_harness::Node;
use netns_harness::kubernetes::ControlPlane;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde::Deserialize;

/// Whole objects, or only their metadata.
pub const WHOLE: &str = "application/json";
/// Names, labels, annotations and managedFields, but neither podCIDRs nor status.
pub const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// A list as the beginning of a watch.
const STREAMED: &str =
    "watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=600";
const LIMIT: Duration = Duration::from_secs(120);

type Body = BufReader<StreamOwned<ClientConnection, TcpStream>>;

/// A client at a node.
#[derive(Clone)]
pub struct BareClient {
    node: Node,
    server: String,
    token: String,
    authority: PathBuf,
}

/// What a list was.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// How long it took from connecting to the end, milliseconds.
    pub millis: f64,
    /// Nodes in it.
    pub nodes: usize,
    /// Bytes of it, without TLS.
    pub bytes: usize,
}

/// One event of a watch.
pub struct Seen {
    /// `ADDED`, `MODIFIED`, `DELETED`.
    pub kind: String,
    /// The Node.
    pub name: String,
    /// Whether it has a subnet.
    pub has_subnet: bool,
    /// When it was decoded.
    pub at: Instant,
    /// How long its line was.
    pub bytes: usize,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct Metadata {
    name: String,
    #[allow(dead_code, reason = "decoded as everybody must")]
    uid: String,
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

impl BareClient {
    /// With the rights of a daemon.
    pub fn new(api: &ControlPlane, node: &Node) -> Result<BareClient> {
        let server = api.url()?.trim_start_matches("https://").to_owned();
        let token = api.service_account_token("kube-flannel", "towpath")?;
        Ok(BareClient { node: node.clone(), server, token, authority: api.authority() })
    }

    /// All Nodes, as the beginning of a watch.
    pub fn list(&self) -> Result<Listed> {
        let began = Instant::now();
        let mut body = self.open(STREAMED, WHOLE)?;
        let (mut line, mut nodes, mut bytes) = (Vec::new(), 0, 0);
        loop {
            line.clear();
            bytes += body.read_until(b'\n', &mut line)?;
            let Line { kind, object } =
                serde_json::from_slice(&line).with_context(|| format!("{} bytes", line.len()))?;
            if kind == "BOOKMARK" {
                ensure!(object.metadata.annotations.contains_key("k8s.io/initial-events-end"), "no end");
                return Ok(Listed { millis: began.elapsed().as_secs_f64() * 1000.0, nodes, bytes });
            }
            nodes += 1;
        }
    }

    /// How many bytes the whole list has in one answer, asked for with this `Accept-Encoding`.
    pub fn list_bytes(&self, encoding: &str) -> Result<usize> {
        let mut body = self.open("limit=0", &format!("{WHOLE}\r\nAccept-Encoding: {encoding}"))?;
        let mut all = Vec::new();
        body.read_to_end(&mut all)?;
        Ok(all.len())
    }

    /// What changes from now on, until nobody listens. It has begun when this returns.
    pub fn watch(&self, accept: &str) -> Result<Receiver<Seen>> {
        let mut body = self.open(STREAMED, accept)?;
        let (tell, hear) = channel();
        let (begun, begins) = channel();
        std::thread::spawn(move || -> Result<()> {
            let (mut line, mut listed) = (Vec::new(), false);
            loop {
                line.clear();
                let bytes = body.read_until(b'\n', &mut line)?;
                let Line { kind, object } = serde_json::from_slice(&line)?;
                if kind == "BOOKMARK" {
                    if !std::mem::replace(&mut listed, true) {
                        begun.send(())?;
                    }
                } else if listed {
                    let (name, has_subnet) = (object.metadata.name, !object.spec.pod_cidrs.is_empty());
                    tell.send(Seen { kind, name, has_subnet, at: Instant::now(), bytes })?;
                }
            }
        });
        begins.recv_timeout(LIMIT).context("the bare watch did not begin")?;
        Ok(hear)
    }

    /// The body of the answer.
    fn open(&self, query: &str, accept: &str) -> Result<Body> {
        let address = self.server.parse()?;
        let stream = self.node.connect(address, LIMIT)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.authority)?)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::from(address.ip());
        let tls = StreamOwned::new(ClientConnection::new(Arc::new(config), name)?, stream);
        let mut body = BufReader::with_capacity(64 << 10, tls);
        write!(
            body.get_mut(),
            "GET /api/v1/nodes?{query} HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {}\r\nAccept: {accept}\r\n\r\n",
            self.server,
            self.token
        )?;
        let mut status = String::new();
        body.read_line(&mut status)?;
        ensure!(status.contains(" 200"), "the API server says {status}");
        let mut header = String::new();
        while body.read_line(&mut header)? > 2 {
            header.clear();
        }
        Ok(body)
    }
}

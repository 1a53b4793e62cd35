//! [`Failure`]: what can be wrong with etcd, in sentences that name the endpoint and the fix, and never a password.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use crate::config::settings::EtcdSettings;

/// Why a session with etcd ended, or could not begin.
#[derive(Debug)]
pub enum Failure {
    /// A certificate or key cannot be read.
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A request failed.
    Request(etcd_client::Error),
    /// The watch ended without a word, or with one.
    Watch(String),
}

impl From<etcd_client::Error> for Failure {
    fn from(error: etcd_client::Error) -> Failure {
        Failure::Request(error)
    }
}

/// Which way etcd was asked.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// The endpoint.
    pub endpoint: &'a str,
    /// With what.
    pub settings: &'a EtcdSettings,
    /// Whether it worked until now.
    pub worked: bool,
}

impl Failure {
    /// One sentence about it.
    pub fn sentence(&self, way: Way<'_>) -> String {
        let endpoint = way.endpoint;
        match self {
            Failure::File { path, source } => {
                let file = path.display();
                format!("{file} cannot be read: {source}; correct --etcd-cafile, --etcd-certfile or --etcd-keyfile")
            }
            Failure::Watch(reason) => format!("etcd at {endpoint} ended the watch: {reason}; trying again"),
            Failure::Request(error) => {
                let cause = cause(error);
                let fix = fix(&cause, error, way);
                format!("etcd at {endpoint} cannot be used: {cause}; {fix}")
            }
        }
    }
}

/// Whether etcd refused because this user may not do that (gRPC status PERMISSION_DENIED, 7).
pub fn is_denied(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status) if i32::from(status.code()) == 7)
}

/// The last and most telling of a chain of causes.
fn cause(error: &etcd_client::Error) -> String {
    let (first, mut next): (String, Option<&dyn Error>) = match error {
        etcd_client::Error::GRpcStatus(status) => (status.message().to_owned(), status.source()),
        etcd_client::Error::TransportError(error) => (error.to_string(), error.source()),
        other => (other.to_string(), None),
    };
    let mut last = first;
    while let Some(error) = next {
        last = error.to_string();
        next = error.source();
    }
    // One event has many names, depending on who was reading or writing when it came.
    if BREAKS.iter().any(|words| last.contains(words)) { CLOSED.to_owned() } else { last }
}

const CLOSED: &str = "the connection was closed";
const BREAKS: [&str; 6] = [
    "broken pipe",
    "connection reset",
    "Connection reset",
    "connection closed",
    "frame with invalid size",
    "error reading a body",
];

/// What to do about a cause. The words are those of the TLS library, of etcd and of the system.
fn fix(cause: &str, error: &etcd_client::Error, way: Way<'_>) -> String {
    let says = |words: &[&str]| words.iter().any(|word| cause.contains(word));
    if says(&["Connection refused"]) {
        return "start etcd there, or correct --etcd-endpoints".to_owned();
    }
    if says(&["database space exceeded"]) {
        return "make room there: `etcdctl compact`, `etcdctl defrag`, then `etcdctl alarm disarm`".to_owned();
    }
    if let Some(fix) = of_certificates(&says, way) {
        return fix;
    }
    match &way.settings.user {
        Some(user) if says(&["authentication failed", "invalid user"]) => {
            format!(
                "user {} is unknown there or has another password: correct --etcd-username or --etcd-password",
                user.name
            )
        }
        Some(_) if says(&["authentication is not enabled"]) => {
            "leave --etcd-username out, or enable authentication in etcd".to_owned()
        }
        Some(user) if is_denied(error) => {
            format!("grant user {} a role with readwrite on the prefix {}", user.name, way.settings.prefix)
        }
        None if is_denied(error) || says(&["user name is empty"]) => {
            "it wants to know who is asking: give --etcd-username and --etcd-password".to_owned()
        }
        _ => "trying again".to_owned(),
    }
}

fn of_certificates(says: &impl Fn(&[&str]) -> bool, way: Way<'_>) -> Option<String> {
    let (secure, tls) = (way.endpoint.starts_with("https://"), &way.settings.tls);
    // A server that refuses a TLS 1.3 client says so only after the client believes that all is well (RFC 8446 section
    // 4.4.2), so that what is seen of it may be no more than a connection that breaks.
    let breaks = says(&[CLOSED]) && !way.worked;
    if says(&["NotValidForName", "not valid for name"]) {
        Some(
            "its certificate is for other names: put this one among its subjectAltNames, or correct --etcd-endpoints"
                .to_owned(),
        )
    } else if says(&["UnknownIssuer", "BadSignature"]) {
        let ca = tls.ca.as_ref().map_or("the system's list".to_owned(), |ca| ca.display().to_string());
        Some(format!(
            "its certificate is not signed by an authority in {ca}: give the one that signed it as --etcd-cafile"
        ))
    } else if says(&["invalid peer certificate"]) {
        Some("give etcd a certificate that is valid today".to_owned())
    } else if says(&["fatal alert"]) {
        Some(
            "if it wants a client certificate that its own authority signed, give --etcd-certfile and --etcd-keyfile"
                .to_owned(),
        )
    } else if secure && breaks && tls.client.is_none() {
        // Whoever closes at once, or resets before its words were read, does not say which of the two it is.
        Some(
            "if it wants a client certificate that its own authority signed, give --etcd-certfile and --etcd-keyfile; \
             if it does not speak TLS, write http:// in --etcd-endpoints"
                .to_owned(),
        )
    } else if secure && says(&["InvalidContentType", "corrupt message", "handshake eof"]) {
        Some("if it does not speak TLS, write http:// in --etcd-endpoints".to_owned())
    } else if !secure && breaks {
        Some("if it speaks TLS, write https:// in --etcd-endpoints".to_owned())
    } else {
        None
    }
}

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

impl Failure {
    /// One sentence about it.
    pub fn sentence(&self, endpoint: &str, settings: &EtcdSettings) -> String {
        match self {
            Failure::File { path, source } => format!(
                "{} cannot be read: {source}; correct --etcd-cafile, --etcd-certfile or --etcd-keyfile",
                path.display()
            ),
            Failure::Watch(reason) => format!("etcd at {endpoint} ended the watch: {reason}; trying again"),
            Failure::Request(error) => {
                let cause = cause(error);
                let fix = fix(&cause, is_denied(error), settings);
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
    last
}

fn fix(cause: &str, denied: bool, settings: &EtcdSettings) -> String {
    let says = |words: &[&str]| words.iter().any(|word| cause.contains(word));
    let user = settings.user.as_ref().map(|user| user.name.as_str());
    if says(&["NotValidForName", "not valid for name"]) {
        return "its certificate is for other names: put this one among its subjectAltNames, or correct --etcd-endpoints".to_owned();
    }
    if says(&["UnknownIssuer", "BadSignature"]) {
        let ca = settings.tls.ca.as_ref().map_or("the system's list".to_owned(), |ca| ca.display().to_string());
        return format!(
            "its certificate is not signed by an authority in {ca}: give the one that signed it as --etcd-cafile"
        );
    }
    if says(&["invalid peer certificate"]) {
        return "give etcd a certificate that is valid today".to_owned();
    }
    if says(&["CertificateRequired", "BadCertificate", "UnknownCA", "fatal alert"]) {
        return "it wants a client certificate that its own authority signed: give --etcd-certfile and --etcd-keyfile"
            .to_owned();
    }
    if says(&["InvalidContentType", "corrupt message"]) {
        return "it does not speak TLS: write http:// in --etcd-endpoints".to_owned();
    }
    if says(&["Connection refused"]) {
        return "start etcd there, or correct --etcd-endpoints".to_owned();
    }
    match (denied, user) {
        _ if says(&["authentication failed", "invalid user"]) => {
            format!(
                "the password of user {} is wrong: correct --etcd-username or --etcd-password",
                user.unwrap_or("(none)")
            )
        }
        _ if says(&["user name is empty", "permission denied"]) && user.is_none() => {
            "it wants to know who is asking: give --etcd-username and --etcd-password".to_owned()
        }
        (true, Some(user)) => {
            format!("grant user {user} a role with readwrite on the prefix {}", settings.prefix)
        }
        _ if says(&["authentication is not enabled"]) => {
            "leave --etcd-username out, or enable authentication in etcd".to_owned()
        }
        _ => "trying again".to_owned(),
    }
}

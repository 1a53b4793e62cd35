//! [`Failure`]: what can be wrong with the Kubernetes API, in sentences that name the server and the fix, and never a token.

use std::error::Error;
use std::time::Duration;

use super::access::AccessError;
use super::tls::TlsError;
use crate::store::events::{Closed, Events, Topic};
use crate::store::subnet_key::cut;

/// Why a request did not get its answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It is not known how to reach the server.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// TLS cannot begin.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No connection.
    #[error("{}", connecting(.url, .source))]
    Connect {
        /// To where.
        url: String,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing comes any more.
    #[error("it did not answer within {} s", .0.as_secs())]
    Silence(Duration),
    /// The connection broke.
    #[error("the connection broke: {}", last(.0))]
    Broken(#[from] hyper::Error),
    /// The server says no.
    #[error("it answers {code}{}{}", saying(.message), advice(*.code))]
    Refused {
        /// HTTP status.
        code: u16,
        /// What the server says, for people.
        message: String,
        /// When it may be asked again.
        retry_after: Option<Duration>,
    },
    /// The answer is not what the API says.
    #[error("its answer cannot be read: {0}")]
    Unreadable(String),
}

impl Failure {
    /// How long the server wants to be left alone; at most some minutes, whatever it says.
    pub fn retry_after(&self) -> Option<Duration> {
        const LONGEST: Duration = Duration::from_secs(300);
        if let Failure::Refused { retry_after, .. } = self { retry_after.map(|wait| wait.min(LONGEST)) } else { None }
    }

    /// Whether the server answers and says no, to this node, whenever it is asked: rights, or what it must not be asked.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Failure::Refused { code: 400..=428 | 430..=499, .. })
    }

    /// Says it as what it is.
    pub async fn tell(&self, events: &mut Events, topic: Topic, sentence: String) -> Result<(), Closed> {
        if self.is_refusal() { events.refusal(topic, sentence).await } else { events.trouble(topic, sentence).await }
    }

    /// The version that was asked for is gone (HTTP 410, or the same in an event), or has not come yet: a server that was put
    /// back to an older state says so with 504.
    pub fn is_gone(&self) -> bool {
        match self {
            Failure::Refused { code: 410, .. } => true,
            Failure::Refused { code: 504, message, .. } => message.contains("Too large resource version"),
            _ => false,
        }
    }
}

fn saying(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {}", cut(message)) }
}

fn advice(code: u16) -> &'static str {
    match code {
        401 => {
            "; the token or certificate is not (or no more) valid: look at the service account, or at the kubeconfig"
        }
        403 => {
            "; the service account needs the rights of the manifest: get, list and watch nodes, patch nodes/status (and with \
             --peer-objects=leases to get, list, watch, create and patch leases in its namespace)"
        }
        429 => "; it has too much to do, and is asked again later",
        _ => "",
    }
}

/// A certificate that does not fit comes as an error of the connection; the reason is at the end of the chain.
fn connecting(url: &str, error: &std::io::Error) -> String {
    let cause = last(error);
    let said = cause.to_ascii_lowercase();
    if !said.contains("certificate") {
        return format!("{url} cannot be reached: {cause}");
    }
    let fix = if ["expired", "not valid yet", "notvalidyet"].iter().any(|clock| said.contains(clock)) {
        "renew it, and look at the clocks of both hosts"
    } else {
        "look at certificate-authority-data, or at the names in the server's certificate"
    };
    format!("TLS with {url} fails: {cause}; {fix}")
}

fn last(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    cut(&last.to_string())
}

//! Whether a daemon still holds what is to be removed: it would put it back, and rightly so.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use backends::LinkName;
use backends::instance::device_lock;
use serde_json::Value;

use super::leavings::Leavings;
use crate::arguments::Output;
use crate::client::{self, Question};

/// Which daemon is alive, and how that is known.
pub fn daemon(leavings: &Leavings, socket: &Path) -> Option<String> {
    if let Some(device) = leavings.links().find(|device| is_held(*device)) {
        return Some(format!("a towpathd runs on this node and holds {device}"));
    }
    let reply = client::ask(socket, &Question::new("status", Output::Json)).ok()?;
    let status: Value = serde_json::from_str(&reply.text).unwrap_or_default();
    // One that does not say yet which it is may be any.
    let concerned = status["alias"].as_str().is_none_or(|alias| leavings.aliases().any(|ours| ours == alias));
    concerned.then(|| format!("a towpathd answers on {}", socket.display()))
}

/// A daemon listens on a socket of this name as long as it lives; so nobody else can.
fn is_held(device: LinkName) -> bool {
    let name = SocketAddr::from_abstract_name(device_lock(device));
    let bound = name.and_then(|name| UnixListener::bind_addr(&name));
    bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

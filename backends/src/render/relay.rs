//! The udp backend's part. There is no command for it: its proxy is in the daemon.

use std::fmt;
use std::net::Ipv4Addr;

use crate::state::{Proxy, RelayKey};

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proxy at udp {} for {}", self.local, self.subnet)
    }
}

/// What goes where.
pub(super) struct RelayLine<'a>(pub &'a RelayKey, pub Ipv4Addr);

impl fmt::Display for RelayLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RelayLine(RelayKey { link, subnet }, peer) = self;
        write!(f, "{subnet} behind {link} to {peer}")
    }
}

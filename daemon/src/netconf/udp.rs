//! The options of `"Type": "udp"`.

use backends::Backend;
use backends::udp::{DEFAULT_PORT, UdpSettings};
use ipam::{Family, Stack};

use super::object::Object;

/// Reads them; `None` after a mistake.
pub(super) fn settings(backend: &mut Object<'_, '_>, families: Stack<()>) -> Option<Backend> {
    let port = backend.integer("Port", 0..=u16::MAX.into());
    if families.has(Family::V6) {
        let why = "the udp backend carries IPv4 alone";
        if !families.has(Family::V4) {
            backend.mistake("Type", "udp", (why, "write \"vxlan\", or another that carries IPv6"));
            return None;
        }
        backend.warn(format!("Backend.Type: {why}: pods of different nodes do not reach each other by IPv6"));
    }
    backend.finish();
    // 0 is none that peers could send to.
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0).unwrap_or(DEFAULT_PORT);
    Some(Backend::Udp(UdpSettings::new(port)))
}

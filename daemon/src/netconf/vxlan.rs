//! The options of `"Type": "vxlan"`.

use backends::Backend;
use backends::vxlan::{DEFAULT_PORT, DEFAULT_VNI, VxlanSettings};
use ipam::{Family, Stack};

use super::object::Object;
use super::offload;

/// Reads them; `None` after a mistake.
pub(super) fn settings(backend: &mut Object<'_, '_>, families: Stack<()>) -> Option<Backend> {
    backend.take("Type");
    // For flannel's Windows nodes; they share the file with us.
    backend.take("Name");
    backend.take("MacPrefix");
    let vni = backend.integer("VNI", 0..=(1 << 24) - 1);
    let port = backend.integer("Port", 0..=u16::MAX.into());
    let least = least_mtu(&families);
    let mtu = backend.integer("MTU", 0..=u16::MAX.into()).filter(|mtu| *mtu != 0);
    if let Some(mtu) = mtu.filter(|mtu| *mtu < least) {
        let why = "the tunnel's headers leave too little for pods";
        backend.mistake("MTU", &mtu.to_string(), (why, format!("write at least {least}, or leave it out")));
    }
    let gbp = backend.boolean("GBP").unwrap_or(false);
    let learning = backend.boolean("Learning").unwrap_or(false);
    let direct_routing = backend.boolean("DirectRouting").unwrap_or(false);
    let tx_checksum = offload::tx_checksum(backend);
    backend.finish();
    let vni = vni.unwrap_or(DEFAULT_VNI);
    // 0 is "the kernel's own" in flannel's file, and the kernel's own is this.
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0).unwrap_or(DEFAULT_PORT);
    match VxlanSettings::new(vni.into(), &families) {
        Ok(mut settings) => {
            (settings.port, settings.mtu) = (port, mtu);
            (settings.gbp, settings.learning) = (gbp, learning);
            (settings.direct_routing, settings.tx_checksum) = (direct_routing, tx_checksum);
            Some(Backend::Vxlan(settings))
        }
        Err(error) => {
            let fix = "choose another, the same on all nodes";
            backend.mistake("VNI", &vni.to_string(), (error, fix));
            None
        }
    }
}

/// Outer octets below which a pod's packets do not fit: the kernel takes no device under 68 (RFC 791) and speaks no
/// IPv6 on one under 1280 (RFC 8200 section 5); headers as in `VxlanSettings::device_mtu`.
fn least_mtu<T>(families: &Stack<T>) -> u32 {
    if families.has(Family::V6) { 1280 + 70 } else { 68 + 50 }
}

//! The options of `"Type": "wireguard"`: flannel's, `Strict` and `TxChecksum`.

use backends::Backend;
use backends::wireguard::{DEFAULT_PORTS, Mode, NAME, OVERHEAD, Strays, WireGuardSettings};
use ipam::key::KeyError;
use ipam::{Family, SecretKey, Stack};

use super::object::Object;
use super::offload;

/// Reads them; `None` after a mistake.
pub(super) fn settings(backend: &mut Object<'_, '_>, families: Stack<()>) -> Option<Backend> {
    let mode = mode(backend);
    let [first, second] = DEFAULT_PORTS;
    let ports = [port(backend, "ListenPort", first), port(backend, "ListenPortV6", second)];
    let keepalive = backend.integer("PersistentKeepaliveInterval", 0..=u16::MAX.into());
    let preshared = preshared(backend);
    let mtu = mtu(backend, &families);
    let strays = if backend.boolean("Strict").unwrap_or(true) { Strays::Refused } else { Strays::Forwarded };
    let tx_checksum = offload::tx_checksum(backend);
    backend.finish();
    let mode = mode?;
    if mode == Mode::Separate && families.has(Family::V4) && families.has(Family::V6) && ports[0] == ports[1] {
        let why = "both devices would listen on one port";
        backend.mistake("ListenPortV6", &ports[1].to_string(), (why, "write another than ListenPort"));
        return None;
    }
    let Some(mut settings) = WireGuardSettings::new(mode, &families) else {
        let (name, fix) = match mode {
            Mode::Over(Family::V6) => ("ipv6", "set EnableIPv6 to true and give IPv6Network, or leave Mode out"),
            _ => ("ipv4", "set EnableIPv4 to true and give Network, or leave Mode out"),
        };
        backend.mistake("Mode", name, ("the network has no such part, so nodes' addresses in it are not known", fix));
        return None;
    };
    (settings.ports, settings.preshared, settings.mtu, settings.strays) = (ports, preshared, mtu, strays);
    settings.tx_checksum = tx_checksum;
    settings.keepalive_secs = keepalive.and_then(|secs| u16::try_from(secs).ok()).unwrap_or(0);
    Some(Backend::WireGuard(settings))
}

fn mode(backend: &mut Object<'_, '_>) -> Option<Mode> {
    match backend.text("Mode") {
        None | Some("" | "separate") => Some(Mode::Separate),
        Some("auto") => Some(Mode::Auto),
        Some("ipv4") => Some(Mode::Over(Family::V4)),
        Some("ipv6") => Some(Mode::Over(Family::V6)),
        Some(other) => {
            let fix = r#"write "separate", "auto", "ipv4" or "ipv6""#;
            backend.mistake("Mode", other, (format!("the backend {NAME} has no such mode"), fix));
            None
        }
    }
}

fn port(backend: &mut Object<'_, '_>, key: &'static str, default: u16) -> u16 {
    let port = backend.integer(key, 0..=u16::MAX.into()).and_then(|port| u16::try_from(port).ok());
    // 0 would be any free one, another after each restart.
    port.filter(|port| *port != 0).unwrap_or(default)
}

/// The key that all nodes share. It is never repeated, right or wrong.
fn preshared(backend: &mut Object<'_, '_>) -> Option<SecretKey> {
    let text = backend.text("PSK").filter(|text| !text.is_empty())?;
    match text.parse::<SecretKey>() {
        Ok(key) => Some(key).filter(|key| !key.is_none()),
        Err(error) => {
            let error: KeyError = error;
            backend.mistake("PSK", "(hidden)", (error, "take what `wg genpsk` prints, the same on all nodes"));
            None
        }
    }
}

fn mtu(backend: &mut Object<'_, '_>, families: &Stack<()>) -> Option<u32> {
    // As for VXLAN: the kernel speaks no IPv6 below 1280 (RFC 8200 section 5), and no IPv4 below 68 (RFC 791).
    let least = OVERHEAD + if families.has(Family::V6) { 1280 } else { 68 };
    let mtu = backend.integer("MTU", 0..=u16::MAX.into()).filter(|mtu| *mtu != 0)?;
    if mtu < least {
        let why = "the tunnel's headers leave too little for pods";
        backend.mistake("MTU", &mtu.to_string(), (why, format!("write at least {least}, or leave it out")));
    }
    Some(mtu)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::netconf::Division;

    fn with(backend: &str) -> String {
        format!(r#"{{"Network": "10.244.0.0/16", "Backend": {backend}}}"#)
    }

    #[test]
    fn every_key_of_wireguard_says_what_it_means() {
        let backend = |text: &str| match crate::netconf::read(
            &with(&format!(r#"{{"Type": "WireGuard"{text}}}"#)),
            Division::Claimed,
        )
        .unwrap()
        .backend
        {
            Backend::WireGuard(settings) => settings,
            other => panic!("{other:?}"),
        };
        let usual = backend("");
        assert_eq!((usual.mode, usual.ports, usual.keepalive_secs), (Mode::Separate, [51820, 51821], 0));
        assert_eq!((usual.preshared, usual.mtu, usual.strays), (None, None, Strays::Refused));
        let all = backend(
            r#", "Mode": "ipv4", "ListenPort": 1, "ListenPortV6": 2, "PSK": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
                "PersistentKeepaliveInterval": 25, "MTU": 1400, "Strict": false"#,
        );
        assert_eq!((all.mode, all.ports, all.keepalive_secs), (Mode::Over(Family::V4), [1, 2], 25));
        assert_eq!(
            (all.preshared, all.mtu, all.strays),
            (Some(SecretKey::new([1; 32])), Some(1400), Strays::Forwarded)
        );
    }

    #[test]
    fn wireguards_mistakes_are_named_and_a_key_is_not_repeated() {
        for (fields, said) in [
            (r#""Mode": "ipv6""#, "Backend.Mode = \"ipv6\": the network has no such part"),
            (r#""Mode": "both""#, "has no such mode; write \"separate\", \"auto\""),
            (r#""PSK": "hunter2""#, "take what `wg genpsk` prints"),
            (r#""MTU": 100"#, "write at least 148"),
            (r#""ListenPort": 70000"#, "it is out of range"),
        ] {
            let text = with(&format!(r#"{{"Type": "wireguard", {fields}}}"#));
            let said_all = crate::netconf::read(&text, Division::Claimed).unwrap_err().to_string();
            assert!(said_all.contains(said) && !said_all.contains("hunter2"), "{fields}: {said_all}");
        }
        let dual = r#"{"Network": "10.244.0.0/16", "IPv6Network": "fd00::/48", "EnableIPv6": true,
            "Backend": {"Type": "wireguard", "ListenPort": 51821}}"#;
        assert!(
            crate::netconf::read(dual, Division::Claimed)
                .unwrap_err()
                .to_string()
                .contains("both devices would listen on one port")
        );
    }
}

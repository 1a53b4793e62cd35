//! `TxChecksum`, the same of every backend that has devices of the kernel's. Flannel does not have it.

use backends::offload::{Offload, TxChecksum};

use super::object::Object;

/// Reads it; of a mistake it is as if it were not there.
pub(super) fn tx_checksum(backend: &mut Object<'_, '_>) -> TxChecksum {
    match backend.text("TxChecksum") {
        None | Some("" | "auto") => TxChecksum::Auto,
        Some("on") => TxChecksum::Fixed(Offload::On),
        Some("off") => TxChecksum::Fixed(Offload::Off),
        Some(other) => {
            let fix = r#"write "auto", "on" or "off""#;
            backend.mistake("TxChecksum", other, ("it is none of its three values", fix));
            TxChecksum::Auto
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::netconf::{Division, read};

    #[test]
    fn each_backend_with_devices_of_the_kernels_has_it() {
        for backend in ["vxlan", "ipip", "wireguard"] {
            for (written, meant) in [
                ("", TxChecksum::Auto),
                (r#", "TxChecksum": null"#, TxChecksum::Auto),
                (r#", "TxChecksum": "auto""#, TxChecksum::Auto),
                (r#", "txchecksum": "on""#, TxChecksum::Fixed(Offload::On)),
                (r#", "TxChecksum": "off""#, TxChecksum::Fixed(Offload::Off)),
            ] {
                let text = format!(r#"{{"Network": "10.244.0.0/16", "Backend": {{"Type": "{backend}"{written}}}}}"#);
                let network = read(&text, Division::Claimed).unwrap();
                assert_eq!((network.backend.tx_checksum(), network.warnings.len()), (Some(meant), 0), "{text}");
            }
        }
    }

    #[test]
    fn what_is_none_of_the_three_is_a_mistake_with_its_key() {
        for (written, said) in [(r#""of""#, "Backend.TxChecksum"), ("false", "write a text in quotes")] {
            let backend = format!(r#"{{"Type": "vxlan", "TxChecksum": {written}}}"#);
            let text = format!(r#"{{"Network": "10.244.0.0/16", "Backend": {backend}}}"#);
            let mistakes = read(&text, Division::Claimed).unwrap_err().to_string();
            assert!(mistakes.contains(said), "{mistakes}");
        }
        let host_gw = r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "host-gw", "TxChecksum": "off"}}"#;
        assert!(read(host_gw, Division::Claimed).unwrap().warnings[0].contains("TxChecksum is not a known key"));
    }
}

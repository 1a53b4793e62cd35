//! Who computes checksums on this node's tunnel devices: what net-conf.json says, else the kernel where a device was found so, else
//! what the trial found.
//!
//! A device that computes them itself when the daemon starts was told to by somebody, for nothing else does that: a person or a udev
//! rule, as flannel's manual advises where a network card gets them wrong, which no trial sees. So it stays until a trial is asked for
//! by hand.

use std::collections::{BTreeMap, BTreeSet};

use backends::offload::{Offload, TxChecksum};
use backends::{Backend, LinkName};

use super::Node;
use crate::offloads::{Order, Report, Verdict};

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct OwnOffloads {
    /// Devices that were there when the daemon started and computed checksums themselves.
    found: BTreeSet<LinkName>,
    /// What trials came to, by the backend's name.
    verdicts: BTreeMap<&'static str, Verdict>,
    /// How many trials were asked for by hand.
    asked: u64,
}

impl Node {
    /// Takes which of the devices that are there already compute checksums themselves.
    pub fn on_software_checksums(&mut self, devices: BTreeSet<LinkName>) {
        self.offloads.found = devices;
    }

    /// Takes what a trial came to.
    pub fn on_trial(&mut self, report: Option<&Report>) {
        let Some(Report { backend, verdict, number }) = report else { return };
        let asked_for = *number > 0 && verdict.tried;
        if asked_for && !std::mem::take(&mut self.offloads.found).is_empty() {
            self.changed = true;
        }
        if self.offloads.verdicts.get(backend) != Some(verdict) {
            tracing::info!("checksum offload of {backend}: {}; {}", verdict.offload, verdict.reason);
            self.changed = true;
        }
        self.offloads.verdicts.insert(backend, verdict.clone());
    }

    /// The trial to be made; `None` while there is nothing to be tried.
    pub fn trial(&self) -> Option<Order> {
        let backend = &self.network.as_ref()?.backend;
        // Nobody else can see the checksums in what WireGuard encrypts: it makes them whole before.
        let tried = matches!(backend, Backend::Vxlan(_) | Backend::Ipip(_));
        let wanted = backend.tx_checksum()? == TxChecksum::Auto || self.offloads.asked > 0;
        let backend = backend.clone().with_tx_checksum(TxChecksum::Auto);
        (tried && wanted).then_some(Order { backend, mtu: self.uplink.as_ref()?.mtu, number: self.offloads.asked })
    }

    /// Asks for another trial; its number.
    ///
    /// # Errors
    /// One sentence: why there is none.
    pub fn try_again(&mut self) -> Result<u64, String> {
        self.offloads.asked += 1;
        match self.trial() {
            Some(order) => Ok(order.number),
            None => {
                self.offloads.asked -= 1;
                Err(match &self.network {
                    Some(network) if self.uplink.is_some() => {
                        format!(
                            "the backend {} has no device whose checksum offload could be tried",
                            network.backend.name()
                        )
                    }
                    _ => "the network or the uplink is not known yet, see `towpathctl status`".to_owned(),
                })
            }
        }
    }

    /// What the network's backend has, how net-conf.json says it, and why; `None` where there is no such device.
    pub fn tx_checksum(&self) -> Option<(Offload, TxChecksum, String)> {
        let backend = &self.network.as_ref()?.backend;
        let said = backend.tx_checksum()?;
        let reason = match (said, self.offloads.verdicts.get(backend.name())) {
            (TxChecksum::Fixed(_), _) => "net-conf.json says so (TxChecksum)".to_owned(),
            (TxChecksum::Auto, _) if self.was_found_off(backend) => {
                "the device had it off when the daemon started; `towpathctl probe offloads` tries and decides anew"
                    .to_owned()
            }
            (TxChecksum::Auto, Some(verdict)) => verdict.reason.clone(),
            (TxChecksum::Auto, None) if matches!(backend, Backend::WireGuard(_)) => {
                "checksums are made before the packet is encrypted, so there is nothing to be tried".to_owned()
            }
            (TxChecksum::Auto, None) => "it is not tried yet, and as the kernel has it".to_owned(),
        };
        Some((self.offload(backend)?, said, reason))
    }

    /// A backend with that decided.
    pub(super) fn with_offload(&self, backend: Backend) -> Backend {
        match self.offload(&backend) {
            Some(offload) => backend.with_tx_checksum(TxChecksum::Fixed(offload)),
            None => backend,
        }
    }

    fn offload(&self, backend: &Backend) -> Option<Offload> {
        Some(match (backend.tx_checksum()?, self.offloads.verdicts.get(backend.name())) {
            (TxChecksum::Fixed(offload), _) => offload,
            (TxChecksum::Auto, _) if self.was_found_off(backend) => Offload::Off,
            (TxChecksum::Auto, Some(verdict)) => verdict.offload,
            (TxChecksum::Auto, None) => Offload::On,
        })
    }

    fn was_found_off(&self, backend: &Backend) -> bool {
        backend.devices().any(|device| self.offloads.found.contains(device))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::ask::fixture::{NETWORK, link, noon, settled, tell};
    use crate::store::Event;

    fn report(number: u64, offload: Offload, tried: bool) -> Report {
        Report { number, backend: "vxlan", verdict: Verdict { offload, tried, reason: "so it is".to_owned() } }
    }

    fn said(node: &Node) -> (Offload, &'static str, String) {
        let (offload, said, reason) = node.tx_checksum().unwrap();
        (offload, said.as_str(), reason)
    }

    #[test]
    fn what_the_trial_says_is_done_and_nothing_when_it_is_so_already() {
        let (mut reconciler, mut kernel) = settled();
        assert_eq!(
            said(&reconciler.node),
            (Offload::On, "auto", "it is not tried yet, and as the kernel has it".to_owned())
        );
        let looks = reconciler.record.looks;
        for (offload, more) in [(Offload::On, 0), (Offload::Off, 1), (Offload::Off, 0), (Offload::On, 1)] {
            let before = reconciler.record.looks;
            reconciler.node.on_trial(Some(&report(0, offload, true)));
            reconciler.turn(&mut kernel, noon().now);
            assert_eq!((said(&reconciler.node).0, reconciler.record.looks - before), (offload, more));
            assert_eq!(kernel.state.software_checksums.contains(&link("flannel.1")), offload == Offload::Off);
            assert_eq!(kernel.state.software_checksums.contains(&link("flannel-v6.1")), offload == Offload::Off);
        }
        assert_eq!(reconciler.record.looks, looks + 2);
    }

    #[test]
    fn the_configuration_wins_over_every_trial() {
        let (mut reconciler, mut kernel) = settled();
        let off = NETWORK.replace(r#""vxlan""#, r#""vxlan", "TxChecksum": "off""#);
        tell(&mut reconciler, Event::Network(off));
        reconciler.node.on_trial(Some(&report(0, Offload::On, true)));
        reconciler.turn(&mut kernel, noon().now);
        assert_eq!(said(&reconciler.node), (Offload::Off, "off", "net-conf.json says so (TxChecksum)".to_owned()));
        assert!(kernel.state.software_checksums.contains(&link("flannel.1")));
        assert_eq!(reconciler.node.trial(), None, "there is nothing to be found out");
        assert_eq!(reconciler.node.try_again(), Ok(1), "unless somebody asks");
        tell(&mut reconciler, Event::Network(NETWORK.to_owned()));
        reconciler.turn(&mut kernel, noon().now);
        assert!(kernel.state.software_checksums.is_empty());
    }

    #[test]
    fn a_device_that_was_found_off_stays_so_until_a_trial_is_asked_for() {
        let (mut reconciler, mut kernel) = settled();
        reconciler.node.on_software_checksums([link("flannel.1")].into());
        for automatic in [report(0, Offload::On, true), report(1, Offload::On, false)] {
            reconciler.node.on_trial(Some(&automatic));
            reconciler.turn(&mut kernel, noon().now);
            let (offload, _, reason) = said(&reconciler.node);
            assert!(offload == Offload::Off && reason.contains("towpathctl probe offloads"), "{reason}");
        }
        reconciler.node.on_trial(Some(&report(2, Offload::On, true)));
        reconciler.turn(&mut kernel, noon().now);
        assert_eq!(said(&reconciler.node), (Offload::On, "auto", "so it is".to_owned()));
    }

    #[test]
    fn a_backend_without_such_devices_has_no_trial() {
        let (mut reconciler, _) = settled();
        tell(&mut reconciler, Event::Network(NETWORK.replace("vxlan", "host-gw")));
        assert_eq!((reconciler.node.tx_checksum(), reconciler.node.trial()), (None, None));
        let refused = reconciler.node.try_again().unwrap_err();
        assert!(refused.contains("host-gw has no device"), "{refused}");
        tell(&mut reconciler, Event::Network(NETWORK.replace("vxlan", "wireguard")));
        let (offload, _, reason) = said(&reconciler.node);
        assert!(offload == Offload::On && reason.contains("before the packet is encrypted"), "{reason}");
        assert!(reconciler.node.try_again().is_err());
    }
}

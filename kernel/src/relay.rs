//! The proxy behind the hand's TUN device, seen and changed as if it were the kernel's: what it is set to is observed, and a
//! plan's changes set it. So a restart, a deleted device and a peer that moves are differences like all others.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use backends::LinkName;
use backends::state::{KernelState, LinkKind, Proxy as Wanted, RelayKey};

use crate::codec::tun;
use crate::error::{Error, Refusal, Result};
use crate::hand::Hand;
use crate::proxy::{Place, Proxy, Traffic};

/// What a machine lacks that has no TUN devices.
pub(crate) const NO_TUN: &str = "TUN devices: it needs the module tun, or CONFIG_TUN built in";

/// The proxy, if there is one, and what it was told.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    proxy: Option<Proxy>,
    rows: BTreeMap<RelayKey, Ipv4Addr>,
    /// Whether the proxy does not have the rows yet.
    untold: bool,
}

impl Relays {
    /// The proxy behind a device, as long as it runs.
    fn behind(&self, link: LinkName) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|proxy| proxy.place().device == link && proxy.runs())
    }
}

impl Hand {
    /// What became of packets that went by the udp backend's proxy; `None` while there is none.
    pub fn traffic(&self) -> Option<Traffic> {
        self.relays.proxy.as_ref().map(Proxy::traffic)
    }

    /// Fills in who is behind TUN devices, and what goes where.
    pub(crate) fn proxies(&self, state: &mut KernelState) {
        for (name, link) in &mut state.links {
            if !matches!(&link.kind, LinkKind::Other(kind) if kind == tun::NAME) {
                continue;
            }
            let proxy = self.relays.behind(*name);
            link.kind = LinkKind::Tun(proxy.map(|proxy| {
                let Place { local, subnet, .. } = proxy.place();
                Wanted { local, subnet }
            }));
            if proxy.is_some() {
                let here = self.relays.rows.iter().filter(|(key, _)| key.link == *name);
                state.relays.extend(here.map(|(key, peer)| (*key, *peer)));
            }
        }
    }

    /// Puts a proxy behind a TUN device, in the place of whatever was. What goes where it keeps.
    pub(crate) fn relay(&mut self, device: LinkName, wanted: &Wanted) -> Result<()> {
        // The device takes one at a time, and so does the port.
        self.relays.proxy = None;
        let Wanted { local, subnet } = *wanted;
        self.relays.proxy = Some(Proxy::start(Place { device, local, subnet })?);
        self.relays.untold = true;
        self.writes += 1;
        Ok(())
    }

    /// Lets a device go that is to be deleted.
    pub(crate) fn no_relay(&mut self, device: LinkName) {
        self.relays.proxy.take_if(|proxy| proxy.place().device == device);
        self.relays.rows.retain(|key, _| key.link != device);
    }

    /// Has a subnet's packets sent to a peer, or to nobody. It counts from [`Hand::tell_relays`] on.
    pub(crate) fn set_relay(&mut self, key: RelayKey, peer: Option<Ipv4Addr>) -> Result<()> {
        self.writes += 1;
        self.relays.untold = true;
        let Some(peer) = peer else {
            self.relays.rows.remove(&key);
            return Ok(());
        };
        if self.relays.behind(key.link).is_none() {
            let words = Some(format!("no proxy of ours is behind {}", key.link));
            let refusal = Refusal { errno: libc::ENODEV, words };
            return Err(Error::Refused { doing: format!("sending packets for {} in datagrams", key.subnet), refusal });
        }
        self.relays.rows.insert(key, peer);
        Ok(())
    }

    /// Gives the proxy its table, once for all that changed.
    pub(crate) fn tell_relays(&mut self) {
        if std::mem::take(&mut self.relays.untold)
            && let Some(proxy) = &self.relays.proxy
        {
            let device = proxy.place().device;
            let here = self.relays.rows.iter().filter(|(key, _)| key.link == device);
            proxy.tell(here.map(|(key, peer)| (key.subnet, *peer)));
        }
    }
}

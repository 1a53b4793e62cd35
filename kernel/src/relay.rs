//! The proxies behind the hand's TUN devices, seen and changed as if they were the kernel's: what they are set to is observed, and a
//! plan's changes set them. So a restart, a deleted device and a peer that moves are differences like all others.

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

/// The proxies, two while one port is changed for another, and what they were told.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    proxies: BTreeMap<LinkName, Proxy>,
    rows: BTreeMap<RelayKey, Ipv4Addr>,
    /// Rows that the proxies were not told of yet.
    untold: Vec<RelayKey>,
}

impl Relays {
    /// The proxy behind a device, as long as it runs.
    fn behind(&self, link: LinkName) -> Option<&Proxy> {
        self.proxies.get(&link).filter(|proxy| proxy.runs())
    }
}

impl Hand {
    /// What became of packets that went by the udp backend's proxies; `None` while there is none.
    pub fn traffic(&self) -> Option<Traffic> {
        self.relays.proxies.values().map(Proxy::traffic).reduce(|sum, more| sum + more)
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
        self.relays.proxies.retain(|other, proxy| *other != device && proxy.place().local != wanted.local);
        let Wanted { local, subnet } = *wanted;
        let proxy = Proxy::start(Place { device, local, subnet })?;
        let here = self.relays.rows.iter().filter(|(key, _)| key.link == device);
        proxy.tell(here.map(|(key, peer)| (key.subnet, Some(*peer))));
        self.relays.proxies.insert(device, proxy);
        self.writes += 1;
        Ok(())
    }

    /// Lets a device go that is to be deleted.
    pub(crate) fn no_relay(&mut self, device: LinkName) {
        self.relays.proxies.remove(&device);
        self.relays.rows.retain(|key, _| key.link != device);
    }

    /// Has a subnet's packets sent to a peer, or to nobody. It counts from [`Hand::tell_relays`] on.
    pub(crate) fn set_relay(&mut self, key: RelayKey, peer: Option<Ipv4Addr>) -> Result<()> {
        self.writes += 1;
        let Some(peer) = peer else {
            self.relays.rows.remove(&key);
            self.relays.untold.push(key);
            return Ok(());
        };
        if self.relays.behind(key.link).is_none() {
            let words = Some(format!("no proxy of ours is behind {}", key.link));
            let refusal = Refusal { errno: libc::ENODEV, words };
            return Err(Error::Refused { doing: format!("sending packets for {} in datagrams", key.subnet), refusal });
        }
        self.relays.rows.insert(key, peer);
        self.relays.untold.push(key);
        Ok(())
    }

    /// Tells the proxies what changed, once for all of it.
    pub(crate) fn tell_relays(&mut self) {
        let Relays { proxies, rows, untold } = &mut self.relays;
        for (device, proxy) in proxies {
            let here = untold.iter().filter(|key| key.link == *device);
            proxy.tell(here.map(|key| (key.subnet, rows.get(key).copied())));
        }
        untold.clear();
    }
}

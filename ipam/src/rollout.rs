//! [`Rollout`]: what a lease says, beside what flannel's do, of the ways of carrying packets that its node has: by which it is
//! reached now, by which it is going to be, and how far it is. Each way is named by its [`Carrier`].
//!
//! What a node concludes from its own and the others' is `backends::rollout`'s business.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{BackendData, Stack};

/// A way of carrying packets: the backend's name, and what both ends must have in common: `vxlan vni=1 port=8472`,
/// `host-gw`. Nodes that say the same can reach each other by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Carrier(Arc<str>);

/// Why a text names no way of carrying packets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no way of carrying packets: a backend and its settings, as in `vxlan vni=1 port=8472`")]
pub struct CarrierError {
    /// The text that was refused, cut to 64 characters.
    pub text: String,
}

impl Carrier {
    /// Octets of the longest.
    const LONGEST: usize = 120;

    /// Checks and takes a name: words of printable ASCII with single spaces between.
    ///
    /// # Errors
    /// [`CarrierError`] when it is something else.
    pub fn new(text: &str) -> Result<Carrier, CarrierError> {
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
        if text.len() > Carrier::LONGEST || !text.split(' ').all(is_word) {
            return Err(CarrierError { text: text.chars().take(64).collect() });
        }
        Ok(Carrier(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The backend's name in net-conf.json.
    pub fn backend(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }

    /// A setting: the `8472` of `port=8472`.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.0.split(' ').skip(1).find_map(|word| word.split_once('=').filter(|(key, _)| *key == name)).map(|it| it.1)
    }

    /// Whether a lease with this data may be reached by it, as far as flannel's words go.
    pub fn fits(&self, data: &BackendData) -> bool {
        let vni = match data {
            BackendData::Vxlan { vni, .. } => Some(*vni),
            _ => None,
        };
        self.fits_words(data.backend_type(), vni)
    }

    /// Flannel's words name backend and VNI, but nothing else; and for some backends not even that.
    pub fn fits_words(&self, backend: &str, vni: Option<u32>) -> bool {
        match (backend, vni) {
            ("vxlan", vni) => {
                self.backend() == "vxlan" && vni.is_some() && self.setting("vni").and_then(|it| it.parse().ok()) == vni
            }
            ("", _) => ["alloc", "udp"].contains(&self.backend()),
            (name, _) => name == self.backend(),
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Carrier {
    type Error = CarrierError;

    fn try_from(text: String) -> Result<Carrier, CarrierError> {
        Carrier::new(&text)
    }
}

impl From<Carrier> for String {
    fn from(carrier: Carrier) -> String {
        carrier.as_str().to_owned()
    }
}

/// How far a node is on its way from one carrier to another, as it publishes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rollout {
    /// By which it may send to anybody, and be sent to: the one that its flannel data are of.
    pub main: Carrier,
    /// By which it wants to send: its configuration's. It may send by it to whoever is ready for it.
    pub target: Carrier,
    /// Whether it is: it receives by `target` from all nodes that it knew of when it said so, all of which wanted the same.
    pub ready: bool,
    /// Grows with every change of `target`, and to the greatest that a node has seen when it becomes ready: who has seen
    /// whose word can be told from it (Lamport, "Time, Clocks, and the Ordering of Events", 1978).
    pub clock: u64,
    /// The other ways by which it can receive.
    pub spares: Box<[Spare]>,
    /// Octets of an outer packet that it can take and send; `None` of a node that does not say.
    pub mtu: Option<u32>,
}

/// A way by which a node can receive beside its main one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Spare {
    /// Its name.
    pub carrier: Carrier,
    /// The clock when others were last told that they may send by it; 0: never.
    pub promised: u64,
    /// The backend's own data, per family.
    pub data: Stack<BackendData>,
}

impl Rollout {
    /// Of a node that has one way, and no other before it.
    pub fn settled(carrier: Carrier, clock: u64) -> Rollout {
        Rollout { target: carrier.clone(), main: carrier, ready: true, clock, spares: Box::default(), mtu: None }
    }

    /// What is said of a way beside the main one.
    pub fn spare(&self, carrier: &Carrier) -> Option<&Spare> {
        self.spares.iter().find(|spare| spare.carrier == *carrier)
    }

    /// Whether nothing is changing.
    pub fn is_settled(&self) -> bool {
        self.main == self.target && self.ready && self.spares.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Mac;

    #[test]
    fn a_name_is_words_with_single_spaces() {
        let carrier = Carrier::new("vxlan vni=1 port=8472").unwrap();
        assert_eq!((carrier.backend(), carrier.setting("port"), carrier.setting("gbp")), ("vxlan", Some("8472"), None));
        for text in ["", " ", "vxlan  vni=1", "vxlan\n", "vxlan ", "\u{e4}", &"x".repeat(121)] {
            assert!(Carrier::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn flannels_words_name_backend_and_vni() {
        let vxlan = |vni| BackendData::Vxlan { vni, mac: Mac([2; 6]) };
        let carrier = Carrier::new("vxlan vni=1 port=8472").unwrap();
        assert!(carrier.fits(&vxlan(1)) && !carrier.fits(&vxlan(2)));
        assert!(!carrier.fits(&BackendData::Other("host-gw".into())));
        assert!(Carrier::new("host-gw").unwrap().fits(&BackendData::Other("host-gw".into())));
        assert!(Carrier::new("udp port=8285").unwrap().fits(&BackendData::Other("".into())));
    }
}

//! The paths to other nodes are measured, where that is asked for (`PathProbe`): a path that drops what is too large without a
//! word shows in nothing else than connections that hang. [`kernel::path`] measures; this says when, and what came of it.
//!
//! It only says: an MTU that followed a measurement would shrink the whole cluster's with one packet that is lost for another reason.

use std::net::IpAddr;
use std::time::Duration;

use kernel::path::{Carried, largest};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::pod_mtu::{Notes, Order, note};

/// How often all paths are measured without a reason.
const AGAIN: Duration = Duration::from_secs(300);

/// More that are faulty are one fault, and each takes many seconds.
const MOST_FAULTY: usize = 8;

/// Whether paths are measured (`PathProbe`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathProbe {
    /// They are not.
    #[default]
    Off,
    /// Each, with the size of the largest outer packets.
    On,
}

/// What is to be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// Octets of the largest outer packets.
    pub size: u32,
    /// The nodes, by name, and where packets to them are sent.
    pub peers: Vec<(String, IpAddr)>,
}

/// It ends with the node loop.
pub async fn keep(mut orders: watch::Receiver<Order>, say: watch::Sender<Notes>) {
    let mut before = None;
    loop {
        let anew = match timeout(AGAIN, orders.changed()).await {
            Ok(Err(_)) => return,
            Ok(Ok(())) => true,
            Err(_) => false,
        };
        let errand = orders.borrow_and_update().paths.clone();
        if anew && errand == before {
            continue;
        }
        before.clone_from(&errand);
        let now = match errand {
            Some(errand) => {
                let orders = orders.clone();
                let measured = tokio::task::spawn_blocking(move || measure(&errand, &orders)).await;
                measured.unwrap_or_else(|error| vec![format!("the paths to other nodes were not measured: {error}")])
            }
            None => Vec::new(),
        };
        note(&say, |notes| &mut notes.paths, now);
    }
}

/// One after the other, until something else is wanted.
fn measure(errand: &Errand, orders: &watch::Receiver<Order>) -> Vec<String> {
    let wanted = || orders.borrow().paths.as_ref() == Some(errand);
    let peers = errand.peers.iter().take_while(|_| wanted());
    let faulty = peers.filter_map(|peer| fault(peer, errand.size, largest(peer.1, errand.size)));
    faulty.take(MOST_FAULTY).collect()
}

fn fault((node, address): &(String, IpAddr), size: u32, carried: std::io::Result<Carried>) -> Option<String> {
    let whose = format!("the path to node {node} ({address})");
    match carried {
        Ok(Carried::All) => None,
        Ok(Carried::AtMost(octets)) => Some(format!(
            "{whose} carries packets of {octets} octets and drops larger ones, and this node sends {size}: write \"MTU\": {octets} into the \
             Backend, or raise the MTU of what lies between"
        )),
        Ok(Carried::Silent) => Some(format!(
            "{whose} cannot be measured: no probe is answered; let that node refuse UDP to port 33434 by ICMP, which a firewall \
             drops, or set PathProbe to false"
        )),
        Err(error) => Some(format!("{whose} cannot be measured: {error}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_that_carries_less_is_named_with_the_size_and_the_fix() {
        let peer = ("beta".to_owned(), "192.0.2.2".parse().unwrap());
        assert_eq!(fault(&peer, 1500, Ok(Carried::All)), None);
        assert_eq!(
            fault(&peer, 1500, Ok(Carried::AtMost(1400))).unwrap(),
            "the path to node beta (192.0.2.2) carries packets of 1400 octets and drops larger ones, and this node sends 1500: \
             write \"MTU\": 1400 into the Backend, or raise the MTU of what lies between"
        );
        assert!(fault(&peer, 1500, Ok(Carried::Silent)).unwrap().contains("port 33434"));
    }
}

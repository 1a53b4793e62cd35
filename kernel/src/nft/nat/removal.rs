//! Taking out what is somebody's, and with it what nobody needs any more.

use std::net::IpAddr;

use super::element::{self, Data, Element, Set};
use super::program::{self, Goto};
use super::transaction::{Outcome, Transaction};
use super::{ATTEMPTS, Mapping, TABLE, generation};
use crate::error::{Error, Result};
use crate::netlink::Socket;
use crate::nft::{Kind, TABLE_NAME};

/// Removes all whose tag is `unwanted`; gives the host ports among it.
pub(super) fn remove(socket: &mut Socket, unwanted: impl Fn(&str) -> bool) -> Result<Vec<Mapping>> {
    for _ in 0..ATTEMPTS {
        let mut transaction = Transaction::begin(socket, generation)?;
        let mut going = Vec::new();
        for set in Set::owned() {
            going.extend(element::list(socket, set, &unwanted)?);
        }
        if going.is_empty() {
            return Ok(Vec::new());
        }
        let mut staying = Vec::new();
        for set in Set::owned().filter(|set| matches!(set, Set::Flows(_) | Set::Leaving(_))) {
            staying.extend(element::list(socket, set, |tag| !unwanted(tag))?);
        }
        going.iter().for_each(|element| transaction.element(Kind::DeleteElement, element));
        for net in forsaken_networks(socket, &going, &staying)? {
            transaction.element(Kind::DeleteElement, &net);
        }
        for chain in forsaken_chains(&going, &staying) {
            program::delete_chain(&mut transaction, &chain);
        }
        match transaction.commit(socket)? {
            Outcome::Done => return Ok(going.iter().filter_map(Element::as_mapping).collect()),
            Outcome::Stale => std::thread::yield_now(),
            Outcome::Refused { doing, refusal, .. } => return Err(Error::Refused { doing, refusal }),
        }
    }
    Err(Error::Unsettled { doing: format!("writing the nftables table inet {TABLE}"), attempts: ATTEMPTS })
}

/// Whether no pod has anything in the table. One that is not as we write it may be somebody else's.
pub(super) fn is_idle(socket: &mut Socket) -> Result<bool> {
    for set in Set::owned() {
        if !element::list(socket, set, |_| true)?.is_empty() {
            return Ok(false);
        }
    }
    program::is_whole(socket)
}

/// Deletes the whole table unless a pod has something in it, be it since a moment ago: whether it did.
pub(super) fn dismantle(socket: &mut Socket) -> Result<bool> {
    for _ in 0..ATTEMPTS {
        let mut transaction = Transaction::begin(socket, generation)?;
        if !is_idle(socket)? {
            return Ok(false);
        }
        transaction.order((Kind::DeleteTable, 0), "the whole", |body| body.text(TABLE_NAME, TABLE));
        match transaction.commit(socket)? {
            Outcome::Done => return Ok(true),
            Outcome::Stale => std::thread::yield_now(),
            Outcome::Refused { doing, refusal, .. } => return Err(Error::Refused { doing, refusal }),
        }
    }
    Err(Error::Unsettled { doing: format!("deleting the nftables table inet {TABLE}"), attempts: ATTEMPTS })
}

/// The networks in which no pod with a host port is left.
fn forsaken_networks(socket: &mut Socket, going: &[Element], staying: &[Element]) -> Result<Vec<Element>> {
    let pods: Vec<IpAddr> = staying.iter().filter_map(Element::pod).collect();
    let mut forsaken = Vec::new();
    for family in ipam::Family::ALL {
        if going.iter().any(|element| element.set == Set::Flows(family)) {
            let nets = element::list(socket, Set::Near(family), |_| true)?;
            forsaken.extend(
                nets.into_iter().filter(|net| net.as_near().is_some_and(|net| !pods.iter().any(|p| net.contains(p)))),
            );
        }
    }
    Ok(forsaken)
}

/// The chains through which nobody leaves any more.
fn forsaken_chains(going: &[Element], staying: &[Element]) -> Vec<String> {
    let chain = |element: &Element| match (element.set, &element.data) {
        (Set::Leaving(_), Data::Verdict(Goto::Chain(chain))) => Some(chain.clone()),
        _ => None,
    };
    let needed: Vec<String> = staying.iter().filter_map(chain).collect();
    let mut forsaken: Vec<String> = going.iter().filter_map(chain).filter(|chain| !needed.contains(chain)).collect();
    forsaken.sort();
    forsaken.dedup();
    forsaken
}

//! [`Guard`]: pods that may send frames with their own link-layer address only (`macspoofchk`), as nftables of family bridge.
//!
//! One table, one rule, one map from ports to chains; a pod is one chain and one element, both named after its port, so
//! that it costs the same whatever the number of pods and goes by its name alone. As `nft` would:
//! `add element bridge towpath-pods ports { vethX : jump vethX }`, `add rule bridge towpath-pods vethX ether saddr != MAC drop`.

use backends::LinkName;
use ipam::Mac;

use super::batch::Batch;
use super::expression::{Base, Expression};
use super::uapi::{
    DATA_VALUE, DATA_VERDICT, DROP, EXPRESSION_DATA, EXPRESSION_NAME, JUMP, LOOKUP_DREG, LOOKUP_SET, LOOKUP_SREG,
    META_DREG, META_KEY, POLICY_ACCEPT, REGISTER, VERDICT_CHAIN, VERDICT_CODE, VERDICT_REGISTER,
};
use super::{
    Kind, LIST_ELEMENT, RULE_CHAIN, RULE_EXPRESSIONS, RULE_TABLE, SUBSYSTEM, TABLE_NAME,
    chain::{CHAIN_HOOK, CHAIN_NAME, CHAIN_POLICY, CHAIN_TABLE, CHAIN_TYPE, HOOK_NUMBER, HOOK_PRIORITY},
};
use crate::error::{Error, Refusal, Result};
use crate::netlink::{Body, Protocol, Request, Socket};

const TABLE: &str = "towpath-pods";
const MAP: &str = "ports";
const BASE: &str = "prerouting";

/// `struct nfgenmsg` of family bridge (`NFPROTO_BRIDGE`).
const GENERIC: [u8; 4] = [7, 0, 0, 0];
/// `NFT_MSG_NEWSET`, `NFT_MSG_NEWSETELEM`, `NFT_MSG_DELSETELEM`
const NEW_SET: u16 = SUBSYSTEM | 9;
const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
const DELETE_ELEMENT: u16 = SUBSYSTEM | 14;
/// `NFTA_SET_…`, and what our map says of itself: keys are interface names as `nft` knows them, values are verdicts.
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LEN: u16 = 5;
const SET_DATA_TYPE: u16 = 6;
const SET_DATA_LEN: u16 = 7;
const SET_ID: u16 = 10;
const IS_MAP: u32 = 1 << 3;
const INTERFACE_NAME: u32 = 41;
const NAME_LEN: usize = 16;
const VERDICTS: u32 = 0xffff_ff00;
/// `NFTA_SET_ELEM_LIST_…`, `NFTA_SET_ELEM_…`
const ELEMENTS_TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
/// `NF_BR_PRE_ROUTING` at the priority of the reference plugin, `dstnat` of bridges.
const PREROUTING: u32 = 0;
const PRIORITY: i32 = -300;
/// `NFT_META_IIFNAME`
const INPUT_NAME: u32 = 6;

/// What the kernel lacks that refuses the table.
const NO_BRIDGE_TABLES: &str = "nftables of family bridge (CONFIG_NF_TABLES_BRIDGE), which `macspoofchk` needs";

/// The guard over all pods of a node.
#[derive(Debug)]
pub struct Guard {
    socket: Socket,
}

impl Guard {
    /// Opens it in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the system gives no socket.
    pub fn open() -> Result<Guard> {
        Ok(Guard { socket: Socket::open(Protocol::Netfilter)? })
    }

    /// Lets a port send with this address and no other.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a kernel without nftables for bridges; otherwise what it refuses.
    pub fn set(&mut self, port: LinkName, mac: Mac) -> Result<()> {
        match self.commit(|write| pod(write, port, mac))? {
            None => return Ok(()),
            Some(refusal) if refusal.errno != libc::ENOENT => return Err(refused(port, refusal)),
            Some(_) => {}
        }
        // The first such pod of the node, or two of them at this moment.
        if let Some(refusal) = self.commit(base)?.filter(|refusal| refusal.errno != libc::EEXIST) {
            return Err(refused(port, refusal));
        }
        match self.commit(|write| pod(write, port, mac))? {
            None => Ok(()),
            Some(refusal) => Err(refused(port, refusal)),
        }
    }

    /// Takes back what [`Guard::set`] did, if it did.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn remove(&mut self, port: LinkName) -> Result<()> {
        let refusal = self.commit(|write| {
            write.push(DELETE_ELEMENT, 0, |body| element(body, port, |_| {}));
            write.push(Kind::DeleteRule.number(), 0, |body| rule_of(body, port.as_str()));
            write.push(Kind::DeleteChain.number(), 0, |body| chain_of(body, port.as_str()));
        })?;
        // Without the table, or a kernel that has none: nothing was ever set.
        let absent = [libc::ENOENT, libc::EAFNOSUPPORT, libc::EOPNOTSUPP];
        match refusal.filter(|refusal| !absent.contains(&refusal.errno)) {
            None => Ok(()),
            Some(refusal) => Err(refused(port, refusal)),
        }
    }

    /// The ports that are guarded. `nft list chains bridge`
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn ports(&mut self) -> Result<Vec<LinkName>> {
        let request = Request { kind: Kind::GetChain.number(), flags: 0, doing: "listing the guarded ports" };
        let messages = match self.socket.dump(&request, |body| body.fixed(&GENERIC)) {
            Ok(messages) => messages,
            Err(error) if [libc::EAFNOSUPPORT, libc::EOPNOTSUPP].contains(&error.errno()) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut ports = Vec::new();
        for message in messages {
            let attributes = message.attributes(GENERIC.len());
            let text = |kind| attributes.get(kind).and_then(|attribute| attribute.text());
            if text(CHAIN_TABLE) == Some(TABLE) && attributes.get(CHAIN_HOOK).is_none() {
                ports.extend(text(CHAIN_NAME).and_then(|name| LinkName::new(name).ok()));
            }
        }
        Ok(ports)
    }

    /// Does what is written, whole or not at all; the first refusal if there is one.
    fn commit(&mut self, write: impl FnOnce(&mut Writer)) -> Result<Option<Refusal>> {
        let mut writer = Writer { batch: Batch::begin(self.socket.next_sequence(), None) };
        write(&mut writer);
        let refused = writer.batch.commit(&mut self.socket, "writing the nftables table bridge towpath-pods")?;
        Ok(refused.map(|(_, refusal)| refusal))
    }
}

const CREATE: u16 = libc::NLM_F_CREATE as u16;

/// The messages of a transaction.
struct Writer {
    batch: Batch,
}

impl Writer {
    fn push(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Body<'_>)) {
        self.batch.push((kind, flags), |message| {
            message.fixed(&GENERIC);
            body(message);
        });
    }
}

/// The table, its map, and the rule that looks ports up in it.
fn base(write: &mut Writer) {
    let exclusive = CREATE | libc::NLM_F_EXCL as u16;
    write.push(Kind::NewTable.number(), exclusive, |body| body.text(TABLE_NAME, TABLE));
    write.push(NEW_SET, CREATE, |body| {
        body.text(SET_TABLE, TABLE);
        body.text(SET_NAME, MAP);
        body.be32(SET_FLAGS, IS_MAP);
        body.be32(SET_KEY_TYPE, INTERFACE_NAME);
        body.be32(SET_KEY_LEN, NAME_LEN as u32);
        body.be32(SET_DATA_TYPE, VERDICTS);
        body.be32(SET_DATA_LEN, 0);
        body.be32(SET_ID, 1);
    });
    write.push(Kind::NewChain.number(), CREATE, |body| {
        chain_of(body, BASE);
        body.nest(CHAIN_HOOK, |hook| {
            hook.be32(HOOK_NUMBER, PREROUTING);
            hook.be32(HOOK_PRIORITY, PRIORITY.cast_unsigned());
        });
        body.be32(CHAIN_POLICY, POLICY_ACCEPT);
        body.text(CHAIN_TYPE, "filter");
    });
    write.push(Kind::NewRule.number(), CREATE | libc::NLM_F_APPEND as u16, |body| {
        rule_of(body, BASE);
        body.nest(RULE_EXPRESSIONS, |list| {
            list.nest(LIST_ELEMENT, |meta| {
                meta.text(EXPRESSION_NAME, "meta");
                meta.nest(EXPRESSION_DATA, |data| {
                    data.be32(META_DREG, REGISTER);
                    data.be32(META_KEY, INPUT_NAME);
                });
            });
            list.nest(LIST_ELEMENT, |lookup| {
                lookup.text(EXPRESSION_NAME, "lookup");
                lookup.nest(EXPRESSION_DATA, |data| {
                    data.text(LOOKUP_SET, MAP);
                    data.be32(LOOKUP_SREG, REGISTER);
                    data.be32(LOOKUP_DREG, VERDICT_REGISTER);
                });
            });
        });
    });
}

/// A pod's chain, whatever was in it before, and the way there from its port.
fn pod(write: &mut Writer, port: LinkName, mac: Mac) {
    write.push(Kind::NewChain.number(), CREATE, |body| chain_of(body, port.as_str()));
    write.push(Kind::DeleteRule.number(), 0, |body| rule_of(body, port.as_str()));
    write.push(Kind::NewRule.number(), CREATE | libc::NLM_F_APPEND as u16, |body| {
        rule_of(body, port.as_str());
        // The source is the second address of an Ethernet header (IEEE 802.3).
        let source = Expression::Payload { base: Base::Link, offset: 6, length: 6 };
        let other = Expression::Compare { equal: false, value: mac.0.to_vec() };
        body.nest(RULE_EXPRESSIONS, |list| {
            for expression in [source, other, Expression::Verdict(DROP)] {
                list.nest(LIST_ELEMENT, |element| expression.encode(element));
            }
        });
    });
    write.push(NEW_ELEMENT, CREATE, |body| {
        element(body, port, |element| {
            element.nest(ELEMENT_DATA, |data| {
                data.nest(DATA_VERDICT, |verdict| {
                    verdict.be32(VERDICT_CODE, JUMP.cast_unsigned());
                    verdict.text(VERDICT_CHAIN, port.as_str());
                });
            });
        });
    });
}

fn chain_of(body: &mut Body<'_>, name: &str) {
    body.text(CHAIN_TABLE, TABLE);
    body.text(CHAIN_NAME, name);
}

fn rule_of(body: &mut Body<'_>, chain: &str) {
    body.text(RULE_TABLE, TABLE);
    body.text(RULE_CHAIN, chain);
}

fn element(body: &mut Body<'_>, port: LinkName, more: impl FnOnce(&mut Body<'_>)) {
    let mut name = [0; NAME_LEN];
    // An interface's name has at most 15 octets (IFNAMSIZ less the NUL).
    name.iter_mut().zip(port.as_str().bytes()).for_each(|(octet, byte)| *octet = byte);
    body.text(ELEMENTS_TABLE, TABLE);
    body.text(ELEMENTS_SET, MAP);
    body.nest(ELEMENTS, |elements| {
        elements.nest(LIST_ELEMENT, |element| {
            element.nest(ELEMENT_KEY, |key| key.bytes(DATA_VALUE, &name));
            more(element);
        });
    });
}

fn refused(port: LinkName, refusal: Refusal) -> Error {
    let doing = format!("guarding the link-layer address of {port}");
    if refusal.errno == libc::EAFNOSUPPORT || refusal.is_unsupported() {
        return Error::Unsupported { doing, feature: NO_BRIDGE_TABLES, refusal };
    }
    Error::Refused { doing, refusal }
}

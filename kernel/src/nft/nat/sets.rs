//! The table's sets and maps, empty.

use ipam::Family;

use super::element::{self, Set, length};
use super::transaction::Transaction;
use super::{Protocol, TABLE};
use crate::nft::Kind;

/// The protocols that have ports: `nft` takes its own listing back only if rules say that they are meant.
pub(super) const PROTOCOLS: &str = "protocols";

/// `NFTA_SET_…`
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LENGTH: u16 = 5;
const SET_DATA_TYPE: u16 = 6;
const SET_DATA_LENGTH: u16 = 7;
const SET_ID: u16 = 10;
/// `NFT_SET_INTERVAL`, `NFT_SET_MAP`, `NFT_DATA_VERDICT`
const INTERVAL: u32 = 4;
const MAP: u32 = 8;
const VERDICTS: u32 = 0xffff_ff00;
/// The numbers of `nft`'s own types (its include/datatype.h), six bits for each part of a concatenation.
const IPV4: u32 = 7;
const IPV6: u32 = 8;
const PROTOCOL: u32 = 12;
const PORT: u32 = 13;

/// Makes them all, where they are not there.
pub(super) fn write(transaction: &mut Transaction) {
    let mut id = 0;
    let mut set =
        |transaction: &mut Transaction, name: &str, flags: u32, key: (u32, usize), data: Option<(u32, usize)>| {
            id += 1;
            transaction.order((Kind::NewSet, libc::NLM_F_CREATE), name, |body| {
                body.text(SET_TABLE, TABLE);
                body.text(SET_NAME, name);
                body.be32(SET_FLAGS, flags);
                body.be32(SET_KEY_TYPE, key.0);
                body.be32(SET_KEY_LENGTH, key.1 as u32);
                if let Some((kind, length)) = data {
                    body.be32(SET_DATA_TYPE, kind);
                    body.be32(SET_DATA_LENGTH, length as u32);
                }
                body.be32(SET_ID, id);
            });
        };
    set(transaction, PROTOCOLS, 0, (PROTOCOL, 1), None);
    set(transaction, Set::Loopback.name(), MAP, (PROTOCOL << 6 | PORT, 8), Some((IPV6, 16)));
    for family in Family::ALL {
        let address = match family {
            Family::V4 => IPV4,
            Family::V6 => IPV6,
        };
        let length = length(family);
        let port = (PROTOCOL << 6 | PORT, 8);
        let target = Some((address << 6 | PORT, length + 4));
        let addressed = (address << 12 | port.0, length + 8);
        set(transaction, Set::Ports(family).name(), MAP, port, target);
        set(transaction, Set::Addressed(family).name(), MAP, addressed, target);
        set(transaction, Set::Flows(family).name(), MAP, addressed, Some((VERDICTS, 0)));
        set(transaction, Set::Near(family).name(), INTERVAL, (address, length), None);
        set(transaction, Set::Leaving(family).name(), MAP, (address, length), Some((VERDICTS, 0)));
    }
    transaction.order((Kind::NewElement, libc::NLM_F_CREATE), PROTOCOLS, |body| {
        let keys = Protocol::ALL.map(|protocol| [protocol.number()]);
        element::write_keys(body, PROTOCOLS, keys.iter().map(<[u8; 1]>::as_slice));
    });
}

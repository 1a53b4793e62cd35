//! Connection tracking: forgetting UDP flows through a host port, so that a client that never stops sending reaches the
//! pod that has the port now. `conntrack -D -p udp --orig-port-dst N`, without a process.
//!
//! A UDP flow has no beginning that the kernel could see; as long as packets come, its entry says where they go, whatever
//! the rules say by then. TCP and SCTP begin anew by themselves.

use std::net::IpAddr;

use ipam::Family;

use crate::codec::address;
use crate::error::{Error, Result};
use crate::netlink::{Attributes, Protocol as Netlink, Request, Socket};
use crate::nft::nat::{Mapping, Protocol};

/// `NFNL_SUBSYS_CTNETLINK` with `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE`.
const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
/// Octets of `struct nfgenmsg`.
const GENERIC_LEN: usize = 4;
/// `CTA_…`
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
/// `CTA_TUPLE_…`, `CTA_IP_…`, `CTA_PROTO_…`
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const SOURCE: [u16; 2] = [1, 3];
const DESTINATION: [u16; 2] = [2, 4];
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_DESTINATION_PORT: u16 = 3;
/// `CTA_FILTER_ORIG_FLAGS`, and of its bits `CTA_FILTER_FLAG(CTA_PROTO_NUM)` and `…(CTA_PROTO_DST_PORT)`.
const FILTER_ORIGINAL: u16 = 1;
const FILTER_PROTOCOL_AND_PORT: u32 = 1 << 3 | 1 << 5;

/// Forgets the flows that came in by these host ports, as far as they are UDP, and do not lead to their pods (after ADD), or
/// do (after DEL). The socket is one of [`Netlink::Netfilter`].
///
/// # Errors
/// When the kernel refuses; a kernel without connection tracking by netlink has nothing to forget that we could.
pub fn forget(socket: &mut Socket, mappings: &[Mapping], which: Which) -> Result<()> {
    let mut mappings = mappings.iter().filter(|mapping| mapping.protocol == Protocol::Udp).peekable();
    if mappings.peek().is_none() {
        return Ok(());
    }
    let own = node_addresses()?;
    for mapping in mappings {
        let mut entries = list(socket, mapping)?;
        entries.retain(|entry| {
            let through = match mapping.host {
                Some(host) => entry.destination == host,
                // All of 127.0.0.0/8 is the node's without being addresses of it.
                None => own.contains(&entry.destination) || entry.destination.is_loopback(),
            };
            through && (entry.answerer == mapping.pod) == (which == Which::ToPod)
        });
        for entry in entries {
            delete(socket, mapping, &entry)?;
        }
    }
    Ok(())
}

/// Which flows to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that lead to the mapping's pod.
    ToPod,
    /// Those that lead elsewhere: to a pod that had the port before, or to the node itself.
    Elsewhere,
}

/// A flow.
struct Entry {
    /// Where its first packet was meant for.
    destination: IpAddr,
    /// Who answers.
    answerer: IpAddr,
    original: Vec<u8>,
    id: Option<u32>,
    zone: Option<u16>,
}

impl Entry {
    /// Reads a flow if it is one through the port.
    fn read(attributes: Attributes<'_>, port: u16) -> Option<Entry> {
        let original = attributes.get(TUPLE_ORIGINAL)?;
        let protocol = original.nested().get(TUPLE_PROTOCOL)?.nested();
        // Kernels before 5.8 do not filter.
        let same = protocol.get(PROTOCOL_NUMBER)?.u8()? == Protocol::Udp.number()
            && protocol.get(PROTOCOL_DESTINATION_PORT)?.be16()? == port;
        let address = |tuple: Attributes<'_>, kinds: [u16; 2]| {
            let ip = tuple.get(TUPLE_IP)?.nested();
            kinds.into_iter().find_map(|kind| ip.get(kind)?.address())
        };
        let entry = Entry {
            destination: address(original.nested(), DESTINATION)?,
            answerer: address(attributes.get(TUPLE_REPLY)?.nested(), SOURCE)?,
            original: original.bytes.to_vec(),
            id: attributes.get(ID).and_then(|id| id.be32()),
            zone: attributes.get(ZONE).and_then(|zone| zone.be16()),
        };
        same.then_some(entry)
    }
}

fn generic(family: Family) -> [u8; GENERIC_LEN] {
    let family = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    [family as u8, 0, 0, 0]
}

fn list(socket: &mut Socket, mapping: &Mapping) -> Result<Vec<Entry>> {
    let doing = format!("listing the UDP flows through port {}", mapping.host_port);
    let request = Request { kind: GET, flags: 0, doing: &doing };
    let filtered = ask(socket, &request, mapping, Filter::ByKernel);
    match filtered {
        // Filters came with Linux 5.8; before, the attribute is not known, or is passed over.
        Err(Error::Refused { .. }) => ask(socket, &request, mapping, Filter::ByUs),
        filtered => filtered,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Filter {
    ByKernel,
    ByUs,
}

fn ask(socket: &mut Socket, request: &Request<'_>, mapping: &Mapping, filter: Filter) -> Result<Vec<Entry>> {
    let answers = socket.dump(request, |body| {
        body.fixed(&generic(mapping.family()));
        if filter == Filter::ByKernel {
            body.nest(TUPLE_ORIGINAL, |tuple| {
                tuple.nest(TUPLE_PROTOCOL, |protocol| {
                    protocol.u8(PROTOCOL_NUMBER, Protocol::Udp.number());
                    protocol.be16(PROTOCOL_DESTINATION_PORT, mapping.host_port);
                });
            });
            body.nest(FILTER, |nest| nest.u32(FILTER_ORIGINAL, FILTER_PROTOCOL_AND_PORT));
        }
    })?;
    Ok(answers.filter_map(|message| Entry::read(message.attributes(GENERIC_LEN), mapping.host_port)).collect())
}

fn delete(socket: &mut Socket, mapping: &Mapping, entry: &Entry) -> Result<()> {
    let doing = format!("forgetting a UDP flow through port {}", mapping.host_port);
    let request = Request { kind: DELETE, flags: 0, doing: &doing };
    let deleted = socket.request(&request, |body| {
        body.fixed(&generic(mapping.family()));
        body.bytes(TUPLE_ORIGINAL | libc::NLA_F_NESTED as u16, &entry.original);
        if let Some(zone) = entry.zone {
            body.be16(ZONE, zone);
        }
        if let Some(id) = entry.id {
            body.be32(ID, id);
        }
    });
    match deleted {
        // It ended meanwhile.
        Err(Error::Refused { refusal, .. }) if refusal.errno == libc::ENOENT => Ok(()),
        deleted => deleted,
    }
}

/// What the node answers for.
fn node_addresses() -> Result<Vec<IpAddr>> {
    let mut socket = Socket::open(Netlink::Route)?;
    let request = Request { kind: address::GET, flags: 0, doing: "listing the node's addresses" };
    // `struct ifaddrmsg`: any family, any link.
    let messages = socket.dump(&request, |body| body.fixed(&[0; 8]))?;
    Ok(messages.filter_map(|message| address::Entry::read(&message)).map(|entry| entry.net.addr()).collect())
}

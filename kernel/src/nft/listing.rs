//! The names of all tables of our family.

use super::{GENERIC, Kind, NO_NFTABLES, TABLE_NAME};
use crate::error::{Error, Refusal, Result};
use crate::netlink::{Protocol, Request, Socket};

/// The names of all tables of family `inet`, whosever they are. `nft list tables inet`
///
/// # Errors
/// [`Error::Unsupported`] on a kernel without nftables.
pub fn tables() -> Result<Vec<String>> {
    let doing = "listing the nftables tables";
    let unsupported = |refusal| Error::Unsupported { doing: doing.to_owned(), feature: NO_NFTABLES, refusal };
    let mut socket = Socket::open(Protocol::Netfilter).map_err(|error| match error {
        Error::System { source, .. } if source.raw_os_error() == Some(libc::EPROTONOSUPPORT) => {
            unsupported(Refusal { errno: libc::EPROTONOSUPPORT, words: None })
        }
        other => other,
    })?;
    let request = Request { kind: Kind::GetTable.number(), flags: 0, doing };
    let answers = socket.dump(&request, |body| body.fixed(&GENERIC)).map_err(|error| match error {
        // What nfnetlink_rcv_msg says when nobody registered for the subsystem.
        Error::Refused { refusal, .. } if refusal.errno == libc::EINVAL || refusal.is_unsupported() => {
            unsupported(refusal)
        }
        other => other,
    })?;
    let name = |message: crate::netlink::Message<'_>| {
        Some(message.attributes(GENERIC.len()).get(TABLE_NAME)?.text()?.to_owned())
    };
    Ok(answers.filter_map(name).collect())
}

//! A lease as a file: `leases/10.244.3.0-24.json`, or `leases/fd00:1:0:3::-64.json` where there is no IPv4.
//!
//! ```json
//! {
//!   "node": "worker-3",
//!   "subnets": ["10.244.3.0/24", "fd00:1:0:3::/64"],
//!   "acquired": "2026-11-21T12:00:00Z",
//!   "renewed": "2026-11-21T12:00:00Z",
//!   "expires": "2026-11-22T12:00:00Z",
//!   "PublicIP": "192.0.2.13",
//!   "PublicIPv6": "2001:db8::13",
//!   "BackendType": "vxlan",
//!   "BackendData": { "VNI": 1, "VtepMAC": "02:42:c0:00:02:0d" },
//!   "BackendV6Data": { "VNI": 1, "VtepMAC": "02:42:c0:00:02:0e" }
//! }
//! ```
//!
//! Reading is careful (anybody may have put anything there); where files are put is `place`'s business.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use ipam::{Family, Lease, LeaseKey, NodeName, Stack};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::store::attributes::{Attributes, MAX_BYTES, fit};
use crate::store::subnet_key::{self, cut};
use crate::store::utc::Utc;

/// What a lease file says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseFile {
    /// Who holds the lease.
    pub node: NodeName,
    /// The pod subnets, one of a family.
    pub subnets: Vec<IpNet>,
    /// When the lease was first taken: its age among others that claim the same.
    pub acquired: Utc,
    /// When it was last written by its holder.
    pub renewed: Utc,
    /// When it ends, unless it is renewed.
    pub expires: Utc,
    /// How to reach the holder, in flannel's words.
    #[serde(flatten)]
    pub attributes: Attributes,
}

impl LeaseFile {
    /// The pod subnets by family.
    ///
    /// # Errors
    /// A clause that says what is wrong.
    pub fn stack(&self) -> Result<Stack<IpNet>, String> {
        let of = |family| self.subnets.iter().copied().filter(move |net| Family::of_net(net) == family);
        if let Some(net) = self.subnets.iter().find(|net| **net != net.trunc()) {
            return Err(format!("its subnet {net} has host bits set"));
        }
        if Family::ALL.into_iter().any(|family| of(family).count() > 1) {
            return Err("it names two subnets of one family".to_owned());
        }
        Stack::from_options(of(Family::V4).next(), of(Family::V6).next()).ok_or_else(|| "it names no subnet".to_owned())
    }

    /// The lease that the file is, if it can be one.
    ///
    /// # Errors
    /// A clause that says what is wrong.
    pub fn lease(&self, key: &LeaseKey, networks: Option<&Stack<IpNet>>) -> Result<Lease, String> {
        let subnets = self.stack()?;
        if name(&subnets) != key.as_str() {
            return Err(format!("it is about {subnets}, which would be {}", name(&subnets)));
        }
        fit(&subnets, networks)?;
        let endpoints = self.attributes.endpoints(&subnets)?;
        let rollout = self.attributes.rollout(&endpoints);
        Ok(Lease { key: key.clone(), node: self.node.clone(), since: self.acquired.seconds(), endpoints, rollout })
    }
}

/// The name of the file that a claim on these subnets is: two claims on one IPv4 subnet are one file.
pub fn name(subnets: &Stack<IpNet>) -> String {
    let first = match subnets {
        Stack::V4(net) | Stack::V6(net) | Stack::Dual { v4: net, .. } => Stack::single(Family::of_net(net), *net),
    };
    format!("{}.json", subnet_key::format(&first))
}

/// Whether a file of this name in the leases' directory is meant to be a lease. Names that begin with a dot are not yet
/// leases (see `place`), other endings are somebody's notes.
pub fn is_lease_name(name: &str) -> bool {
    name.ends_with(".json") && !name.starts_with('.')
}

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u64, u64, i64, i64);

impl Stamp {
    /// Of a file.
    pub fn of(metadata: &Metadata) -> Stamp {
        // The change time and not the modification time: link, rename and chmod count, and nobody can set it back.
        Stamp(metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec())
    }
}

/// What was found under a name.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// What is meant to be a lease.
    Lease(LeaseFile),
    /// Something else: a clause that says what.
    Garbage(String),
}

/// Reads a lease file. Whatever cannot be read is garbage: one file's trouble is not the directory's.
pub fn read(path: &Path) -> Found {
    match read_bounded(path, MAX_BYTES) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(file) => Found::Lease(file),
            Err(_) if bytes.is_empty() => Found::Garbage("it is empty".to_owned()),
            Err(error) => Found::Garbage(format!("it is not a lease's JSON: {}", cut(&error.to_string()))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
        Err(error) => Found::Garbage(format!("it cannot be read: {error}")),
    }
}

/// Reads a whole regular file of at most so many bytes, and never blocks on something else of that name.
///
/// # Errors
/// The file's, or `InvalidData` when it is not regular or too long.
pub fn read_bounded(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    // Opening a named pipe would wait for its writer.
    let file: File = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    let refuse = |reason: String| Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    if !metadata.is_file() {
        return refuse("it is not a regular file".to_owned());
    }
    if metadata.len() > most as u64 {
        return refuse(format!("it is {} bytes long, at most {most} are read", metadata.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    // It may grow while it is read.
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most { refuse(format!("it is longer than {most} bytes")) } else { Ok(bytes) }
}

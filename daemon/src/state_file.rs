//! [`LastKnown`]: what the store last said, on disk, so that a node that starts while the store is away comes up as it was.
//!
//! It is a memory of the store, not of the kernel: nothing is deleted because it stands here or does not. One JSON object,
//! a lease a line; its last key is the checksum of all that stands before it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use backends::fingerprint::Fingerprint;
use ipam::{Lease, NodeName, Stack};
use serde::{Deserialize, Serialize};

use crate::config::Settings;
use crate::labels::Labels;
use crate::store::Instructions;
use crate::whole_file;

/// What the store last said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastKnown {
    /// net-conf.json as written.
    pub network: Option<String>,
    /// An older one, by which this node still speaks BGP.
    pub former: Option<String>,
    /// The lease that this node held.
    pub own: Option<Lease>,
    /// What an operator wrote on this node's object in the store.
    pub instructions: Instructions,
    /// All leases, this node's own included.
    pub leases: Vec<Lease>,
}

/// Whose memory it is: of another node or another store it is worth nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// This node.
    pub node: NodeName,
    /// The store, as [`StoreSettings::cluster_identity`](crate::config::StoreSettings::cluster_identity) has it.
    pub store: String,
}

impl Owner {
    /// The owner that a configuration names.
    pub fn new(settings: &Settings) -> Owner {
        Owner { node: settings.node.clone(), store: settings.store.cluster_identity() }
    }
}

/// Why the file cannot be written, or is not used.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// The system refuses.
    #[error(
        "the state file {path} cannot be {action}: {source}; make room, allow it, or name another \
         --state-directory (a pod needs that directory of the host mounted)"
    )]
    System {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It was not written to its end, or changed since.
    #[error("the state file {path} is damaged and not used: {reason}; it is written anew when the store answers")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another release wrote it.
    #[error(
        "the state file {path} is not used: its format is {found}, this release reads {FORMAT}; it is written anew"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The format that it says it has.
        found: String,
    },
    /// It is not ours.
    #[error("the state file {path} is not used: it is of {what} `{found}`, not `{expected}`; it is written anew")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Node or store.
        what: &'static str,
        /// The one that it names.
        found: String,
        /// The one that we are, or use.
        expected: String,
    },
}

/// The layout of the file. Another one gets another number.
const FORMAT: u32 = 1;

/// It may hold a pre-shared key of a network's configuration.
const MODE: u32 = 0o600;

/// A hundred times what 15,000 leases take.
const LONGEST: u64 = 512 << 20;

const BEGINNING: &str = "{\"format\":";
const CHECKSUM: &str = ",\n\"checksum\":\"";
const END: &str = "\"}\n";

/// All of the file but for leases and checksum.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    format: u32,
    node: std::borrow::Cow<'a, str>,
    store: std::borrow::Cow<'a, str>,
    /// Seconds since the epoch, for people.
    saved_at: u64,
}

#[derive(Deserialize)]
struct Body {
    network: Option<String>,
    #[serde(default)]
    former: Option<String>,
    own: Option<Lease>,
    #[serde(default)]
    public: Option<Stack<IpAddr>>,
    #[serde(default)]
    labels: Labels,
    leases: Vec<Lease>,
}

/// Writes the file; whoever reads it sees it old or new, never half. It streams: memory does not grow with the leases.
///
/// # Errors
/// [`StateFileError::System`], with the old file left in place.
pub fn save(path: &Path, owner: &Owner, state: &LastKnown) -> Result<(), StateFileError> {
    let refused = |source| StateFileError::System { action: "written", path: path.to_owned(), source };
    whole_file::replace(path, MODE, |out| {
        let mut out = Summed { out, sum: Fingerprint::default() };
        write_body(&mut out, owner, state)?;
        let sum = out.sum;
        write!(out.out, "{CHECKSUM}{sum}{END}")
    })
    .map_err(refused)
}

fn write_body(out: &mut Summed<'_>, owner: &Owner, state: &LastKnown) -> io::Result<()> {
    let saved_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let head = Head { format: FORMAT, node: owner.node.as_str().into(), store: owner.store.as_str().into(), saved_at };
    let head = serde_json::to_string(&head)?;
    out.write_all(head.trim_end_matches('}').as_bytes())?;
    out.write_all(b",\n\"network\":")?;
    serde_json::to_writer(&mut *out, &state.network)?;
    if let Some(former) = &state.former {
        out.write_all(b",\n\"former\":")?;
        serde_json::to_writer(&mut *out, former)?;
    }
    out.write_all(b",\n\"own\":")?;
    serde_json::to_writer(&mut *out, &state.own)?;
    out.write_all(b",\n\"public\":")?;
    serde_json::to_writer(&mut *out, &state.instructions.public)?;
    out.write_all(b",\n\"labels\":")?;
    serde_json::to_writer(&mut *out, &state.instructions.labels)?;
    out.write_all(b",\n\"leases\":[")?;
    let mut line = Vec::new();
    for (index, lease) in state.leases.iter().enumerate() {
        line.clear();
        line.extend_from_slice(if index == 0 { b"\n" } else { b",\n" });
        serde_json::to_writer(&mut line, lease)?;
        out.write_all(&line)?;
    }
    out.write_all(b"]")
}

/// Sums up what goes through.
struct Summed<'a> {
    out: &'a mut dyn Write,
    sum: Fingerprint,
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.sum.feed(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads the file back; `None` when there is none.
///
/// # Errors
/// [`StateFileError`]: it is there and cannot be read, or is not to be used.
pub fn load(path: &Path, owner: &Owner) -> Result<Option<LastKnown>, StateFileError> {
    let Some(text) = whole_text(path)? else { return Ok(None) };
    let head = head(path, &text)?;
    for (what, found, expected) in [("node", &head.node, owner.node.as_str()), ("store", &head.store, &owner.store)] {
        if found != expected {
            let (found, expected) = (found.to_string(), expected.to_owned());
            return Err(StateFileError::Foreign { path: path.to_owned(), what, found, expected });
        }
    }
    let Body { network, former, own, public, labels, leases } =
        serde_json::from_str(&text).map_err(|error| damaged(path, error.to_string()))?;
    Ok(Some(LastKnown { network, former, own, instructions: Instructions { public, labels }, leases }))
}

/// The node that the memory of this store is of: who we were when this daemon ran last. `None` when there is no file.
///
/// # Errors
/// As of [`load`].
pub fn last_node(path: &Path, store: &str) -> Result<Option<NodeName>, StateFileError> {
    let Some(text) = whole_text(path)? else { return Ok(None) };
    let head = head(path, &text)?;
    if head.store != store {
        let (found, expected) = (head.store.into_owned(), store.to_owned());
        return Err(StateFileError::Foreign { path: path.to_owned(), what: "store", found, expected });
    }
    NodeName::new(&head.node).map(Some).map_err(|error| damaged(path, error.to_string()))
}

/// The file's text, if it is of this format and as it was written.
fn whole_text(path: &Path) -> Result<Option<String>, StateFileError> {
    let text = match read_text(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|source| StateFileError::System { action: "read", path: path.to_owned(), source })?,
    };
    // Before all else: a later format may have its checksum elsewhere.
    let format: String = match text.strip_prefix(BEGINNING) {
        Some(rest) => rest.chars().take_while(char::is_ascii_digit).take(10).collect(),
        None => return Err(damaged(path, "it does not begin as one".to_owned())),
    };
    if format.parse() != Ok(FORMAT) {
        return Err(StateFileError::Format { path: path.to_owned(), found: format });
    }
    let (summed, sum) = text
        .rsplit_once(CHECKSUM)
        .and_then(|(summed, rest)| Some((summed, rest.strip_suffix(END)?)))
        .ok_or_else(|| damaged(path, "it ends too early".to_owned()))?;
    let mut expected = Fingerprint::default();
    expected.feed(summed.as_bytes());
    if expected.to_string() != sum {
        return Err(damaged(path, "its checksum is wrong".to_owned()));
    }
    Ok(Some(text))
}

fn head<'a>(path: &Path, text: &'a str) -> Result<Head<'a>, StateFileError> {
    serde_json::from_str(text).map_err(|error| damaged(path, error.to_string()))
}

fn damaged(path: &Path, reason: String) -> StateFileError {
    StateFileError::Damaged { path: path.to_owned(), reason }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    // What is not UTF-8 is damaged, and its checksum will say so.
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests;

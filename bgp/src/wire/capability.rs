//! [`Capability`]: what a speaker can, as its OPEN says it (RFC 5492), each with the RFC that made it.

mod text;

use super::family::Family;
use super::reader::{Reader, Short};

/// Something that a speaker can. What is not known is kept as it came, for people to see.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Routes of a family (RFC 4760 section 8).
    MultiProtocol(Family),
    /// Sends its routes again when asked (RFC 2918).
    RouteRefresh,
    /// Takes routes of a family with next hops of another AFI (RFC 8950 section 4).
    ExtendedNextHop(Vec<(Family, u16)>),
    /// Takes messages of up to 65535 bytes (RFC 8654).
    ExtendedMessage,
    /// What it is to us (RFC 9234).
    Role(Role),
    /// Keeps forwarding while it restarts (RFC 4724).
    GracefulRestart(GracefulRestart),
    /// Its AS number in four octets (RFC 6793).
    FourOctetAs(u32),
    /// Several paths a prefix (RFC 7911 section 4).
    AddPath(Vec<(Family, PathIdMode)>),
    /// Marks where its routes sent again begin and end (RFC 7313).
    EnhancedRefresh,
    /// Keeps routes of a peer that is away for long, how many seconds (RFC 9494).
    LongLived(Vec<LongLived>),
    /// Its name and domain, for people (draft-walton-bgp-hostname-capability).
    Hostname(String, String),
    /// Waits for BFD before it is established (draft-ietf-idr-bgp-bfd-strict-mode).
    BfdStrict,
    /// What runs there, for people (draft-abraitis-bgp-version-capability).
    SoftwareVersion(String),
    /// Understands a lone link-local address as next hop (draft-white-linklocal-capability).
    LinkLocalNextHop,
    /// Another one.
    Unknown(u8, Vec<u8>),
}

/// What a speaker is to its neighbour across a border (RFC 9234 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sells transit.
    Provider,
    /// An exchange's route server.
    RouteServer,
    /// Its client.
    RouteServerClient,
    /// Buys transit.
    Customer,
    /// An equal.
    Peer,
}

impl Role {
    const NUMBERS: [(Role, u8); 5] = [
        (Role::Provider, 0),
        (Role::RouteServer, 1),
        (Role::RouteServerClient, 2),
        (Role::Customer, 3),
        (Role::Peer, 4),
    ];

    /// What the other end has to be (RFC 9234 section 4.2).
    pub fn opposite(self) -> Role {
        match self {
            Role::Provider => Role::Customer,
            Role::Customer => Role::Provider,
            Role::RouteServer => Role::RouteServerClient,
            Role::RouteServerClient => Role::RouteServer,
            Role::Peer => Role::Peer,
        }
    }
}

/// Which way a speaker uses path identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathIdMode {
    /// Takes them.
    Receive,
    /// Sends them.
    Send,
    /// Both.
    Both,
}

impl PathIdMode {
    const NUMBERS: [(PathIdMode, u8); 3] = [(PathIdMode::Receive, 1), (PathIdMode::Send, 2), (PathIdMode::Both, 3)];

    /// Whether it takes them.
    pub fn receives(self) -> bool {
        self != PathIdMode::Send
    }

    /// Whether it sends them.
    pub fn sends(self) -> bool {
        self != PathIdMode::Receive
    }
}

/// Whether a family's routes were still being forwarded while the speaker restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forwarding {
    /// They were: keep them.
    Kept,
    /// They were not: they lead nowhere.
    Lost,
}

impl Forwarding {
    fn of(flags: u8) -> Forwarding {
        if flags & 0x80 != 0 { Forwarding::Kept } else { Forwarding::Lost }
    }

    fn flags(self) -> u8 {
        if self == Forwarding::Kept { 0x80 } else { 0 }
    }
}

/// The capability of RFC 4724 section 3, with the N bit of RFC 8538 section 2.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct GracefulRestart {
    /// R: this OPEN comes after a restart; do not wait for our End-of-RIB before sending yours.
    pub restarted: bool,
    /// N: also after a NOTIFICATION and an expired hold timer.
    pub notifications: bool,
    /// Seconds within which it will be back, at most 4095.
    pub restart_secs: u16,
    /// For which families, and whether forwarding was kept.
    pub families: Vec<(Family, Forwarding)>,
}

/// What RFC 9494 section 3.1 says of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LongLived {
    /// The family.
    pub family: Family,
    /// Whether forwarding was kept.
    pub forwarding: Forwarding,
    /// Seconds for which stale routes may be kept, at most 16777215.
    pub stale_secs: u32,
}

const MAX_RESTART_SECS: u16 = 0x0fff;
const MAX_STALE_SECS: u32 = 0x00ff_ffff;

impl Capability {
    /// The code on the wire (IANA's registry of capability codes).
    pub fn code(&self) -> u8 {
        match self {
            Capability::MultiProtocol(_) => 1,
            Capability::RouteRefresh => 2,
            Capability::ExtendedNextHop(_) => 5,
            Capability::ExtendedMessage => 6,
            Capability::Role(_) => 9,
            Capability::GracefulRestart(_) => 64,
            Capability::FourOctetAs(_) => 65,
            Capability::AddPath(_) => 69,
            Capability::EnhancedRefresh => 70,
            Capability::LongLived(_) => 71,
            Capability::Hostname(..) => 73,
            Capability::BfdStrict => 74,
            Capability::SoftwareVersion(_) => 75,
            Capability::LinkLocalNextHop => 77,
            Capability::Unknown(code, _) => *code,
        }
    }

    /// Reads one capability, code and length first. It sees no byte beyond its own length. A known one whose value has a wrong length
    /// is an error, but for those that only people read, which are kept as they came.
    pub fn read(reader: &mut Reader<'_>) -> Result<Capability, Short> {
        let code = reader.u8()?;
        let value = reader.part_u8()?;
        let raw = || Capability::Unknown(code, value.rest().to_vec());
        let mut rest = value;
        let capability = match code {
            1 => Capability::MultiProtocol(Family::read_wide(&mut rest)?.0),
            5 => Capability::ExtendedNextHop(list(&mut rest, next_hop)?),
            9 => match Role::NUMBERS.iter().find(|(_, number)| [*number] == value.rest()) {
                Some((role, _)) => return Ok(Capability::Role(*role)),
                None if value.len() == 1 => return Ok(raw()),
                None => return Err(Short),
            },
            64 => Capability::GracefulRestart(graceful_restart(&mut rest)?),
            65 => Capability::FourOctetAs(rest.u32()?),
            69 => Capability::AddPath(list(&mut rest, path_id_mode)?.into_iter().flatten().collect()),
            71 => Capability::LongLived(list(&mut rest, long_lived)?),
            73 => return Ok(hostname(&mut rest).unwrap_or_else(|_| raw())),
            75 => return Ok(version(&mut rest).unwrap_or_else(|_| raw())),
            2 => Capability::RouteRefresh,
            6 => Capability::ExtendedMessage,
            70 => Capability::EnhancedRefresh,
            74 => Capability::BfdStrict,
            77 => Capability::LinkLocalNextHop,
            _ => return Ok(raw()),
        };
        if rest.is_empty() { Ok(capability) } else { Err(Short) }
    }

    /// Appends code, length and value.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.code(), 0]);
        let start = out.len();
        match self {
            Capability::MultiProtocol(family) => {
                out.extend_from_slice(&family.afi.to_be_bytes());
                out.extend_from_slice(&[0, family.safi]);
            }
            Capability::ExtendedNextHop(entries) => entries.iter().for_each(|(family, afi)| {
                out.extend_from_slice(&family.afi.to_be_bytes());
                out.extend_from_slice(&[0, family.safi]);
                out.extend_from_slice(&afi.to_be_bytes());
            }),
            Capability::Role(role) => {
                out.extend(Role::NUMBERS.iter().find(|(other, _)| other == role).map(|(_, number)| *number));
            }
            Capability::GracefulRestart(restart) => write_graceful_restart(restart, out),
            Capability::FourOctetAs(asn) => out.extend_from_slice(&asn.to_be_bytes()),
            Capability::AddPath(entries) => entries.iter().for_each(|(family, mode)| {
                family.write(out);
                out.extend(PathIdMode::NUMBERS.iter().find(|(other, _)| other == mode).map(|(_, number)| *number));
            }),
            Capability::LongLived(entries) => entries.iter().for_each(|entry| {
                entry.family.write(out);
                let [_, stale @ ..] = entry.stale_secs.min(MAX_STALE_SECS).to_be_bytes();
                out.push(entry.forwarding.flags());
                out.extend_from_slice(&stale);
            }),
            Capability::Hostname(name, domain) => [name, domain].into_iter().for_each(|text| write_text(text, out)),
            Capability::SoftwareVersion(text) => write_text(text, out),
            Capability::Unknown(_, value) => out.extend_from_slice(value),
            Capability::RouteRefresh
            | Capability::ExtendedMessage
            | Capability::EnhancedRefresh
            | Capability::BfdStrict
            | Capability::LinkLocalNextHop => {}
        }
        // What does not fit into the length is cut with the length, so that what follows stays readable.
        out.truncate(start.saturating_add(255));
        let length = u8::try_from(out.len().saturating_sub(start)).unwrap_or(u8::MAX);
        if let Some(field) = out.get_mut(start.saturating_sub(1)) {
            *field = length;
        }
    }
}

/// Entries to the end of the value.
fn list<T>(reader: &mut Reader<'_>, entry: impl Fn(&mut Reader<'_>) -> Result<T, Short>) -> Result<Vec<T>, Short> {
    let mut entries = Vec::new();
    while !reader.is_empty() {
        entries.push(entry(reader)?);
    }
    Ok(entries)
}

fn next_hop(reader: &mut Reader<'_>) -> Result<(Family, u16), Short> {
    // The SAFI has two octets here, the first of which is 0 (RFC 8950 section 4).
    let (family, _) = Family::read_wide(reader)?;
    Ok((family, reader.u16()?))
}

/// An entry with another number is ignored (RFC 7911 section 4).
fn path_id_mode(reader: &mut Reader<'_>) -> Result<Option<(Family, PathIdMode)>, Short> {
    let (family, number) = (Family::read(reader)?, reader.u8()?);
    Ok(PathIdMode::NUMBERS.iter().find(|(_, other)| *other == number).map(|(mode, _)| (family, *mode)))
}

fn graceful_restart(reader: &mut Reader<'_>) -> Result<GracefulRestart, Short> {
    let first = reader.u16()?;
    Ok(GracefulRestart {
        restarted: first & 0x8000 != 0,
        notifications: first & 0x4000 != 0,
        restart_secs: first & MAX_RESTART_SECS,
        families: list(reader, |reader| Ok((Family::read(reader)?, Forwarding::of(reader.u8()?))))?,
    })
}

fn write_graceful_restart(restart: &GracefulRestart, out: &mut Vec<u8>) {
    let restarted = if restart.restarted { 0x8000 } else { 0 };
    let notifications = if restart.notifications { 0x4000 } else { 0 };
    let first = restarted | notifications | restart.restart_secs.min(MAX_RESTART_SECS);
    out.extend_from_slice(&first.to_be_bytes());
    for (family, forwarding) in &restart.families {
        family.write(out);
        out.push(forwarding.flags());
    }
}

fn long_lived(reader: &mut Reader<'_>) -> Result<LongLived, Short> {
    let family = Family::read(reader)?;
    let [flags, high, middle, low] = reader.array()?;
    let stale_secs = u32::from_be_bytes([0, high, middle, low]);
    Ok(LongLived { family, forwarding: Forwarding::of(flags), stale_secs })
}

fn hostname(reader: &mut Reader<'_>) -> Result<Capability, Short> {
    let (name, domain) = (text(reader)?, text(reader)?);
    if reader.is_empty() { Ok(Capability::Hostname(name, domain)) } else { Err(Short) }
}

fn version(reader: &mut Reader<'_>) -> Result<Capability, Short> {
    let text = text(reader)?;
    if reader.is_empty() && !text.is_empty() { Ok(Capability::SoftwareVersion(text)) } else { Err(Short) }
}

/// A text with its length before it. What is not UTF-8 is not one.
fn text(reader: &mut Reader<'_>) -> Result<String, Short> {
    let bytes = reader.part_u8()?.rest();
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Short)
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    let length = text.len().min(64);
    let cut = (0..=length).rev().find_map(|end| text.get(..end)).unwrap_or_default();
    out.push(u8::try_from(cut.len()).unwrap_or_default());
    out.extend_from_slice(cut.as_bytes());
}

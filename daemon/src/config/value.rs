//! How each kind of value is written in a flag or a variable. Every function takes the text and gives what it means, or why
//! it cannot be used and what would be right.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use backends::LinkName;
use ipam::key::KeyError;
use ipam::{Family, NodeName, SecretKey};

use super::flags::Wrong;
use super::meant::StoreKind;
use super::pattern::Pattern;
use super::settings::{InterfaceId, LogFormat, LogLevel};
use crate::labels::Labels;
use crate::subnet_file::PodMode;

type Parsed<T> = Result<T, Wrong>;

/// A switch, in Go's words (`strconv.ParseBool`).
pub(super) fn boolean(text: &str) -> Parsed<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Wrong::new("it is neither true nor false", "write true or false")),
    }
}

/// A path that does not depend on where the daemon was started.
pub(super) fn absolute(text: &str) -> Parsed<PathBuf> {
    if !Path::new(text).is_absolute() {
        return Err(Wrong::new("a relative path means another file in every directory", "begin it with /"));
    }
    // Two spellings of one path are one path: `components` drops repeated and trailing slashes and `.`.
    Ok(Path::new(text).components().collect())
}

/// A file's name in a directory, as a runtime looks for it.
pub(super) fn file_name(text: &str) -> Parsed<String> {
    let ends = [".conflist", ".conf"].iter().any(|end| text.strip_suffix(end).is_some_and(|name| !name.is_empty()));
    if text.contains('/') || text.starts_with('.') || !ends {
        return Err(Wrong::new("no runtime looks for a file of that name", "write a name as in 10-flannel.conflist"));
    }
    Ok(text.to_owned())
}

/// A key that all nodes share.
pub(super) fn preshared_key(text: &str) -> Parsed<SecretKey> {
    text.trim().parse().map_err(|error: KeyError| Wrong::new(error.to_string(), "take what `wg genpsk` prints"))
}

pub(super) fn pod_mode(text: &str) -> Parsed<PodMode> {
    match text {
        "bridge" => Ok(PodMode::Bridge),
        "routed" => Ok(PodMode::Routed),
        _ => Err(Wrong::new("there is no such mode", "write bridge or routed")),
    }
}

pub(super) fn address(text: &str) -> Parsed<IpAddr> {
    let example = "write an IPv4 or IPv6 address, as in 192.0.2.1 or 2001:db8::1";
    text.parse().map_err(|_| Wrong::new("it is not an IP address", example))
}

pub(super) fn address_of(family: Family, text: &str) -> Parsed<IpAddr> {
    let example = match family {
        Family::V4 => "192.0.2.1",
        Family::V6 => "2001:db8::1",
    };
    let right = || Wrong::new(format!("it is not an {family} address"), format!("write one, as in {example}"));
    let address: IpAddr = text.parse().map_err(|_| right())?;
    if Family::of(address) == family { Ok(address) } else { Err(right()) }
}

/// An address that a packet can come from.
pub(super) fn source(text: &str) -> Parsed<IpAddr> {
    let address = address(text)?;
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return Err(Wrong::new("no answer can come back to it", "write an address that is routed to this node"));
    }
    Ok(address)
}

pub(super) fn interface(text: &str) -> Parsed<InterfaceId> {
    if let Ok(address) = text.parse() {
        return Ok(InterfaceId::Address(address));
    }
    let fix = "write a name as `ip link` shows it (at most 15 bytes), or an address; for several repeat --iface";
    LinkName::new(text).map(InterfaceId::Name).map_err(|_| Wrong::new("no interface can have this name", fix))
}

pub(super) fn pattern(text: &str) -> Parsed<Pattern> {
    let fix = r"write one as Go and RE2 have them, as in ^eth[0-9]+$";
    text.parse().map_err(|error: super::pattern::PatternError| Wrong::new(error.to_string(), fix))
}

pub(super) fn asn(text: &str) -> Parsed<u32> {
    // RFC 7607: 0 is nobody's; RFC 6793 section 9: 23456 stands for others; RFC 7300: the last ones are reserved.
    let usable = |asn: &u32| ![0, 23_456, 65_535, u32::MAX].contains(asn);
    let fix = "write a number from 1 to 4294967294; 64512 to 65534 are for private use";
    text.parse().ok().filter(usable).ok_or_else(|| Wrong::new("it is not the number of an AS", fix))
}

pub(super) fn labels(text: &str) -> Parsed<Labels> {
    let wrong =
        |one: String| Wrong::new(format!("`{one}` is no label"), "write key=value, several with commas between");
    Labels::parse(text).map_err(wrong)
}

pub(super) fn node_name(text: &str) -> Parsed<NodeName> {
    let fix = "use 1 to 253 letters, digits, `.`, `-`, `_` or `:`; --node-name gives another than the host's";
    NodeName::new(text).map_err(|_| Wrong::new("it is not a node name", fix))
}

pub(super) fn store_kind(text: &str) -> Parsed<StoreKind> {
    match text {
        "kubernetes" => Ok(StoreKind::Kubernetes),
        "etcd" => Ok(StoreKind::Etcd),
        "directory" => Ok(StoreKind::Directory),
        _ => Err(Wrong::new("there is no such store", "write etcd or directory")),
    }
}

pub(super) fn minutes(text: &str, range: RangeInclusive<u64>) -> Parsed<Duration> {
    whole(text, range, "minutes").map(|minutes| Duration::from_secs(minutes * 60))
}

pub(super) fn seconds(text: &str, range: RangeInclusive<u64>) -> Parsed<Duration> {
    whole(text, range, "seconds").map(Duration::from_secs)
}

pub(super) fn port(text: &str) -> Parsed<u16> {
    whole(text, 0..=u16::MAX, "as a port")
}

fn whole<T: FromStr + PartialOrd + Display>(text: &str, range: RangeInclusive<T>, unit: &str) -> Parsed<T> {
    let (least, most) = (range.start(), range.end());
    let fix = || format!("write a whole number from {least} to {most} {unit}");
    let number = text.parse::<T>().map_err(|_| Wrong::new("it is not a whole number that fits", fix()))?;
    if range.contains(&number) { Ok(number) } else { Err(Wrong::new("it is out of range", fix())) }
}

pub(super) fn log_format(text: &str) -> Parsed<LogFormat> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(Wrong::new("there is no such format", "write text or json")),
    }
}

pub(super) fn log_level(text: &str) -> Parsed<LogLevel> {
    let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
    let named = levels.into_iter().find(|level| level.to_string() == text);
    named.ok_or_else(|| Wrong::new("there is no such level", "write error, warn, info, debug or trace"))
}

/// klog's `-v`: any whole number; the larger the more.
pub(super) fn verbosity(text: &str) -> Parsed<LogLevel> {
    match text.parse::<i32>() {
        Ok(..=1) => Ok(LogLevel::Info),
        Ok(2..=3) => Ok(LogLevel::Debug),
        Ok(4..) => Ok(LogLevel::Trace),
        Err(_) => Err(Wrong::new("it is not a whole number", "write 0 (info), 2 (debug) or 4 (trace)")),
    }
}

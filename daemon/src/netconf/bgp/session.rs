//! [`Session`]: what a session with a peer is like, whoever the peer is: timers, families, keys, BFD, policy.

use std::num::NonZeroU8;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bgp::machine::timers::SEND_HOLD;
use bgp::policy::Policy;
use bgp::speaker::{Direction, Excess, Graceful, PrefixLimit};
use bgp::wire::Family;
use bgp::wire::capability::{PathIdMode, Role};

use crate::bgp::liveness::{BfdSettings, Liveness, Strictness};
use crate::bgp::wish::{AoAlgorithm, AoKey, Authentication, Distance, Necessity};
use crate::netconf::json::Value;
use crate::netconf::object::{Object, Wrong};
use crate::netconf::policy::Policies;

/// What a session is like. What is `None` is as usual for such a peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// `KeyFile`, `Keys`
    pub authentication: Option<Authentication>,
    /// Seconds (`HoldTime`); 0 for never.
    pub hold_secs: u16,
    /// Without a peer taking what it is told (`SendHoldTime`), or twice the hold time.
    pub send_hold: Duration,
    /// `Keepalive`; a third of the hold time, which it is never more than.
    pub keepalive: Option<Duration>,
    /// `ConnectRetry`
    pub connect_retry: Duration,
    /// `Families`; those of the network.
    pub families: Option<Vec<Family>>,
    /// `BFD`
    pub liveness: Option<Liveness>,
    /// `GracefulRestart`, `LongLived`
    pub graceful: Option<Graceful>,
    /// `AddPath`
    pub path_ids: Option<PathIdMode>,
    /// `MaxPrefixes`, a family
    pub limit: Option<PrefixLimit>,
    /// `Role`
    pub role: Option<Role>,
    /// `Passive`
    pub direction: Direction,
    /// `Multihop`, `TTLSecurity`
    pub distance: Option<Distance>,
    /// `Import`
    pub import: Option<Arc<Policy>>,
    /// `Export`
    pub export: Option<Arc<Policy>>,
    /// `Required`
    pub necessity: Necessity,
}

impl Default for Session {
    fn default() -> Session {
        Session {
            authentication: None,
            hold_secs: 90,
            keepalive: None,
            send_hold: SEND_HOLD,
            connect_retry: Duration::from_secs(5),
            families: None,
            liveness: None,
            graceful: Some(Graceful { restart_secs: 120, long_lived_secs: 0 }),
            path_ids: None,
            limit: None,
            role: None,
            direction: Direction::Both,
            distance: None,
            import: None,
            export: None,
            necessity: Necessity::Optional,
        }
    }
}

/// Reads what a session can be told. Mistakes are noted.
pub(super) fn read(object: &mut Object<'_, '_>, policies: &Policies) -> Session {
    let usual = Session::default();
    let hold = object.integer("HoldTime", 0..=u16::MAX.into()).and_then(|secs| u16::try_from(secs).ok());
    if let Some(secs @ 1..=2) = hold {
        object.mistake(
            "HoldTime",
            &secs.to_string(),
            ("RFC 4271 knows none between 0 and 3", "write 0, or at least 3"),
        );
    }
    let send_hold = object.integer("SendHoldTime", 1..=u16::MAX.into()).map(|secs| Duration::from_secs(secs.into()));
    let keepalive = object.integer("Keepalive", 1..=21_845);
    let third = u32::from(hold.unwrap_or(usual.hold_secs)) / 3;
    if let Some(secs) = keepalive.filter(|secs| *secs > third) {
        let why = format!("the peer would wait in vain: the hold time is {} s", hold.unwrap_or(usual.hold_secs));
        object.mistake("Keepalive", &secs.to_string(), (why, format!("write at most a third of it, {third}")));
    }
    let retry = object.integer("ConnectRetry", 1..=3600).map(|secs| Duration::from_secs(secs.into()));
    let passive = object.boolean("Passive").unwrap_or(false);
    let required = object.boolean("Required").unwrap_or(false);
    Session {
        authentication: authentication(object),
        hold_secs: hold.unwrap_or(usual.hold_secs),
        send_hold: send_hold.unwrap_or(usual.send_hold),
        keepalive: keepalive.map(|secs| Duration::from_secs(secs.into())),
        connect_retry: retry.unwrap_or(usual.connect_retry),
        families: object.items("Families", family),
        liveness: liveness(object),
        graceful: graceful(object),
        path_ids: path_ids(object),
        limit: limit(object),
        role: role(object),
        direction: if passive { Direction::Passive } else { Direction::Both },
        distance: distance(object),
        import: policies.named(object, "Import"),
        export: policies.named(object, "Export"),
        necessity: if required { Necessity::Required } else { Necessity::Optional },
    }
}

fn authentication(object: &mut Object<'_, '_>) -> Option<Authentication> {
    let file = object.items("KeyFile", file);
    let keys = object.items("Keys", ao_key);
    if file.is_some() && keys.is_some() {
        let why = "there are Keys, too: a session is signed by MD5 (KeyFile) or by TCP-AO (Keys)";
        object.mistake("KeyFile", "", (why, "leave one of them out"));
    }
    for (place, key) in keys.iter().flatten().enumerate() {
        let same = |other: &AoKey| other.send == key.send || other.receive == key.receive;
        if keys.iter().flatten().take(place).any(same) {
            let why = "an earlier one has its SendID or RecvID (RFC 5925 section 3.1)";
            object.mistake("Keys", &format!("{}:{}", key.send, key.receive), (why, "give each key numbers of its own"));
        }
    }
    let md5 = file.and_then(|files| files.into_iter().next()).map(Authentication::Md5);
    md5.or_else(|| keys.map(Authentication::Ao))
}

fn file(value: &Value) -> Result<PathBuf, Wrong> {
    let path = if let Value::Text(text) = value { PathBuf::from(text) } else { PathBuf::new() };
    match path.is_absolute() {
        true => Ok(path),
        false => {
            Err(("it is no path from the root".to_owned(), "write one, as in \"/etc/towpath/tor.key\"".to_owned()))
        }
    }
}

/// `3:5:hmac-sha-1-96:/etc/towpath/tor.key`: SendID, RecvID, algorithm, file.
fn ao_key(value: &Value) -> Result<AoKey, Wrong> {
    let wrong = || {
        let fix = "write SendID:RecvID:algorithm:file, as in \"1:1:hmac-sha-1-96:/etc/towpath/tor.key\", with hmac-sha-1-96, \
                   aes-128-cmac-96 or hmac-sha-256";
        ("it is no key of TCP-AO".to_owned(), fix.to_owned())
    };
    let Value::Text(text) = value else { return Err(wrong()) };
    let mut parts = text.splitn(4, ':');
    let mut part = || parts.next().ok_or_else(wrong);
    let (send, receive) = (part()?.parse().map_err(|_| wrong())?, part()?.parse().map_err(|_| wrong())?);
    let algorithm = match part()? {
        "hmac-sha-1-96" => AoAlgorithm::HmacSha1,
        "aes-128-cmac-96" => AoAlgorithm::AesCmac,
        "hmac-sha-256" => AoAlgorithm::HmacSha256,
        _ => return Err(wrong()),
    };
    let file = PathBuf::from(part()?);
    if file.is_absolute() { Ok(AoKey { send, receive, algorithm, file }) } else { Err(wrong()) }
}

fn family(value: &Value) -> Result<Family, Wrong> {
    match value {
        Value::Text(text) if text.eq_ignore_ascii_case("ipv4") => Ok(Family::IPV4),
        Value::Text(text) if text.eq_ignore_ascii_case("ipv6") => Ok(Family::IPV6),
        Value::Text(text) if text.eq_ignore_ascii_case("evpn") => Ok(Family::EVPN),
        _ => Err(("it is no family".to_owned(), "write \"ipv4\", \"ipv6\" or \"evpn\"".to_owned())),
    }
}

/// RFC 5880 leaves it open; everybody takes 3.
const MULTIPLIER: NonZeroU8 = NonZeroU8::MIN.saturating_add(2);

/// `true`, or `{"Interval": 50, "Multiplier": 3, "Strict": true}`.
fn liveness(object: &mut Object<'_, '_>) -> Option<Liveness> {
    let with = |interval: u32, multiplier: u32, strictness| {
        let period = Duration::from_millis(interval.into());
        let multiplier = u8::try_from(multiplier).ok().and_then(NonZeroU8::new).unwrap_or(MULTIPLIER);
        Liveness { settings: BfdSettings { transmit: period, receive: period, multiplier }, strictness }
    };
    if let Some(Value::Object(_)) = object.held("BFD") {
        let mut bfd = object.object("BFD")?;
        let interval = bfd.integer("Interval", 10..=60_000).unwrap_or(300);
        let multiplier = bfd.integer("Multiplier", 1..=255).unwrap_or(3);
        let strict = bfd.boolean("Strict").unwrap_or(false);
        bfd.finish_strictly();
        return Some(with(interval, multiplier, if strict { Strictness::Strict } else { Strictness::Loose }));
    }
    object.boolean("BFD").unwrap_or(false).then(|| with(300, 3, Strictness::Loose))
}

/// Seconds each. RFC 4724 has twelve bits for the one, RFC 9494 twenty-four for the other.
fn graceful(object: &mut Object<'_, '_>) -> Option<Graceful> {
    let restart = object.integer("GracefulRestart", 0..=4095).and_then(|secs| u16::try_from(secs).ok()).unwrap_or(120);
    let long_lived_secs = object.integer("LongLived", 0..=(1 << 24) - 1).unwrap_or(0);
    (restart != 0 || long_lived_secs != 0).then_some(Graceful { restart_secs: restart, long_lived_secs })
}

fn path_ids(object: &mut Object<'_, '_>) -> Option<PathIdMode> {
    let text = object.text("AddPath")?;
    match text.to_lowercase().as_str() {
        "receive" => Some(PathIdMode::Receive),
        "send" => Some(PathIdMode::Send),
        "both" => Some(PathIdMode::Both),
        _ => {
            let fix = "write \"receive\", \"send\" or \"both\", or leave it out";
            object.mistake("AddPath", text, ("it is no direction", fix));
            None
        }
    }
}

/// `100`, or `{"Limit": 100, "Warning": 75, "Action": "end", "Restart": 300}`.
fn limit(object: &mut Object<'_, '_>) -> Option<PrefixLimit> {
    if !matches!(object.held("MaxPrefixes"), Some(Value::Object(_))) {
        return object.integer("MaxPrefixes", 1..=u32::MAX).map(PrefixLimit::of);
    }
    let mut inner = object.object("MaxPrefixes")?;
    let most = inner.integer("Limit", 1..=u32::MAX);
    if most.is_none() && !inner.holds("Limit") {
        inner.mistake("Limit", "", ("it is missing", "write how many routes of a family the peer may have"));
    }
    let warning = inner.integer("Warning", 1..=100).and_then(|percent| u8::try_from(percent).ok());
    let again = inner.integer("Restart", 1..=86_400).map(|secs| Duration::from_secs(secs.into()));
    let excess = match inner.text("Action").map(str::to_lowercase).as_deref() {
        None | Some("end") => Excess::Ended(again),
        Some("warn") => Excess::Warned,
        Some(other) => {
            inner.mistake("Action", other, ("it is no action", "write \"end\" or \"warn\""));
            return None;
        }
    };
    if excess == Excess::Warned && again.is_some() {
        inner.mistake("Restart", "", ("with \"warn\" no session ends", "leave it out"));
    }
    inner.finish_strictly();
    let usual = PrefixLimit::of(most?);
    Some(PrefixLimit { warning: warning.unwrap_or(usual.warning), excess, ..usual })
}

fn role(object: &mut Object<'_, '_>) -> Option<Role> {
    let text = object.text("Role")?;
    match text.to_lowercase().as_str() {
        "provider" => Some(Role::Provider),
        "customer" => Some(Role::Customer),
        "peer" => Some(Role::Peer),
        "rs" | "route-server" => Some(Role::RouteServer),
        "rs-client" | "route-server-client" => Some(Role::RouteServerClient),
        _ => {
            let fix =
                "write what this node is to the peer: \"customer\", \"provider\", \"peer\", \"rs\" or \"rs-client\"";
            object.mistake("Role", text, ("RFC 9234 has no such role", fix));
            None
        }
    }
}

fn distance(object: &mut Object<'_, '_>) -> Option<Distance> {
    let hops = |object: &mut Object<'_, '_>, key| object.integer(key, 1..=255).and_then(|hops| u8::try_from(hops).ok());
    let multihop = hops(object, "Multihop").and_then(NonZeroU8::new);
    let secured = hops(object, "TTLSecurity").and_then(NonZeroU8::new);
    if let (Some(multihop), Some(_)) = (multihop, secured) {
        let why = "there is TTLSecurity, too, which says how far the peer is";
        object.mistake("Multihop", &multihop.to_string(), (why, "leave one of them out"));
    }
    secured.map(Distance::Secured).or(multihop.map(Distance::Multihop))
}

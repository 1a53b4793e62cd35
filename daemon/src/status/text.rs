//! [`Status`] for people: plain columns, as wide as what stands in them and no wider than 80 where the data allow, without
//! colours, so that it looks the same on a screen, in a pipe and in a ticket.

use std::fmt::{self, Display as _};

use super::{KernelStatus, NetworkStatus, RepairStatus, Status, SubnetStatus, TroubleStatus, UplinkStatus};

/// How wide the column of headings is.
const HEADING: usize = 10;

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "node", format_args!("{}, {}", self.node, if self.readiness.ready { "ready" } else { "NOT READY" }))?;
        list(f, self.readiness.reasons.iter().map(|reason| format!("- {reason}")))?;
        list(f, self.readiness.degraded.iter().map(|reason| format!("- degraded: {reason}")))?;
        line(f, "towpathd", format_args!("{}, up since {}", self.version, self.started))?;
        line(f, "store", format_args!("{}, {}", self.store.kind, if self.store.up { "up" } else { "AWAY" }))?;
        since(f, self.store.trouble.as_ref())?;
        match &self.network {
            Some(network) => network.fmt(f)?,
            None => line(f, "network", "not known yet")?,
        }
        match &self.uplink {
            Some(uplink) => uplink.fmt(f)?,
            None => line(f, "uplink", "not found yet")?,
        }
        self.fmt_lease(f)?;
        self.pod_mtu.iter().try_for_each(|mtu| line(f, "pods' MTU", mtu))?;
        list(f, self.mtu_notes.iter().map(|note| format!("- {note}")))?;
        self.tx_checksum.iter().try_for_each(|it| {
            line(f, "checksums", format_args!("offload {} ({}): {}", it.offload, it.setting, it.reason))
        })?;
        self.rollout.iter().try_for_each(|rollout| line(f, "rollout", rollout))?;
        if let Some(bgp) = &self.bgp {
            line(f, "bgp", bgp)?;
            list(f, bgp.matters.iter().map(|matter| format!("- {matter}")))?;
            list(f, self.refused_routes.iter().map(|reason| format!("- {reason}")))?;
        }
        self.kernel.fmt(f)?;
        self.fmt_peers(f)
    }
}

impl Status {
    fn fmt_lease(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(lease) = &self.lease else { return line(f, "lease", "none held") };
        for (index, subnet) in lease.subnets.iter().enumerate() {
            let heading = if index == 0 { "lease" } else { "" };
            line(f, heading, format_args!("{}, {}", subnet.subnet, Vtep(subnet)))?;
        }
        line(f, "", format_args!("key {}, seniority {}", lease.key, lease.since))
    }

    fn fmt_peers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faulty = self.peers.iter().filter(|peer| !peer.ok).count();
        match (self.peers.len(), faulty) {
            (0, _) => line(f, "peers", "none")?,
            (count, 0) => line(f, "peers", format_args!("{count}, all ok"))?,
            (count, faulty) => line(f, "peers", format_args!("{count}, {faulty} with a FAULT"))?,
        }
        if !self.peers.is_empty() {
            writeln!(f)?;
            Peers(self).fmt(f)?;
        }
        if !self.faults.is_empty() {
            writeln!(f, "\nin the store, but no leases:")?;
        }
        self.faults.iter().try_for_each(|fault| writeln!(f, "  {}: {}", fault.key, fault.fault))
    }
}

fn line(f: &mut fmt::Formatter<'_>, heading: &str, text: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{heading:HEADING$} {text}")
}

/// A reason from somewhere else may have lines of its own; here each is one.
fn list(f: &mut fmt::Formatter<'_>, mut items: impl Iterator<Item = String>) -> fmt::Result {
    items.try_for_each(|item| line(f, "", item.replace('\n', "; ")))
}

/// The reason stands among those above.
fn since(f: &mut fmt::Formatter<'_>, trouble: Option<&TroubleStatus>) -> fmt::Result {
    trouble.map_or(Ok(()), |trouble| line(f, "", format_args!("in trouble since {}", trouble.since)))
}

/// Items with commas between them.
struct Comma<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Comma<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for NetworkStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NetworkStatus { cidrs, backend, vni, port, .. } = self;
        let vni = vni.map(|vni| format!(", VNI {vni}")).unwrap_or_default();
        let port = port.map(|port| format!(", UDP port {port}")).unwrap_or_default();
        line(f, "network", format_args!("{} by {backend}{vni}{port}", Comma(cidrs)))?;
        since(f, self.trouble.as_ref())
    }
}

impl fmt::Display for UplinkStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UplinkStatus { link, mtu, local, public, .. } = self;
        line(f, "uplink", format_args!("{link}, MTU {mtu}, {}", Comma(local)))?;
        if public != local {
            line(f, "", format_args!("peers send to {}", Comma(public)))?;
        }
        since(f, self.trouble.as_ref())
    }
}

impl fmt::Display for KernelStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = |time: &Option<String>| time.as_ref().map_or_else(String::new, |time| format!(", the last {time}"));
        let state = if self.converged { "as desired" } else { "NOT as desired" };
        line(f, "kernel", format_args!("{state}, looks {}{}", self.looks, last(&self.last_look)))?;
        let changes = format_args!("changes {}{}, refused {}", self.changes, last(&self.last_change), self.refusals);
        line(f, "", changes)?;
        match self.repaired {
            0 => line(f, "repaired", "nothing")?,
            1 => line(f, "repaired", "1 thing that somebody else broke:")?,
            count => line(f, "repaired", format_args!("{count} things that somebody else broke, the last:"))?,
        }
        self.repairs.chunk_by(|one, next| one.at == next.at).try_for_each(|look| fmt_look(f, look))
    }
}

/// What one look put back: a few lines, because a link that is made anew brings all that was on it.
fn fmt_look(f: &mut fmt::Formatter<'_>, look: &[RepairStatus]) -> fmt::Result {
    const SHOWN: usize = 3;
    look.iter().take(SHOWN).try_for_each(|repair| writeln!(f, "  {}  {}", repair.at, repair.change))?;
    match look.get(SHOWN) {
        Some(repair) => writeln!(f, "  {}  and more", repair.at),
        None => Ok(()),
    }
}

/// What the backend knows of one family of a lease.
struct Vtep<'a>(&'a SubnetStatus);

impl fmt::Display for Vtep<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SubnetStatus { mac: Some(mac), .. } => write!(f, "VTEP {mac}"),
            // As flannel has it, alloc and udp have no name in leases.
            SubnetStatus { backend, .. } if backend.is_empty() => f.write_str("no data of a backend"),
            SubnetStatus { backend, .. } => write!(f, "backend {backend}"),
        }
    }
}

/// One row per family of a peer, and what is wrong with it below.
struct Peers<'a>(&'a Status);

impl fmt::Display for Peers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![Row::headings()];
        for peer in &self.0.peers {
            let state = if peer.ok { "ok" } else { "FAULT" };
            for (index, subnet) in peer.subnets.iter().enumerate() {
                let (node, state) = if index == 0 { (peer.node.as_str(), state) } else { ("", "") };
                rows.push(Row::of(node, subnet, state));
            }
            let fault = peer.fault.iter().map(|fault| Row::Note(format!("  {}: {fault}", peer.key)));
            rows.extend(fault);
            rows.extend(peer.encryption.iter().map(|session| Row::Note(format!("  {session}"))));
        }
        let widths = widths(&rows);
        rows.iter().try_for_each(|row| row.write(f, &widths))
    }
}

const COLUMNS: usize = 5;

enum Row {
    Cells([String; COLUMNS]),
    Note(String),
}

impl Row {
    fn headings() -> Row {
        Row::Cells(["NODE", "STATE", "SUBNET", "ADDRESS", "VTEP"].map(str::to_owned))
    }

    fn of(node: &str, subnet: &SubnetStatus, state: &str) -> Row {
        let vtep = subnet.mac.map_or_else(|| subnet.backend.clone(), |mac| mac.to_string());
        Row::Cells([node.to_owned(), state.to_owned(), subnet.subnet.to_string(), subnet.public.to_string(), vtep])
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, widths: &[usize; COLUMNS]) -> fmt::Result {
        match self {
            Row::Note(text) => writeln!(f, "{text}"),
            Row::Cells(cells) => {
                let [node, state, subnet, public, vtep] = cells;
                let [a, b, c, d, _] = widths;
                writeln!(f, "{node:a$}  {state:b$}  {subnet:c$}  {public:d$}  {vtep}")
            }
        }
    }
}

fn widths(rows: &[Row]) -> [usize; COLUMNS] {
    let mut widths = [0; COLUMNS];
    for row in rows {
        let Row::Cells(cells) = row else { continue };
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = cell.chars().count().max(*width);
        }
    }
    widths
}

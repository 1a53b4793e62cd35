//! Bridges and their ports as messages: `IFLA_BR_*` of the bridge, `IFLA_BRPORT_*` of a port, and a port's VLANs.

use backends::LinkName;
use ipam::Mac;

use super::link;
use crate::netlink::{Body, Message};

/// `IFLA_INFO_SLAVE_KIND`, `IFLA_INFO_SLAVE_DATA`, inside `IFLA_LINKINFO`.
const PORT_KIND: u16 = 4;
const PORT_DATA: u16 = 5;
/// `IFLA_BRPORT_STATE`, `IFLA_BRPORT_MODE` (the hairpin switch) and `IFLA_BRPORT_ISOLATED`.
const PORT_STATE: u16 = 1;
const PORT_HAIRPIN: u16 = 4;
const PORT_ISOLATED: u16 = 33;
/// `IFLA_BRPORT_NO`
const PORT_NUMBER: u16 = 18;
/// `IFLA_BR_VLAN_FILTERING`, inside `IFLA_INFO_DATA`.
const VLAN_FILTERING: u16 = 7;
/// `IFLA_BRIDGE_FLAGS` and `IFLA_BRIDGE_VLAN_INFO`, inside `IFLA_AF_SPEC`; `BRIDGE_FLAGS_MASTER`.
const BRIDGE_FLAGS: u16 = 0;
const VLAN_INFO: u16 = 2;
const MASTER: u16 = 1;
/// `BRIDGE_VLAN_INFO_*`
const PVID: u16 = 1 << 1;
const UNTAGGED: u16 = 1 << 2;
const RANGE_BEGIN: u16 = 1 << 3;
const RANGE_END: u16 = 1 << 4;
/// The first and the last VLAN that there can be (IEEE 802.1Q).
const ALL_VLANS: [u16; 2] = [1, 4094];

/// `RTM_SETLINK`: what a port's VLANs are added by; `RTM_DELLINK` takes them away.
pub const SET_VLANS: u16 = libc::RTM_SETLINK;
/// `RTM_SETLINK`, which sets a port's state as well.
pub const SET_PORT: u16 = libc::RTM_SETLINK;
/// `BR_STATE_DISABLED`
const DISABLED: u8 = 0;

/// What a bridge's port says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Index of the bridge.
    pub bridge: u32,
    /// Its number on the bridge: the least that was free.
    pub number: u16,
    /// `BR_STATE_*`: 0 disabled, 3 forwarding.
    pub state: u8,
    /// Whether a frame may leave by the port that it came by.
    pub hairpin: Hairpin,
    /// Whether it is kept apart from the other ports that are.
    pub isolation: Isolation,
}

/// Whether a pod reaches itself through the bridge, as by the address of a Service that it is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hairpin {
    /// A frame may leave by the port that it came by.
    On,
    /// As bridges do by default.
    #[default]
    Off,
}

/// Whether a port's frames go to other such ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Only to ports that are not isolated, as an uplink's, and to the node.
    On,
    /// To all, as bridges do by default.
    #[default]
    Off,
}

/// Reads a link's port; `None` when it is none of a bridge's.
pub fn port(message: &Message<'_>) -> Option<Port> {
    let bridge = message.attributes(16).get(libc::IFLA_MASTER)?.u32()?;
    let info = message.attributes(16).get(link::INFO)?.nested();
    if info.get(PORT_KIND)?.text()? != "bridge" {
        return None;
    }
    let data = info.get(PORT_DATA)?.nested();
    let number = |kind| data.get(kind).and_then(|attribute| attribute.u8()).unwrap_or(0);
    Some(Port {
        bridge,
        number: data.get(PORT_NUMBER).and_then(|attribute| attribute.u16()).unwrap_or(0),
        state: number(PORT_STATE),
        hairpin: if number(PORT_HAIRPIN) == 0 { Hairpin::Off } else { Hairpin::On },
        isolation: if number(PORT_ISOLATED) == 0 { Isolation::Off } else { Isolation::On },
    })
}

/// Whether a bridge keeps its ports' VLANs apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VlanFiltering {
    /// `vlan_filtering 1`
    On,
    /// As bridges do by default.
    #[default]
    Off,
}

/// `ip link add NAME address MAC mtu N up type bridge vlan_filtering 1`
pub fn make(body: &mut Body<'_>, (name, mac): (LinkName, Mac), mtu: Option<u32>, filtering: VlanFiltering) {
    let up = libc::IFF_UP as u32;
    link::head(body, 0, (up, up));
    body.text(libc::IFLA_IFNAME, name.as_str());
    body.mac(libc::IFLA_ADDRESS, mac);
    if let Some(mtu) = mtu {
        body.u32(libc::IFLA_MTU, mtu);
    }
    body.nest(link::INFO, |info| {
        info.text(link::INFO_KIND, "bridge");
        if filtering == VlanFiltering::On {
            info.nest(link::INFO_DATA, |data| data.u8(VLAN_FILTERING, 1));
        }
    });
}

/// `ip link set dev … promisc on`
pub fn set_promiscuous(body: &mut Body<'_>, index: u32) {
    let promiscuous = libc::IFF_PROMISC as u32;
    link::head(body, index, (promiscuous, promiscuous));
}

/// `… type bridge_slave hairpin on|off isolated on|off`
pub fn port_terms(body: &mut Body<'_>, (hairpin, isolation): (Hairpin, Isolation)) {
    body.nest(link::INFO, |info| {
        info.text(PORT_KIND, "bridge");
        info.nest(PORT_DATA, |data| {
            data.u8(PORT_HAIRPIN, u8::from(hairpin == Hairpin::On));
            // Off is what a new port is, and kernels before 4.18 know no other.
            if isolation == Isolation::On {
                data.u8(PORT_ISOLATED, 1);
            }
        });
    });
}

/// `bridge link set dev … state disabled`: nothing passes the port any more. By [`SET_PORT`]: whatever else changes a link is told
/// to all in the kernel, and then the bridge enables the port again (`br_port_carrier_check`).
pub fn disable(body: &mut Body<'_>, index: u32) {
    link::head_of(body, libc::AF_BRIDGE as u8, index);
    body.u8(libc::IFLA_PROTINFO, DISABLED);
}

/// The VLANs of a port, as wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vlans {
    /// The VLAN that the pod's untagged frames belong to.
    pub access: Option<u16>,
    /// The VLANs that the pod tags itself.
    pub trunk: Vec<u16>,
    /// Whether the bridge's default VLAN stays on the port besides.
    pub default: DefaultVlan,
}

/// What becomes of the VLAN that a bridge gives every new port (`vlan_default_pvid`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultVlan {
    /// It stays.
    #[default]
    Kept,
    /// It goes.
    Removed,
}

impl Vlans {
    /// Whether the bridge has to filter for it.
    pub fn filtering(&self) -> VlanFiltering {
        if self.access.is_none() && self.trunk.is_empty() { VlanFiltering::Off } else { VlanFiltering::On }
    }
}

/// `bridge vlan add dev … vid N pvid untagged master`, `bridge vlan add dev … vid N master`
pub fn add_vlans(body: &mut Body<'_>, index: u32, vlans: &Vlans) {
    let access = vlans.access.iter().map(|vid| (PVID | UNTAGGED, *vid));
    of_port(body, index, access.chain(vlans.trunk.iter().map(|vid| (0, *vid))));
}

/// `bridge vlan delete dev … vid 1-4094 master`: whichever of them the port has.
pub fn delete_vlans(body: &mut Body<'_>, index: u32) {
    let [first, last] = ALL_VLANS;
    of_port(body, index, [(RANGE_BEGIN, first), (RANGE_END, last)].into_iter());
}

fn of_port(body: &mut Body<'_>, index: u32, vlans: impl Iterator<Item = (u16, u16)>) {
    link::head_of(body, libc::AF_BRIDGE as u8, index);
    body.nest(libc::IFLA_AF_SPEC, |port| {
        port.u16(BRIDGE_FLAGS, MASTER);
        for (flags, vid) in vlans {
            // `struct bridge_vlan_info`
            let ([f0, f1], [v0, v1]) = (flags.to_ne_bytes(), vid.to_ne_bytes());
            port.bytes(VLAN_INFO, &[f0, f1, v0, v1]);
        }
    });
}

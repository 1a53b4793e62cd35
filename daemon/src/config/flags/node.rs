//! Flags about this node: its name, its uplink, what happens to packets, its files.

use super::Flag;
use super::Shape::{Repeated, Secret, Switch, Value};
use crate::config::value::{
    absolute, address, address_of, asn, boolean, interface, labels, node_name, pattern, preshared_key, seconds, source,
};
use ipam::Family;

pub(super) const UPLINK: &[Flag] = &[
    Flag {
        name: "node-name",
        shape: Value("NAME"),
        default: "",
        help: "This node's name in the store. Without it: the environment variable NODE_NAME; on Kubernetes, the node of the \
               pod that POD_NAME and POD_NAMESPACE name; else the host's name.",
        set: |meant, text| node_name(text).map(|name| meant.node = Some(name)),
    },
    Flag {
        name: "iface",
        shape: Repeated("NAME|IP"),
        default: "",
        help: "The interface that reaches the other nodes, or an address on it. Repeat it to give several; the first \
               that is there is taken. Without any of the --iface flags: the one of the default route.",
        set: |meant, text| interface(text).map(|id| meant.interface.interfaces.push(id)),
    },
    Flag {
        name: "iface-regex",
        shape: Repeated("REGEX"),
        default: "",
        help: "The first interface one of whose addresses matches, else the first whose name matches. Looked at after \
               --iface.",
        set: |meant, text| pattern(text).map(|pattern| meant.interface.patterns.push(pattern)),
    },
    Flag {
        name: "iface-can-reach",
        shape: Value("IP"),
        default: "",
        help: "The interface through which this address is routed. Looked at after --iface-regex.",
        set: |meant, text| address(text).map(|ip| meant.interface.can_reach = Some(ip)),
    },
    Flag {
        name: "public-ip",
        shape: Value("IPV4"),
        default: "",
        help: "The address that peers send to, where it is not the interface's own (a NAT stands before the node). \
               Without any --iface flag it also chooses the interface.",
        set: |meant, text| address_of(Family::V4, text).map(|ip| meant.public_v4 = Some(ip)),
    },
    Flag {
        name: "public-ipv6",
        shape: Value("IPV6"),
        default: "",
        help: "The same for IPv6.",
        set: |meant, text| address_of(Family::V6, text).map(|ip| meant.public_v6 = Some(ip)),
    },
    Flag {
        name: "bgp-as",
        shape: Value("NUMBER"),
        default: "",
        help: "This node's AS, where it is not the one in net-conf.json: one for each rack, mostly.",
        set: |meant, text| asn(text).map(|number| meant.bgp_as = Some(number)),
    },
    Flag {
        name: "node-labels",
        shape: Value("KEY=VALUE,..."),
        default: "",
        help: "This node's labels, by which net-conf.json can choose BGP peers and route reflectors (\"rack=a\"). On Kubernetes the \
               labels of the Node object, too; they win.",
        set: |meant, text| labels(text).map(|labels| meant.labels = labels),
    },
];

pub(super) const PACKETS: &[Flag] = &[
    Flag {
        name: "ip-masq",
        shape: Switch,
        default: "false",
        help: "Give packets from pods to the outside the node's address.",
        set: |meant, text| boolean(text).map(|on| meant.ip_masq = on),
    },
    Flag {
        name: "ip-masq-fully-random-disable",
        shape: Switch,
        default: "false",
        help: "Keep source ports where possible instead of choosing them at random.",
        set: |meant, text| boolean(text).map(|on| meant.keep_ports = on),
    },
    Flag {
        name: "ip-masq-address",
        shape: Repeated("IP"),
        default: "",
        help: "The address that packets from pods to the outside get, in place of that of the interface by which they leave; \
               answers to it must come back to this node. Give one of each family at most.",
        set: |meant, text| {
            source(text).map(|ip| match Family::of(ip) {
                Family::V4 => meant.masquerade_v4 = Some(ip),
                Family::V6 => meant.masquerade_v6 = Some(ip),
            })
        },
    },
    Flag {
        name: "iptables-forward-rules",
        shape: Switch,
        default: "true",
        help: "Accept forwarded packets of the cluster's network. (nftables is used, never iptables; the name is \
               flannel's.)",
        set: |meant, text| boolean(text).map(|on| meant.forward_rules = on),
    },
    Flag {
        name: "iptables-resync",
        shape: Value("SECONDS"),
        default: "5",
        help: "How often the whole kernel state is compared, beside doing so when the kernel says that it changed.",
        set: |meant, text| seconds(text, 1..=86_400).map(|period| meant.resync = period),
    },
    Flag {
        name: "ip-blackhole-route",
        shape: Switch,
        default: "false",
        help: "Let packets to addresses of this node's subnet that no pod has end here. Needed where no bridge holds \
               the subnet.",
        set: |meant, text| boolean(text).map(|on| meant.blackhole = on),
    },
    Flag {
        name: "ip-unreachable-route",
        shape: Switch,
        default: "false",
        help: "Refuse packets to addresses of the cluster's networks that no node has, where they would follow the node's other \
               routes, to the default gateway mostly. Only where nothing else is reached by addresses of these networks; \
               with the backend alloc it does nothing.",
        set: |meant, text| boolean(text).map(|on| meant.unreachable = on),
    },
];

pub(super) const FILES: &[Flag] = &[
    Flag {
        name: "subnet-file",
        shape: Value("FILE"),
        default: "/run/flannel/subnet.env",
        help: "Where this node's network, subnet and MTU are written for the CNI plugin. Two daemons on one node need \
               two of them (and different devices).",
        set: |meant, text| absolute(text).map(|path| meant.subnet_file = path),
    },
    Flag {
        name: "state-directory",
        shape: Value("DIRECTORY"),
        default: "/var/lib/towpath/state",
        help: "Where the last known state of the store is kept, for a start while the store is away.",
        set: |meant, text| absolute(text).map(|path| meant.state_directory = path),
    },
    Flag {
        name: "wireguard-key-file",
        shape: Value("FILE"),
        default: "/run/flannel/wgkey",
        help: "This node's WireGuard key, for the backend wireguard; made when it is missing. On /run it is another after \
               each boot, which peers follow; name a place on a disk to keep it. Also WIREGUARD_KEY_FILE.",
        set: |meant, text| absolute(text).map(|path| meant.wireguard.key_file = path),
    },
    Flag {
        name: "wireguard-psk-file",
        shape: Value("FILE"),
        default: "",
        help: "A file with the key that all nodes share (wg genpsk), instead of PSK in net-conf.json: a mounted Secret.",
        set: |meant, text| absolute(text).map(|path| meant.wireguard.preshared_file = Some(path)),
    },
    Flag {
        name: "wireguard-psk",
        shape: Secret("KEY"),
        default: "",
        help: "The same key itself. Give it by the environment: other users of the host see a command line.",
        set: |meant, text| preshared_key(text).map(|key| meant.wireguard.preshared = Some(key)),
    },
    Flag {
        name: "status-socket",
        shape: Value("FILE"),
        default: "/run/towpath/towpathd.sock",
        help: "The unix socket that towpathctl talks to.",
        set: |meant, text| absolute(text).map(|path| meant.status_socket = path),
    },
];

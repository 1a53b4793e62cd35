//! Flags about the stores.

use super::Shape::{Secret, Switch, Value};
use super::{Flag, Wrong};
use crate::config::value::{absolute, boolean, minutes, store_kind};
use crate::config::{endpoint, kube};
use crate::secret::Secret as SecretText;

pub(super) const STORE: &[Flag] = &[
    Flag {
        name: "store",
        shape: Value("KIND"),
        default: "",
        help: "kubernetes, etcd or directory. Without it the other flags decide: --kube-subnet-mgr means kubernetes, any \
               --etcd-* flag means etcd, else it is a directory.",
        set: |meant, text| store_kind(text).map(|kind| meant.store = Some(kind)),
    },
    Flag {
        name: "store-directory",
        shape: Value("DIRECTORY"),
        default: "/var/lib/towpath/store",
        help: "The directory store: net-conf.json and one file a lease. On one host, or on a directory that all nodes \
               share.",
        set: |meant, text| absolute(text).map(|path| meant.store_directory = path),
    },
    Flag {
        name: "subnet-lease-renew-margin",
        shape: Value("MINUTES"),
        default: "60",
        help: "How long before its end a lease of etcd (24 hours) is renewed: 1 to 1439.",
        set: |meant, text| minutes(text, 1..=1439).map(|margin| meant.lease_renew_margin = margin),
    },
];

pub(super) const ETCD: &[Flag] = &[
    Flag {
        name: "etcd-endpoints",
        shape: Value("URL,URL…"),
        default: "http://127.0.0.1:4001,http://127.0.0.1:2379",
        help: "Where etcd (API version 3) answers; several members with commas between them.",
        set: |meant, text| endpoint::list(text).map(|endpoints| meant.etcd.endpoints = endpoints),
    },
    Flag {
        name: "etcd-prefix",
        shape: Value("PREFIX"),
        default: "/coreos.com/network",
        help: "What all keys begin with: PREFIX/config is net-conf.json, PREFIX/subnets/… are the leases.",
        set: |meant, text| endpoint::prefix(text).map(|prefix| meant.etcd.prefix = prefix),
    },
    Flag {
        name: "etcd-cafile",
        shape: Value("FILE"),
        default: "",
        help: "Who may vouch for etcd's certificate (PEM). It may stand alone.",
        set: |meant, text| absolute(text).map(|path| meant.etcd.ca = Some(path)),
    },
    Flag {
        name: "etcd-certfile",
        shape: Value("FILE"),
        default: "",
        help: "This node's own certificate (PEM), together with --etcd-keyfile.",
        set: |meant, text| absolute(text).map(|path| meant.etcd.certificate = Some(path)),
    },
    Flag {
        name: "etcd-keyfile",
        shape: Value("FILE"),
        default: "",
        help: "The key of --etcd-certfile (PEM).",
        set: |meant, text| absolute(text).map(|path| meant.etcd.key = Some(path)),
    },
    Flag {
        name: "etcd-username",
        shape: Value("NAME"),
        default: "",
        help: "Who to log in as, together with --etcd-password.",
        set: |meant, text| keep(&mut meant.etcd.username, text.to_owned()),
    },
    Flag {
        name: "etcd-password",
        shape: Secret("PASSWORD"),
        default: "",
        help: "The password. Better given by its environment variable: a command line can be read by everybody.",
        set: |meant, text| keep(&mut meant.etcd.password, SecretText::new(text.to_owned())),
    },
];

pub(super) const KUBERNETES: &[Flag] = &[
    Flag {
        name: "kube-subnet-mgr",
        shape: Switch,
        default: "false",
        help: "The same as --store=kubernetes.",
        set: |meant, text| boolean(text).map(|on| meant.kube_subnet_mgr = on),
    },
    Flag {
        name: "kube-api-url",
        shape: Value("URL"),
        default: "",
        help: "The API server; without it and --kubeconfig-file: as the pod finds it.",
        set: |meant, text| kube::url(text).map(|url| meant.kube.api_url = Some(url)),
    },
    Flag {
        name: "kubeconfig-file",
        shape: Value("FILE"),
        default: "",
        help: "How to reach and log in to the API server. --kube-api-url wins over the server named in it.",
        set: |meant, text| keep(&mut meant.kube.kubeconfig, text.into()),
    },
    Flag {
        name: "kube-annotation-prefix",
        shape: Value("PREFIX"),
        default: "flannel.alpha.coreos.com",
        help: "What the annotations on Node objects begin with; flannel peers must have the same.",
        set: |meant, text| kube::prefix(text).map(|prefix| meant.kube.annotations = Some(prefix)),
    },
    Flag {
        name: "peer-objects",
        shape: Value("KIND"),
        default: "nodes",
        help: "What tells of the other nodes: nodes (whole Node objects, as flannel does; each heartbeat of a kubelet comes \
               along) or leases (a small object for each node, that changes only when its subnet or address does; Nodes \
               without one are followed as before).",
        set: |meant, text| kube::by_leases(text).map(|by_leases| meant.kube.by_leases = by_leases),
    },
    Flag {
        name: "peer-namespace",
        shape: Value("NAME"),
        default: "kube-flannel",
        help: "The namespace of these objects, with --peer-objects=leases.",
        set: |meant, text| kube::namespace(text).map(|namespace| meant.kube.namespace = namespace),
    },
    Flag {
        name: "net-config-path",
        shape: Value("FILE"),
        default: "/etc/kube-flannel/net-conf.json",
        help: "The network's configuration. Other stores keep it themselves.",
        set: |meant, text| absolute(text).map(|path| meant.net_config_path = path),
    },
    Flag {
        name: "set-node-network-unavailable",
        shape: Switch,
        default: "true",
        help: "Tell Kubernetes that this node's network is up.",
        set: |meant, text| boolean(text).map(|on| meant.kube.keeps_condition = on),
    },
];

/// Any text is right.
fn keep<T>(place: &mut Option<T>, value: T) -> Result<(), Wrong> {
    *place = Some(value);
    Ok(())
}

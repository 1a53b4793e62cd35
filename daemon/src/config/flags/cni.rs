//! Flags about what the container runtime is given: the plugin and its configuration.

use super::Flag;
use super::Shape::Value;
use crate::config::value::{absolute, file_name, pod_mode};

pub(super) const CNI: &[Flag] = &[
    Flag {
        name: "pod-mode",
        shape: Value("bridge|routed"),
        default: "bridge",
        help: "What new pods of this node hang on, where the plugin's own configuration does not say: a bridge, as with \
               flannel, or a route of their own, which is quicker and has no limit of 1,024. Both live beside each other.",
        set: |meant, text| pod_mode(text).map(|mode| meant.pods = mode),
    },
    Flag {
        name: "cni-bin-dir",
        shape: Value("DIRECTORY"),
        default: "",
        help: "Install the plugin here, with links for flannel's and the reference plugins' names where nobody else has \
               put any, and keep it there: /opt/cni/bin for containerd and CRI-O. Without it: nothing is installed.",
        set: |meant, text| absolute(text).map(|path| meant.cni.bin_directory = Some(path)),
    },
    Flag {
        name: "cni-plugin",
        shape: Value("FILE"),
        default: "",
        help: "The plugin's binary that is installed. Without it: towpath, beside this program.",
        set: |meant, text| absolute(text).map(|path| meant.cni.plugin = Some(path)),
    },
    Flag {
        name: "cni-conf-dir",
        shape: Value("DIRECTORY"),
        default: "",
        help: "Write the container runtime's configuration here as soon as this node is ready, and keep it there: \
               /etc/cni/net.d for containerd and CRI-O. Without it: none is written.",
        set: |meant, text| absolute(text).map(|path| meant.cni.configuration_directory = Some(path)),
    },
    Flag {
        name: "cni-conf-name",
        shape: Value("NAME"),
        default: "10-flannel.conflist",
        help: "What that file is called: flannel's name, or one of your own. Of several, runtimes take the first.",
        set: |meant, text| file_name(text).map(|name| meant.cni.name = name),
    },
    Flag {
        name: "cni-conf-file",
        shape: Value("FILE"),
        default: "",
        help: "What stands in it, as in /etc/kube-flannel/cni-conf.json of flannel's ConfigMap; followed when it changes. \
               Without it: a list with our plugin alone.",
        set: |meant, text| absolute(text).map(|path| meant.cni.source = Some(path)),
    },
];

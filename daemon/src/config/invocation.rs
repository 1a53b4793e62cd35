//! [`Invocation`]: what the process was started with, as plain data. The only place that asks the process for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Variables without a prefix: who and where this process is, as a manifest or the kubelet says it to a pod;
/// and flannel's own for its WireGuard key.
const PLAIN: [&str; 6] = [
    "NODE_NAME",
    "POD_NAME",
    "POD_NAMESPACE",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "WIREGUARD_KEY_FILE",
];

/// Command line, environment and host name.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// The arguments, without the program's own name.
    pub arguments: Vec<String>,
    /// The variables that may concern us.
    pub environment: BTreeMap<String, String>,
    /// What the host is called; empty if it has no name.
    pub host_name: String,
    /// Where this program lies.
    pub directory: PathBuf,
}

impl Invocation {
    /// That of this process. Bytes that are not UTF-8 become U+FFFD and are refused where they matter.
    pub fn of_this_process() -> Invocation {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let ours = |name: &str| name.starts_with("FLANNELD_") || PLAIN.contains(&name);
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Invocation {
            arguments: std::env::args_os().skip(1).map(text).collect(),
            environment: variables.filter(|(name, _)| ours(name)).collect(),
            // What gethostname(2) gives; a host without it is asked to name itself by --node-name.
            host_name: std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned(),
            // One that was removed or moved while it runs still has its directory.
            directory: std::env::current_exe()
                .ok()
                .as_deref()
                .and_then(Path::parent)
                .map(Path::to_owned)
                .unwrap_or_default(),
        }
    }
}

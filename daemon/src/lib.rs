//! THE SHELL `towpathd`: stores, trigger, reconcile, health, metrics, status socket.
#![forbid(unsafe_code)]

pub mod ask;
pub mod bfd;
pub mod bgp;
pub mod burial;
pub mod config;
pub mod device_lock;
pub mod explain;
pub mod extension;
pub mod file_notices;
pub mod files;
pub mod hand;
pub mod host_settings;
pub mod http;
pub mod identity;
pub mod installation;
pub mod instance_lock;
pub mod logging;
pub mod metrics;
pub mod net_config_file;
pub mod netconf;
pub mod node;
pub mod node_name;
pub mod notify_socket;
pub mod occurrences;
pub mod offloads;
pub mod outlets;
pub mod pod_mtu;
pub mod reconcile;
pub mod record;
pub mod run;
#[cfg(test)]
mod scratch;
pub mod seats;
pub mod secret;
pub mod spelling;
pub mod standing;
pub mod state_file;
pub mod status;
pub mod status_socket;
pub mod store;
pub mod subnet_file;
pub mod table_choice;
pub mod trigger;
pub mod tunnel_keys;
pub mod uplink;
pub mod whole_file;

//! A LAB: nodes, pods, wires and faults in network namespaces; gone on drop.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use ipam::Family;
//! use netns_harness::{Binaries, DaemonOptions, Lab, Store};
//! use std::time::Duration;
//!
//! let lab = Lab::new("example")?;
//! let store = lab.store_directory(r#"{"Network": "10.244.0.0/16"}"#)?;
//! let binaries = Binaries::built()?;
//! let mut pods = Vec::new();
//! for name in ["alpha", "beta"] {
//!     let node = lab.node(name)?;
//!     let daemon = node.towpathd(&binaries, &DaemonOptions::new(Store::Directory(store.clone())))?;
//!     daemon.wait_ready(Duration::from_secs(10))?;
//!     pods.push(node.pod(&daemon.plugin(&binaries)?, "web")?);
//! }
//! pods[0].reach(&pods[1], Family::V4)?;
//! # Ok(())
//! # }
//! ```
//!
//! It knows how to build and to break, not what is right: that is what tests say. Everything is a namespace below
//! `/run/netns`, so `ip netns exec NAME …` looks inside while a test runs. Nothing is ever done in the machine's own
//! network namespace. It needs root and the packages iproute2 and nftables (faults), etcd-server and etcd-client (etcd),
//! containerd, runc, iptables, containernetworking-plugins and openssl ([`kubernetes`]), bird2 ([`Bird`]), frr ([`Frr`]). What the machine's kernel lacks is tested
//! on a second one ([`Guest`]).

mod bird;
mod cgroup;
mod cni;
mod daemon;
mod echo;
mod etcd;
mod frr;
mod ground;
mod guard;
mod guest;
mod http;
pub mod kubernetes;
mod lab;
mod namespace;
mod node;
mod pod;
mod prerequisites;
mod process;
mod reach;
mod record;
mod spawner;
mod station;
mod stream;
mod switch;
mod wait;
mod wire;

pub use bird::Bird;
pub use cni::{Answer, Attachment, Plugin, Verb};
pub use daemon::{Binaries, Daemon, DaemonOptions, Store};
pub use echo::ECHO_PORT;
pub use etcd::{Etcd, EtcdOptions, Member};
pub use frr::Frr;
pub use guard::Guard;
pub use guest::{Guest, here_and_in_guest, in_guest};
pub use http::Page;
pub use lab::{DefaultRoute, Lab, Uplink};
pub use namespace::Namespace;
pub use node::Node;
pub use pod::Pod;
pub use prerequisites::{Tool, check_machine, require};
pub use process::Process;
pub use reach::{Cell, Matrix, Transport};
pub use record::{labs, remove_lab, sweep};
pub use rustix::process::{Pid, Signal};
pub use station::Station;
pub use stream::{Hole, Pace, Report, Stream};
pub use switch::Switch;
pub use wait::wait_for;
pub use wire::Wire;

//! A REAL KUBERNETES in namespaces: a control plane alone ([`ControlPlane`]), or a cluster with
//! nodes ([`Cluster`]), set up by the lab or by `kubeadm`.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use ipam::Stack;
//! use netns_harness::kubernetes::{ControlPlaneOptions, NodeObject};
//! use netns_harness::{Binaries, DaemonOptions, Lab, Store};
//! use std::time::Duration;
//!
//! let lab = Lab::new("example")?;
//! let api = lab.control_plane(&ControlPlaneOptions::default())?;
//! let node = lab.node("alpha")?;
//! api.create_node(&NodeObject::of(&node)?.pod_cidr("10.244.1.0/24".parse()?))?;
//! let store = Store::Kubernetes {
//!     kubeconfig: api.daemon_kubeconfig()?,
//!     configuration: api.configuration_file(r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}"#)?,
//! };
//! let daemon = node.towpathd(&Binaries::built()?, &DaemonOptions::new(store))?;
//! daemon.wait_ready(Duration::from_secs(10))?;
//! # Ok(())
//! # }
//! ```
//!
//! The programs are built by `make lab-kubernetes` (see [`Programs`]) and are Kubernetes as it is: no API server is
//! played by somebody else. Everything belongs to a [`crate::Lab`] and goes with it.

mod authority;
mod cluster;
mod control_plane;
mod crowd;
mod identity;
mod image;
mod kubectl;
mod launch;
mod machine;
mod node_object;
mod programs;
mod stock;
mod tar;

pub use authority::Validity;
pub use cluster::{Cluster, ClusterOptions, Method, Proxy};
pub use control_plane::{ControlPlane, ControlPlaneOptions, EtcdVersion};
pub use crowd::{Crowd, Requests};
pub use identity::Identity;
pub use image::{Content, Image, Layer};
pub use kubectl::Kubectl;
pub use machine::Machine;
pub use node_object::NodeObject;
pub use programs::{KUBERNETES_VERSION, Programs};
pub use stock::PODTOOL_IMAGE;

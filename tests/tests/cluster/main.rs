//! WHAT IS PROMISED on a real cluster, as sentences: kubelets, container runtimes, kube-proxy and CoreDNS as they are, our image
//! as it is shipped, the manifest as it is written.
//!
//! A test is one cluster and all that can be seen on it, in order; clusters take their turns (`ground`). It needs root, the
//! packages that the lab names, `make lab-kubernetes` once, and `make image`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_types, reason = "no process on a node; here towpathctl is what is tried")]

mod flannel;
mod ground;
mod traffic;

mod life;
mod mixed;
mod new_cluster;
mod reboot;
mod stock;
mod takeover;
mod trouble;

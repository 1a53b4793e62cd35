//! The lab's Kubernetes is a real one: a control plane answers, remembers and forgets; nodes run pods; kubeadm works.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod control_plane;

//! The lab's Kubernetes is a real one: a control plane answers, remembers and forgets; nodes become Ready; kubeadm works.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod control_plane;

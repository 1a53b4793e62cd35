//! WHAT IS PROMISED of the first overlay, as sentences, shown on the real kernel with the real programs.
//!
//! Each test has a lab of its own and waits for conditions, never for time. It needs root and the packages that the lab
//! names, and the programs: `cargo build -p towpathd -p towpath -p towpathctl` (`make test` does it).
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod monitor;
mod picture;

mod away;
mod beside;
mod bgp;
mod bgp_tunnels;
mod churn;
mod direct_routing;
mod extension;
mod fabric;
mod families;
mod flannel;
mod foreign;
mod garbage;
mod gates;
mod host_gw;
mod host_settings;
mod interface;
mod ipip;
mod leaf_spine;
mod masquerade;
mod mtu;
mod nat;
mod neighbours;
mod network;
mod networkd;
mod networkmanager;
mod offload;
mod own_lease;
mod pods;
mod quiet;
mod real_flannel;
mod reflectors;
mod refusal;
mod repair;
mod rollout;
mod shared_key;
mod takeover;
mod talk;
mod udp;
mod underlay;
mod uplink;
mod wireguard;

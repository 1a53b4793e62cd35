//! [`Pool`]: where a family's pod subnets are taken from, and which one is taken. Pure: the dice are an argument.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A family's pool of pod subnets: those of length `length` from `first` to `last`, inside `network`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The cluster's network (`Network`, `IPv6Network`).
    pub network: IpNet,
    /// Prefix length of each pod subnet (`SubnetLen`, `IPv6SubnetLen`).
    pub length: u8,
    /// The first subnet that may be taken (`SubnetMin`).
    pub first: IpNet,
    /// The last subnet that may be taken (`SubnetMax`).
    pub last: IpNet,
}

//! WHO HAS WHICH SUBNET, which pod has which address.
//!
//! Pure: no sockets, no clock, no threads. The one exception is [`ledger`], which is the pods' addresses on disk.
#![forbid(unsafe_code)]

pub mod key;
pub mod lease;
pub mod ledger;
pub mod mac;
pub mod node;
pub mod pool;
pub mod rollout;
pub mod stack;
pub mod table;
pub mod taken;

pub use key::{PublicKey, SecretKey};
pub use lease::{BackendData, Endpoint, Lease, LeaseKey};
pub use mac::Mac;
pub use node::NodeName;
pub use pool::Pool;
pub use rollout::{Carrier, Rollout, Spare};
pub use stack::{Family, Stack};
pub use table::LeaseTable;
pub use taken::Taken;

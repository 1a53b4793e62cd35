//! The daemon's own configuration: read once, here, in three stages.
//!
//! 1. as written (`written`): strings, each with where it came from;
//! 2. as meant (`meant`): parsed, all mistakes reported together;
//! 3. as used ([`Settings`]): plain typed data that is valid.
//!
//! What the cluster's network is like does not stand here but in net-conf.json, which the store brings: see `netconf`.

pub mod mistake;
pub mod pattern;
pub mod settings;

pub use mistake::{Mistake, Mistakes};
pub use settings::{
    ClientCertificate, EtcdSettings, EtcdUser, Instance, InterfaceId, InterfaceWish, LogFormat, LogLevel, Logging,
    Settings, StoreSettings, TlsFiles,
};

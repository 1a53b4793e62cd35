//! What the tests of the house itself read the tree with (`tests/tests/tidy.rs`, `fence.rs`, `licences.rs`).
//!
//! [`source`] is a Rust file's facts, [`dependencies`] what Cargo resolved, [`spdx`] a licence expression, [`toml_list`]
//! the lists of `deny.toml`, [`tree`] the files. It knows nothing of networks.

pub mod dependencies;
pub mod source;
pub mod spdx;
pub mod toml_list;
pub mod tree;

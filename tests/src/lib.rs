//! WHAT IS PROMISED, as sentences: the tests are in `tests/tests/`, one file per kind of promise.
//!
//! This library is only what the tests of the house itself read the tree with: [`source`] a Rust file's facts,
//! [`dependencies`] what Cargo resolved, [`spdx`] a licence expression, [`toml_list`] the lists of `deny.toml`. It knows
//! nothing of networks; the lab is `netns-harness`.
#![forbid(unsafe_code)]

pub mod dependencies;
pub mod source;
pub mod spdx;
pub mod toml_list;
pub mod tree;

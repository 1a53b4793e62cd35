//! The wire codec from outside: known attacks by name, properties, other codecs beside it, and mutated bytes.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod attacks;
mod bytes;
mod dispositions;
mod malformed_open;
mod mutation;
mod other_codecs;
mod round_trip;
mod third_codec;

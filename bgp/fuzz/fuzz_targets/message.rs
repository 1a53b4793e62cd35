//! Whole messages, header first, one after another as they come from a peer.
#![no_main]
#![forbid(unsafe_code)]

use bgp::wire::header::frame;
use bgp::wire::{Message, Terms};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (terms, mut rest) = (Terms::canonical(), bytes);
    while let Ok(Some(frame)) = frame(rest, terms.limit) {
        drop(Message::decode(&frame, &terms));
        rest = &rest[frame.length..];
    }
});

//! Bodies of OPEN; what is taken is encoded and means the same.
#![no_main]
#![forbid(unsafe_code)]

use bgp::wire::Open;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(open) = Open::decode(bytes) else { return };
    let mut again = Vec::new();
    open.encode(&mut again);
    let again = Open::decode(&again).expect("our own bytes");
    assert_eq!((again.hold_secs, again.identifier), (open.hold_secs, open.identifier));
});

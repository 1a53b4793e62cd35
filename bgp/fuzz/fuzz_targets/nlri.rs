//! Lists of routes, in the family and with the path identifiers that the first byte chooses; what is taken is written to equal bytes, but
//! for bits of hosts.
#![no_main]
#![forbid(unsafe_code)]

use bgp::wire::nlri::write;
use bgp::wire::terms::PathIds;
use bgp::wire::{Family, NlriList};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, list)) = bytes.split_first() else { return };
    let family = Family::ALL[usize::from(choice & 0x7f) % 3];
    let path_ids = if choice & 0x80 == 0 { PathIds::Absent } else { PathIds::Present };
    let Ok(list) = NlriList::check(list, family, path_ids) else { return };
    let mut written = Vec::new();
    list.iter().for_each(|listed| write(&listed, path_ids, &mut written));
    let again = NlriList::check(&written, family, path_ids).expect("our own bytes");
    assert!(again.iter().eq(list.iter()));
});

//! Control packets of BFD to a session that waits for them, each some milliseconds after the one before.
#![no_main]
#![forbid(unsafe_code)]

use std::time::Duration;

use bgp::bfd::{Arrival, Hops, Packet, Path, Sessions, Settings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (ours, theirs) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    let mut sessions = Sessions::new(1);
    let path = Path { local: Some(ours), remote: theirs, link: None, hops: Hops::One };
    let id = sessions.add(path, Settings::default(), Duration::ZERO);
    let mut now = Duration::ZERO;
    sessions.tick(now);
    sessions.outputs().for_each(drop);
    for chunk in bytes.chunks(27) {
        let Some((pause, packet)) = chunk.split_first() else { return };
        let mut packet = packet.to_vec();
        // A discriminator that fits is not found by chance.
        if pause & 1 == 1
            && let Some(yours) = packet.get_mut(8..12)
        {
            yours.copy_from_slice(&id.0.to_be_bytes());
        }
        if let Ok(known) = Packet::decode(&packet) {
            assert_eq!(Packet::decode(&known.encode()), Ok(known));
        }
        let arrival = Arrival { source: theirs, destination: ours, link: 1, ttl: 255, port: 3784 };
        // At most one packet and one change, whatever came and whatever is due.
        sessions.receive(&arrival, &packet, now);
        assert!(sessions.outputs().count() <= 2);
        now += Duration::from_millis((*pause).into());
        sessions.tick(now);
        assert!(sessions.outputs().count() <= 2);
        assert!(sessions.deadline().is_none_or(|at| at > now));
    }
});

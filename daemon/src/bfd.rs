//! THE SOCKETS OF BFD: control packets of all watched paths, on a thread of their own (RFC 5880 to 5883).
//!
//! A busy node loop or a speaker that takes half a million routes delays no packet here, and three missed ones of 50 ms are really
//! missed: whoever woke late reads what has come before it judges. The sessions are `bgp::bfd`'s; what their changes mean is the
//! speaker's. Ports are open only while a path of their kind is watched.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::bgp::liveness::{BfdPaths, WatchEnd};

mod news;
mod receivers;
mod sender;
mod tally;
mod watch;

pub use tally::Tally;

use watch::Watch;

/// How much more of the processor than others' threads this one gets, if it may: packets are few and short, and late ones are lost ones.
const NICENESS: i32 = -15;
/// With nothing due.
const IDLE: Duration = Duration::from_secs(3600);

/// Watches paths from now on, until the speaker's end is dropped; then all peers are told that nothing is wrong with their paths.
///
/// # Errors
/// When there is no thread, no event loop or no chance to be had.
pub fn start(end: WatchEnd) -> io::Result<JoinHandle<()>> {
    let mut seed = [0; 8];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("bfd".into()).spawn(move || {
        // It may not be allowed; then all are alike.
        rustix::process::setpriority_process(None, NICENESS).ok();
        runtime.block_on(run(end, u64::from_ne_bytes(seed)));
    })
}

async fn run(mut end: WatchEnd, seed: u64) {
    let mut watch = Watch::new(seed);
    watch.want(&end.paths.borrow_and_update().clone());
    loop {
        watch.turn();
        end.tally.note(watch.sessions());
        watch.news.tell(&end.news);
        let due = watch.due().unwrap_or_else(|| Instant::now() + IDLE);
        tokio::select! {
            changed = end.paths.changed() => match changed {
                Ok(()) => watch.want(&end.paths.borrow_and_update().clone()),
                Err(_) => break,
            },
            () = watch.heard() => {}
            () = sleep_until(due) => {}
            // What could not be told waits for room, and is brought up to date meanwhile.
            room = end.news.reserve(), if !watch.news.is_empty() => match room {
                Ok(room) => match watch.news.first() {
                    Some(news) => room.send(news),
                    None => drop(room),
                },
                Err(_) => break,
            },
        }
    }
    watch.want(&BfdPaths::new());
    watch.turn();
}

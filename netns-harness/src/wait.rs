//! Waiting for a condition, with a limit and with the last thing that was seen in the error.
//!
//! Nothing here sleeps for a fixed time in the hope that something has happened by then.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// How often a condition is looked at: soon at first, then less and less often.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const SLOWEST_LOOK: Duration = Duration::from_millis(50);

/// Calls `look` until it gives `Ok`, at most for `limit`. An `Err` means "not yet" and says what was seen instead.
///
/// # Errors
/// When the limit is over: what was waited for, how long, and what was seen last.
#[allow(clippy::disallowed_methods, reason = "this is the waiting for a condition that others use instead of sleeping")]
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let begin = Instant::now();
    let mut pause = FIRST_LOOK;
    loop {
        match look() {
            Ok(seen) => return Ok(seen),
            Err(last) if begin.elapsed() >= limit => {
                return Err(anyhow!("waited {limit:?} for {what}; last seen: {last:#}"));
            }
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 3 / 2).min(SLOWEST_LOOK);
    }
}

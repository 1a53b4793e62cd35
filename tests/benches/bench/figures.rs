//! Medians, and how a figure is printed: what it is, what it must be, whether it is.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The middle one; of none it is zero.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The value that so many hundredths are at most.
pub fn percentile(mut values: Vec<f64>, hundredths: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len() * hundredths).div_ceil(100).saturating_sub(1);
    values.get(place).copied().unwrap_or_default()
}

/// How long something takes, in milliseconds.
pub fn millis<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let began = Instant::now();
    let done = work();
    (in_millis(began.elapsed()), done)
}

/// Milliseconds with their fraction.
pub fn in_millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A heading.
pub fn heading(text: &str) {
    println!("\n{text}");
}

/// An absolute figure, for orientation.
pub fn note(what: &str, value: f64, unit: &str) {
    println!("  {what:<58} {value:>10.3} {unit}");
}

/// A figure with the bound that it must keep: at most, or at least.
pub fn goal(what: &str, value: f64, bound: Bound) {
    let (kept, sign, limit) = match bound {
        Bound::AtMost(limit) => (value <= limit, "≤", limit),
        Bound::AtLeast(limit) => (value >= limit, "≥", limit),
    };
    println!("  {what:<58} {value:>10.3} {sign} {limit:<8} {}", if kept { "yes" } else { "NO" });
    GOALS.fetch_add(1, Relaxed);
    if let (false, Ok(mut missed)) = (kept, MISSED.lock()) {
        missed.push(format!("{what}: {value:.3}, wanted {sign} {limit}"));
    }
}

static GOALS: AtomicUsize = AtomicUsize::new(0);
static MISSED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Which bounds were not kept, of all that were looked at.
pub fn summary() {
    let Ok(missed) = MISSED.lock() else { return };
    heading(&format!("{} of {} bounds missed", missed.len(), GOALS.load(Relaxed)));
    missed.iter().for_each(|missed| println!("  {missed}"));
}

/// What a figure must be.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
}

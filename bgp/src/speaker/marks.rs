//! [`Marks`]: which families of a peer have routes that wait to be said again, and how often it may ask for that.
//!
//! To mark routes as stale, or to sweep those that stayed so, is to look at every destination that there is, and the message that asks for it has
//! 23 bytes: a peer that sends nothing else must not keep the others waiting.

use std::time::Duration;

use crate::wire::Family;

/// From one beginning of a refresh that is heard to the next (RFC 7313 sets none).
const BETWEEN_REFRESHES: Duration = Duration::from_secs(1);

/// Marks of a peer's routes, by family in the order of [`Family::ALL`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks([Mark; 3]);

#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    stale: bool,
    /// When a refresh last began.
    begun: Option<Duration>,
}

impl Marks {
    fn of(&mut self, family: Family) -> Option<&mut Mark> {
        let place = Family::ALL.iter().position(|known| *known == family)?;
        self.0.get_mut(place)
    }

    /// Some routes are stale.
    pub fn put(&mut self, family: Family) {
        if let Some(mark) = self.of(family) {
            mark.stale = true;
        }
    }

    /// A refresh begins: whether it is heard. One too many changes no more than that its end ends the one before.
    pub fn begin(&mut self, family: Family, now: Duration) -> bool {
        let Some(mark) = self.of(family) else { return false };
        let heard = mark.begun.is_none_or(|begun| now.saturating_sub(begun) >= BETWEEN_REFRESHES);
        if heard {
            *mark = Mark { stale: true, begun: Some(now) };
        }
        heard
    }

    /// All was said again: whether there is anything to sweep.
    pub fn take(&mut self, family: Family) -> bool {
        self.of(family).is_some_and(|mark| std::mem::take(&mut mark.stale))
    }
}

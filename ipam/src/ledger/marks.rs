//! [`Marks`]: whose ADD has begun and is not done yet. What they say of an owner is that its files have to be looked for, because
//! an ADD that was killed may have left more than the last answer names.
//!
//! They stand in `lock`, which everybody who gives addresses has open anyway and which is empty again when nothing is under
//! way; a file for each would be made and removed with each pod. A line is twelve digits made from the owner, and never
//! an owner's words: `host-local` removes whatever file says these. Pure: the text in, the text out.

use super::owner::Owner;
use crate::Mac;

/// What stands behind the digits of an owner who may have more than its last ADD said, until a DEL or GC.
const AGAIN: &str = " again";

/// Owners, as digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(Vec<String>);

impl Marks {
    pub(super) fn parse(text: &str) -> Marks {
        let sound = |line: &&str| line.trim_end_matches(AGAIN).len() == 12;
        Marks(text.lines().filter(sound).map(str::to_owned).collect())
    }

    /// Notes that an owner's ADD has begun. `false` when that is noted already: an earlier one was killed.
    pub(super) fn begin(&mut self, owner: &Owner) -> bool {
        let fresh = !self.has(owner);
        if fresh {
            self.0.push(digits(owner));
        }
        fresh
    }

    /// Makes an owner's mark one that only a DEL or GC removes.
    pub(super) fn keep(&mut self, owner: &Owner) {
        self.forget(owner);
        self.0.push(digits(owner) + AGAIN);
    }

    /// Notes that an owner's ADD is done.
    pub(super) fn finish(&mut self, owner: &Owner) {
        let digits = digits(owner);
        self.0.retain(|mark| *mark != digits);
    }

    /// Notes that an owner has nothing.
    pub(super) fn forget(&mut self, owner: &Owner) {
        let digits = digits(owner);
        self.0.retain(|mark| mark.trim_end_matches(AGAIN) != digits);
    }

    /// Notes that nobody has anything but these.
    pub(super) fn forget_all_but(&mut self, owners: &[Owner]) {
        let kept: Vec<String> = owners.iter().map(digits).collect();
        self.0.retain(|mark| kept.iter().any(|digits| mark.trim_end_matches(AGAIN) == digits));
    }

    pub(super) fn has(&self, owner: &Owner) -> bool {
        let digits = digits(owner);
        self.0.iter().any(|mark| mark.trim_end_matches(AGAIN) == digits)
    }

    pub(super) fn to_text(&self) -> String {
        self.0.iter().map(|mark| format!("{mark}\n")).collect()
    }
}

fn digits(owner: &Owner) -> String {
    Mac::derived_from(&owner.to_string()).to_string().replace(':', "")
}

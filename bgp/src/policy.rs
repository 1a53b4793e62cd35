//! [`Policy`]: which routes are taken or sent, and what is changed on the way. Rules in order, the first that decides wins.
//!
//! Conditions look at the route as it came: what an earlier rule changed, a later one does not see. So the rules that fired say all about what
//! is done, and routes that fired the same are changed once. Does not know peers but by number, nor where rules are written.

use std::fmt;

use thiserror::Error;

use crate::rib::Relation;

pub mod action;
pub mod condition;
pub mod pattern;
pub mod prefixes;

pub use action::{Action, Changed, Removed, Target};
pub use condition::{Condition, Peers, Route, Sender};
pub use pattern::{CommunityPattern, LargePattern};
pub use prefixes::{PrefixRange, Prefixes};

/// Rules that one policy can have.
pub const MOST_RULES: usize = 128;

/// What happens to a route in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It goes through.
    Accept,
    /// It does not.
    Reject,
}

/// What a rule says when all its conditions hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Then {
    /// Accept, and look no further.
    Accept,
    /// Reject, and look no further.
    Reject,
    /// Change it, and go on to the next rule.
    Next,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What people call it.
    pub name: String,
    /// All of these must hold; none at all hold always.
    pub conditions: Vec<Condition>,
    /// What is changed, unless it rejects.
    pub actions: Vec<Action>,
    /// What it decides.
    pub then: Then,
}

/// Rules, and what happens to a route that none of them decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    rules: Vec<Rule>,
    otherwise: Verdict,
}

/// A policy that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// Too long.
    #[error("a policy has {count} rules and can have {MOST_RULES}: put prefixes of one kind into one rule's list")]
    TooManyRules {
        /// How many it has.
        count: usize,
    },
}

/// What a policy makes of a route: the verdict, and the rules that fired as bits, the first lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The rules whose conditions held.
    pub fired: u128,
}

/// What one rule made of a route, for a person who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met<'p> {
    /// The rule; `None` for what happens otherwise.
    pub rule: Option<&'p Rule>,
    /// The first condition that did not hold; `None` when all did.
    pub failed: Option<&'p Condition>,
    /// The verdict, if it was this one that decided.
    pub verdict: Option<Verdict>,
}

impl Policy {
    /// Accepts everything as it is.
    pub fn accept() -> Policy {
        Policy { rules: Vec::new(), otherwise: Verdict::Accept }
    }

    /// Rejects everything: what an eBGP peer without a policy gets, in both directions (RFC 8212).
    pub fn reject() -> Policy {
        Policy { rules: Vec::new(), otherwise: Verdict::Reject }
    }

    /// Rules in their order, and what happens otherwise.
    pub fn new(rules: Vec<Rule>, otherwise: Verdict) -> Result<Policy, PolicyError> {
        match rules.len() {
            count if count > MOST_RULES => Err(PolicyError::TooManyRules { count }),
            _ => Ok(Policy { rules, otherwise }),
        }
    }

    /// What happens to a route.
    pub fn judge(&self, route: &Route<'_>) -> Judgement {
        let mut fired = 0;
        for (place, rule) in self.rules.iter().enumerate() {
            if !rule.conditions.iter().all(|condition| condition.holds(route)) {
                continue;
            }
            fired |= 1 << place;
            match rule.then {
                Then::Next => {}
                Then::Accept => return Judgement { verdict: Verdict::Accept, fired },
                Then::Reject => return Judgement { verdict: Verdict::Reject, fired },
            }
        }
        Judgement { verdict: self.otherwise, fired }
    }

    /// Whether a route of somebody who is this to us may go through, as far as that can be said of all of them.
    pub fn may_accept_from(&self, relation: Relation) -> bool {
        for rule in &self.rules {
            let known: Vec<Option<bool>> =
                rule.conditions.iter().map(|condition| condition.holds_of(relation)).collect();
            match rule.then {
                Then::Accept if !known.contains(&Some(false)) => return true,
                Then::Reject if known.iter().all(|known| *known == Some(true)) => return false,
                _ => {}
            }
        }
        self.otherwise == Verdict::Accept
    }

    /// Whether the verdict is the same for every route, which then need not be looked at.
    pub fn is_plain(&self) -> bool {
        self.rules.is_empty()
    }

    /// Does what the rules that fired say.
    pub fn change(&self, judgement: Judgement, route: &mut Changed<'_>) {
        for (place, rule) in self.rules.iter().enumerate() {
            if judgement.fired & (1 << place) != 0 && rule.then != Then::Reject {
                rule.actions.iter().for_each(|action| action.apply(route));
            }
        }
    }

    /// The rules, in their order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What a route meets, rule by rule, to the one that decides.
    pub fn explain<'p>(&'p self, route: &Route<'_>) -> Vec<Met<'p>> {
        let mut met = Vec::new();
        for rule in &self.rules {
            let failed = rule.conditions.iter().find(|condition| !condition.holds(route));
            let verdict = match (failed, rule.then) {
                (None, Then::Accept) => Some(Verdict::Accept),
                (None, Then::Reject) => Some(Verdict::Reject),
                _ => None,
            };
            met.push(Met { rule: Some(rule), failed, verdict });
            if verdict.is_some() {
                return met;
            }
        }
        met.push(Met { rule: None, failed: None, verdict: Some(self.otherwise) });
        met
    }
}

/// Items with commas between them.
fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Accept => "accept",
            Verdict::Reject => "reject",
        })
    }
}

impl fmt::Display for Met<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.rule, self.failed, self.verdict) {
            (Some(rule), Some(Condition::Not(condition)), _) => {
                write!(f, "rule `{}`: passed over, because it is so: {condition}", rule.name)
            }
            (Some(rule), Some(condition), _) => {
                write!(f, "rule `{}`: passed over, because it is not so: {condition}", rule.name)
            }
            (Some(rule), None, Some(verdict)) => write!(f, "rule `{}`: {verdict}", rule.name),
            (Some(rule), None, None) => write!(f, "rule `{}`: holds, and the next is asked", rule.name),
            (None, _, Some(verdict)) => write!(f, "no rule decides: {verdict}"),
            (None, ..) => f.write_str("no rule decides"),
        }
    }
}

#[cfg(test)]
mod tests;

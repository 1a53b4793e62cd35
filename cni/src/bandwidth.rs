//! [`Bandwidth`]: how fast a pod may send and receive (`runtimeConfig.bandwidth`, `ingressRate` …), in `towpath` and as `bandwidth`.
//!
//! Owner of this file while the parts are filled in: host ports, bandwidth, masquerade.

use crate::call::Call;
use crate::document::Mistakes;
use crate::environment::Attachment;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::part::{Part, Undo};

/// Rates and bursts.
pub struct Bandwidth;

impl Part for Bandwidth {
    fn validate(&self, call: &Call<'_>) -> Result<(), Error> {
        let mut mistakes = Mistakes::default();
        let runtime = call.document.root().object("runtimeConfig", &mut mistakes);
        match runtime.and_then(|runtime| runtime.first_set(&["bandwidth"])) {
            Some((key, value)) => Err(Error::UnsupportedField { key, value, instead: "leave it to `bandwidth`" }),
            None => mistakes.none_or(()),
        }
    }

    fn add<'a>(&'a self, _: &'a Call<'a>, _: &'a Attachment, _: &mut Outcome) -> Result<Undo<'a>, Error> {
        Ok(Box::new(|| {}))
    }

    fn delete(&self, _: &Call<'_>, _: &Attachment) -> Result<(), Error> {
        Ok(())
    }

    fn check(&self, _: &Call<'_>, _: &Attachment, _: &Outcome) -> Result<(), Error> {
        Ok(())
    }
}

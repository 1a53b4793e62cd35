//! [`Masquerade`]: `ipMasq` of `towpath` and `bridge`.
//!
//! Owner of this file while the parts are filled in: host ports, bandwidth, masquerade.

use crate::call::Call;
use crate::document::Mistakes;
use crate::environment::Attachment;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::part::{Part, Undo};

/// Masquerading of what pods send out of the cluster.
pub struct Masquerade;

impl Part for Masquerade {
    fn validate(&self, call: &Call<'_>) -> Result<(), Error> {
        let mut mistakes = Mistakes::default();
        // Masquerading is the daemon's, so either is right.
        call.document.root().flag("ipMasq", &mut mistakes);
        mistakes.none_or(())
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

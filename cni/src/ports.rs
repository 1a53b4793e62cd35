//! [`Ports`]: a pod's host ports (`runtimeConfig.portMappings`), in `towpath` and under the name `portmap`.
//!
//! Owner of this file while the parts are filled in: host ports, bandwidth, masquerade.

use crate::call::Call;
use crate::document::Mistakes;
use crate::environment::Attachment;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::part::{Part, Undo};

/// Host ports.
pub struct Ports;

impl Part for Ports {
    fn validate(&self, call: &Call<'_>) -> Result<(), Error> {
        let mut mistakes = Mistakes::default();
        let runtime = call.document.root().object("runtimeConfig", &mut mistakes);
        match runtime.and_then(|runtime| runtime.first_set(&["portMappings"])) {
            Some((key, value)) => Err(Error::UnsupportedField { key, value, instead: "leave it to `portmap`" }),
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

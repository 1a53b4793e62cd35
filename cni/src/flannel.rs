//! [`Flannel`]: flannel's meta plugin. It makes the configuration of another plugin out of its own and of `subnet.env`, and
//! has that do the work: `bridge` in this very process, any other by executing it.
//!
//! The configuration that was delegated is kept in `<dataDir>/<containerID>`, as flannel's own plugin keeps it, byte for
//! byte: either deletes the other's pods. Where we differ on purpose: the file goes only when DEL has succeeded, and DEL
//! without a file still takes down what `bridge` would have made; CHECK, GC and STATUS are delegated as well.

mod delegate;
mod kept;

use crate::call::{Attachments, Call};
use crate::delegate::Executed;
use crate::document::Document;
use crate::environment::Attachment;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::part::{Part, Undo};
use crate::plugin::Plugin;
use crate::subnet_file::awaited;
use kept::Kept;

/// flannel's meta plugin.
pub struct Flannel;

impl Part for Flannel {
    fn validate(&self, call: &Call<'_>) -> Result<(), Error> {
        call.document.network()?;
        Kept::of(call.document)?;
        delegate::check(call.document)
    }

    fn add<'a>(
        &'a self,
        call: &'a Call<'a>,
        attachment: &'a Attachment,
        outcome: &mut Outcome,
    ) -> Result<Undo<'a>, Error> {
        let document = awaited(|| delegate::of(call.document))?;
        with(call, &document, |part, call| part.validate(call))?;
        // Before anything is made, so that DEL finds it whenever this ends; it stays when ADD fails.
        Kept::of(call.document)?.write(attachment, &document)?;
        with(call, &document, |part, call| part.add(call, attachment, outcome).map(drop))?;
        Ok(Box::new(move || {
            // What cannot be taken back now, DEL will.
            with(call, &document, |part, call| part.delete(call, attachment)).ok();
        }))
    }

    fn delete(&self, call: &Call<'_>, attachment: &Attachment) -> Result<(), Error> {
        let kept = Kept::of(call.document)?;
        match kept.read(attachment)? {
            Some(document) => {
                with(call, &document, |part, call| part.delete(call, attachment))?;
                kept.remove(attachment)
            }
            None => {
                let document = delegate::as_far_as_written(call.document)?;
                // Nothing was kept, so nothing was executed.
                if Plugin::named(delegate::kind(&document)?).is_some() {
                    with(call, &document, |part, call| part.delete(call, attachment))?;
                }
                kept.remove(attachment)
            }
        }
    }

    fn check(&self, call: &Call<'_>, attachment: &Attachment, previous: &Outcome) -> Result<(), Error> {
        let Some(document) = Kept::of(call.document)?.read(attachment)? else {
            let what = format!("there is no configuration kept for {}: flannel's ADD keeps one", attachment.owner);
            return Err(Error::Missing { what });
        };
        let document = delegate::with_previous(document, call.document);
        with(call, &document, |part, call| part.check(call, attachment, previous))
    }

    fn collect(&self, call: &Call<'_>, valid: &Attachments) -> Result<(), Error> {
        let document = delegate::as_far_as_written(call.document)?;
        let document = delegate::with_attachments(document, call.document);
        let collected = with(call, &document, |part, call| part.collect(call, valid));
        let kept = Kept::of(call.document).and_then(|kept| kept.collect(&call.document.network()?, valid));
        Error::all([collected, kept].into_iter())
    }

    fn status(&self, call: &Call<'_>) -> Result<(), Error> {
        self.validate(call)?;
        let document = delegate::of(call.document)?;
        with(call, &document, |part, call| part.status(call))
    }
}

/// Has the delegate do something: in this process when it is one of ours.
fn with(
    call: &Call<'_>,
    document: &Document,
    act: impl FnOnce(&dyn Part, &Call<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let kind = delegate::kind(document)?;
    match Plugin::named(kind) {
        Some(plugin) => {
            let delegated = call.delegated(plugin, document).with_mtu_from(delegate::mtu_from(call.document));
            act(plugin.part(), &delegated)
        }
        None => act(&Executed::new("delegate.type", kind)?, &call.delegated(call.plugin, document)),
    }
}

//! [`Part`]: one piece of a pod's network, that can be made, taken down, looked at and swept; and [`Chain`], several of
//! them in one process.
//!
//! Every name that we answer to is a chain of parts ([`mod@crate::plugin`]). Parts meet in the [`Outcome`] alone, as plugins of a
//! configuration list do in `prevResult`; so `towpath` does in one process what five plugins do in five.

use crate::call::{Attachments, Call};
use crate::environment::Attachment;
use crate::error::Error;
use crate::outcome::Outcome;

/// Takes back what one ADD made, and nothing that was there before it.
pub type Undo<'a> = Box<dyn FnOnce() + 'a>;

/// One piece of a pod's network.
///
/// The calling thread is in the host's network namespace when a part is called. It may be in the pod's afterwards.
pub trait Part: Sync {
    /// Whether the configuration can be meant, before anything is made.
    ///
    /// # Errors
    /// All mistakes in this part's keys.
    fn validate(&self, _call: &Call<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Makes its piece and adds to the outcome what it made. What fails leaves nothing.
    ///
    /// # Errors
    /// The first thing that failed.
    fn add<'a>(
        &'a self,
        call: &'a Call<'a>,
        attachment: &'a Attachment,
        outcome: &mut Outcome,
    ) -> Result<Undo<'a>, Error>;

    /// Whether what [`Part::add`] made is still there when the whole is made: a DEL of the same interface may have run
    /// meanwhile, which no runtime does and no pod may suffer from.
    ///
    /// # Errors
    /// When it is not.
    fn stands(&self, _call: &Call<'_>, _attachment: &Attachment, _made: &Outcome) -> Result<(), Error> {
        Ok(())
    }

    /// Takes its piece down. What is gone is no error; the configuration may be broken by now.
    ///
    /// # Errors
    /// When something is left; asking again does the rest.
    fn delete(&self, call: &Call<'_>, attachment: &Attachment) -> Result<(), Error>;

    /// Compares with what ADD answered, the whole chain's.
    ///
    /// # Errors
    /// The first thing that is missing or wrong.
    fn check(&self, call: &Call<'_>, attachment: &Attachment, previous: &Outcome) -> Result<(), Error>;

    /// GC: takes down whatever belongs to attachments that are not listed. Goes on after an error.
    ///
    /// # Errors
    /// What could not be taken down.
    fn collect(&self, _call: &Call<'_>, _valid: &Attachments) -> Result<(), Error> {
        Ok(())
    }

    /// STATUS: whether [`Part::add`] would find what it needs.
    ///
    /// # Errors
    /// Why not.
    fn status(&self, _call: &Call<'_>) -> Result<(), Error> {
        Ok(())
    }
}

/// Parts one after the other; taken down the other way round.
pub struct Chain(pub &'static [&'static dyn Part]);

impl Part for Chain {
    fn validate(&self, call: &Call<'_>) -> Result<(), Error> {
        self.0.iter().try_for_each(|part| part.validate(call))
    }

    fn add<'a>(
        &'a self,
        call: &'a Call<'a>,
        attachment: &'a Attachment,
        outcome: &mut Outcome,
    ) -> Result<Undo<'a>, Error> {
        let mut undos: Vec<Undo<'a>> = Vec::with_capacity(self.0.len());
        for part in self.0 {
            match part.add(call, attachment, outcome).and_then(|undo| call.go_home().map(|()| undo)) {
                Ok(undo) => undos.push(undo),
                Err(error) => {
                    take_back(call, undos);
                    return Err(error);
                }
            }
        }
        Ok(Box::new(move || take_back(call, undos)))
    }

    fn delete(&self, call: &Call<'_>, attachment: &Attachment) -> Result<(), Error> {
        let each = |part: &&dyn Part| part.delete(call, attachment).and_then(|()| call.go_home());
        Error::all(self.0.iter().rev().map(each))
    }

    fn check(&self, call: &Call<'_>, attachment: &Attachment, previous: &Outcome) -> Result<(), Error> {
        self.0.iter().try_for_each(|part| {
            part.check(call, attachment, previous)?;
            call.go_home()
        })
    }

    fn collect(&self, call: &Call<'_>, valid: &Attachments) -> Result<(), Error> {
        Error::all(self.0.iter().rev().map(|part| part.collect(call, valid)))
    }

    fn status(&self, call: &Call<'_>) -> Result<(), Error> {
        self.0.iter().try_for_each(|part| part.status(call))
    }
}

/// The last one made is the first one taken back.
fn take_back(call: &Call<'_>, undos: Vec<Undo<'_>>) {
    for undo in undos.into_iter().rev() {
        // The error that led here is the one to report; what cannot be taken back now, the pod's DEL will.
        call.go_home().ok();
        undo();
    }
}

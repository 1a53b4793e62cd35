//! STATUS: whether an ADD would find what it needs to know.

use crate::document::Document;
use crate::error::Error;
use crate::network::{Network, Plan};

/// Succeeds when ADD knows from where to give addresses.
///
/// # Errors
/// [`Error::NotReady`] with the reason; a configuration that is wrong is told as such.
pub fn status(document: &Document) -> Result<(), Error> {
    Network::of(document)?;
    let resolved = Plan::of(document)?.resolve();
    resolved.map(|_| ()).map_err(|reason| Error::NotReady { reason: Box::new(reason) })
}

//! The seam to IPAM: which [`Part`] gives a pod its addresses, by `ipam.type`: `host-local` in this very process, any
//! other by executing it (specification 1.1, section 4), nobody when none is named.

use crate::call::Call;
use crate::delegate::Executed;
use crate::document::Mistakes;
use crate::error::Error;
use crate::ipam_local::HostLocal;
use crate::part::Part;
use crate::plugin::Plugin;

/// Who gives addresses.
///
/// # Errors
/// When `ipam.type` is not a text, or not the name of a plugin that could give addresses.
pub fn giver(call: &Call<'_>) -> Result<Option<Box<dyn Part>>, Error> {
    let (root, mut mistakes) = (call.document.root(), Mistakes::default());
    let ipam = root.object("ipam", &mut mistakes);
    let kind = ipam.as_ref().and_then(|ipam| ipam.text("type", &mut mistakes)).unwrap_or_default();
    mistakes.none_or(())?;
    Ok(match (kind, call.plugin) {
        ("host-local", _) | ("", Plugin::Towpath) => Some(Box::new(HostLocal)),
        // The reference `bridge` is then without addresses, a wire and no more.
        ("", _) => None,
        // Any other of our own would look for addresses itself, by the same configuration, for ever.
        (kind, _) if Plugin::named(kind).is_some() => {
            let mistake =
                format!("`ipam.type` is {kind:?}, which gives no addresses: expected host-local, or a like one");
            return Err(Error::Configuration { mistakes: vec![mistake] });
        }
        (kind, _) => Some(Box::new(Executed::new("ipam.type", kind)?)),
    })
}

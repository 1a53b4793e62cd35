//! The options of `"Type": "extension"`.

use backends::Backend;
use backends::extension::{CommandLine, ExtensionSettings};

use super::object::Object;

/// Reads them; `None` after a mistake.
pub(super) fn settings(backend: &mut Object<'_, '_>) -> Option<Backend> {
    let keys = ["PreStartupCommand", "PostStartupCommand", "SubnetAddCommand", "SubnetRemoveCommand"];
    let [pre_startup, post_startup, subnet_add, subnet_remove] = keys.map(|key| command(backend, key));
    if backend.holds("ShutdownCommand") {
        let sentence = "Backend.ShutdownCommand is never run, as in flannel: what pods use stays when the daemon ends";
        backend.warn(sentence.to_owned());
    }
    backend.take("ShutdownCommand");
    backend.finish();
    Some(Backend::Extension(ExtensionSettings {
        pre_startup: pre_startup?,
        post_startup: post_startup?,
        subnet_add: subnet_add?,
        subnet_remove: subnet_remove?,
    }))
}

/// `None` after a mistake; `Some(None)` where there is no command.
fn command(backend: &mut Object<'_, '_>, key: &'static str) -> Option<Option<CommandLine>> {
    let Some(text) = backend.text(key).filter(|text| !text.trim().is_empty()) else { return Some(None) };
    match CommandLine::parse(text) {
        Ok(line) => Some(Some(line)),
        Err(error) => {
            backend.mistake(key, text, (error, "write one program with its arguments, or sh -c '…' for more"));
            None
        }
    }
}

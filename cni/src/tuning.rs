//! [`Tuning`]: settings of the pod's interface and of its network namespace. The reference `tuning` plugin, and the keys of
//! it that `towpath` takes itself: `sysctl`, `txQLen`, `promisc`, `allmulti`; its `mtu` and `mac` are the wire's.

mod allowlist;
pub mod backup;
mod wanted;

use kernel::pod::{Pod, PodError};
use kernel::sysctl;

use crate::call::Call;
use crate::environment::{Arguments, Attachment};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::part::{Part, Undo};
use crate::plugin::Plugin;
use allowlist::Allowlist;
use backup::Backup;
use wanted::Wanted;

/// Settings.
pub struct Tuning;

impl Part for Tuning {
    fn validate(&self, call: &Call<'_>) -> Result<(), Error> {
        Backup::of(call.document)?;
        let wanted = Wanted::of(call, &Arguments::default())?;
        let mut names = wanted.names().peekable();
        match names.peek().map(|_| Allowlist::of_node()).transpose()?.flatten() {
            Some(allowed) => allowed.check(names),
            None => Ok(()),
        }
    }

    fn add<'a>(
        &'a self,
        call: &'a Call<'a>,
        attachment: &'a Attachment,
        outcome: &mut Outcome,
    ) -> Result<Undo<'a>, Error> {
        let wanted = Wanted::of(call, &attachment.arguments)?;
        if wanted.is_nothing() {
            return Ok(Box::new(|| {}));
        }
        let mut pod = Pod::enter(&attachment.open_netns(call.home)?)?;
        for (path, value) in wanted.settings(attachment) {
            sysctl::write(&path, value).map_err(PodError::from)?;
        }
        if wanted.link != kernel::pod::Tuning::default() {
            let name = attachment.ifname;
            let Some((index, found)) = pod.tuned(name).map_err(PodError::from)? else {
                return Err(Error::Missing { what: format!("the interface {name} is not in the pod") });
            };
            // Whose link ends with the pod needs nothing put back.
            if call.plugin == Plugin::Tuning {
                Backup::of(call.document)?.write(attachment, &wanted.link, &found)?;
            }
            pod.tune(index, name, &wanted.link).map_err(PodError::from)?;
            wanted.tell(attachment, outcome);
        }
        Ok(Box::new(move || {
            // What cannot be taken back now, DEL will.
            self.delete(call, attachment).ok();
        }))
    }

    fn delete(&self, call: &Call<'_>, attachment: &Attachment) -> Result<(), Error> {
        if call.plugin != Plugin::Tuning {
            return Ok(());
        }
        let backup = Backup::of(call.document)?;
        if let (Some(before), Some(netns)) = (backup.read(attachment)?, attachment.netns_left(call.home)?) {
            let mut pod = Pod::enter(&netns)?;
            let name = attachment.ifname;
            if let Some((index, _)) = pod.tuned(name).map_err(PodError::from)? {
                pod.tune(index, name, &before).map_err(PodError::from)?;
            }
        }
        backup.remove(attachment)
    }

    fn check(&self, call: &Call<'_>, attachment: &Attachment, _: &Outcome) -> Result<(), Error> {
        let wanted = Wanted::of(call, &attachment.arguments)?;
        if wanted.is_nothing() {
            return Ok(());
        }
        let mut pod = Pod::enter(&attachment.open_netns(call.home)?)?;
        for (path, value) in wanted.settings(attachment) {
            // The kernel writes tabs between the numbers of one setting, people write blanks.
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let found = sysctl::read(&path).map_err(PodError::from)?.unwrap_or_default();
            if words(&found) != words(value) {
                return Err(Error::Missing { what: format!("{path} in the pod is `{found}`, and was `{value}`") });
            }
        }
        let name = attachment.ifname;
        let found = pod.tuned(name).map_err(PodError::from)?;
        let Some((_, found)) = found else {
            return Err(Error::Missing { what: format!("the interface {name} is not in the pod") });
        };
        match wanted.difference(&found) {
            None => Ok(()),
            Some(what) => Err(Error::Missing { what: format!("{what} of {name} in the pod is not as it was set") }),
        }
    }
}

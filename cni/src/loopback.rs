//! [`Loopback`]: `lo` in the pod, up. The reference `loopback` plugin, which container runtimes call before any network.

use backends::LinkName;
use kernel::pod::{Pod, PodError, Tuning};

use crate::call::Call;
use crate::environment::Attachment;
use crate::error::Error;
use crate::outcome::{Address, Interface, Outcome};
use crate::part::{Part, Undo};

const NAME: &str = "lo";

/// The pod's loopback interface.
pub struct Loopback;

impl Part for Loopback {
    fn add<'a>(
        &'a self,
        call: &'a Call<'a>,
        attachment: &'a Attachment,
        outcome: &mut Outcome,
    ) -> Result<Undo<'a>, Error> {
        let (mut pod, name) = (Pod::enter(&attachment.open_netns(call.home)?)?, name()?);
        let index = set(&mut pod, name, true)?;
        // In a chain it passes on what is there, as the reference does.
        if *outcome == Outcome::default() {
            let sandbox = attachment.netns.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
            let mac = "00:00:00:00:00:00".to_owned();
            outcome.interfaces.push(Interface { name: NAME.to_owned(), mac, sandbox, ..Interface::default() });
            let there = pod.addresses(index).map_err(PodError::from)?;
            let addresses = there.into_iter().filter(|net| net.addr().is_loopback());
            outcome.addresses.extend(addresses.map(|net| Address { net, gateway: None, interface: Some(0) }));
        }
        // A pod that has `lo` up misses nothing by it.
        Ok(Box::new(|| {}))
    }

    fn delete(&self, call: &Call<'_>, attachment: &Attachment) -> Result<(), Error> {
        match attachment.netns_left(call.home)? {
            Some(netns) => set(&mut Pod::enter(&netns)?, name()?, false).map(drop),
            None => Ok(()),
        }
    }

    fn check(&self, call: &Call<'_>, attachment: &Attachment, _: &Outcome) -> Result<(), Error> {
        let mut pod = Pod::enter(&attachment.open_netns(call.home)?)?;
        match pod.tuned(name()?).map_err(PodError::from)? {
            Some((_, Tuning { up: Some(true), .. })) => Ok(()),
            _ => Err(Error::Missing { what: "lo in the pod is down".to_owned() }),
        }
    }
}

fn set(pod: &mut Pod, name: LinkName, up: bool) -> Result<u32, Error> {
    let Some((index, found)) = pod.tuned(name).map_err(PodError::from)? else {
        return Err(Error::Missing { what: "there is no lo in the pod: is that a network namespace?".to_owned() });
    };
    if found.up != Some(up) {
        pod.tune(index, name, &Tuning { up: Some(up), ..Tuning::default() }).map_err(PodError::from)?;
    }
    Ok(index)
}

fn name() -> Result<LinkName, Error> {
    LinkName::new(NAME).map_err(|error| Error::Missing { what: error.to_string() })
}

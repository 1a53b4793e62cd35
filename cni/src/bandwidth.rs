//! [`Bandwidth`]: how fast a pod may send and receive (`runtimeConfig.bandwidth`, `ingressRate` …), in `towpath` and as
//! `bandwidth`.
//!
//! Bits a second, and bits at a time. What the kernel does about it is `kernel::shaping`'s. The intermediate device is called
//! what the reference plugin calls it, so that each deletes the other's pods.

use backends::LinkName;
use ipam::ledger::Identifier;
use kernel::pod::{Host, Pod, PodError};
use kernel::shaping::{Devices, INTERMEDIATE_PREFIX, Limits, Rate, Shaper};
use kernel::tag::Tag;
use sha2::{Digest, Sha512};

use crate::call::{Attachments, Call};
use crate::document::{Mistakes, Object};
use crate::environment::Attachment;
use crate::error::Error;
use crate::outcome::{Interface, Outcome};
use crate::part::{Part, Undo};
use crate::plugin::Plugin;
use crate::translation;

/// Rates and bursts.
pub struct Bandwidth;

const RATES: [(&str, &str); 2] = [("ingressRate", "ingressBurst"), ("egressRate", "egressBurst")];
const SUBNETS: [&str; 2] = ["unshapedSubnets", "shapedSubnets"];

impl Part for Bandwidth {
    fn validate(&self, call: &Call<'_>) -> Result<(), Error> {
        limits(call).map(drop)
    }

    fn add<'a>(
        &'a self,
        call: &'a Call<'a>,
        attachment: &'a Attachment,
        outcome: &mut Outcome,
    ) -> Result<Undo<'a>, Error> {
        let limits = limits(call)?;
        if limits == Limits::default() {
            return Ok(Box::new(|| {}));
        }
        if call.plugin == Plugin::Bandwidth && !call.document.root().has("prevResult") {
            let mistake = "`prevResult` is missing: bandwidth comes after the plugin that connects the pod, in a list";
            return Err(Error::Configuration { mistakes: vec![mistake.to_owned()] });
        }
        let devices = devices(call, attachment, outcome)?;
        let tag = translation::tag(call, attachment)?;
        let made = Shaper::open().and_then(|mut shaper| shaper.limit(&devices, &tag, &limits));
        if let Some(made) = made.map_err(PodError::from)? {
            outcome.interfaces.push(Interface {
                name: made.name.to_string(),
                mac: made.mac.map(|mac| mac.to_string()).unwrap_or_default(),
                mtu: Some(made.mtu),
                ..Interface::default()
            });
        }
        Ok(Box::new(move || {
            // The error that led here is the one to report; what is left now, DEL will take.
            self.delete(call, attachment).ok();
        }))
    }

    fn delete(&self, call: &Call<'_>, attachment: &Attachment) -> Result<(), Error> {
        // What is on the wire goes with the wire.
        let name = intermediate(&call.document.network()?, &attachment.owner.container.to_string());
        Ok(Shaper::open().and_then(|mut shaper| shaper.remove(name)).map_err(PodError::from)?)
    }

    fn check(&self, call: &Call<'_>, attachment: &Attachment, previous: &Outcome) -> Result<(), Error> {
        let limits = limits(call)?;
        if limits == Limits::default() {
            return Ok(());
        }
        let devices = devices(call, attachment, previous)?;
        let missing = Shaper::open().and_then(|mut shaper| shaper.missing(&devices, &limits));
        match missing.map_err(PodError::from)? {
            Some(what) => Err(Error::Missing { what }),
            None => Ok(()),
        }
    }

    fn collect(&self, call: &Call<'_>, valid: &Attachments) -> Result<(), Error> {
        let network = call.document.network()?;
        let kept = valid
            .owners()
            .map(|owner| (Tag::new(network.as_str(), &owner), intermediate(&network, &owner.container.to_string())));
        let kept: Vec<(Tag, LinkName)> = kept.collect();
        let collected = Shaper::open().and_then(|mut shaper| shaper.collect(network.as_str(), &kept));
        Ok(collected.map_err(PodError::from)?)
    }
}

/// What is written in the configuration itself, else what the runtime says of this pod.
fn limits(call: &Call<'_>) -> Result<Limits, Error> {
    let (root, mut mistakes) = (call.document.root(), Mistakes::default());
    let keys = RATES.iter().flat_map(|(rate, burst)| [*rate, *burst]).chain(SUBNETS);
    let written = keys.into_iter().any(|key| root.get(key).is_some());
    let runtime = root.object("runtimeConfig", &mut mistakes);
    let said = if written { Some(root) } else { runtime.and_then(|all| all.object("bandwidth", &mut mistakes)) };
    let Some(said) = said else { return mistakes.none_or(Limits::default()) };
    let [ingress, egress] = RATES.map(|keys| rate(&said, keys, &mut mistakes));
    let limits = mistakes.none_or(Limits { ingress, egress })?;
    match said.first_set(&SUBNETS) {
        Some((key, value)) if limits != Limits::default() => Err(Error::UnsupportedField {
            key,
            value,
            instead: "all that a pod sends and receives is counted; leave it out",
        }),
        _ => Ok(limits),
    }
}

fn rate(said: &Object<'_>, (rate_key, burst_key): (&str, &str), mistakes: &mut Mistakes) -> Option<Rate> {
    let rate = said.quantity(rate_key, mistakes).unwrap_or(0);
    let burst = said.quantity(burst_key, mistakes).unwrap_or(0);
    let (rate_path, burst_path) = (said.path(rate_key), said.path(burst_key));
    match (rate, burst) {
        (0, 0) => return None,
        (rate, 0) => mistakes.push(format!("`{rate_path}` is {rate} and `{burst_path}` is not set: set both")),
        (0, burst) => mistakes.push(format!("`{burst_path}` is {burst} and `{rate_path}` is not set: set both")),
        (rate, _) if rate < 8 => {
            mistakes
                .push(format!("`{rate_path}` is {rate}: expected at least 8 bits a second, the kernel counts octets"));
        }
        // The kernel counts octets in 32 bits.
        (_, burst) if burst / 8 >= u64::from(u32::MAX) => {
            mistakes.push(format!("`{burst_path}` is {burst}: expected less than 4 GiB, which are 34359738360 bits"));
        }
        (rate, burst) => return Some(Rate { rate, burst }),
    }
    None
}

/// The devices of a pod that is connected: its end on the host is the veth that the other plugins say they made.
fn devices(call: &Call<'_>, attachment: &Attachment, outcome: &Outcome) -> Result<Devices, Error> {
    let mut host = Host::open().map_err(PodError::from)?;
    let mut ends = Vec::new();
    for interface in outcome.interfaces.iter().filter(|interface| interface.sandbox.is_empty()) {
        let Ok(name) = LinkName::new(&interface.name) else { continue };
        let found = host.find(name).map_err(PodError::from)?;
        ends.extend(found.filter(|found| found.kind == "veth").map(|found| (name, found)));
    }
    if ends.len() > 1 {
        // Several networks' wires: the kernel knows which one leads to this interface.
        let netns = attachment.open_netns(call.home)?;
        let pod = Pod::enter(&netns).and_then(|mut pod| Ok(pod.find(attachment.ifname)?));
        call.go_home()?;
        let index = pod?.map(|found| found.index);
        ends.retain(|(_, found)| found.peer.is_some() && found.peer == index);
    }
    match ends.first() {
        Some((host, _)) => {
            let name = intermediate(&call.document.network()?, &attachment.owner.container.to_string());
            Ok(Devices { host: *host, intermediate: name })
        }
        None => {
            let what =
                "no plugin before says of a veth on the host that leads to the pod, whose bandwidth could be limited";
            Err(Error::Missing { what: what.to_owned() })
        }
    }
}

/// As the reference plugin calls it: `bwp` and the beginning of a SHA-512.
#[allow(clippy::expect_used, reason = "15 octets of letters and digits are an interface's name (`dev_valid_name`)")]
fn intermediate(network: &Identifier, container: &str) -> LinkName {
    let digest = Sha512::digest(format!("{network}{container}"));
    let digits: String = digest.iter().take(6).map(|octet| format!("{octet:02x}")).collect();
    LinkName::new(&format!("{INTERMEDIATE_PREFIX}{digits}")).expect("letters and digits")
}

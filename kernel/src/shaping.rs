//! [`Shaper`]: how fast a pod may receive and send, as token buckets outside of its reach.
//!
//! What the pod receives is sent by the host's end of its wire, whose queue is a bucket. What it sends arrives there, where
//! there is no queue: it is led through an intermediate device (`ifb`) that has one. A bucket on the pod's own end would need
//! no device, but a pod with CAP_NET_ADMIN could take it away.

use backends::LinkName;
use ipam::Mac;

pub use crate::codec::queue::Bucket;
use crate::codec::{self, link, queue};
use crate::error::{Error, Refusal, Result};
use crate::netlink::{Batch, Message, Protocol, Request, Socket};
use crate::tag::Tag;

/// Octets of an Ethernet header with a VLAN tag: what a packet has besides its payload.
const HEADER: u32 = 18;
/// The MTU of networks of jumbo frames, octets.
const JUMBO: u32 = 9000;
/// How long a packet may wait for tokens.
const LATENCY_MILLIS: u64 = 25;

/// What the host's end of a wire and the `ifb` are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Devices {
    /// The host's end of the pod's wire.
    pub host: LinkName,
    /// The device that what the pod sends is led through.
    pub intermediate: LinkName,
}

/// So many bits a second, so many at a time; neither is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bits a second, at least 8.
    pub rate: u64,
    /// Bits.
    pub burst: u64,
}

impl Rate {
    /// The bucket on a link of this MTU. It holds at least one packet, or none would ever pass: one of the largest that the link may
    /// carry in its life, since it follows the network's MTU, and nobody makes its buckets anew then. (What an `ifb` is
    /// handed is not measured against the MTU of its own: `tcf_mirred_to_dev`.)
    fn bucket(self, mtu: u32) -> Bucket {
        let burst = u32::try_from(self.burst / 8).unwrap_or(u32::MAX).max(mtu.max(JUMBO).saturating_add(HEADER));
        let waiting = (self.rate / 8).saturating_mul(LATENCY_MILLIS) / 1000;
        let limit = u32::try_from(waiting).unwrap_or(u32::MAX).saturating_add(burst);
        Bucket { rate: self.rate / 8, burst, limit }
    }
}

/// What a pod is allowed; what is not said is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// What it receives.
    pub ingress: Option<Rate>,
    /// What it sends.
    pub egress: Option<Rate>,
}

/// The token buckets of this node's pods.
#[derive(Debug)]
pub struct Shaper {
    socket: Socket,
}

/// What the intermediate device came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intermediate {
    /// Its name.
    pub name: LinkName,
    /// Its link-layer address.
    pub mac: Option<Mac>,
    /// Octets of payload.
    pub mtu: u32,
}

impl Shaper {
    /// Opens a socket to the calling thread's network namespace.
    ///
    /// # Errors
    /// When the system gives no socket.
    pub fn open() -> Result<Shaper> {
        Ok(Shaper { socket: Socket::open(Protocol::Route)? })
    }

    /// Limits what goes over a wire. Returns the intermediate device, if it needed one.
    ///
    /// # Errors
    /// What the kernel refused; the intermediate device is gone again then.
    pub fn limit(&mut self, devices: &Devices, tag: &Tag, limits: &Limits) -> Result<Option<Intermediate>> {
        let Some(host) = self.find(devices.host)? else {
            return Err(absent(devices.host));
        };
        if let Some(rate) = limits.ingress {
            let bucket = rate.bucket(host.mtu);
            let doing = format!("limiting what {} sends to its pod", devices.host);
            let request = Request { kind: queue::NEW, flags: codec::REPLACE, doing: &doing };
            self.socket.request(&request, |body| queue::token_bucket(body, host.index, &bucket)).map_err(lacking)?;
        }
        let Some(rate) = limits.egress else { return Ok(None) };
        let made = self.lead_through(devices, &host, (tag, rate));
        if made.is_err() {
            // The first error is the one to report; what cannot be taken down now, the pod's DEL will.
            self.remove(devices.intermediate).ok();
        }
        made.map(Some)
    }

    fn lead_through(&mut self, devices: &Devices, host: &Device, (tag, rate): (&Tag, Rate)) -> Result<Intermediate> {
        let name = devices.intermediate;
        let doing = format!("making the device {name}, which what the pod sends is led through");
        let request = Request { kind: link::NEW, flags: codec::MAKE, doing: &doing };
        match self.socket.request(&request, |body| queue::intermediate(body, name, host.mtu)) {
            // Of an ADD that was killed.
            Err(Error::Refused { refusal, .. }) if refusal.errno == libc::EEXIST => {}
            made => made.map_err(lacking)?,
        }
        let Some(found) = self.find(name)? else { return Err(absent(name)) };
        let (up, bucket) = (libc::IFF_UP as u32, rate.bucket(host.mtu));
        let mut batch = Batch::new(&mut self.socket);
        batch.push(0, (link::NEW, 0), |body| {
            link::set(body, found.index, link::Attributed { alias: Some(tag.as_str()), ..link::Attributed::default() });
        });
        batch.push(1, (link::NEW, 0), |body| link::set_flags(body, found.index, up));
        batch.push(2, (queue::NEW, codec::REPLACE), |body| queue::token_bucket(body, found.index, &bucket));
        batch.push(3, (queue::NEW, codec::REPLACE), |body| queue::ingress(body, host.index));
        batch.push(4, (queue::NEW_FILTER, codec::MAKE), |body| queue::redirect(body, host.index, found.index));
        match batch.finish().into_iter().next() {
            Some(refused) => {
                let doing = match refused.key {
                    0 | 1 => format!("bringing up {name}"),
                    2 => format!("limiting what goes through {name}"),
                    _ => format!("leading what {} receives through {name}", devices.host),
                };
                Err(lacking(Error::Refused { doing, refusal: refused.refusal }))
            }
            None => Ok(Intermediate { name, mac: found.mac, mtu: host.mtu }),
        }
    }

    /// The first thing that is missing of what [`Shaper::limit`] made, as a sentence.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn missing(&mut self, devices: &Devices, limits: &Limits) -> Result<Option<String>> {
        let Some(host) = self.find(devices.host)? else {
            return Ok(Some(format!("the host's end of the wire, {}, is not there", devices.host)));
        };
        if let Some(rate) = limits.ingress
            && !self.has(host.index, &rate.bucket(host.mtu))?
        {
            let (rate, name) = (rate.rate, devices.host);
            return Ok(Some(format!("the limit of {rate} bit/s on what the pod receives is not on {name}")));
        }
        let Some(rate) = limits.egress else { return Ok(None) };
        let name = devices.intermediate;
        let Some(found) = self.find(name)? else {
            return Ok(Some(format!("the device {name}, which what the pod sends is led through, is not there")));
        };
        if !found.up {
            return Ok(Some(format!("{name} is down")));
        }
        if !self.has(found.index, &rate.bucket(host.mtu))? {
            return Ok(Some(format!("the limit of {} bit/s on what the pod sends is not on {name}", rate.rate)));
        }
        let request = Request { kind: queue::GET_FILTER, flags: 0, doing: "listing the filters of a pod's wire" };
        let mut answers = self.socket.dump(&request, |body| queue::filters_of(body, host.index))?;
        let led = answers.any(|message| queue::redirected_to(&message) == Some(found.index));
        Ok((!led).then(|| format!("what {} receives is not led through {name}", devices.host)))
    }

    /// Removes an intermediate device; one that is something else than an `ifb` is left alone. Gone is as good as removed.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(&mut self, intermediate: LinkName) -> Result<()> {
        match self.find(intermediate)? {
            Some(found) if found.kind == "ifb" => self.delete(&found, intermediate.as_str()),
            _ => Ok(()),
        }
    }

    /// Removes the intermediate devices of a network that are of no pod that is `kept`, and those that an ADD that was
    /// killed left unfinished, unless they are among `names`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn collect(&mut self, network: &str, kept: &[(Tag, LinkName)]) -> Result<()> {
        let request = Request { kind: link::GET, flags: 0, doing: "listing links" };
        let messages = self.socket.dump(&request, link::all)?;
        let seen = messages.filter_map(|message| {
            let entry = link::Entry::read(&message)?;
            Some((entry.name?, Device::read(&message)?))
        });
        let seen: Vec<(LinkName, Device)> = seen.filter(|(_, found)| found.kind == "ifb").collect();
        for (name, found) in seen {
            let ours = Tag::is_of_network(&found.alias, network);
            let unfinished = found.alias.is_empty() && !found.up && name.as_str().starts_with(INTERMEDIATE_PREFIX);
            let wanted = kept.iter().any(|(tag, kept)| tag.as_str() == found.alias || *kept == name);
            if (ours || unfinished) && !wanted {
                self.delete(&found, name.as_str())?;
            }
        }
        Ok(())
    }

    fn delete(&mut self, found: &Device, name: &str) -> Result<()> {
        let doing = format!("deleting the device {name}");
        let request = Request { kind: link::DELETE, flags: 0, doing: &doing };
        match self.socket.request(&request, |body| link::by_index(body, found.index)) {
            Err(Error::Refused { refusal, .. }) if refusal.errno == libc::ENODEV => Ok(()),
            deleted => deleted,
        }
    }

    fn has(&mut self, link: u32, bucket: &Bucket) -> Result<bool> {
        let request = Request { kind: queue::GET, flags: 0, doing: "listing the queues of a link" };
        let mut answers = self.socket.dump(&request, |body| queue::of_link(body, link))?;
        // Before 4.20 the kernel lists those of all links.
        Ok(answers.any(|message| queue::Seen::read(&message).is_some_and(|seen| seen.link == link && bucket.is(&seen))))
    }

    fn find(&mut self, name: LinkName) -> Result<Option<Device>> {
        let doing = format!("looking for the interface {name}");
        let request = Request { kind: link::GET, flags: 0, doing: &doing };
        match self.socket.query(&request, |body| link::by_name(body, name)) {
            Err(Error::Refused { refusal, .. }) if refusal.errno == libc::ENODEV => Ok(None),
            answers => Ok(answers?.find_map(|message| Device::read(&message))),
        }
    }
}

/// A link, as far as it matters here.
struct Device {
    index: u32,
    kind: String,
    up: bool,
    mac: Option<Mac>,
    mtu: u32,
    alias: String,
}

impl Device {
    fn read(message: &Message<'_>) -> Option<Device> {
        let entry = link::Entry::read(message)?;
        let (kind, alias) = (entry.kind.unwrap_or_default().to_owned(), entry.alias.unwrap_or_default().to_owned());
        Some(Device { index: entry.index, kind, up: entry.up, mac: entry.mac, mtu: entry.mtu, alias })
    }
}

/// What the names of intermediate devices begin with, as the reference `bandwidth` plugin's do.
pub const INTERMEDIATE_PREFIX: &str = "bwp";

fn absent(name: LinkName) -> Error {
    let refusal = Refusal { errno: libc::ENODEV, words: None };
    Error::Refused { doing: format!("looking for the interface {name}"), refusal }
}

/// The kernel says ENOENT of a discipline, filter or action that it does not know.
fn lacking(error: Error) -> Error {
    match error {
        Error::Refused { doing, refusal } if refusal.is_unsupported() || refusal.errno == libc::ENOENT => {
            let feature = "what limits a pod's bandwidth (CONFIG_NET_SCH_TBF, CONFIG_IFB, CONFIG_NET_SCH_INGRESS, \
                           CONFIG_NET_CLS_U32, CONFIG_NET_ACT_MIRRED; modules sch_tbf, ifb, sch_ingress, cls_u32, \
                           act_mirred)";
            Error::Unsupported { doing, feature, refusal }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_a_packet_of_whatever_its_link_may_carry_later() {
        let small = Rate { rate: 1000, burst: 8 };
        assert_eq!(small.bucket(1400), small.bucket(8930));
        assert!(small.bucket(1400).burst > 8930 && small.bucket(65_000).burst > 65_000);
    }
}

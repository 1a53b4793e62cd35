//! [`Request`]: what a runtime asks for one pod: its addresses and its MAC address. From `CNI_ARGS` (`IP`, `MAC`), from
//! `args.cni` (`ips`, `mac`) and from the capabilities in `runtimeConfig` (`ips`, `mac`), as the conventions beside the
//! specification have them.
//!
//! `CNI_ARGS` has to say `IgnoreUnknown=1` when it says anything that we do not know; every reference plugin wants that.

use std::net::IpAddr;

use ipam::Mac;
use ipnet::IpNet;

use crate::call::Call;
use crate::document::{Mistakes, Object};
use crate::environment::{Arguments, Attachment};
use crate::error::Error;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Addresses, each once. Their length is the subnet's, whatever is written behind them.
    pub addresses: Vec<IpAddr>,
    /// The MAC address of the pod's end. The capability counts before `args.cni`, and that before `CNI_ARGS`.
    pub mac: Option<Mac>,
}

impl Request {
    /// Reads all three places.
    ///
    /// # Errors
    /// What cannot be meant: code 4 in the variable, 7 in the configuration.
    pub fn of(call: &Call<'_>, attachment: &Attachment) -> Result<Request, Error> {
        let mut request = Request::of_arguments(&attachment.arguments)?;
        let (root, mut mistakes) = (call.document.root(), Mistakes::default());
        let arguments = root.object("args", &mut mistakes).and_then(|arguments| arguments.object("cni", &mut mistakes));
        let runtime = root.object("runtimeConfig", &mut mistakes);
        for object in arguments.iter().chain(&runtime) {
            request.read(object, &mut mistakes);
        }
        mistakes.none_or(request)
    }

    fn of_arguments(arguments: &Arguments) -> Result<Request, Error> {
        let (mut request, mut mistakes) = (Request::default(), Vec::new());
        let mut unknown = Vec::new();
        for (key, value) in arguments.iter() {
            match key {
                "IP" => {
                    for text in value.split(',').filter(|text| !text.is_empty()) {
                        match address(text) {
                            Some(address) => request.push(address),
                            None => mistakes.push(format!("CNI_ARGS IP is `{text}`: expected an IP address")),
                        }
                    }
                }
                "MAC" if value.is_empty() => {}
                "MAC" => match mac(value) {
                    Ok(mac) => request.mac = Some(mac),
                    Err(expected) => mistakes.push(format!("CNI_ARGS MAC is `{value}`: expected {expected}")),
                },
                "IgnoreUnknown" if ignores(value).is_none() => {
                    mistakes.push(format!("CNI_ARGS IgnoreUnknown is `{value}`: expected 1, true, 0 or false"));
                }
                "IgnoreUnknown" => {}
                key => unknown.push(key),
            }
        }
        let ignored = arguments.get("IgnoreUnknown").and_then(ignores).unwrap_or(false);
        if !unknown.is_empty() && !ignored {
            let keys = unknown.join(", ");
            mistakes.push(format!("CNI_ARGS has {keys}, unknown here: leave that out, or add IgnoreUnknown=1"));
        }
        if mistakes.is_empty() { Ok(request) } else { Err(Error::Environment { mistakes }) }
    }

    fn read(&mut self, object: &Object<'_>, mistakes: &mut Mistakes) {
        for text in object.texts("ips", mistakes) {
            match address(&text) {
                Some(address) => self.push(address),
                None => mistakes.push(format!("`{}` has `{text}`: expected an IP address", object.path("ips"))),
            }
        }
        if let Some(text) = object.text("mac", mistakes).filter(|text| !text.is_empty()) {
            match mac(text) {
                Ok(mac) => self.mac = Some(mac),
                Err(expected) => mistakes.push(format!("`{}` is `{text}`: expected {expected}", object.path("mac"))),
            }
        }
    }

    fn push(&mut self, address: IpAddr) {
        if !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
    }
}

/// An address with or without a length. `::ffff:10.1.0.5` is 10.1.0.5, as everywhere in the reference plugins.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = text.parse().ok().or_else(|| text.parse::<IpNet>().ok().map(|net| net.addr()))?;
    Some(address.to_canonical())
}

/// With colons or dashes; one that an interface can have.
fn mac(text: &str) -> Result<Mac, &'static str> {
    let mac: Mac = text.replace('-', ":").parse().map_err(|_| "a MAC address as in 02:42:ac:11:00:02")?;
    if mac.is_unicast() { Ok(mac) } else { Err("the address of one interface: the first octet even, and not all zero") }
}

/// What `IgnoreUnknown` says, in the reference library's words.
fn ignores(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

//! What a node publishes beside its subnets, in flannel's JSON: read from anybody, written as flannel writes it byte for
//! byte, with two members more (`Node`, `Rollout`) at the end, which flannel's decoder skips.
//!
//! It does not know where the JSON is kept.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipam::{BackendData, Endpoint, Family, Mac, NodeName, Rollout, Stack};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::subnet_key::cut;
use super::{Claim, Published, rollout};

/// A lease is a few hundred bytes; what is larger than this is not read.
pub const MAX_BYTES: usize = 64 * 1024;

/// Flannel's `LeaseAttrs`: the members' order, and what is left out when empty, are part of the format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attributes {
    /// The underlay IPv4 address.
    #[serde(rename = "PublicIP", default)]
    pub public_ip: Option<Ipv4Addr>,
    /// The underlay IPv6 address.
    #[serde(rename = "PublicIPv6", default)]
    pub public_ipv6: Option<Ipv6Addr>,
    /// `vxlan`, `host-gw`, …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub backend_type: String,
    /// The backend's own data for IPv4: `{"VNI":1,"VtepMAC":"aa:bb:cc:dd:ee:ff"}` of VXLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_data: Option<Value>,
    /// The same for IPv6.
    #[serde(rename = "BackendV6Data", default, skip_serializing_if = "Option::is_none")]
    pub backend_v6_data: Option<Value>,
    /// Ours: who publishes this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// Ours: which ways of carrying packets it has (`rollout`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Value>,
}

impl Attributes {
    /// What a node publishes of itself.
    pub fn of(claim: &Claim) -> Attributes {
        let (mut public_ip, mut public_ipv6) = (None, None);
        for published in claim.published.values() {
            match published.public {
                IpAddr::V4(address) => public_ip = Some(address),
                IpAddr::V6(address) => public_ipv6 = Some(address),
            }
        }
        let data = |family| claim.published.get(family).and_then(|published| written(&published.data));
        let mut types = claim.published.values().map(|published| published.data.backend_type());
        Attributes {
            public_ip,
            public_ipv6,
            backend_type: types.next().unwrap_or_default().to_owned(),
            backend_data: data(Family::V4),
            backend_v6_data: data(Family::V6),
            node: Some(claim.node.clone()),
            rollout: claim.rollout.as_ref().and_then(rollout::write),
        }
    }

    /// Reads the JSON.
    ///
    /// # Errors
    /// A clause that says what is wrong.
    pub fn parse(json: &[u8]) -> Result<Attributes, String> {
        if json.len() > MAX_BYTES {
            return Err(format!("it is {} bytes long, a lease has at most {MAX_BYTES}", json.len()));
        }
        serde_json::from_slice(json).map_err(|error| format!("it is not flannel's JSON: {}", cut(&error.to_string())))
    }

    /// The underlay address of a family.
    pub fn public(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.public_ip.map(IpAddr::V4),
            Family::V6 => self.public_ipv6.map(IpAddr::V6),
        }
    }

    /// Who publishes this; without a name the underlay address stands for it.
    pub fn publisher(&self) -> Option<NodeName> {
        let address = || self.public(Family::V4).or_else(|| self.public(Family::V6));
        self.node.clone().or_else(|| NodeName::new(&address()?.to_string()).ok())
    }

    /// The endpoints on these subnets. A family without a public address is left out: the other one still works.
    ///
    /// # Errors
    /// A clause that says what is wrong, when a family is there and unusable, or none is there.
    pub fn endpoints(&self, subnets: &Stack<IpNet>) -> Result<Stack<Endpoint>, String> {
        let (mut v4, mut v6) = (None, None);
        for (family, subnet) in subnets.iter() {
            let Some(public) = self.public(family) else { continue };
            usable(public, subnet)?;
            let (data, slot) = match family {
                Family::V4 => (&self.backend_data, &mut v4),
                Family::V6 => (&self.backend_v6_data, &mut v6),
            };
            *slot = Some(Endpoint { subnet: *subnet, public, data: read(&self.backend_type, data.as_ref())? });
        }
        Stack::from_options(v4, v6).ok_or_else(|| "it has no public address".to_owned())
    }

    /// Which ways of carrying packets it has, if it says so.
    pub fn rollout(&self, endpoints: &Stack<Endpoint>) -> Option<Box<Rollout>> {
        rollout::parse(self.rollout.as_ref(), endpoints)
    }
}

/// The data of a backend.
///
/// # Errors
/// A clause that says what is wrong.
pub fn read(backend_type: &str, data: Option<&Value>) -> Result<BackendData, String> {
    let member = |name| data.and_then(|data| data.get(name));
    match backend_type {
        "vxlan" => read_vxlan(member),
        "wireguard" => read_wireguard(member),
        "extension" => {
            let output = data.and_then(Value::as_str).unwrap_or_default();
            Ok(BackendData::Extension { output: output.into() })
        }
        "bgp" => {
            let cluster = number(&member, "RouteReflector")?.map(Ipv4Addr::from_bits);
            Ok(BackendData::Bgp { asn: number(&member, "AS")?, reflects_for: cluster })
        }
        other => Ok(BackendData::Other(cut(other).into())),
    }
}

/// A number that is not 0, if it is there.
fn number<'a>(member: &impl Fn(&'static str) -> Option<&'a Value>, name: &'static str) -> Result<Option<u32>, String> {
    let Some(value) = member(name).filter(|value| !value.is_null()) else { return Ok(None) };
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number != 0);
    number.map(Some).ok_or_else(|| format!("its {name} is not a number from 1 to 4294967295"))
}

fn read_vxlan<'a>(member: impl Fn(&'static str) -> Option<&'a Value>) -> Result<BackendData, String> {
    let vni = member("VNI").and_then(Value::as_u64).and_then(|vni| u32::try_from(vni).ok());
    let vni = vni.filter(|vni| *vni < 1 << 24).ok_or("its VNI is not a number below 16777216")?;
    let mac = member("VtepMAC").and_then(Value::as_str).ok_or("its VtepMAC is missing")?;
    let mac: Mac = mac.parse().map_err(|error| format!("its VtepMAC is wrong: {error}"))?;
    if !mac.is_unicast() {
        return Err(format!("its VtepMAC {mac} is not a unicast address"));
    }
    Ok(BackendData::Vxlan { vni, mac })
}

fn read_wireguard<'a>(member: impl Fn(&'static str) -> Option<&'a Value>) -> Result<BackendData, String> {
    let key = member("PublicKey").and_then(Value::as_str).ok_or("its PublicKey is missing")?;
    let key = key.parse().map_err(|error| format!("its PublicKey is wrong: {error}"))?;
    let port = match member("Port").filter(|port| !port.is_null()) {
        None => None,
        Some(port) => match port.as_u64().and_then(|port| u16::try_from(port).ok()) {
            // What Go writes where nothing was said.
            Some(0) => None,
            Some(port) => Some(port),
            None => return Err("its Port is not a number up to 65535".to_owned()),
        },
    };
    Ok(BackendData::WireGuard { key: Box::new(key), port })
}

/// The same as JSON, where there is any.
pub fn written(data: &BackendData) -> Option<Value> {
    match data {
        BackendData::Vxlan { vni, mac } => Some(json!({ "VNI": vni, "VtepMAC": mac.to_string() })),
        BackendData::WireGuard { key, port } => Some(json!({ "PublicKey": key.to_string(), "Port": port })),
        BackendData::Extension { output } if !output.is_empty() => Some(json!(output)),
        BackendData::Bgp { asn, reflects_for } => {
            // A cluster is a number here: a flannel that gets this lease back takes any text for its VTEP's MAC.
            let said = [("AS", *asn), ("RouteReflector", reflects_for.map(Ipv4Addr::to_bits))];
            let said = said.into_iter().filter_map(|(name, number)| Some((name.to_owned(), json!(number?))));
            let said: Map<String, Value> = said.collect();
            (!said.is_empty()).then_some(Value::Object(said))
        }
        BackendData::Extension { .. } | BackendData::Other(_) => None,
    }
}

/// Whether packets can be sent to an underlay address; one of the lease's own pods would be a tunnel into itself.
fn usable(public: IpAddr, subnet: &IpNet) -> Result<(), String> {
    let never = match public {
        // RFC 1122 section 3.2.1.3 (this network, limited broadcast), RFC 1112 section 4 (class E).
        IpAddr::V4(address) => address.octets()[0] == 0 || address.octets()[0] >= 240,
        // RFC 4291 section 2.5.6: link-local means nothing without an interface.
        IpAddr::V6(address) => address.is_unspecified() || address.is_unicast_link_local(),
    };
    if never || public.is_loopback() || public.is_multicast() {
        return Err(format!("its public address {public} cannot be sent to"));
    }
    if subnet.contains(&public) {
        return Err(format!("its public address {public} lies inside its own pod subnet {subnet}"));
    }
    Ok(())
}

/// Whether the subnets may be leased in these networks: a wider one, or one elsewhere, would draw other traffic in.
///
/// # Errors
/// A clause that says what is wrong.
pub fn fit(subnets: &Stack<IpNet>, networks: Option<&Stack<IpNet>>) -> Result<(), String> {
    let Some(networks) = networks else { return Ok(()) };
    for (family, subnet) in subnets.iter() {
        let Some(network) = networks.get(family) else { continue };
        if !network.contains(subnet) {
            return Err(format!("its subnet {subnet} is not inside the cluster's network {network}"));
        }
        if network.prefix_len() == subnet.prefix_len() {
            return Err(format!("its subnet {subnet} is as wide as the cluster's network"));
        }
    }
    Ok(())
}

impl Published {
    /// Whether a lease's endpoint says the same.
    pub fn equals(&self, endpoint: &Endpoint) -> bool {
        self.public == endpoint.public && self.data == endpoint.data
    }
}

#[cfg(test)]
mod tests;

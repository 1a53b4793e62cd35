//! How a [`Rollout`] is written beside flannel's words: one JSON object, as short as can be while nothing changes.
//!
//! ```json
//! {"Carrier":"vxlan vni=1 port=8472","Clock":3,"MTU":1500}
//! {"Carrier":"vxlan vni=1 port=8472","Target":"host-gw","Ready":true,"Clock":4,"Spares":[{"Carrier":"host-gw"}],"MTU":1500}
//! ```
//!
//! What is none is overlooked: its node is then taken for one that does not say, as flannel's do not.

use ipam::{Carrier, Endpoint, Rollout, Spare, Stack};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::attributes::{read, written};

/// A node in the midst of changes of mind has a few ways; of more than this nothing is true.
const MOST_SPARES: usize = 8;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    carrier: Carrier,
    /// Where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<Carrier>,
    /// With another target only: else it goes without saying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ready: Option<bool>,
    #[serde(default)]
    clock: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    spares: Vec<WrittenSpare>,
    #[serde(rename = "MTU", default, skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WrittenSpare {
    carrier: Carrier,
    #[serde(default, skip_serializing_if = "is_never")]
    promised: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backend_data: Option<Value>,
    #[serde(rename = "BackendV6Data", default, skip_serializing_if = "Option::is_none")]
    backend_v6_data: Option<Value>,
}

// serde wants a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_never(promised: &u64) -> bool {
    *promised == 0
}

/// As JSON.
pub fn write(rollout: &Rollout) -> Option<Value> {
    let Rollout { main, target, ready, clock, spares, mtu } = rollout;
    let elsewhere = target != main;
    let spare = |spare: &Spare| {
        let data = |family| spare.data.get(family).and_then(written);
        let [backend_data, backend_v6_data] = ipam::Family::ALL.map(data);
        WrittenSpare { carrier: spare.carrier.clone(), promised: spare.promised, backend_data, backend_v6_data }
    };
    let all = Written {
        carrier: main.clone(),
        target: elsewhere.then(|| target.clone()),
        ready: elsewhere.then_some(*ready),
        clock: *clock,
        spares: spares.iter().map(spare).collect(),
        mtu: *mtu,
    };
    // It has neither maps with other keys than texts nor numbers that JSON lacks.
    serde_json::to_value(all).ok()
}

/// From JSON, beside what the same lease says in flannel's words: a node that was given back to flannel may still have ours.
pub fn parse(json: Option<&Value>, endpoints: &Stack<Endpoint>) -> Option<Box<Rollout>> {
    let said = Written::deserialize(json?).ok().filter(|said| said.spares.len() <= MOST_SPARES)?;
    if !endpoints.values().all(|endpoint| said.carrier.fits(&endpoint.data)) {
        return None;
    }
    let spare = |said: WrittenSpare| {
        let data = endpoints.filter_map(|family, _| {
            let data = if family == ipam::Family::V4 { &said.backend_data } else { &said.backend_v6_data };
            read(said.carrier.backend(), data.as_ref()).ok()
        });
        data.map(|data| Spare { carrier: said.carrier, promised: said.promised, data })
    };
    let target = said.target.unwrap_or_else(|| said.carrier.clone());
    let ready = said.ready.unwrap_or(target == said.carrier);
    let spares = said.spares.into_iter().filter_map(spare).collect();
    Some(Box::new(Rollout { main: said.carrier, target, ready, clock: said.clock, spares, mtu: said.mtu }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ipam::{BackendData, Mac};

    fn endpoints(vni: u32) -> Stack<Endpoint> {
        let data = BackendData::Vxlan { vni, mac: Mac([2, 0, 0, 0, 0, 1]) };
        Stack::V4(Endpoint { subnet: "10.244.1.0/24".parse().unwrap(), public: "192.0.2.1".parse().unwrap(), data })
    }

    fn changing() -> Rollout {
        let [main, target] = ["vxlan vni=1 port=8472", "vxlan vni=2 port=4789"].map(|text| Carrier::new(text).unwrap());
        let data = Stack::V4(BackendData::Vxlan { vni: 2, mac: Mac([2, 0, 0, 0, 0, 2]) });
        let spare = Spare { carrier: target.clone(), promised: 4, data };
        Rollout { main, target, ready: true, clock: 4, spares: [spare].into(), mtu: Some(1400) }
    }

    #[test]
    fn what_is_written_is_read_back_and_short_while_nothing_changes() {
        let settled = Rollout::settled(Carrier::new("vxlan vni=1 port=8472").unwrap(), 3);
        for rollout in [settled.clone(), changing()] {
            assert_eq!(parse(write(&rollout).as_ref(), &endpoints(1)).as_deref(), Some(&rollout));
        }
        let json = serde_json::to_string(&write(&settled).unwrap()).unwrap();
        assert_eq!(json, r#"{"Carrier":"vxlan vni=1 port=8472","Clock":3}"#);
    }

    #[test]
    fn what_does_not_fit_flannels_words_or_is_none_is_overlooked() {
        let json = write(&changing());
        assert_eq!(parse(json.as_ref(), &endpoints(2)), None, "given back to flannel, with another VNI");
        for text in ["3", "{}", r#"{"Carrier":""}"#, r#"{"Carrier":"vxlan vni=1 port=8472","Clock":-1}"#, "[]"] {
            assert_eq!(parse(serde_json::from_str(text).ok().as_ref(), &endpoints(1)), None, "{text}");
        }
        let spare = r#"{"Carrier":"vxlan vni=1","Spares":[{"Carrier":"vxlan vni=2","BackendData":{"VNI":2}}]}"#;
        let rollout = parse(serde_json::from_str(spare).ok().as_ref(), &endpoints(1)).unwrap();
        assert!(rollout.spares.is_empty() && rollout.ready, "a way without a MAC is no way");
    }
}

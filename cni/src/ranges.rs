//! Reading `ipam.ranges`, and the one range that may be written into `ipam` itself, as `host-local` has them.

use std::net::IpAddr;

use ipam::ledger::{Range, RangeSet, RangeText};
use ipnet::IpNet;

use crate::document::{Mistakes, Object};

/// The range sets of an `ipam` object, in the order in which a pod's addresses are listed; none when none are written.
pub fn read(ipam: &Object<'_>, mistakes: &mut Mistakes) -> Vec<RangeSet> {
    let mut written: Vec<(String, Vec<Object<'_>>)> = Vec::new();
    if ipam.get("subnet").is_some() {
        written.push((ipam.path("subnet"), vec![ipam.clone()]));
    }
    for (index, list) in ipam.object_lists("ranges", mistakes).into_iter().enumerate() {
        written.push((format!("{}[{index}]", ipam.path("ranges")), list));
    }
    let mut sets = Vec::new();
    for (path, list) in written {
        let count = list.len();
        let ranges: Vec<Range> = list.iter().filter_map(|object| range(object, mistakes)).collect();
        // With a mistake inside there is nothing to say of the whole.
        if ranges.len() == count {
            match RangeSet::new(ranges) {
                Ok(set) if set.is_empty() => mistakes.push(format!("`{path}` has no address but the gateway's")),
                Ok(set) => sets.push(set),
                Err(error) => mistakes.push(format!("`{path}`: {error}")),
            }
        }
    }
    if let Err(error) = RangeSet::check_disjoint(&sets) {
        mistakes.push(format!("`{}`: {error}", ipam.path("ranges")));
    }
    sets
}

fn range(object: &Object<'_>, mistakes: &mut Mistakes) -> Option<Range> {
    let address = |key, mistakes: &mut Mistakes| object.parsed::<IpAddr>(key, mistakes, "an IP address");
    let (start, end) = (address("rangeStart", mistakes), address("rangeEnd", mistakes));
    let gateway = address("gateway", mistakes);
    if object.get("subnet").is_none() {
        mistakes.push(format!("`{}` is missing: expected a subnet as in 10.1.0.0/24", object.path("subnet")));
        return None;
    }
    let subnet = object.parsed::<IpNet>("subnet", mistakes, "a subnet as in 10.1.0.0/24")?;
    let range = Range::new(RangeText { subnet, start, end, gateway });
    range.map_err(|error| mistakes.push(format!("`{}`: {error}", object.path("subnet")))).ok()
}

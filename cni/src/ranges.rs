//! Reading `ipam.ranges`, the one range that may be written into `ipam` itself, and the capability `ipRanges`, as
//! `host-local` has them.

use std::net::IpAddr;

use ipam::ledger::{Range, RangeSet, RangeText};
use ipnet::IpNet;

use crate::document::{Mistakes, Object};

/// The range sets of a configuration, in the order in which a pod's addresses are listed: the capability `ipRanges`, then
/// what is written in `ipam`. None when none are written.
pub fn read(root: &Object<'_>, mistakes: &mut Mistakes) -> Vec<RangeSet> {
    let runtime = root.object("runtimeConfig", mistakes);
    let ipam = root.object("ipam", mistakes);
    let mut written: Vec<(String, Vec<Object<'_>>)> = Vec::new();
    if let Some(runtime) = &runtime {
        written.extend(lists(runtime, "ipRanges", mistakes));
    }
    if let Some(ipam) = &ipam {
        if ipam.get("subnet").is_some() {
            written.push((ipam.path("subnet"), vec![ipam.clone()]));
        }
        written.extend(lists(ipam, "ranges", mistakes));
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
        mistakes.push(format!("`ipam.ranges`: {error}"));
    }
    sets
}

/// Whether any ranges are written.
pub fn are_written(root: &Object<'_>, mistakes: &mut Mistakes) -> bool {
    let written = |object: Option<Object<'_>>, keys| object.is_some_and(|object| object.first_set(keys).is_some());
    written(root.object("ipam", mistakes), &["ranges", "subnet"])
        || written(root.object("runtimeConfig", mistakes), &["ipRanges"])
}

fn lists<'a>(object: &Object<'a>, key: &str, mistakes: &mut Mistakes) -> Vec<(String, Vec<Object<'a>>)> {
    let lists = object.object_lists(key, mistakes).into_iter().enumerate();
    lists.map(|(index, list)| (format!("{}[{index}]", object.path(key)), list)).collect()
}

fn range(object: &Object<'_>, mistakes: &mut Mistakes) -> Option<Range> {
    // `::ffff:10.1.0.5` is 10.1.0.5, as in host-local.
    let address = |key, mistakes: &mut Mistakes| {
        object.parsed::<IpAddr>(key, mistakes, "an IP address").map(|address| address.to_canonical())
    };
    let (start, end) = (address("rangeStart", mistakes), address("rangeEnd", mistakes));
    let gateway = address("gateway", mistakes);
    let path = object.path("subnet");
    if object.text("subnet", mistakes).is_none_or(str::is_empty) {
        mistakes.push(format!("`{path}` is missing: expected a subnet as in 10.1.0.0/24"));
        return None;
    }
    let subnet = object.parsed::<IpNet>("subnet", mistakes, "a subnet as in 10.1.0.0/24")?;
    if let IpNet::V6(net) = subnet
        && net.addr().to_ipv4_mapped().is_some()
    {
        mistakes.push(format!("`{path}` is {subnet}: write an IPv4 subnet as in 10.1.0.0/24"));
        return None;
    }
    let range = Range::new(RangeText { subnet, start, end, gateway });
    range.map_err(|error| mistakes.push(format!("`{path}`: {error}"))).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::{Value, json};

    use super::*;
    use crate::document::Document;

    fn read(configuration: &Value) -> Result<Vec<String>, String> {
        let document = Document::parse(configuration.to_string().as_bytes()).unwrap();
        let mut mistakes = Mistakes::default();
        let sets = super::read(&document.root(), &mut mistakes);
        let sets = mistakes.none_or(sets).map_err(|error| error.to_string())?;
        Ok(sets.iter().map(RangeSet::to_string).collect())
    }

    #[test]
    fn sets_come_from_the_runtime_then_from_the_old_form_then_from_the_list() {
        let configuration = json!({
            "runtimeConfig": { "ipRanges": [[{ "subnet": "10.4.0.0/24" }]] },
            "ipam": { "subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "::ffff:10.1.0.19",
                      "ranges": [[{ "subnet": "fd00::/120" }],
                                 [{ "subnet": "10.2.0.0/24", "rangeEnd": "10.2.0.9" }, { "subnet": "10.2.0.0/24", "rangeStart": "10.2.0.10" }]] }
        });
        let expected =
            ["10.4.0.1-10.4.0.254", "10.1.0.9-10.1.0.19", "fd00::1-fd00::ff", "10.2.0.1-10.2.0.9,10.2.0.10-10.2.0.254"];
        assert_eq!(read(&configuration).unwrap(), expected);
        let without = json!({ "ipam": { "rangeStart": "10.1.0.9", "ranges": null } });
        assert!(read(&without).unwrap().is_empty(), "a start without a subnet says nothing, as in host-local");
    }

    #[test]
    fn ranges_that_host_local_refuses_are_refused_by_their_path() {
        for (ipam, message) in [
            (json!({ "subnet": "" }), "`ipam.subnet` is missing: expected a subnet as in 10.1.0.0/24"),
            (
                json!({ "subnet": "10.1.0.5/24" }),
                "`ipam.subnet`: subnet 10.1.0.5/24 has host bits set: write 10.1.0.0/24",
            ),
            (json!({ "subnet": "::ffff:10.1.0.0/120" }), "write an IPv4 subnet as in 10.1.0.0/24"),
            (json!({ "ranges": [[]] }), "`ipam.ranges[0]`: a range set needs at least one range"),
            (json!({ "ranges": [[{}]] }), "`ipam.ranges[0][0].subnet` is missing"),
            (json!({ "ranges": [{ "subnet": "10.1.0.0/24" }] }), "expected a list of objects"),
            (
                json!({ "ranges": [[{ "subnet": "10.1.0.0/24" }, { "subnet": "10.1.0.0/25" }]] }),
                "`ipam.ranges[0]`: the ranges 10.1.0.1-10.1.0.254 and 10.1.0.1-10.1.0.126 overlap",
            ),
            (
                json!({ "subnet": "10.1.0.0/24", "ranges": [[{ "subnet": "10.1.0.0/25" }]] }),
                "`ipam.ranges`: the ranges 10.1.0.1-10.1.0.254 and 10.1.0.1-10.1.0.126 overlap",
            ),
        ] {
            let error = read(&json!({ "ipam": ipam })).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}

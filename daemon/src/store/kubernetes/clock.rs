//! Whether this node's clock and the API server's agree: certificates and tokens of one are not valid yet, or no more, at the other.

use std::time::Duration;

use ipam::NodeName;

use crate::store::utc::Utc;

/// More than a slow answer and a lazy time service make, and less than what certificates allow.
const BEARABLE: Duration = Duration::from_secs(30);

/// The time of an HTTP header Date (RFC 9110 section 5.6.7): `Sat, 21 Nov 2026 12:00:00 GMT`.
pub fn read(text: &str) -> Option<Utc> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = words[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    format!("{year}-{month:02}-{day}T{time}Z").parse().ok()
}

/// What is wrong, when the server's time is theirs in the moment that is `ours`.
pub fn compare(node: &NodeName, ours: Utc, theirs: Utc) -> Option<String> {
    let apart = ours.until(theirs).max(theirs.until(ours));
    (apart > BEARABLE).then(|| {
        format!(
            "the clock of node {node} says {ours} and the API server's {theirs}, {} s apart: let both follow a time server, or \
             certificates and tokens are refused",
            apart.as_secs()
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_date_is_read_as_http_writes_it_and_nothing_else() {
        assert_eq!(read("Sat, 21 Nov 2026 12:00:05 GMT").unwrap().to_string(), "2026-11-21T12:00:05Z");
        for text in
            ["", "Sat, 21 Nov 2026 12:00:05 CET", "Sat, 21 Foo 2026 12:00:05 GMT", "Sat, 32 Nov 2026 12:00:05 GMT"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn both_times_are_named_when_they_are_far_apart() {
        let (node, noon): (_, Utc) = (NodeName::new("worker").unwrap(), "2026-11-21T12:00:00Z".parse().unwrap());
        assert_eq!(compare(&node, noon, noon.after(Duration::from_secs(30))), None);
        for (ours, theirs) in [(noon, noon.after(Duration::from_secs(31))), (noon.after(Duration::from_secs(31)), noon)]
        {
            let said = compare(&node, ours, theirs).unwrap();
            assert!(said.contains("12:00:31Z") && said.contains("12:00:00Z") && said.contains("31 s"), "{said}");
        }
    }
}

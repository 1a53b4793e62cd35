//! The nearest known name to one that nobody knows: what "did you mean" is answered with.

/// The known name that a person most likely meant, if any is near: letter case, `-` and `_` do not count.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let unknown = letters(unknown);
    let distance = |name: &str| edits(&unknown, &letters(name));
    let (best, name) = known.into_iter().map(|name| (distance(name), name)).min_by_key(|(edits, _)| *edits)?;
    // A third of the letters wrong is a slip, more is another word.
    (best <= (unknown.len() / 3).max(1)).then_some(name)
}

fn letters(name: &str) -> Vec<char> {
    let kept = name.chars().filter(|c| !"-_".contains(*c)).take(LONGEST);
    kept.map(|c| c.to_ascii_lowercase()).collect()
}

/// No name of ours is longer; what a stranger wrote may be.
const LONGEST: usize = 64;

/// Insertions, deletions, replacements and swaps of neighbours that turn one into the other (optimal string alignment).
fn edits(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_seen_through_and_other_words_are_not() {
        let known = ["Network", "SubnetLen", "iface", "iface-regex", "etcd-endpoints", "VNI"];
        for (written, meant) in [
            ("Netwrok", Some("Network")),
            ("subnet_len", Some("SubnetLen")),
            ("ifaces", Some("iface")),
            ("etcd-endpoint", Some("etcd-endpoints")),
            ("VIN", Some("VNI")),
            ("Frobnicate", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }

    #[test]
    fn a_very_long_word_costs_little() {
        assert_eq!(nearest(&"a".repeat(1_000_000), ["Network"]), None);
    }
}

//! Subnets as a key's text, the way flannel writes them: `10.12.13.0-24`, `10.12.13.0-24&fd00:12:13::-56`.

use ipam::{Family, Stack};
use ipnet::IpNet;

/// Writes subnets as a key.
pub fn format(subnets: &Stack<IpNet>) -> String {
    let parts: Vec<String> = subnets.values().map(|net| format!("{}-{}", net.addr(), net.prefix_len())).collect();
    parts.join("&")
}

/// Reads a key.
///
/// # Errors
/// A clause that says what is wrong, to follow the key's name.
pub fn parse(text: &str) -> Result<Stack<IpNet>, String> {
    let (mut v4, mut v6) = (None, None);
    for part in text.split('&') {
        let net = subnet(part).ok_or_else(|| format!("`{}` is not a subnet like 10.244.3.0-24", cut(part)))?;
        let slot = match Family::of_net(&net) {
            Family::V4 => &mut v4,
            Family::V6 => &mut v6,
        };
        if slot.replace(net).is_some() {
            return Err("it names two subnets of one family".to_owned());
        }
    }
    // No text at all gives one part that is no subnet, so there is at least one family here.
    Stack::from_options(v4, v6).ok_or_else(|| "it names no subnet".to_owned())
}

fn subnet(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('-')?;
    let digits_only = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    let net = IpNet::new(address.parse().ok()?, length.parse().ok().filter(|_| digits_only)?).ok()?;
    (net == net.trunc()).then_some(net)
}

/// Foreign text, short enough for a log line and without control characters.
pub fn cut(text: &str) -> String {
    text.chars().take(160).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn flannels_keys_are_read_and_written_back() {
        for key in ["10.12.13.0-24", "10.12.13.0-24&fd00:12:13::-56", "fd00:12:13::-56"] {
            assert_eq!(format(&parse(key).unwrap()), key);
        }
    }

    #[test]
    fn what_is_no_subnet_is_refused_with_the_reason() {
        for key in [
            "",
            "config",
            "10.12.13.0",
            "10.12.13.0-33",
            "10.12.13.1-24",
            "10.1.0.0-16&10.2.0.0-16",
            "10.1.0.0-+16",
            "&",
        ] {
            assert!(parse(key).is_err(), "{key}");
        }
    }
}

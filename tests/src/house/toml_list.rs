//! [`strings`]: the list of strings under one key of one table in a TOML text: all that is needed of `deny.toml`, whose
//! lists are so said once, for the tool that a maintainer may have and for the test that everybody runs.

/// The first quoted string on each line of the array `key = [ … ]` of the table `[table]`, comments left out. Each
/// entry stands on its own line; of an inline table (`{ name = "x", reason = "y" }`) it is the first value.
pub fn strings(toml: &str, table: &str, key: &str) -> Vec<String> {
    let mut lines = toml.lines().map(str::trim);
    let header = format!("[{table}]");
    lines.by_ref().find(|line| *line == header);
    let opening = format!("{key} = [");
    let inside = lines.take_while(|line| !is_header(line)).skip_while(|line| *line != opening).skip(1);
    inside.take_while(|line| *line != "]").filter_map(first_string).collect()
}

fn is_header(line: &str) -> bool {
    line.starts_with('[') && line.ends_with(']') && line.len() > 2
}

fn first_string(line: &str) -> Option<String> {
    let mut parts = line.split('"');
    let before = parts.next()?;
    if before.starts_with('#') { None } else { parts.next().map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::strings;

    const TOML: &str = r#"
[a]
list = [
  "not this",
]
[b]
other = ["x"]
list = [
  # "left out",
  "one", # with a reason
  { name = "two", reason = "why" },
]
[c]
last = [
  "three",
]
"#;

    #[test]
    fn the_list_of_the_right_table_is_read() {
        assert_eq!(strings(TOML, "b", "list"), ["one", "two"]);
        assert_eq!(strings(TOML, "c", "last"), ["three"]);
    }

    #[test]
    fn a_list_of_another_table_is_not() {
        assert_eq!(strings(TOML, "b", "last"), [""; 0]);
        assert_eq!(strings(TOML, "d", "list"), [""; 0]);
    }
}

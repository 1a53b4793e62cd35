//! `--help`, made from the table of flags.

use super::flags::{Flag, GROUPS, Shape};

const INTRODUCTION: &str = "\
towpathd gives this node's pods a way to all others: it keeps the node's lease,
watches the others', and programs the kernel to match.

Usage: towpathd [FLAG]…

Flags are flannel's, and some of our own. One or two dashes, the value after a
space or `=`; a switch takes its value only by `=` (--ip-masq=false). Each is
also read from the environment variable named beside it; the command line wins.
Defaults stand in brackets. What the cluster's network is like stands in
net-conf.json, which the store keeps.
";

/// Columns of a terminal.
const WIDTH: usize = 80;

const INDENT: &str = "        ";

/// The whole text.
pub(super) fn text() -> String {
    let mut text = INTRODUCTION.to_owned();
    for group in GROUPS {
        text += &format!("\n{}\n", group.title);
        let (quiet, loud): (Vec<&Flag>, Vec<&Flag>) = group.flags.iter().partition(|flag| flag.shape.is_quiet());
        for flag in loud {
            describe(flag, &mut text);
        }
        if !quiet.is_empty() {
            let names: Vec<String> = quiet.iter().map(|flag| format!("--{}", flag.name)).collect();
            wrap(&names.join(" "), "  ", &mut text);
        }
    }
    text
}

fn describe(flag: &Flag, text: &mut String) {
    let value = match flag.shape {
        Shape::Value(value) | Shape::Secret(value) => format!("={value}"),
        Shape::Repeated(value) => format!("={value} …"),
        Shape::Switch => "[=false]".to_owned(),
        _ => String::new(),
    };
    let written = format!("  --{}{value}", flag.name);
    let variable = Some(flag.variable()).filter(|_| flag.shape != Shape::Command).unwrap_or_default();
    let gap = WIDTH.saturating_sub(written.chars().count()).max(variable.len() + 1);
    text.push_str(format!("{written}{variable:>gap$}").trim_end());
    text.push('\n');
    let mut help = flag.help.to_owned();
    if !flag.default.is_empty() {
        help += &format!(" [{}]", flag.default);
    }
    wrap(&help, INDENT, text);
}

fn wrap(words: &str, indent: &str, text: &mut String) {
    let mut column = 0;
    for word in words.split(' ') {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > WIDTH {
            text.push('\n');
            column = 0;
        }
        let before = if column == 0 { indent } else { " " };
        text.push_str(before);
        text.push_str(word);
        column += before.len() + width;
    }
    text.push('\n');
}

//! `towpathd`: the table of contents of the process.
#![forbid(unsafe_code)]

fn main() {}

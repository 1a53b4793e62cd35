//! What others than the container runtime need of the plugin: putting its file where runtimes look for it. The plugin itself
//! is the binary; the daemon uses this to repair what was wiped.
#![forbid(unsafe_code)]

pub mod install;

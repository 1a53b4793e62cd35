//! Flags about what the daemon shows: commands that print and end, health, logs; and those that mean nothing here.

use super::Flag;
use super::Shape::{Command, QuietSwitch, QuietValue, Value};
use crate::config::meant::Command as Does;
use crate::config::value::{address, boolean, log_format, log_level, port, verbosity};

pub(super) const COMMANDS: &[Flag] = &[
    Flag {
        name: "help",
        shape: Command,
        default: "",
        help: "Print this and end.",
        set: |meant, text| boolean(text).map(|on| meant.ask(on.then_some(Does::Help))),
    },
    Flag {
        name: "version",
        shape: Command,
        default: "",
        help: "Print the version and end.",
        set: |meant, text| boolean(text).map(|on| meant.ask(on.then_some(Does::Version))),
    },
    Flag {
        name: "check-config",
        shape: Command,
        default: "",
        help: "Check the flags, the environment, the files they name and (unless it is in etcd) net-conf.json, say what is \
               wrong or that nothing is, and end: exit status 0 or 2.",
        set: |meant, text| boolean(text).map(|on| meant.ask(on.then_some(Does::Check))),
    },
    Flag {
        name: "print-config",
        shape: Command,
        default: "",
        help: "Print every setting, and where it comes from, and end.",
        set: |meant, text| boolean(text).map(|on| meant.ask(on.then_some(Does::Print))),
    },
    Flag {
        name: "uninstall",
        shape: Command,
        default: "",
        help: "Remove what --cni-bin-dir and --cni-conf-dir have installed, give both again, and end. What the kernel \
               holds is `towpathctl cleanup`'s to remove.",
        set: |meant, text| boolean(text).map(|on| meant.ask(on.then_some(Does::Uninstall))),
    },
];

pub(super) const LOGS: &[Flag] = &[
    Flag {
        name: "healthz-ip",
        shape: Value("IP"),
        default: "0.0.0.0",
        help: "The address on which /healthz, /readyz and /metrics are served.",
        set: |meant, text| address(text).map(|ip| meant.healthz_ip = Some(ip)),
    },
    Flag {
        name: "healthz-port",
        shape: Value("PORT"),
        default: "0",
        help: "The port for them; 0: they are not served.",
        set: |meant, text| port(text).map(|port| meant.healthz_port = port),
    },
    Flag {
        name: "log-format",
        shape: Value("FORMAT"),
        default: "text",
        help: "text (for people) or json (for machines).",
        set: |meant, text| log_format(text).map(|format| meant.log_format = Some(format)),
    },
    Flag {
        name: "log-level",
        shape: Value("LEVEL"),
        default: "",
        help: "error, warn, info, debug or trace. Without it: what --v says.",
        set: |meant, text| log_level(text).map(|level| meant.log_level = Some(level)),
    },
    Flag {
        name: "v",
        shape: Value("NUMBER"),
        default: "0",
        help: "The same in klog's words: 0 and 1 are info, 2 and 3 are debug, 4 and more are trace.",
        set: |meant, text| verbosity(text).map(|level| meant.verbosity = Some(level)),
    },
];

/// A flag of klog that takes a value.
const fn value(name: &'static str) -> Flag {
    Flag { name, shape: QuietValue, default: "", help: "", set: |_, _| Ok(()) }
}

/// A flag of klog that is a switch.
const fn switch(name: &'static str) -> Flag {
    Flag { name, shape: QuietSwitch, default: "", help: "", set: |_, text| boolean(text).map(|_| ()) }
}

pub(super) const QUIET: &[Flag] = &[
    value("vmodule"),
    value("log_backtrace_at"),
    value("log_dir"),
    value("log_file"),
    value("log_file_max_size"),
    value("stderrthreshold"),
    switch("logtostderr"),
    switch("alsologtostderr"),
    switch("legacy_stderr_threshold_behavior"),
    switch("add_dir_header"),
    switch("one_output"),
    switch("skip_headers"),
    switch("skip_log_headers"),
];

//! Network namespaces for tests: fresh, entered by threads, gone with the last reference. The host's own is never used.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_types, reason = "no process on a node; here `ip` and `nft` are the judges")]

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use kernel::netns::Netns;
use rustix::thread::UnshareFlags;

/// A network namespace of the test's own, with its loopback up.
pub struct Sandbox {
    pub netns: Netns,
}

impl Sandbox {
    pub fn new() -> Sandbox {
        let fresh = || {
            // SAFETY: a fresh thread that shares nothing through its network namespace and ends at once.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
                .expect("a network namespace of its own: run the tests as root (CAP_SYS_ADMIN)");
            Netns::current().expect("the namespace just made")
        };
        let netns = std::thread::spawn(fresh).join().expect("the thread that makes a namespace");
        let sandbox = Sandbox { netns };
        sandbox.sh("ip link set lo up");
        sandbox
    }

    /// Runs a closure inside.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.netns.run(work).expect("entering the test's own namespace")
    }

    /// Runs a shell command inside, which must succeed; returns what it printed.
    pub fn sh(&self, command: &str) -> String {
        let output = self.try_sh(command);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "`{command}`: {}\n{out}{err}", output.status);
        out.into_owned()
    }

    /// Runs a shell command inside.
    pub fn try_sh(&self, command: &str) -> Output {
        self.run(|| Command::new("sh").args(["-c", command]).output().expect("sh"))
    }

    /// A path by which commands find the namespace: `ip link set dev0 netns PATH`.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.netns.as_fd().as_raw_fd())
    }

    /// A veth pair between two namespaces: `here` in this one, `there` in the other, both up.
    pub fn wire(&self, here: &str, other: &Sandbox, there: &str) {
        self.sh(&format!("ip link add {here} type veth peer name {there} netns {}", other.path()));
        self.sh(&format!("ip link set {here} up"));
        other.sh(&format!("ip link set {there} up"));
    }
}

/// Fails with the name of the package when a tool is missing.
pub fn needs(tool: &str, package: &str) {
    let found = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|path| Path::new(path).join(tool).exists());
    assert!(found, "this test needs `{tool}`: apt-get install {package}");
}

/// Waits until a condition holds, for ten seconds at most.
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::yield_now();
    }
}

//! [`Process`]: what this process costs, from /proc (proc(5)) and the kernel's clock.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What this process costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Time on the processors, user and system.
    pub cpu: Duration,
    /// Octets of memory in use; unknown where /proc is not there.
    pub resident: Option<u64>,
    /// Open file descriptors; unknown where /proc is not there.
    pub open_files: Option<u64>,
}

impl Process {
    /// As it is now.
    pub fn now() -> Process {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Process {
            cpu: Duration::try_from(cpu).unwrap_or_default(),
            resident: fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident),
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
        }
    }
}

/// `VmRSS:\t    9876 kB`
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        assert_eq!(resident("Name:\ttowpathd\nVmRSS:\t    9876 kB\nThreads:\t1\n"), Some(9876 * 1024));
        for garbage in ["", "VmRSS:", "VmRSS:\t kB", "VmRSS:\t12 MB", "VmRSS:\t99999999999999999999 kB"] {
            assert_eq!(resident(garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn this_process_costs_something() {
        let process = Process::now();
        assert!(process.cpu > Duration::ZERO);
        assert!(process.resident.unwrap() > 100_000);
        assert!(process.open_files.unwrap() > 2);
    }
}

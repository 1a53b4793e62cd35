//! Kernel settings below /proc/sys, read and written. `sysctl`.
//!
//! Paths are relative to /proc/sys and have slashes: `net/ipv4/ip_forward`. What is below `net/` belongs to the network
//! namespace of the calling thread. Which settings are wanted is not decided here.
//!
//! In a container without privilege /proc/sys is read-only. The manifest therefore mounts the host's /proc/sys/net a second
//! time, at [`HOST_NET`], and what is refused below /proc/sys is written there. That is the same file: what it changes is
//! decided by the network namespace of who writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Where a container has the host's /proc/sys/net, writable. Not below /proc, where runtimes mask and AppArmor's default
/// profile for containers denies writing.
pub const HOST_NET: &str = "/host/proc/sys/net";

/// No setting of ours is longer than a few bytes; the kernel's own limit for most is one page.
const LONGEST_VALUE: u64 = 4096;

/// Why a kernel setting could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// Not a path below /proc/sys.
    #[error("`{path}` is not the name of a kernel setting: expected a path below /proc/sys like net/ipv4/ip_forward")]
    Path {
        /// What was asked for.
        path: String,
    },
    /// It could not be read.
    #[error("cannot read /proc/sys/{path}: {source}")]
    Read {
        /// The setting.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// We may not change it, as in a container whose /proc/sys is mounted read-only.
    #[error(
        "/proc/sys/{path} is read-only here ({source}): mount the host's /proc/sys/net at {HOST_NET}, as the manifest does, \
         or set it on the host with `sysctl -w {}`",
        assignment(path, value)
    )]
    ReadOnly {
        /// The setting.
        path: String,
        /// What it should be.
        value: String,
        /// `EROFS`, `EPERM` or `EACCES`.
        source: io::Error,
    },
    /// It could not be written.
    #[error("cannot write `{value}` to /proc/sys/{path}: {source}")]
    Write {
        /// The setting.
        path: String,
        /// What it should be.
        value: String,
        /// Why not.
        source: io::Error,
    },
}

/// Reads a setting, without the line's end. `None` when there is no such setting (no such device, an older kernel).
/// `sysctl -n net.ipv4.ip_forward`
///
/// # Errors
/// When the path is not one below /proc/sys, or reading fails.
pub fn read(path: &str) -> Result<Option<String>, SysctlError> {
    let file = absolute(path)?;
    let mut bytes = Vec::new();
    match File::open(file).and_then(|file| file.take(LONGEST_VALUE).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(value_of(&bytes))),
        // ENOTDIR: a part of the path is a setting itself, with nothing below it. ENOENT also comes from reading, when
        // the device goes after the file was opened (proc_sys_call_handler).
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(source) => Err(SysctlError::Read { path: path.to_owned(), source }),
    }
}

/// Writes a setting. `sysctl -w net.ipv4.ip_forward=1`
///
/// # Errors
/// [`SysctlError::ReadOnly`] names what to do on the host; the rest is the kernel's refusal.
pub fn write(path: &str, value: &str) -> Result<(), SysctlError> {
    let file = absolute(path)?;
    let Err(source) = put(&file, value) else { return Ok(()) };
    if !is_refusal(&source) {
        return Err(SysctlError::Write { path: path.to_owned(), value: value.to_owned(), source });
    }
    // One that cannot be written there either was not mounted, or is none of `net/`: the first refusal says it better.
    let of_host = path.strip_prefix("net/").map(|rest| Path::new(HOST_NET).join(rest));
    match of_host.map(|file| put(&file, value)) {
        Some(Ok(())) => Ok(()),
        _ => Err(SysctlError::ReadOnly { path: path.to_owned(), value: value.to_owned(), source }),
    }
}

/// Whether this process may write a setting, here or at [`HOST_NET`].
pub fn is_writable(path: &str) -> bool {
    let of_host = path.strip_prefix("net/").map(|rest| Path::new(HOST_NET).join(rest));
    let mut files = absolute(path).into_iter().chain(of_host);
    files.any(|file| rustix::fs::access(file, rustix::fs::Access::WRITE_OK).is_ok())
}

/// Whether it is one device's setting: `net/ipv6/conf/flannel.1/accept_ra`.
pub(crate) fn is_of_device(path: &str) -> bool {
    let mut parts = path.split('/');
    let below = (parts.next(), parts.next(), parts.next(), parts.next(), parts.next());
    matches!(below, (Some("net"), Some("ipv4" | "ipv6"), Some("conf"), Some(of), Some(_)) if of != "all" && of != "default")
}

fn put(file: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.write_all(value.as_bytes())
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

/// The file of a setting.
pub(crate) fn absolute(path: &str) -> Result<PathBuf, SysctlError> {
    let sound = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    if !path.split('/').all(sound) {
        return Err(SysctlError::Path { path: path.to_owned() });
    }
    Ok(PathBuf::from("/proc/sys").join(path))
}

/// What a setting's bytes say.
pub(crate) fn value_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned()
}

/// The argument of `sysctl -w`: with dots, or with slashes where a part has a dot itself (`flannel.1`), sysctl(8).
pub fn assignment(path: &str, value: &str) -> String {
    let name = if path.contains('.') { path.to_owned() } else { path.replace('/', ".") };
    if value.contains(char::is_whitespace) { format!("'{name}={value}'") } else { format!("{name}={value}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn paths_that_leave_proc_sys_are_refused() {
        for path in ["", "/net", "../x", "net/../../etc", "net//x", "net/.", "net/\0", ".."] {
            assert!(matches!(read(path), Err(SysctlError::Path { .. })), "{path:?}");
            assert!(matches!(write(path, "1"), Err(SysctlError::Path { .. })), "{path:?}");
        }
    }

    #[test]
    fn a_setting_is_read_without_its_newline_and_one_that_is_not_there_is_none() {
        assert!(!read("kernel/ostype").unwrap().unwrap().ends_with('\n'));
        assert_eq!(read("net/ipv4/conf/no-such-device/rp_filter").unwrap(), None);
        assert_eq!(read("kernel/ostype/deeper").unwrap(), None);
    }

    #[test]
    fn a_devices_setting_is_told_from_the_hosts() {
        for path in ["net/ipv4/conf/flannel.1/rp_filter", "net/ipv6/conf/flannel-v6.1/accept_ra"] {
            assert!(is_of_device(path), "{path}");
        }
        for path in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/default/x", "net/ipv4/conf"]
        {
            assert!(!is_of_device(path), "{path}");
        }
    }

    #[test]
    fn a_refused_write_says_what_to_set_on_the_host() {
        let refusal = |path: &str, value: &str| {
            let source = io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
            SysctlError::ReadOnly { path: path.to_owned(), value: value.to_owned(), source }.to_string()
        };
        assert!(refusal("net/ipv4/ip_forward", "1").ends_with("with `sysctl -w net.ipv4.ip_forward=1`"));
        assert!(refusal("net/ipv4/conf/flannel.1/x", "0").ends_with("`sysctl -w net/ipv4/conf/flannel.1/x=0`"));
        assert!(refusal("net/ipv4/ip_local_port_range", "1 2").contains("'net.ipv4.ip_local_port_range=1 2'"));
        // kernel/ostype is 0444: opening it for writing is refused even for root.
        let error = write("kernel/ostype", "x").unwrap_err();
        assert!(matches!(error, SysctlError::ReadOnly { .. }), "{error}");
    }
}

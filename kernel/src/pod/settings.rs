//! [`Settings`]: kernel settings of the pod's network namespace, through a view of /proc of their own.
//!
//! Below /proc/sys/net the kernel keeps what was looked up in every network namespace, under the same names and so in one
//! hash chain (`proc_sys_compare`): with a thousand pods on a node, opening one setting takes a millisecond. A view that
//! nobody else has looked through begins with an empty chain, and nothing is added to the node's.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::ensure;
use crate::sysctl::{self, SysctlError};

/// The settings of the network namespace that the calling thread is in.
#[derive(Debug)]
pub(super) struct Settings {
    /// Nothing where no view is to be had: before Linux 5.2, or in a container that may not mount.
    view: Option<OwnedFd>,
}

impl Settings {
    pub(super) fn open() -> Settings {
        let view = || -> rustix::io::Result<OwnedFd> {
            let procfs = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_create(&procfs)?;
            fsmount(&procfs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        };
        Settings { view: view().ok() }
    }

    /// Sets one that most likely has another value: what [`Settings::ensure`] does, without looking first.
    pub(super) fn set(&self, path: &str, value: &str) -> Result<(), SysctlError> {
        let written = self.file(path, OFlags::WRONLY)?.and_then(|mut file| file.write_all(value.as_bytes()).ok());
        match written {
            Some(()) => Ok(()),
            None => sysctl::write(path, value).or_else(|_| ensure(path, value)),
        }
    }

    /// Sets one that has another value. One that this kernel does not have needs no setting.
    pub(super) fn ensure(&self, path: &str, value: &str) -> Result<(), SysctlError> {
        let Some(mut file) = self.file(path, OFlags::RDONLY)? else { return ensure(path, value) };
        let mut found = Vec::new();
        match file.read_to_end(&mut found) {
            Ok(_) if sysctl::value_of(&found) == value => Ok(()),
            _ => self.set(path, value),
        }
    }

    /// What cannot be opened here is asked for by the usual way, which says what is wrong.
    fn file(&self, path: &str, flags: OFlags) -> Result<Option<File>, SysctlError> {
        let absolute = sysctl::absolute(path)?;
        let Ok(relative) = absolute.strip_prefix(Path::new("/proc")) else { return Ok(None) };
        let open = |view: &OwnedFd| openat(view, relative, flags | OFlags::CLOEXEC, Mode::empty());
        Ok(self.view.as_ref().and_then(|view| open(view).ok()).map(File::from))
    }
}

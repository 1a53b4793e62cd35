//! [`Netns`]: a network namespace held open: which one it is, and running something inside it.
//!
//! Owned here: opening a namespace by path without falling for a file that is something else, telling two namespaces
//! apart, and `setns` on a thread of its own. Not owned: making, naming or removing namespaces.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// File systems that namespace files live on: nsfs since Linux 3.19, proc before.
const NSFS_MAGIC: u64 = 0x6e73_6673;
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// Why a network namespace could not be opened or entered.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// Nothing is at that path, or it cannot be opened.
    #[error("network namespace {}: {source}", path.display())]
    Open {
        /// The path that was asked for.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something else is at that path.
    #[error("{} is not a network namespace: expected a file like /run/netns/NAME or /proc/PID/ns/net", path.display())]
    NotANamespace {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The namespace is there and we may not enter it.
    #[error("cannot enter the network namespace {}: {source} (it needs CAP_SYS_ADMIN)", path.display())]
    Enter {
        /// The namespace.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No thread could be started to enter it with.
    #[error("cannot start a thread to enter the network namespace {}: {source}", path.display())]
    Thread {
        /// The namespace.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A network namespace, held open: it lives at least as long as this does.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
    /// Device and inode of the nsfs file: the same for every path to the same namespace.
    identity: (u64, u64),
}

impl Netns {
    /// Opens a namespace: `/run/netns/NAME`, `/proc/PID/ns/net`, or a bind mount of one.
    ///
    /// # Errors
    /// When it is not there, or is something else; a FIFO in its place does not block.
    pub fn open(path: &Path) -> Result<Netns, NetnsError> {
        let refuse = |source| NetnsError::Open { path: path.to_owned(), source };
        // O_NONBLOCK: opening a FIFO for reading would otherwise wait for a writer, for ever.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| refuse(error.into()))?;
        let filesystem = rustix::fs::fstatfs(&file).map_err(|error| refuse(error.into()))?;
        let status = rustix::fs::fstat(&file).map_err(|error| refuse(error.into()))?;
        // On proc only regular files can be namespaces; what kind of namespace it is, `setns` asks.
        let regular = rustix::fs::FileType::from_raw_mode(status.st_mode) == rustix::fs::FileType::RegularFile;
        let magic = u64::try_from(filesystem.f_type).unwrap_or_default();
        if !regular || ![NSFS_MAGIC, PROC_SUPER_MAGIC].contains(&magic) {
            return Err(NetnsError::NotANamespace { path: path.to_owned() });
        }
        Ok(Netns { file: file.into(), path: path.to_owned(), identity: (status.st_dev, status.st_ino) })
    }

    /// The calling thread's own namespace.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn current() -> Result<Netns, NetnsError> {
        Netns::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Whether both are one and the same namespace, whatever their paths. `ip netns identify`.
    pub fn is_same_as(&self, other: &Netns) -> bool {
        self.identity == other.identity
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the calling thread into the namespace, for good: for a process of one thread. `ip netns exec`
    ///
    /// # Errors
    /// When it cannot be entered.
    pub fn enter(&self) -> Result<(), NetnsError> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|errno| match errno {
            rustix::io::Errno::INVAL => NetnsError::NotANamespace { path: self.path.clone() },
            errno => NetnsError::Enter { path: self.path.clone(), source: errno.into() },
        })
    }

    /// Runs `work` inside the namespace and returns what it returned. `ip netns exec`, without a process.
    ///
    /// `setns` moves one thread, so `work` gets a thread of its own, which ends with it: no thread of the caller's, and
    /// above all none of a pool, is ever left in a foreign namespace. Sockets opened inside stay there when returned.
    ///
    /// # Errors
    /// When the namespace cannot be entered; `work` has not run then.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        let inside = || {
            // CLONE_NEWNET: another kind of namespace at this path is refused (EINVAL), not entered.
            move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network)).map(|()| work())
        };
        let joined = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, inside)?;
            Ok(thread.join())
        });
        match joined {
            Err(source) => Err(NetnsError::Thread { path: self.path.clone(), source }),
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Ok(Ok(Err(rustix::io::Errno::INVAL))) => Err(NetnsError::NotANamespace { path: self.path.clone() }),
            Ok(Ok(Err(error))) => Err(NetnsError::Enter { path: self.path.clone(), source: error.into() }),
            Ok(Ok(Ok(value))) => Ok(value),
        }
    }
}

impl AsFd for Netns {
    /// For `IFLA_NET_NS_FD`: a link's far end is born inside.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

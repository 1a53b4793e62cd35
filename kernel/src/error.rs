//! What can go wrong between us and the kernel, as sentences that name the thing and the fix.

use std::fmt;
use std::io;

use crate::sysctl::SysctlError;

/// `ENOTSUPP`: the kernel's own number for "not supported", which leaks out of some drivers and has no name in libc.
pub const ENOTSUPP: i32 = 524;

/// What the kernel answered when it refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error number, positive (`errno`).
    pub errno: i32,
    /// The kernel's own words (extended acknowledgement, `NLMSGERR_ATTR_MSG`), or ours where we know more.
    pub words: Option<String>,
}

impl Refusal {
    /// Whether the kernel does not know what it was asked for.
    pub fn is_unsupported(&self) -> bool {
        [libc::EOPNOTSUPP, ENOTSUPP].contains(&self.errno)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno {
            ENOTSUPP => f.write_str("Operation not supported (os error 524)")?,
            errno => io::Error::from_raw_os_error(errno).fmt(f)?,
        }
        if let Some(words) = &self.words {
            write!(f, ": {words}")?;
        }
        if self.errno == libc::EPERM {
            f.write_str("; the process lacks the capability CAP_NET_ADMIN in this network namespace")?;
        }
        Ok(())
    }
}

/// Why something could not be asked of the kernel, or not be had from it. `doing` is what was being done, as in
/// "making the link flannel.1".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel said no.
    #[error("{doing}: {refusal}")]
    Refused {
        /// What was being done.
        doing: String,
        /// The kernel's answer.
        refusal: Refusal,
    },
    /// The kernel was built without something that we need.
    #[error("{doing}: this kernel has no {feature}")]
    Unsupported {
        /// What was being done.
        doing: String,
        /// What it lacks, and the option or module that brings it.
        feature: &'static str,
        /// The kernel's answer.
        refusal: Refusal,
    },
    /// A system call failed.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
    /// More messages came than the receive buffer holds, so some are lost: look again at everything.
    #[error("{doing}: the kernel sent more than the socket's receive buffer holds, and messages are lost")]
    Overrun {
        /// What was being done.
        doing: String,
    },
    /// What was listed changed all the time (`NLM_F_DUMP_INTR`).
    #[error("{doing}: the list changed while the kernel wrote it, {attempts} times in a row")]
    Unsettled {
        /// What was being done.
        doing: String,
        /// How often it was asked for.
        attempts: u32,
    },
    /// A message does not fit into what netlink can carry.
    #[error("{doing}: an attribute would be longer than the 65,535 octets that netlink allows")]
    TooLong {
        /// What was being done.
        doing: String,
    },
    /// A kernel setting could not be read or written.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// The kernel's answer cannot be understood.
    #[error("{doing}: the kernel's answer cannot be read: {what}")]
    Malformed {
        /// What was being done.
        doing: String,
        /// What is wrong with the answer.
        what: &'static str,
    },
}

impl Error {
    /// The error number behind it (positive), 0 when it was not the kernel that refused.
    pub fn errno(&self) -> i32 {
        match self {
            Error::Refused { refusal, .. } | Error::Unsupported { refusal, .. } => refusal.errno,
            Error::System { source, .. } => source.raw_os_error().unwrap_or(0),
            Error::Overrun { .. } => libc::ENOBUFS,
            Error::Unsettled { .. } => libc::EINTR,
            Error::TooLong { .. } => libc::EMSGSIZE,
            Error::Sysctl(error) => std::error::Error::source(error)
                .and_then(|source| source.downcast_ref::<io::Error>())
                .and_then(io::Error::raw_os_error)
                .unwrap_or(0),
            Error::Malformed { .. } => 0,
        }
    }
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_a_feature_is_told_from_a_refusal() {
        let refusal = Refusal { errno: libc::EOPNOTSUPP, words: Some("Unknown device type".to_owned()) };
        assert!(refusal.is_unsupported());
        let doing = "making the link flannel.1".to_owned();
        let error = Error::Unsupported { doing, feature: "VXLAN: it needs the module vxlan", refusal };
        let sentence = "making the link flannel.1: this kernel has no VXLAN: it needs the module vxlan";
        assert_eq!((error.to_string().as_str(), error.errno()), (sentence, libc::EOPNOTSUPP));
    }

    #[test]
    fn a_missing_capability_is_named() {
        let refusal = Refusal { errno: libc::EPERM, words: None };
        assert!(refusal.to_string().contains("CAP_NET_ADMIN"));
        assert!(!Refusal { errno: libc::EEXIST, words: None }.to_string().contains("CAP_NET_ADMIN"));
    }
}

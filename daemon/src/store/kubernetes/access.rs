//! [`Access`]: where the API server is, who may vouch for it, and who we are to it; found anew for every connection, because
//! certificates are renewed and kubeconfigs rewritten while the daemon runs. A token's file is read for every request.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::kubeconfig::{self, Mistake};
use crate::config::KubernetesSettings;
use crate::config::kube::ApiUrl;
use crate::secret::Secret;

/// Where the kubelet puts what a pod needs to be known to the API server.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Where distributions keep the authorities that they trust; the first that exists is taken.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// Everything that a connection needs.
#[derive(Clone, Debug)]
pub struct Access {
    /// Where.
    pub url: ApiUrl,
    /// Who may vouch for the server: certificates in PEM.
    pub authority: Vec<u8>,
    /// The name in the server's certificate, if not the URL's host.
    pub server_name: Option<String>,
    /// Our own certificate and its key, in PEM.
    pub identity: Option<Identity>,
    /// What goes with every request.
    pub login: Login,
}

/// Our own certificate with its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// PEM.
    pub certificate: Vec<u8>,
    /// PEM.
    pub key: Secret<Vec<u8>>,
}

/// What goes with every request.
#[derive(Clone, Debug)]
pub enum Login {
    /// Nothing.
    Nobody,
    /// A bearer token.
    Token(Secret),
    /// A bearer token in a file that the kubelet renews.
    TokenFile(PathBuf),
    /// Name and password.
    Basic(Secret),
}

/// Why it is not known how to reach the API server.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Not in a pod.
    #[error("this is no pod (KUBERNETES_SERVICE_HOST is not set): give --kubeconfig-file or --kube-api-url")]
    NoPod,
    /// A file cannot be read.
    #[error("{} cannot be read: {source}; {fix}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// What to do.
        fix: &'static str,
    },
    /// The kubeconfig cannot be used.
    #[error("kubeconfig {}: {mistake}", .path.display())]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// Why.
        mistake: Mistake,
    },
}

impl Access {
    /// As the settings say, with the files as they are now.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn find(settings: &KubernetesSettings) -> Result<Access, AccessError> {
        if let Some(path) = &settings.kubeconfig {
            let mut access = kubeconfig::read(path)?;
            if let Some(url) = &settings.api_url {
                access.url.clone_from(url);
            }
            return Ok(access);
        }
        if let Some(url) = &settings.api_url {
            let (url, login) = (url.clone(), Login::Nobody);
            return Ok(Access { url, authority: system_authority(), server_name: None, identity: None, login });
        }
        Access::in_cluster(settings.service.as_ref(), Path::new(SERVICE_ACCOUNT))
    }

    /// As the kubelet gives it to a pod.
    fn in_cluster(service: Option<&ApiUrl>, account: &Path) -> Result<Access, AccessError> {
        let url = service.cloned().ok_or(AccessError::NoPod)?;
        let authority = read(&account.join("ca.crt"), "let the pod have its service account's token mounted")?;
        let login = Login::TokenFile(account.join("token"));
        Ok(Access { url, authority, server_name: None, identity: None, login })
    }
}

impl Login {
    /// The header Authorization, as it is now.
    ///
    /// # Errors
    /// When the token's file cannot be read.
    pub fn header(&self) -> Result<Option<Secret>, AccessError> {
        Ok(match self {
            Login::Nobody => None,
            Login::Token(token) => Some(Secret::new(format!("Bearer {}", token.expose()))),
            Login::TokenFile(path) => {
                let token = read(path, "the kubelet writes it: look at its log, or at the kubeconfig")?;
                Some(Secret::new(format!("Bearer {}", String::from_utf8_lossy(&token).trim())))
            }
            Login::Basic(pair) => Some(Secret::new(format!("Basic {}", pair.expose()))),
        })
    }
}

/// Which cluster it is, in one word: a number that follows from who may vouch for its API server; else where it is.
pub fn cluster(settings: &KubernetesSettings) -> String {
    match Access::find(settings) {
        Ok(access) if access.url.encrypted && !access.authority.is_empty() => {
            format!("{:016x}", fnv(&access.authority))
        }
        Ok(access) => access.url.to_string(),
        Err(_) => settings.place(),
    }
}

/// FNV-1a, which stays the same from one build to the next, unlike the standard library's.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What the distribution trusts; nothing if it says nothing.
pub fn system_authority() -> Vec<u8> {
    let first = SYSTEM_AUTHORITIES.iter().find_map(|path| fs::read(path).ok());
    first.unwrap_or_default()
}

/// Reads a file.
///
/// # Errors
/// With its name and this fix.
pub fn read(path: &Path, fix: &'static str) -> Result<Vec<u8>, AccessError> {
    fs::read(path).map_err(|source| AccessError::File { path: path.to_owned(), source, fix })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_pod_is_known_by_its_service_account_whose_token_is_read_anew() {
        let scratch = Scratch::new("kubernetes_access");
        let account = scratch.0.as_path();
        fs::write(account.join("ca.crt"), "authority").unwrap();
        fs::write(account.join("token"), "one\n").unwrap();
        let service = ApiUrl::of_service("fd96::1", "443").unwrap();
        let access = Access::in_cluster(Some(&service), account).unwrap();
        assert_eq!(access.url.to_string(), "https://[fd96::1]:443");
        assert_eq!(access.login.header().unwrap().unwrap().expose(), "Bearer one");
        fs::write(account.join("token"), "two").unwrap();
        assert_eq!(access.login.header().unwrap().unwrap().expose(), "Bearer two");
        fs::remove_file(account.join("token")).unwrap();
        let sentence = access.login.header().unwrap_err().to_string();
        assert!(sentence.contains("token") && sentence.contains("kubelet"), "{sentence}");
        assert!(Access::in_cluster(None, account).unwrap_err().to_string().contains("--kubeconfig-file"));
    }

    #[test]
    fn a_cluster_is_told_by_its_authority_the_same_in_every_build() {
        assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"foobar"), 0x8594_4171_f739_67e8);
    }
}

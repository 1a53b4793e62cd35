//! [`Access`]: where the API server is and who we are to it, from a kubeconfig (kubernetes.io, "Organizing Cluster Access
//! Using kubeconfig Files"). The file is read, never written.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::tls::{Certificate, PrivateKey};
use yaml_rust2::{Yaml, YamlLoader};

use super::Choice;

/// Why a kubeconfig leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// There is none, or a file that it names is not there.
    #[error("cannot read {}: {error}; say which kubeconfig by --kubeconfig or KUBECONFIG", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Not YAML.
    #[error("{} is not a kubeconfig: {reason}", path.display())]
    Text {
        /// Which.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Something is missing in it.
    #[error("{} has no {missing}", path.display())]
    Missing {
        /// Which.
        path: PathBuf,
        /// What.
        missing: String,
    },
    /// Something in it cannot be used.
    #[error("{}: {what} {problem}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Which part of it.
        what: String,
        /// What is wrong, and what to do.
        problem: &'static str,
    },
}

/// Who we are to the API server.
pub enum Identity {
    /// Nobody: `kubectl proxy` does it.
    Nobody,
    /// A bearer token.
    Token(String),
    /// A client's certificate.
    Certificate {
        /// The certificate, and those that vouch for it.
        chain: Vec<Certificate<'static>>,
        /// Its key.
        key: PrivateKey<'static>,
    },
}

/// The way to an API server.
pub struct Access {
    /// Its URL, without a slash at its end.
    pub server: String,
    /// Who may vouch for it.
    pub authorities: Vec<Certificate<'static>>,
    /// Who we are.
    pub identity: Identity,
}

impl Access {
    /// As chosen.
    pub fn read(choice: &Choice) -> Result<Access, KubeconfigError> {
        if let Some(server) = &choice.server {
            let server = server.trim_end_matches('/').to_owned();
            return Ok(Access { server, authorities: Vec::new(), identity: Identity::Nobody });
        }
        let path = choice.kubeconfig.clone().unwrap_or_else(default_path);
        let text = fs::read_to_string(&path).map_err(|error| KubeconfigError::File { path: path.clone(), error })?;
        let documents = YamlLoader::load_from_str(&text)
            .map_err(|error| KubeconfigError::Text { path: path.clone(), reason: error.to_string() })?;
        let config = documents.first().cloned().unwrap_or(Yaml::BadValue);
        Kubeconfig { path: &path, config }.access(choice.context.as_deref())
    }
}

fn default_path() -> PathBuf {
    // Of several files the first is read: what kubectl merges is for `kubectl config view --flatten`.
    let named = env::var_os("KUBECONFIG").and_then(|paths| env::split_paths(&paths).find(|path| path.is_file()));
    named.unwrap_or_else(|| Path::new(&env::var_os("HOME").unwrap_or_default()).join(".kube/config"))
}

/// A kubeconfig, parsed.
struct Kubeconfig<'a> {
    path: &'a Path,
    config: Yaml,
}

impl Kubeconfig<'_> {
    fn access(&self, context: Option<&str>) -> Result<Access, KubeconfigError> {
        let current = self.config["current-context"].as_str();
        let context = context.or(current).ok_or_else(|| self.missing("current-context; say --context"))?;
        let context = &self.named("contexts", context)?["context"];
        let part =
            |key: &'static str| context[key].as_str().ok_or_else(|| self.missing(&format!("{key} in its context")));
        let cluster = &self.named("clusters", part("cluster")?)?["cluster"];
        let server = cluster["server"].as_str().ok_or_else(|| self.missing("server in its cluster"))?;
        if cluster["insecure-skip-tls-verify"].as_bool() == Some(true) {
            return Err(self.unusable("insecure-skip-tls-verify", "is not done here: give certificate-authority-data"));
        }
        let authorities = match self.data(cluster, "certificate-authority")? {
            Some(pem) => certificates(&pem).ok_or_else(|| self.unusable("certificate-authority", NO_PEM))?,
            None => Vec::new(),
        };
        let user = &self.named("users", part("user")?)?["user"];
        let server = server.trim_end_matches('/').to_owned();
        Ok(Access { server, authorities, identity: self.identity(user)? })
    }

    fn identity(&self, user: &Yaml) -> Result<Identity, KubeconfigError> {
        if let (Some(chain), Some(key)) = (self.data(user, "client-certificate")?, self.data(user, "client-key")?) {
            let chain = certificates(&chain).ok_or_else(|| self.unusable("client-certificate", NO_PEM))?;
            let key = PrivateKey::from_pem(&key).map_err(|_| self.unusable("client-key", NO_PEM))?;
            return Ok(Identity::Certificate { chain, key });
        }
        if let Some(token) = user["token"].as_str() {
            return Ok(Identity::Token(token.to_owned()));
        }
        if let Some(file) = user["tokenFile"].as_str() {
            let token = self.file(file)?;
            return Ok(Identity::Token(String::from_utf8_lossy(&token).trim().to_owned()));
        }
        if !user["exec"].is_badvalue() || !user["auth-provider"].is_badvalue() {
            return Err(self.unusable(
                "its user",
                "logs in by a program, and this one starts none: run `kubectl proxy` \
                and say --server http://127.0.0.1:8001",
            ));
        }
        Ok(Identity::Nobody)
    }

    /// `KEY-data` in base64, else the file that `KEY` names.
    fn data(&self, part: &Yaml, key: &str) -> Result<Option<Vec<u8>>, KubeconfigError> {
        let inline = format!("{key}-data");
        if let Some(text) = part[inline.as_str()].as_str() {
            let bytes = BASE64_STANDARD.decode(text.trim());
            return bytes.map(Some).map_err(|_| self.unusable(&inline, "is not base64"));
        }
        part[key].as_str().map(|file| self.file(file)).transpose()
    }

    /// A relative path is relative to the kubeconfig.
    fn file(&self, name: &str) -> Result<Vec<u8>, KubeconfigError> {
        let path = self.path.parent().unwrap_or(Path::new("")).join(name);
        fs::read(&path).map_err(|error| KubeconfigError::File { path, error })
    }

    fn named(&self, list: &str, name: &str) -> Result<&Yaml, KubeconfigError> {
        let mut entries = self.config[list].as_vec().into_iter().flatten();
        let found = entries.find(|entry| entry["name"].as_str() == Some(name));
        found.ok_or_else(|| self.missing(&format!("`{name}` among its {list}")))
    }

    fn missing(&self, missing: &str) -> KubeconfigError {
        KubeconfigError::Missing { path: self.path.to_owned(), missing: missing.to_owned() }
    }

    fn unusable(&self, what: &str, problem: &'static str) -> KubeconfigError {
        KubeconfigError::Unusable { path: self.path.to_owned(), what: what.to_owned(), problem }
    }
}

const NO_PEM: &str = "is not PEM";

/// All certificates of a PEM text; `None` when there is none.
fn certificates(pem: &[u8]) -> Option<Vec<Certificate<'static>>> {
    let items = ureq::tls::parse_pem(pem).filter_map(|item| match item {
        Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = items.collect();
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests;

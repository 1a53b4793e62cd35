//! [`Authority`]: the control plane's certificate authority, its certificates and the key of service accounts; made with
//! openssl, in files of the lab.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};

use crate::namespace::finish;

/// P-256: quick to make, and every client takes it.
const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/// openssl's own default makes an authority of every certificate, which careful clients refuse in a server.
const SETTINGS: &str = "\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
authorityKeyIdentifier = keyid
";

/// For `openssl ca`, which alone can say when a certificate begins (before OpenSSL 3.4).
const LEDGER: &str = "
[ca]
default_ca = lab
[lab]
database = $ENV::LEDGER
new_certs_dir = /nonexistent
rand_serial = yes
default_md = sha256
policy = any
[any]
organizationName = optional
commonName = supplied
";

/// How long a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// From now on, for so many days.
    Days(u16),
    /// It ended yesterday.
    Expired,
    /// It begins in 2098, as one of tomorrow does to whose clock is late.
    NotYet,
}

#[derive(Clone, Debug)]
pub(super) struct Authority {
    directory: PathBuf,
    /// Held while files are made for an identity: two who ask for the same get the same.
    issuing: Arc<Mutex<()>>,
}

/// What a certificate is for.
pub(super) struct Request<'a> {
    /// Names the files: `NAME.crt`, `NAME.key`.
    pub name: &'a str,
    /// `/O=…/CN=…`
    pub subject: &'a str,
    /// `DNS:…` and `IP:…`; a client needs none.
    pub names: &'a [String],
    pub validity: Validity,
}

impl Authority {
    pub fn create(directory: PathBuf) -> Result<Authority> {
        std::fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let authority = Authority { directory, issuing: Arc::default() };
        std::fs::write(authority.file("openssl.cnf"), SETTINGS)?;
        for name in ["ca", "service-accounts"] {
            let mut command = authority.openssl("req");
            command.args(["-x509", "-days", "3650", "-subj", &format!("/CN=lab {name}"), "-extensions", "authority"]);
            command.args(NEW_KEY).arg("-keyout").arg(authority.file(&format!("{name}.key")));
            finish(command.arg("-out").arg(authority.file(&format!("{name}.crt"))), None)?;
        }
        Ok(authority)
    }

    /// A file of the directory: `ca.crt`, `service-accounts.key`, `NAME.crt`, `NAME.key`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// One at a time.
    pub fn lock(&self) -> MutexGuard<'_, ()> {
        self.issuing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Issues a certificate with a new key, in place of one of the same name.
    pub fn issue(&self, request: &Request) -> Result<()> {
        let Request { name, subject, names, validity } = request;
        let [draft, certificate, key, extensions] =
            ["csr", "crt", "key", "cnf"].map(|end| self.file(&format!("{name}.{end}")));
        let named = if names.is_empty() { String::new() } else { format!("subjectAltName = {}\n", names.join(",")) };
        std::fs::write(&extensions, format!("{SETTINGS}{named}"))?;
        let mut command = self.openssl("req");
        command.args(["-new", "-subj", subject]).args(NEW_KEY);
        finish(command.arg("-keyout").arg(&key).arg("-out").arg(&draft), None)?;
        let days = match validity {
            Validity::Days(days) => i32::from(*days),
            Validity::Expired => -1,
            Validity::NotYet => return self.issue_later(&draft, &certificate, &extensions),
        };
        let mut command = Command::new("openssl");
        command.args(["x509", "-req", "-days", &days.to_string(), "-extensions", "leaf"]);
        command.arg("-in").arg(&draft).arg("-extfile").arg(&extensions);
        command.arg("-CA").arg(self.file("ca.crt")).arg("-CAkey").arg(self.file("ca.key"));
        finish(command.arg("-out").arg(&certificate), None).map(drop)
    }

    /// Signs a draft for the year 2098.
    fn issue_later(&self, draft: &Path, certificate: &Path, extensions: &Path) -> Result<()> {
        let (settings, ledger) = (self.file("ca.cnf"), self.file("ledger"));
        std::fs::write(&settings, LEDGER.replace("/nonexistent", &self.directory.display().to_string()))?;
        std::fs::write(&ledger, "")?;
        let mut command = Command::new("openssl");
        command.args(["ca", "-batch", "-notext", "-startdate", "20980101000000Z", "-enddate", "20990101000000Z"]);
        command.args(["-extensions", "leaf"]).env("LEDGER", ledger).arg("-config").arg(settings);
        command.arg("-extfile").arg(extensions).arg("-in").arg(draft).arg("-out").arg(certificate);
        command.arg("-cert").arg(self.file("ca.crt")).arg("-keyfile").arg(self.file("ca.key"));
        finish(&mut command, None).map(drop)
    }

    fn openssl(&self, verb: &str) -> Command {
        let mut command = Command::new("openssl");
        command.args([verb.as_ref(), "-config".as_ref(), self.file("openssl.cnf").as_os_str()]);
        command
    }
}

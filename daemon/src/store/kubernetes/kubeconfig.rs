//! A kubeconfig: YAML (or JSON, which is YAML) with clusters, users and contexts, of which the current one counts.
//!
//! What starts a program or asks a person for a login is refused: nothing on a node starts programs.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use yaml_rust2::{Yaml, YamlLoader};

use super::access::{self, Access, AccessError, Identity, Login};
use crate::config::kube::ApiUrl;
use crate::secret::Secret;
use crate::store::subnet_key::cut;

/// Why a kubeconfig cannot be used. None of it shows a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// Not YAML.
    #[error("it is not YAML: {0}")]
    Syntax(String),
    /// Something is not there.
    #[error("{what} is missing; {fix}")]
    Missing {
        /// What.
        what: String,
        /// What to do.
        fix: &'static str,
    },
    /// Something cannot be used.
    #[error("{key} cannot be used: {why}")]
    Wrong {
        /// Where.
        key: String,
        /// Why.
        why: String,
    },
}

const LONGEST: usize = 4 << 20;

/// Reads the file and those that it names.
///
/// # Errors
/// [`AccessError`].
pub fn read(path: &Path) -> Result<Access, AccessError> {
    let bytes = access::read(path, "correct --kubeconfig-file")?;
    let syntax =
        |why: &str| AccessError::Kubeconfig { path: path.to_owned(), mistake: Mistake::Syntax(why.to_owned()) };
    if bytes.len() > LONGEST {
        return Err(syntax("it is larger than 4 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| syntax("it is not UTF-8"))?;
    let documents = YamlLoader::load_from_str(&text).map_err(|error| syntax(&error.to_string()))?;
    let file = File { path };
    file.access(documents.first().unwrap_or(&Yaml::BadValue))
}

/// A kubeconfig of this name: what its mistakes are told with, and what the paths in it are relative to.
struct File<'a> {
    path: &'a Path,
}

impl File<'_> {
    fn access(&self, config: &Yaml) -> Result<Access, AccessError> {
        let (cluster, user) = self.current(config)?;
        let Some(server) = text(&cluster["server"]) else {
            return Err(self.missing("the server of the current cluster", "write its URL"));
        };
        let url = ApiUrl::parse(&server).map_err(|why| self.wrong("server", &why))?;
        if cluster["insecure-skip-tls-verify"].as_bool() == Some(true) {
            let why = "a server that nobody vouches for may be anybody's; give certificate-authority-data instead";
            return Err(self.wrong("insecure-skip-tls-verify", why));
        }
        if text(&cluster["proxy-url"]).is_some() {
            return Err(
                self.wrong("proxy-url", "proxies are not supported; give a server that can be reached directly")
            );
        }
        let login = self.login(user)?;
        let authority = self.data(cluster, "certificate-authority")?.unwrap_or_else(access::system_authority);
        let identity = match (self.data(user, "client-certificate")?, self.data(user, "client-key")?) {
            (Some(certificate), Some(key)) => Some(Identity { certificate, key: Secret::new(key) }),
            (None, None) => None,
            (Some(_), None) => return Err(self.missing("the user's client-key", "it goes with client-certificate")),
            (None, Some(_)) => return Err(self.missing("the user's client-certificate", "it goes with client-key")),
        };
        let server_name = text(&cluster["tls-server-name"]);
        Ok(Access { url, authority, server_name, identity, login })
    }

    /// Cluster and user of the current context; of one without a name where there is only one of each.
    fn current<'a>(&self, config: &'a Yaml) -> Result<(&'a Yaml, &'a Yaml), AccessError> {
        let Some(name) = text(&config["current-context"]).filter(|name| !name.is_empty()) else {
            let fix = "write the name of one of its contexts (`kubectl config use-context …`)";
            return Err(self.missing("current-context", fix));
        };
        let context = self.entry(config, ("contexts", "context"), &name)?;
        let Some(cluster) = text(&context["cluster"]) else {
            return Err(self.missing("the cluster of the current context", "write the name of one of its clusters"));
        };
        let cluster = self.entry(config, ("clusters", "cluster"), &cluster)?;
        let user = match text(&context["user"]).filter(|user| !user.is_empty()) {
            Some(user) => self.entry(config, ("users", "user"), &user)?,
            None => &Yaml::BadValue,
        };
        Ok((cluster, user))
    }

    fn entry<'a>(&self, config: &'a Yaml, (list, member): (&str, &str), name: &str) -> Result<&'a Yaml, AccessError> {
        let entries = config[list].as_vec().map_or(&[][..], |entries| entries);
        let found = entries.iter().find(|entry| text(&entry["name"]).is_some_and(|it| it == name));
        found.map(|entry| &entry[member]).ok_or_else(|| {
            let what = format!("`{}` among its {list}", cut(name));
            self.missing(&what, "current-context leads there: correct it, or add the entry")
        })
    }

    /// What stands in the file as base64, or in a file of its own.
    fn data(&self, of: &Yaml, key: &str) -> Result<Option<Vec<u8>>, AccessError> {
        let inline = format!("{key}-data");
        if let Some(base64) = text(&of[inline.as_str()]).filter(|base64| !base64.is_empty()) {
            let compact: String = base64.split_whitespace().collect();
            return STANDARD.decode(compact).map(Some).map_err(|_| self.wrong(&inline, "it is not base64"));
        }
        let file = text(&of[key]).filter(|file| !file.is_empty());
        file.map(|file| access::read(&self.beside(&file), "the kubeconfig names it")).transpose()
    }

    fn login(&self, user: &Yaml) -> Result<Login, AccessError> {
        for key in ["exec", "auth-provider"] {
            if !user[key].is_badvalue() && !user[key].is_null() {
                let why = "it starts a program to log in, and nothing on a node does that; give a token, tokenFile or client certificate";
                return Err(self.wrong(key, why));
            }
        }
        let given = |key: &str| text(&user[key]).filter(|value| !value.is_empty());
        if let Some(file) = given("tokenFile") {
            return Ok(Login::TokenFile(self.beside(&file)));
        }
        if let Some(token) = given("token") {
            return Ok(Login::Token(Secret::new(token)));
        }
        Ok(match given("username") {
            Some(name) => {
                let pair = format!("{name}:{}", given("password").unwrap_or_default());
                Login::Basic(Secret::new(STANDARD.encode(pair)))
            }
            None => Login::Nobody,
        })
    }

    fn beside(&self, file: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(file)
    }

    fn missing(&self, what: &str, fix: &'static str) -> AccessError {
        AccessError::Kubeconfig { path: self.path.to_owned(), mistake: Mistake::Missing { what: what.to_owned(), fix } }
    }

    fn wrong(&self, key: &str, why: &str) -> AccessError {
        let mistake = Mistake::Wrong { key: key.to_owned(), why: why.to_owned() };
        AccessError::Kubeconfig { path: self.path.to_owned(), mistake }
    }
}

/// A scalar as text: a token may look like a number.
fn text(value: &Yaml) -> Option<String> {
    match value {
        Yaml::String(text) | Yaml::Real(text) => Some(text.clone()),
        Yaml::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::scratch::Scratch;
    use std::fs;

    const KUBEADM: &str = r#"
apiVersion: v1
kind: Config
clusters:
- name: kubernetes
  cluster:
    certificate-authority-data: Q0E=
    server: https://192.0.2.1:6443
contexts:
- {name: me@kubernetes, context: {cluster: kubernetes, user: me}}
current-context: me@kubernetes
users:
- name: me
  user:
    client-certificate: pki/me.crt
    client-key-data: S0VZ
"#;

    fn access(scratch: &Scratch, text: &str) -> Result<Access, AccessError> {
        let path = scratch.0.join("config");
        fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn a_kubeconfig_leads_to_server_authority_and_login() {
        let scratch = Scratch::new("kubeconfig");
        fs::create_dir_all(scratch.0.join("pki")).unwrap();
        fs::write(scratch.0.join("pki/me.crt"), "CERTIFICATE").unwrap();
        let found = access(&scratch, KUBEADM).unwrap();
        assert_eq!(
            (found.url.to_string().as_str(), found.authority.as_slice()),
            ("https://192.0.2.1:6443", &b"CA"[..])
        );
        let identity = found.identity.unwrap();
        assert_eq!(
            (identity.certificate.as_slice(), identity.key.expose().as_slice()),
            (&b"CERTIFICATE"[..], &b"KEY"[..])
        );
        let json = r#"{"current-context":"a","contexts":[{"name":"a","context":{"cluster":"b","user":"c"}}],
            "clusters":[{"name":"b","cluster":{"server":"https://x","tls-server-name":"y"}}],
            "users":[{"name":"c","user":{"token":"s3cret"}}]}"#;
        let found = access(&scratch, json).unwrap();
        assert_eq!(found.server_name.as_deref(), Some("y"));
        assert_eq!(found.login.header().unwrap().unwrap().expose(), "Bearer s3cret");
        assert!(!format!("{found:?}").contains("s3cret"));
    }

    #[test]
    fn what_cannot_be_used_is_named_with_the_fix() {
        let scratch = Scratch::new("kubeconfig-wrong");
        for (text, sentence) in [
            ("a: [", "not YAML"),
            ("", "current-context"),
            ("current-context: x", "`x` among its contexts"),
            (&KUBEADM.replace("user: me}}", "user: you}}"), "`you` among its users"),
            (&KUBEADM.replace("https://192.0.2.1:6443", "ftp://x"), "neither http nor https"),
            (&KUBEADM.replace("Q0E=", "'%%%'"), "not base64"),
            (&KUBEADM.replace("client-certificate: pki/me.crt", "exec: {command: aws}"), "starts a program"),
            (
                &KUBEADM.replace(
                    "server:",
                    "insecure-skip-tls-verify: true
    server:",
                ),
                "nobody vouches",
            ),
            (&KUBEADM.replace("client-certificate: pki/me.crt", "x: y"), "client-certificate"),
            (KUBEADM, "pki/me.crt"),
        ] {
            let said = match access(&scratch, text) {
                Err(AccessError::Kubeconfig { mistake: Mistake::Missing { what, fix }, .. }) => format!("{what} {fix}"),
                Err(error) => error.to_string(),
                Ok(found) => format!("{found:?}"),
            };
            assert!(said.contains(sentence), "{said}");
        }
    }
}

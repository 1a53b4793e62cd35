//! [`Identity`]: who somebody is to the API server, and the kubeconfig files that say so.

use std::path::Path;

/// A user of the API with its groups. RBAC and the node authorizer go by these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Such as `system:node:alpha`.
    pub user: String,
    /// Such as `system:nodes`.
    pub groups: Vec<String>,
}

impl Identity {
    /// Any user.
    pub fn new<G: Into<String>>(user: impl Into<String>, groups: impl IntoIterator<Item = G>) -> Identity {
        Identity { user: user.into(), groups: groups.into_iter().map(Into::into).collect() }
    }

    /// May do everything.
    pub fn administrator() -> Identity {
        Identity::new("admin", ["system:masters"])
    }

    /// The kubelet of a node: may change its own Node object only.
    pub fn node(name: &str) -> Identity {
        Identity::new(format!("system:node:{name}"), ["system:nodes"])
    }

    /// `kube-controller-manager`, `kube-scheduler` or `kube-proxy`.
    pub fn component(name: &str) -> Identity {
        Identity::new(format!("system:{name}"), Vec::<String>::new())
    }

    /// What a service account's token stands for, without the token.
    pub fn service_account(namespace: &str, name: &str) -> Identity {
        let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        Identity::new(format!("system:serviceaccount:{namespace}:{name}"), groups)
    }

    /// A name for files.
    pub(super) fn file_stem(&self) -> String {
        self.user.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.', "-")
    }

    /// As openssl's `-subj` takes it: the user is the common name, each group an organization.
    pub(super) fn subject(&self) -> String {
        let groups = self.groups.iter().map(|group| format!("/O={group}"));
        groups.chain([format!("/CN={}", self.user)]).collect()
    }
}

/// How somebody proves who he is.
pub(super) enum Proof<'a> {
    Token(&'a str),
    Certificate { certificate: &'a Path, key: &'a Path },
}

/// The text of a kubeconfig file. Files are named, not copied in, so that tests may exchange them.
pub(super) fn kubeconfig(server: &str, authority: &Path, proof: &Proof) -> String {
    let user = match proof {
        Proof::Token(token) => format!("token: {token}"),
        Proof::Certificate { certificate, key } => {
            format!("client-certificate: {}\n    client-key: {}", certificate.display(), key.display())
        }
    };
    let authority = authority.display();
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster:
    server: {server}
    certificate-authority: {authority}
users:
- name: user
  user:
    {user}
contexts:
- name: lab
  context:
    cluster: lab
    user: user
current-context: lab
"
    )
}

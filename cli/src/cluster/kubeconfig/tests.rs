//! Kubeconfigs as people have them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

const HEAD: &str = "
apiVersion: v1
kind: Config
current-context: admin@lab
contexts:
- {name: admin@lab, context: {cluster: lab, user: admin}}
- {name: other, context: {cluster: gone, user: admin}}
clusters:
- {name: lab, cluster: {server: 'https://10.0.0.1:6443/'}}
users:
- name: admin
  user: ";

fn access(user: &str, context: Option<&str>) -> Result<Access, KubeconfigError> {
    let config = YamlLoader::load_from_str(&format!("{HEAD}{user}\n")).unwrap().remove(0);
    Kubeconfig { path: Path::new("/etc/config"), config }.access(context)
}

#[test]
fn a_token_is_taken_with_the_server() {
    let access = access("{token: abc}", None).unwrap();
    assert_eq!(access.server, "https://10.0.0.1:6443");
    assert!(matches!(access.identity, Identity::Token(token) if token == "abc"));
}

#[test]
fn what_is_missing_or_cannot_be_used_is_named() {
    let refusal = |user: &str, context| access(user, context).err().unwrap().to_string();
    assert_eq!(refusal("{}", Some("none")), "/etc/config has no `none` among its contexts");
    assert_eq!(refusal("{}", Some("other")), "/etc/config has no `gone` among its clusters");
    assert!(refusal("{exec: {command: aws}}", None).contains("kubectl proxy"));
    assert_eq!(
        refusal("{client-certificate-data: '!', client-key-data: aGk=}", None),
        "/etc/config: client-certificate-data is not base64"
    );
    assert_eq!(
        refusal("{client-certificate-data: aGk=, client-key-data: aGk=}", None),
        "/etc/config: client-certificate is not PEM"
    );
    assert!(refusal("{tokenFile: none}", None).starts_with("cannot read /etc/none: "));
}

#[test]
fn a_server_that_is_named_needs_no_kubeconfig() {
    let choice = Choice { server: Some("http://127.0.0.1:8001/".into()), ..Choice::default() };
    let access = Access::read(&choice).unwrap();
    assert_eq!(access.server, "http://127.0.0.1:8001");
    assert!(matches!(access.identity, Identity::Nobody));
}

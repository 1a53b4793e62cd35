//! etcd behind TLS and passwords: what works, and what is said when it does not.

use std::path::{Path, PathBuf};
use std::process::Command;

use towpathd::config::settings::{ClientCertificate, EtcdSettings, EtcdUser, TlsFiles};
use towpathd::secret::Secret;
use towpathd::store::etcd::Etcd;
use towpathd::store::{Store, Wish};

use crate::etcd_server::EtcdServer;
use crate::node::{NETWORK, Node, claim};
use crate::place::{PREFIX, Scratch, a_day, settings};

/// An authority for one test, and what it signed.
struct Authority(Scratch);

impl Authority {
    fn new(of: &str) -> Authority {
        let authority = Authority(Scratch::new(&format!("tls-{of}")));
        for ca in ["ca", "other-ca"] {
            let usage = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"];
            authority.openssl(&[&["req", "-x509", "-subj", &format!("/CN={ca}")], usage.as_slice()].concat(), ca);
        }
        authority.sign("server", "IP:127.0.0.1");
        authority.sign("elsewhere", "DNS:elsewhere.example");
        authority.sign("client", "DNS:node-1.example");
        authority
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.0.join(name)
    }

    /// Makes a key and what `command` makes with it.
    fn openssl(&self, command: &[&str], name: &str) {
        let (key, out) = (self.text(&format!("{name}.key")), self.text(&format!("{name}.pem")));
        let fresh = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", &key, "-out", &out];
        let days: &[&str] = if command.contains(&"-x509") { &["-days", "2"] } else { &[] };
        run(&[command, &fresh, days].concat());
    }

    fn sign(&self, name: &str, names: &str) {
        self.openssl(&["req", "-subj", &format!("/CN={name}")], name);
        let extensions = self.file(&format!("{name}.ext"));
        std::fs::write(&extensions, format!("subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n"))
            .unwrap();
        let (request, signed) = (self.text(&format!("{name}.pem")), self.text(&format!("{name}.crt")));
        let (ca, key) = (self.text("ca.pem"), self.text("ca.key"));
        let with =
            ["-CA", &ca, "-CAkey", &key, "-CAcreateserial", "-days", "2", "-extfile", extensions.to_str().unwrap()];
        run(&[&["x509", "-req", "-in", &request, "-out", &signed], with.as_slice()].concat());
    }

    fn text(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    /// An etcd with a certificate of this authority; with `more`, one that asks for the clients' too.
    fn server(&self, of: &str, certificate: &str, more: &[&str]) -> EtcdServer {
        let (cert, key) = (self.text(&format!("{certificate}.crt")), self.text(&format!("{certificate}.key")));
        let options = ["--cert-file", &cert, "--key-file", &key];
        let options: Vec<String> = options.iter().chain(more).map(|option| (*option).to_owned()).collect();
        EtcdServer::start_with(of, "https", &options)
    }

    fn tls(&self, ca: &str) -> TlsFiles {
        TlsFiles { ca: Some(self.file(ca)), client: None }
    }

    fn client(&self) -> TlsFiles {
        let client = ClientCertificate { certificate: self.file("client.crt"), key: self.file("client.key") };
        TlsFiles { client: Some(client), ..self.tls("ca.pem") }
    }

    /// What etcdctl needs to get in.
    fn access(&self) -> Vec<String> {
        let (cert, key) = (self.text("client.crt"), self.text("client.key"));
        ["--cacert", &self.text("ca.pem"), "--cert", &cert, "--key", &key].map(str::to_owned).to_vec()
    }
}

fn run(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output();
    let output = output.expect("openssl cannot be started: install the Debian package openssl");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn with_tls(server: &EtcdServer, tls: TlsFiles) -> EtcdSettings {
    EtcdSettings { tls, ..settings(&[&server.url()]) }
}

fn store(settings: &EtcdSettings) -> Store {
    Store::Etcd(Etcd::new(settings, a_day()))
}

/// What is said with these settings, before and for ever.
async fn complaint(settings: &EtcdSettings) -> String {
    let mut node = Node::start_with(store(settings), Wish::Hold(claim(1)));
    node.until("a complaint", |node| node.trouble.is_some()).await;
    let sentence = node.trouble.clone().unwrap();
    println!("{sentence}");
    assert!(sentence.contains(&settings.endpoints[0]) || sentence.contains("cannot be read"), "{sentence}");
    sentence
}

#[tokio::test]
async fn the_authority_alone_is_enough() {
    let authority = Authority::new("ca-only");
    let mut server = authority.server("ca-only", "server", &[]);
    server.access = authority.access();
    server.put(&format!("{PREFIX}/config"), NETWORK);
    let node = Node::holding(store(&with_tls(&server, authority.tls("ca.pem"))), claim(1)).await;
    assert_eq!(server.keys(&format!("{PREFIX}/subnets/")), [node.lease().key.as_str()]);
}

#[tokio::test]
async fn a_client_certificate_opens_the_door() {
    let authority = Authority::new("mutual");
    let trusted = authority.text("ca.pem");
    let mut server = authority.server("mutual", "server", &["--client-cert-auth", "--trusted-ca-file", &trusted]);
    server.access = authority.access();
    server.put(&format!("{PREFIX}/config"), NETWORK);
    let _node = Node::holding(store(&with_tls(&server, authority.client())), claim(1)).await;
    let sentence = complaint(&with_tls(&server, authority.tls("ca.pem"))).await;
    assert!(sentence.contains("--etcd-certfile"), "{sentence}");
}

#[tokio::test]
async fn a_wrong_certificate_is_said_to_be_wrong() {
    let authority = Authority::new("wrong");
    let server = authority.server("wrong", "server", &[]);
    let sentence = complaint(&with_tls(&server, authority.tls("other-ca.pem"))).await;
    assert!(sentence.contains("other-ca.pem") && sentence.contains("--etcd-cafile"), "{sentence}");
    let sentence = complaint(&with_tls(&server, TlsFiles::default())).await;
    assert!(sentence.contains("--etcd-cafile"), "{sentence}");
    let missing = TlsFiles { ca: Some(Path::new("/nonexistent/ca.pem").to_owned()), client: None };
    let sentence = complaint(&with_tls(&server, missing)).await;
    assert!(sentence.contains("/nonexistent/ca.pem"), "{sentence}");
    let elsewhere = authority.server("elsewhere", "elsewhere", &[]);
    let sentence = complaint(&with_tls(&elsewhere, authority.tls("ca.pem"))).await;
    assert!(sentence.contains("subjectAltName"), "{sentence}");
}

#[tokio::test]
async fn talking_past_each_other_is_said() {
    let authority = Authority::new("past");
    let plain = EtcdServer::start("plain");
    let url = plain.url().replace("http://", "https://");
    let sentence = complaint(&EtcdSettings { tls: authority.tls("ca.pem"), ..settings(&[&url]) }).await;
    assert!(sentence.contains("http://"), "{sentence}");
    let secured = authority.server("past", "server", &[]);
    let url = secured.url().replace("https://", "http://");
    let sentence = complaint(&settings(&[&url])).await;
    assert!(sentence.contains("https://"), "{sentence}");
}

fn user(name: &str, password: &str) -> Option<EtcdUser> {
    Some(EtcdUser { name: name.to_owned(), password: Secret::new(password.to_owned()) })
}

#[tokio::test]
async fn a_user_needs_the_password_and_a_role() {
    let mut server = EtcdServer::start("user");
    for command in [
        &["put", &format!("{PREFIX}/config"), NETWORK] as &[&str],
        &["user", "add", "root:sesame"],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "flannel:open"],
        &["user", "add", "reader:open"],
        &["role", "add", "network"],
        &["role", "add", "reading"],
        &["role", "grant-permission", "network", "--prefix=true", "readwrite", PREFIX],
        &["role", "grant-permission", "reading", "--prefix=true", "read", PREFIX],
        &["user", "grant-role", "flannel", "network"],
        &["user", "grant-role", "reader", "reading"],
        &["auth", "enable"],
    ] {
        server.ctl(command);
    }
    server.access = vec!["--user".to_owned(), "root:sesame".to_owned()];
    let with = |user| EtcdSettings { user, ..settings(&[&server.url()]) };
    let mut node = Node::holding(store(&with(user("flannel", "open"))), claim(1)).await;
    // A new password, even if it is the old one, makes a user's tokens void.
    let root = etcd_client::ConnectOptions::new().with_user("root", "sesame");
    let mut root = etcd_client::Client::connect([server.url()], Some(root)).await.unwrap();
    let key = format!("{PREFIX}/subnets/{}", node.lease().key);
    for _ in 0..2 {
        root.user_change_password("flannel", "open").await.unwrap();
        server.ctl(&["del", &key]);
        crate::node::until("the key again", || !server.value(&key).is_empty()).await;
    }
    node.heard_already();
    let sentence = complaint(&with(user("flannel", "guess"))).await;
    assert!(
        sentence.contains("user flannel is unknown there or has another password") && !sentence.contains("guess"),
        "{sentence}"
    );
    let sentence = complaint(&with(user("nobody", "guess"))).await;
    assert!(sentence.contains("--etcd-password") && !sentence.contains("guess"), "{sentence}");
    let sentence = complaint(&with(None)).await;
    assert!(sentence.contains("--etcd-username"), "{sentence}");
    let mut reader = Node::start_with(store(&with(user("reader", "open"))), Wish::Hold(claim(2)));
    reader.until("all leases and a trouble", |node| node.lease_of("node-1").is_some() && node.trouble.is_some()).await;
    let sentence = reader.trouble.clone().unwrap();
    assert!(sentence.contains("readwrite") && sentence.contains(PREFIX), "{sentence}");
}

#[tokio::test]
async fn a_user_where_there_are_none_is_said() {
    let server = EtcdServer::start("nouser");
    let sentence = complaint(&EtcdSettings { user: user("flannel", "open"), ..settings(&[&server.url()]) }).await;
    assert!(sentence.contains("--etcd-username"), "{sentence}");
}

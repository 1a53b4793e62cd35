//! [`EtcdServer`]: a real etcd for one test, on free ports, gone when dropped.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::place::Scratch;

pub struct EtcdServer {
    child: Option<Child>,
    command: Vec<String>,
    /// How `etcdctl` gets in.
    pub access: Vec<String>,
    pub client_port: u16,
    scheme: &'static str,
    scratch: Option<Scratch>,
}

/// Ports that are free now, all different. They lie below the range from which the kernel takes ports for outgoing connections,
/// so that nobody has one by chance before it is listened on.
pub fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mine = std::process::id() * 131;
    let candidates = std::iter::from_fn(|| Some((mine + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000 + 20_000));
    let candidates = candidates.map(|port| u16::try_from(port).unwrap());
    candidates.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).take(count).collect()
}

impl EtcdServer {
    /// One member, without any security.
    pub fn start(of: &str) -> EtcdServer {
        EtcdServer::start_with(of, "http", &[])
    }

    /// One member with more options.
    pub fn start_with(of: &str, scheme: &'static str, more: &[String]) -> EtcdServer {
        let scratch = Scratch::new(&format!("etcd-{of}"));
        let ports = free_ports(2);
        let (client, peer) = (format!("{scheme}://127.0.0.1:{}", ports[0]), format!("http://127.0.0.1:{}", ports[1]));
        let mut command = vec!["--data-dir".to_owned(), scratch.0.join("data").display().to_string()];
        command.extend(["--name".to_owned(), "one".to_owned(), "--initial-cluster".to_owned(), format!("one={peer}")]);
        command.extend([
            "--listen-client-urls".to_owned(),
            client.clone(),
            "--advertise-client-urls".to_owned(),
            client,
        ]);
        command.extend([
            "--listen-peer-urls".to_owned(),
            peer.clone(),
            "--initial-advertise-peer-urls".to_owned(),
            peer,
        ]);
        command.extend_from_slice(more);
        let mut server = EtcdServer::member(command, ports[0]);
        server.scheme = scheme;
        server.scratch = Some(scratch);
        server.again();
        server
    }

    /// A member that is not started yet.
    pub fn member(command: Vec<String>, client_port: u16) -> EtcdServer {
        EtcdServer { child: None, command, access: Vec::new(), client_port, scheme: "http", scratch: None }
    }

    /// Starts the process, without waiting for it.
    pub fn spawn(&mut self) {
        let quick =
            ["--unsafe-no-fsync", "--log-level", "error", "--heartbeat-interval", "50", "--election-timeout", "500"];
        // It must not outlive the test's thread, whatever happens to that.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "etcd"])
            .args(quick)
            .args(&self.command)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv cannot be started: install the Debian package util-linux");
        self.child = Some(child);
    }

    /// Starts the process (again) and waits until it answers.
    pub fn again(&mut self) {
        self.spawn();
        self.wait();
    }

    /// Waits until the member answers.
    pub fn wait(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(("127.0.0.1", self.client_port)).is_err() {
            let child = self.child.as_mut().unwrap();
            if let Some(status) = child.try_wait().unwrap() {
                panic!(
                    "etcd ended ({status}): if it is not installed, install the Debian packages etcd-server and etcd-client"
                );
            }
            assert!(Instant::now() < deadline, "etcd does not listen on port {}", self.client_port);
            std::thread::yield_now();
        }
    }

    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.client_port)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Removes all that the member knows.
    pub fn forget(&mut self) {
        self.kill();
        fs::remove_dir_all(self.scratch.as_ref().unwrap().0.join("data")).unwrap();
    }

    pub fn put(&self, key: &str, value: &str) {
        self.ctl(&["put", key, value]);
    }

    /// An operator's command, which must succeed.
    pub fn ctl(&self, command: &[&str]) {
        self.ask(command);
    }

    /// And what it prints.
    pub fn ask(&self, command: &[&str]) -> String {
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.url(), "--dial-timeout", "20s", "--command-timeout", "20s"])
            .args(&self.access)
            .args(command)
            .output()
            .expect("etcdctl cannot be started: install the Debian package etcd-client");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "etcdctl {command:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let listed = self.ask(&["get", "--prefix", "--keys-only", prefix]);
        listed.lines().filter_map(|line| line.strip_prefix(prefix)).map(str::to_owned).collect()
    }

    pub fn value(&self, key: &str) -> String {
        self.ask(&["get", "--print-value-only", key]).trim_end().to_owned()
    }

    /// One number of a key's record: `mod_revision`, `lease`.
    pub fn number(&self, key: &str, of: &str) -> i64 {
        let json: serde_json::Value = serde_json::from_str(&self.ask(&["get", "-w", "json", key])).unwrap();
        json["kvs"][0][of].as_i64().unwrap_or(0)
    }

    /// How long the key's etcd lease has left, in seconds.
    pub fn seconds_left(&self, key: &str) -> i64 {
        let lease = format!("{:x}", self.number(key, "lease"));
        let json: serde_json::Value =
            serde_json::from_str(&self.ask(&["lease", "timetolive", "-w", "json", &lease])).unwrap();
        json["ttl"].as_i64().unwrap()
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// A cluster of three.
pub struct EtcdCluster {
    pub members: Vec<EtcdServer>,
    _scratch: Scratch,
}

impl EtcdCluster {
    pub fn start(of: &str) -> EtcdCluster {
        let scratch = Scratch::new(&format!("etcd-{of}"));
        let ports = free_ports(6);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let all: Vec<String> = (0..3).map(|n| format!("m{n}={}", url(ports[n + 3]))).collect();
        let mut members: Vec<EtcdServer> = (0..3)
            .map(|n| {
                let data = scratch.0.join(format!("m{n}"));
                fs::create_dir_all(&data).unwrap();
                fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
                let (client, peer) = (url(ports[n]), url(ports[n + 3]));
                let options = [
                    ("--data-dir", data.display().to_string()),
                    ("--name", format!("m{n}")),
                    ("--listen-client-urls", client.clone()),
                    ("--advertise-client-urls", client),
                    ("--listen-peer-urls", peer.clone()),
                    ("--initial-advertise-peer-urls", peer),
                    ("--initial-cluster", all.join(",")),
                ];
                let command = options.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect();
                EtcdServer::member(command, ports[n])
            })
            .collect();
        members.iter_mut().for_each(EtcdServer::spawn);
        members.iter_mut().for_each(EtcdServer::wait);
        EtcdCluster { members, _scratch: scratch }
    }

    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(EtcdServer::url).collect()
    }
}

//! What a real API server does not do on command: it is played by a script, over plain HTTP on the loopback interface.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ipam::NodeName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use towpathd::config::kube::{AnnotationPrefix, ApiUrl};
use towpathd::config::{KubernetesSettings, PeerObjects};
use towpathd::store::Event;
use towpathd::store::Store;
use towpathd::store::kubernetes::{Kubernetes, Patience};

use crate::ground::flannels;
use crate::node::{Node, name};

/// What is answered: a status with headers, the body in pieces, and whether the connection is held open after it.
#[derive(Clone)]
struct Reply {
    head: String,
    pieces: Vec<Vec<u8>>,
    held: bool,
}

fn reply(status: &str, body: impl Into<Vec<u8>>) -> Reply {
    Reply { head: status.to_owned(), pieces: vec![body.into()], held: false }
}

fn watch(lines: &[Value]) -> Reply {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    Reply { held: true, ..reply("200 OK", text) }
}

fn node(number: u16, version: u32) -> Value {
    let mut node = flannels(number).to_json();
    node["metadata"]["uid"] = json!(format!("uid-{number}"));
    node["metadata"]["resourceVersion"] = json!(version.to_string());
    node
}

fn line(kind: &str, object: &Value) -> Value {
    json!({ "type": kind, "object": object })
}

fn whole(version: u32) -> Value {
    let annotations = json!({ "k8s.io/initial-events-end": "true" });
    line("BOOKMARK", &json!({ "metadata": { "resourceVersion": version.to_string(), "annotations": annotations } }))
}

/// A request as it came: when, its path and query, and its Authorization.
#[derive(Clone, Debug)]
struct Asked {
    at: Instant,
    path: String,
    login: Option<String>,
}

/// A server that follows a script: the n-th request gets the n-th reply, and the last one all that follow.
struct Scripted {
    settings: KubernetesSettings,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Scripted {
    async fn start(script: Vec<Reply>) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = ApiUrl::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(play(stream, script.clone(), Arc::clone(&heard)));
            }
        });
        let settings = KubernetesSettings {
            api_url: Some(url),
            service: None,
            kubeconfig: None,
            annotations: AnnotationPrefix::default(),
            keeps_condition: true,
            peers: PeerObjects::Nodes,
            own_pod: None,
        };
        Scripted { settings, asked }
    }

    fn store(&self) -> Store {
        let patience = Patience { watch: Duration::from_millis(300), ..Patience::default() };
        let node = NodeName::new(&name(1)).unwrap();
        Store::Kubernetes(Kubernetes::new(&self.settings, &node).with_patience(patience))
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn paths(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.path).collect()
    }
}

/// One request and its reply, then the end of the connection.
async fn play(mut stream: TcpStream, script: Vec<Reply>, heard: Arc<Mutex<Vec<Asked>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split_whitespace().nth(1).unwrap().to_owned();
    let login = head.lines().find_map(|line| line.strip_prefix("authorization: ")).map(str::to_owned);
    let number = {
        let mut heard = heard.lock().unwrap();
        heard.push(Asked { at: Instant::now(), path, login });
        heard.len() - 1
    };
    let reply = script.get(number).or(script.last()).unwrap();
    // No length: the body ends with the connection.
    let mut said = stream.write_all(format!("HTTP/1.1 {}\r\nconnection: close\r\n\r\n", reply.head).as_bytes()).await;
    for piece in &reply.pieces {
        if said.is_ok() {
            said = stream.write_all(piece).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    if reply.held && said.is_ok() {
        // Until the client has enough of it.
        drop(stream.read_u8().await);
    }
}

#[tokio::test]
async fn a_half_line_is_waited_for_and_one_that_never_ends_comes_again() {
    let all = [line("ADDED", &node(2, 5)), whole(7), line("ADDED", &node(3, 8))];
    let text: String = all.iter().map(|line| format!("{line}\n")).collect();
    let bytes = text.into_bytes();
    let pieces: Vec<Vec<u8>> = bytes.chunks(97).map(<[u8]>::to_vec).collect();
    let cut = line("ADDED", &node(4, 9)).to_string().into_bytes()[..200].to_vec();
    let first = Reply { head: "200 OK".to_owned(), pieces: [pieces, vec![cut]].concat(), held: false };
    let server = Scripted::start(vec![first, watch(&[line("ADDED", &node(4, 9))])]).await;
    let mut node = Node::start(server.store());
    node.until("all three", |node| node.leases().count() == 3).await;
    assert!(node.log[0].starts_with("snapshot of 1"), "{:#?}", node.log);
    assert!(server.paths()[1].contains("resourceVersion=8"), "{:?}", server.paths());
    assert!(!node.log.iter().any(|line| line.starts_with("Trouble")), "{:#?}", node.log);
}

#[tokio::test]
async fn a_list_that_breaks_off_tells_nobody_to_be_gone_and_is_begun_again() {
    let script = vec![
        reply("200 OK", format!("{}\n{}\n", line("ADDED", &node(2, 5)), line("ADDED", &node(3, 6)))),
        watch(&[line("ADDED", &node(2, 5)), line("ADDED", &node(3, 6)), whole(7)]),
    ];
    let server = Scripted::start(script).await;
    let mut node = Node::start(server.store());
    node.until("both", |node| node.leases().count() == 2).await;
    assert_eq!(node.log.iter().filter(|line| line.starts_with("snapshot")).count(), 1, "{:#?}", node.log);
}

#[tokio::test]
async fn a_version_that_is_gone_in_the_middle_of_a_list_or_a_watch_means_another_list() {
    let page = |items: &[Value], next: &str| {
        json!({ "metadata": { "resourceVersion": "9", "continue": next }, "items": items }).to_string()
    };
    let gone = json!({ "kind": "Status", "status": "Failure", "code": 410, "message": "The provided continue parameter is too old" });
    let unsupported = reply(
        "422 Unprocessable Entity",
        json!({ "kind": "Status", "code": 422, "message": "sendInitialEvents" }).to_string(),
    );
    let script = vec![
        unsupported.clone(),
        reply("200 OK", page(&[node(2, 5)], "more")),
        reply("410 Gone", gone.to_string()),
        unsupported,
        reply("200 OK", page(&[node(2, 5)], "more")),
        reply("200 OK", page(&[node(3, 6)], "")),
        reply("200 OK", format!("{}\n", line("ERROR", &gone))),
        watch(&[line("ADDED", &node(3, 6)), line("ADDED", &node(4, 10)), whole(11)]),
    ];
    let server = Scripted::start(script).await;
    let mut node = Node::start(server.store());
    node.until("the third and fourth", |node| {
        node.leases().count() == 2 && node.lease_of("node-3").is_some() && node.lease_of("node-4").is_some()
    })
    .await;
    assert!(node.log[0].starts_with("snapshot of 2"), "{:#?}", node.log);
    assert!(!node.log.iter().any(|line| line.starts_with("Trouble")), "{:#?}", node.log);
    let paths = server.paths();
    assert!(paths[2].contains("continue=more") && paths[6].contains("resourceVersion=9"), "{paths:?}");
    assert_eq!(node.counted().lists, 5, "streamed and in pages");
}

#[tokio::test]
async fn who_goes_while_the_first_list_is_told_or_right_after_it_is_not_in_it() {
    let lines = [
        line("ADDED", &node(2, 5)),
        line("ADDED", &node(3, 6)),
        line("DELETED", &node(3, 7)),
        whole(7),
        line("DELETED", &node(2, 8)),
        line("ADDED", &node(4, 9)),
    ];
    let server = Scripted::start(vec![watch(&lines)]).await;
    let mut node = Node::start(server.store());
    node.until("the fourth alone", |node| node.leases().count() == 1 && node.lease_of("node-4").is_some()).await;
    assert!(node.log[0].starts_with("snapshot of 2"), "the second, and who is gone: {:#?}", node.log);
    crate::ground::until("the next watch", || server.asked().len() > 1).await;
    assert!(server.paths()[1].contains("resourceVersion=9"), "{:?}", server.paths());
}

#[tokio::test]
async fn a_server_with_too_much_to_do_is_left_alone_for_as_long_as_it_says() {
    let busy = json!({ "kind": "Status", "code": 429, "message": "too many requests" }).to_string();
    let script =
        vec![reply("429 Too Many Requests\r\nretry-after: 1", busy), watch(&[line("ADDED", &node(2, 5)), whole(7)])];
    let server = Scripted::start(script).await;
    let mut node = Node::start(server.store());
    let Event::Trouble(sentence) = node.next().await else { panic!("{:#?}", node.log) };
    assert!(sentence.contains("429") && sentence.contains("too many requests"), "{sentence}");
    node.until("the other", |node| node.leases().count() == 1 && node.trouble.is_none()).await;
    let asked = server.asked();
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(1), "{asked:?}");
}

#[tokio::test]
async fn a_watch_on_which_nothing_comes_is_begun_again_from_where_it_was_and_then_listed_and_nothing_is_said() {
    let first = watch(&[line("ADDED", &node(2, 50)), line("ADDED", &node(3, 60)), whole(70)]);
    // The server was put back to an older state: of what is older than 70 it says nothing.
    let older = watch(&[line("ADDED", &node(2, 2)), whole(4)]);
    let server = Scripted::start(vec![first, watch(&[]), older, watch(&[])]).await;
    let mut node = Node::start(server.store());
    node.until("both", |node| node.leases().count() == 2).await;
    node.until("the third to be gone", |node| node.leases().count() == 1).await;
    let paths = server.paths();
    assert!(paths[1].contains("resourceVersion=70") && paths[2].contains("sendInitialEvents"), "{paths:?}");
    assert!(!node.log.iter().any(|line| line.starts_with("Trouble")), "{:#?}", node.log);
}

#[tokio::test]
async fn a_token_that_the_kubelet_renewed_is_used_at_once() {
    let refused = json!({ "kind": "Status", "code": 401, "message": "Unauthorized" }).to_string();
    let script = vec![reply("401 Unauthorized", refused), watch(&[line("ADDED", &node(2, 5)), whole(7)])];
    let mut server = Scripted::start(script).await;
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("token-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let url = server.settings.api_url.take().unwrap();
    let config = format!(
        "current-context: a\ncontexts: [{{name: a, context: {{cluster: b, user: c}}}}]\n\
         clusters: [{{name: b, cluster: {{server: \"{url}\"}}}}]\nusers: [{{name: c, user: {{tokenFile: token}}}}]\n"
    );
    std::fs::write(directory.join("config"), config).unwrap();
    std::fs::write(directory.join("token"), "old\n").unwrap();
    server.settings.kubeconfig = Some(directory.join("config"));
    let mut node = Node::start(server.store());
    node.until("the trouble", |node| node.trouble.is_some()).await;
    assert!(!node.trouble.clone().unwrap().contains("old"), "no token is shown");
    std::fs::write(directory.join("token"), "new\n").unwrap();
    node.until("the other", |node| node.leases().count() == 1 && node.trouble.is_none()).await;
    let logins: Vec<String> = server.asked().into_iter().filter_map(|asked| asked.login).collect();
    assert_eq!(logins[0], "Bearer old");
    assert!(logins.contains(&"Bearer new".to_owned()), "{logins:?}");
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn clocks_that_are_apart_are_said_once_with_both_times() {
    let mut first = watch(&[line("ADDED", &node(2, 5)), whole(7)]);
    first.head = "200 OK\r\ndate: Sat, 21 Nov 2026 12:00:00 GMT".to_owned();
    let again = Reply { pieces: Vec::new(), held: false, ..first.clone() };
    let server = Scripted::start(vec![first, again]).await;
    let mut node = Node::start(server.store());
    node.until("the other", |node| node.leases().count() == 1).await;
    crate::ground::until("more watches", || server.asked().len() > 3).await;
    let said: Vec<_> = node.log.iter().filter(|line| line.starts_with("Clock(")).collect();
    assert!(matches!(said[..], [one] if one.contains("2026-11-21T12:00:00Z") && one.contains("node-1")), "{said:?}");
}

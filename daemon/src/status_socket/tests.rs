//! The protocol over a real socket, with good requests and bad ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;
use tokio::sync::mpsc;

use super::*;
use crate::ask::fixture::{about, route, settled};
use crate::ask::{Ask, Question, answer};

/// A directory of the test's own, gone at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("towpath-status-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("run").join("towpathd.sock")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// A socket whose run loop is that of a settled node without its route to node b.
async fn serving(path: &Path) {
    let (sender, mut asks) = mpsc::channel::<Ask>(4);
    let listener = place::listen(path).await.unwrap();
    tokio::spawn(async move { accept(&listener, &Ears { asks: sender, speaker: None }).await });
    tokio::spawn(async move {
        let (mut reconciler, mut kernel) = settled();
        kernel.state.routes.remove(&route(2));
        while let Some(Ask { question, answer: to }) = asks.recv().await {
            // Whoever asked may be gone.
            to.send(answer(question, &mut reconciler, &mut kernel, &about())).ok();
        }
    });
}

async fn say(path: &Path, request: &[u8]) -> (String, i64) {
    let mut client = UnixStream::connect(path).await.unwrap();
    client.write_all(request).await.unwrap();
    let mut line = String::new();
    client.read_to_string(&mut line).await.unwrap();
    assert!(line.ends_with('\n') && line.lines().count() == 1, "{line}");
    let reply: Value = serde_json::from_str(&line).unwrap();
    (reply["text"].as_str().unwrap().to_owned(), reply["exit"].as_i64().unwrap())
}

#[tokio::test]
async fn questions_are_answered_as_text_and_as_json() {
    let directory = Directory::new("questions");
    let path = directory.socket();
    serving(&path).await;
    let (text, exit) = say(&path, b"{\"ask\":\"status\"}\n").await;
    assert!(text.starts_with("node       a, ready\n") && exit == 0, "{text}");
    let (text, exit) = say(&path, b"{\"ask\":\"status\",\"output\":\"json\"}\n").await;
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&status["node"], exit), (&"a".into(), 0));
    let (text, exit) = say(&path, b"{\"ask\":\"plan\",\"output\":\"text\"}\n").await;
    assert!(text.starts_with("ip route replace 10.244.2.0/24 ") && text.lines().count() == 1 && exit == 1, "{text}");
    let (text, exit) = say(&path, b"{\"ask\":\"plan\",\"output\":\"json\"}\n").await;
    let plan: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((plan["changes"].as_array().unwrap().len(), exit), (1, 1));
    let (text, exit) = say(&path, b"{\"ask\":\"explain\",\"address\":\"10.244.2.7\"}\n").await;
    assert!(text.contains("MISSING    route 10.244.2.0/24") && exit == 1, "{text}");
    let (text, exit) = say(&path, b"{\"ask\":\"explain\",\"address\":\"::ffff:10.244.3.7\"}\n").await;
    assert!(text.starts_with("10.244.3.7 is a pod address of node c") && exit == 0, "{text}");
    let (text, exit) = say(&path, b"{\"ask\":\"release\"}\n").await;
    assert!(text.starts_with("node a gives its lease") && exit == 0, "{text}");
}

#[tokio::test]
async fn garbage_is_answered_with_what_is_wrong_and_harms_nobody() {
    let directory = Directory::new("garbage");
    let path = directory.socket();
    serving(&path).await;
    let endless = vec![b'['; 1 << 12];
    let garbage: [(&[u8], &str); 9] = [
        (b"\n", "the request is not understood"),
        (b"hello\n", "the request is not understood"),
        (b"\xff\xfe\x00\n", "the request is not understood"),
        (b"{}\n", "missing field `ask`"),
        (b"{\"ask\":1}\n", "the request is not understood"),
        (
            b"{\"ask\":\"reboot\"}\n",
            "`reboot` is not something to ask: there are `status`, `plan`, `explain`, `rollout`, `bgp`, `release`, `rotate-keys` and `probe-offloads`",
        ),
        (b"{\"ask\":\"explain\"}\n", "`explain` needs an `address`"),
        (b"{\"ask\":\"explain\",\"address\":\"10.244.3\"}\n", "`10.244.3` is not an IP address"),
        (b"{\"ask\":\"status\",\"output\":\"yaml\"}\n", "unknown variant `yaml`"),
    ];
    for (request, said) in garbage.into_iter().chain([(endless.as_slice(), "the request is not understood")]) {
        let (text, exit) = say(&path, request).await;
        assert!(text.contains(said) && exit == 2, "{text}");
    }
    let (_, exit) = say(&path, b"{\"ask\":\"status\"}\n").await;
    assert_eq!(exit, 0);
}

#[tokio::test]
async fn a_client_that_leaves_or_says_half_a_thing_harms_nobody() {
    let directory = Directory::new("leaves");
    let path = directory.socket();
    serving(&path).await;
    for said in [&b""[..], b"{\"ask\":\"stat", b"{\"ask\":\"status\"}\n"] {
        let mut client = UnixStream::connect(&path).await.unwrap();
        client.write_all(said).await.unwrap();
    }
    let (_, exit) = say(&path, b"{\"ask\":\"status\"}\n").await;
    assert_eq!(exit, 0);
}

#[tokio::test(start_paused = true)]
async fn silent_clients_have_their_time_and_then_make_room() {
    let directory = Directory::new("silent");
    let path = directory.socket();
    serving(&path).await;
    let mut silent = Vec::new();
    for _ in 0..3 * CLIENTS {
        silent.push(UnixStream::connect(&path).await.unwrap());
    }
    let (_, exit) = say(&path, b"{\"ask\":\"status\"}\n").await;
    assert_eq!(exit, 0);
    let (mut first, mut last) = (String::new(), String::new());
    silent[0].read_to_string(&mut first).await.unwrap();
    assert_eq!(first, "", "the first that came makes room for the last");
    silent[3 * CLIENTS - 1].read_to_string(&mut last).await.unwrap();
    assert!(last.contains("no request came within 10 s"), "{last}");
}

#[tokio::test]
async fn only_its_owner_may_connect_and_anybody_may_look() {
    let directory = Directory::new("mode");
    let path = directory.socket();
    serving(&path).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left there");
}

#[tokio::test]
async fn a_dead_daemons_socket_is_replaced_and_a_live_ones_is_not() {
    let directory = Directory::new("stale");
    let path = directory.socket();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a dead daemon's");
    serving(&path).await;
    let (sender, _asks) = mpsc::channel::<Ask>(1);
    let error = serve(&path, Ears { asks: sender, speaker: None }).await.unwrap_err();
    assert!(matches!(error, SocketError::Taken { .. }), "{error}");
    assert!(error.to_string().contains("--status-socket"), "{error}");
    let (_, exit) = say(&path, b"{\"ask\":\"status\"}\n").await;
    assert_eq!(exit, 0, "the live one is not harmed");
}

#[tokio::test]
async fn a_daemon_that_is_too_busy_to_answer_keeps_its_socket() {
    let directory = Directory::new("busy");
    let path = directory.0.join("towpathd.sock");
    let busy = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut queue = Vec::new();
    while let Ok(waiting) = UnixStream::connect(&path).await {
        queue.push(waiting);
    }
    let error = place::listen(&path).await.unwrap_err();
    assert!(matches!(error, SocketError::Taken { .. }), "{error}");
    drop(busy);
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let directory = Directory::new("file");
    let path = directory.0.join("precious");
    fs::write(&path, "data").unwrap();
    let error = place::listen(&path).await.unwrap_err();
    assert!(matches!(error, SocketError::NoSocket { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "data");
    let long = directory.0.join("x".repeat(120));
    let error = place::listen(&long).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot listen on "), "{error}");
}

#[tokio::test]
async fn a_run_loop_that_has_ended_is_said_to_have() {
    let directory = Directory::new("ended");
    let (sender, asks) = mpsc::channel::<Ask>(1);
    drop(asks);
    let listener = place::listen(&directory.socket()).await.unwrap();
    tokio::spawn(async move { accept(&listener, &Ears { asks: sender, speaker: None }).await });
    let (text, exit) = say(&directory.socket(), b"{\"ask\":\"plan\"}\n").await;
    assert_eq!((text.as_str(), exit), ("towpathd is stopping and answers no more\n", 2));
}

#[test]
fn an_answer_to_another_question_is_no_answer() {
    let (mut reconciler, mut kernel) = settled();
    let ready = answer(Question::Ready, &mut reconciler, &mut kernel, &about());
    let json = serde_json::to_value(reply::Reply::from(ready, reply::Output::Text)).unwrap();
    assert_eq!(json["exit"], 2);
}

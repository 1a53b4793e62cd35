//! A stage with a neighbour: servers in pods that say who they are and whom they see, and clients that ask them.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use kernel::netns::Netns;

use crate::stage::{Stage, TOWPATH, output, run_in};

/// The node's addresses on the neighbour's wire.
pub const NODE4: &str = "192.0.2.1";
pub const NODE6: &str = "2001:db8::1";
/// The neighbour's.
pub const NEIGHBOUR4: &str = "192.0.2.2";
pub const NEIGHBOUR6: &str = "2001:db8::2";

const PATIENCE: Duration = Duration::from_secs(2);

/// Puts a neighbour beside the node, on a wire with an address of each family.
pub fn neighbour(stage: &mut Stage) -> String {
    let neighbour = stage.pod("neighbour");
    let name = Path::new(&neighbour).file_name().unwrap().to_str().unwrap().to_owned();
    stage.ip(&format!("link add uplink type veth peer name uplink netns {name}"));
    let node = stage.netns();
    for (netns, v4, v6) in [(&node, NODE4, NODE6), (&neighbour, NEIGHBOUR4, NEIGHBOUR6)] {
        for words in [
            format!("ip address add {v4}/24 dev uplink"),
            format!("ip address add {v6}/64 dev uplink nodad"),
            "ip link set uplink up".to_owned(),
            "ip link set lo up".to_owned(),
        ] {
            shell(netns, &words);
        }
    }
    neighbour
}

/// A link to our plugin under another name.
pub fn called_as(stage: &Stage, name: &str) -> String {
    let link = stage.path(name);
    std::os::unix::fs::symlink(TOWPATH, &link).unwrap();
    link.to_str().unwrap().to_owned()
}

/// Runs a shell command in a namespace, which must succeed; returns what it printed.
pub fn shell(netns: &str, command: &str) -> String {
    let said = run_in(netns, &["sh", "-c", command]);
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "`{command}`: {out}{err}");
    out.into_owned()
}

/// Inside a namespace, on a thread of its own.
pub fn inside<T: Send>(netns: &str, work: impl FnOnce() -> T + Send) -> T {
    Netns::open(Path::new(netns)).unwrap().run(work).unwrap()
}

/// Answers on a TCP and a UDP port in a namespace, both families, with the name and the client's address.
pub fn serve(netns: &str, name: &str, port: u16) {
    let (tcp, udp) =
        inside(netns, || (TcpListener::bind(("::", port)).unwrap(), UdpSocket::bind(("::", port)).unwrap()));
    let answer = |name: &str, from: SocketAddr| format!("{name} {}", from.ip().to_canonical());
    let who = name.to_owned();
    thread::spawn(move || {
        while let Ok((mut stream, from)) = tcp.accept() {
            stream.write_all(answer(&who, from).as_bytes()).ok();
        }
    });
    let who = name.to_owned();
    thread::spawn(move || {
        let mut octets = [0; 64];
        while let Ok((_, from)) = udp.recv_from(&mut octets) {
            udp.send_to(answer(&who, from).as_bytes(), from).ok();
        }
    });
}

/// What a server says to a client in this namespace: `NAME CLIENT`; `None` when nobody answers.
pub fn ask(netns: &str, protocol: &str, to: &str) -> Option<String> {
    let to: SocketAddr = to.parse().unwrap();
    inside(netns, || match protocol {
        "tcp" => {
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).ok()?;
            Some(said)
        }
        _ => {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            ask_again(&UdpSocket::bind(any).unwrap(), to)
        }
    })
}

/// Sends one datagram and waits for the answer.
pub fn ask_again(socket: &UdpSocket, to: SocketAddr) -> Option<String> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"?", to).ok()?;
    let mut octets = [0; 64];
    let (length, _) = socket.recv_from(&mut octets).ok()?;
    Some(String::from_utf8_lossy(&octets[..length]).into_owned())
}

/// Waits until something is so, for ten seconds at most.
pub fn wait_for(what: &str, mut probe: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !probe() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        thread::yield_now();
    }
}

/// What the plugin's nftables table holds for pods: the lines of elements with a pod's tag.
pub fn tagged(netns: &str) -> Vec<String> {
    let listed = output("nsenter", &[&format!("--net={netns}"), "--", "nft", "list", "ruleset"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    listed.lines().filter(|line| line.contains("towpath-pod ")).map(|line| line.trim().to_owned()).collect()
}

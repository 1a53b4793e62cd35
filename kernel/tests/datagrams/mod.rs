//! Two nodes with a TUN device each on one wire, the proxy, and a plain loop that sends and takes one packet a datagram as flannel's
//! proxy does.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backends::LinkName;
use kernel::proxy::{Place, Proxy};
use kernel::tun;

use crate::sandbox::{Sandbox, wait_for};

pub const PORT: u16 = 8285;

/// A node: 192.0.2.N on the wire, 10.1.N.0/24 behind a TUN device.
pub struct Node {
    pub sandbox: Sandbox,
    pub number: u8,
}

impl Node {
    pub fn new(number: u8) -> Node {
        let node = Node { sandbox: Sandbox::new(), number };
        node.sandbox.run(|| tun::make(device())).expect("/dev/net/tun: run the tests where there is one");
        node
    }

    /// Two of them on one wire of 1,500 octets.
    pub fn pair() -> [Node; 2] {
        let nodes = [Node::new(1), Node::new(2)];
        nodes[0].sandbox.wire("eth0", &nodes[1].sandbox, "eth0");
        for Node { sandbox, number } in &nodes {
            sandbox.sh(&format!("ip address add 192.0.2.{number}/24 dev eth0"));
            sandbox.sh("ip link set flannel0 mtu 1472 up");
            sandbox.sh(&format!("ip address add 10.1.{number}.0/32 dev flannel0"));
            sandbox.sh("ip route add 10.1.0.0/16 dev flannel0");
        }
        nodes
    }

    pub fn proxy(&self) -> Proxy {
        let Node { number, .. } = *self;
        let place = Place {
            device: device(),
            local: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, number), PORT),
            subnet: format!("10.1.{number}.0/24").parse().unwrap(),
        };
        let proxy = self.sandbox.run(|| Proxy::start(place)).unwrap();
        let other = 3 - number;
        proxy.tell([(format!("10.1.{other}.0/24").parse().unwrap(), Some(Ipv4Addr::new(192, 0, 2, other)))]);
        // A device that has a program behind it again is put to use by the kernel's link watch.
        wait_for("the device's use", || (!self.sandbox.sh("ip link show flannel0").contains("noop")).then_some(()));
        proxy
    }

    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 1, self.number, 0)
    }
}

pub fn device() -> LinkName {
    LinkName::new("flannel0").unwrap()
}

pub fn connect(from: &Node, to: &Node) -> (TcpStream, TcpStream) {
    let listener = to.sandbox.run(|| TcpListener::bind((to.address(), 0))).unwrap();
    let port = listener.local_addr().unwrap().port();
    let limit = Duration::from_secs(10);
    let sender = from.sandbox.run(|| TcpStream::connect_timeout(&(to.address(), port).into(), limit)).unwrap();
    let (receiver, _) = listener.accept().unwrap();
    for stream in [&sender, &receiver] {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    }
    (sender, receiver)
}

/// What flannel's proxy does, one packet at a time: the measure of what is compatible.
pub struct PlainLoop {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl PlainLoop {
    pub fn start(node: &Node, peer: Ipv4Addr) -> PlainLoop {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = node.sandbox.run(|| {
            let tun = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
            // SAFETY: all zeros is a value of this plain structure.
            let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
            for (place, octet) in request.ifr_name.iter_mut().zip(*b"flannel0") {
                *place = octet as libc::c_char;
            }
            request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
            // SAFETY: the descriptor is open and the request lives longer than the call.
            assert_eq!(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) }, 0);
            let socket = UdpSocket::bind((Ipv4Addr::new(192, 0, 2, node.number), PORT)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let (mut reader, mut writer) = (tun.try_clone().unwrap(), tun);
            let outgoing = socket.try_clone().unwrap();
            let done = [Arc::clone(&stop), Arc::clone(&stop)];
            let [out_done, in_done] = done;
            let out = std::thread::spawn(move || {
                let mut packet = [0; 2000];
                while !out_done.load(Ordering::Relaxed) {
                    let mut wanted = [rustix::event::PollFd::new(&reader, rustix::event::PollFlags::IN)];
                    let limit = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
                    if rustix::event::poll(&mut wanted, Some(&limit)).unwrap() == 0 {
                        continue;
                    }
                    let length = reader.read(&mut packet).unwrap();
                    assert!(packet[0] >> 4 != 4 || length <= 1472, "a device without offloads gives no long packet");
                    outgoing.send_to(&packet[..length], (peer, PORT)).ok();
                }
            });
            let back = std::thread::spawn(move || {
                let mut packet = [0; 2000];
                while !in_done.load(Ordering::Relaxed) {
                    let Ok(length) = socket.recv(&mut packet) else { continue };
                    assert!(length <= 1472, "a datagram longer than a packet: {length}");
                    writer.write_all(&packet[..length]).expect("a packet that the kernel takes");
                }
            });
            vec![out, back]
        });
        PlainLoop { stop, threads }
    }

    pub fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("the loop saw nothing wrong"));
    }
}

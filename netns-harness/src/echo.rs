//! [`Echo`]: answers on TCP and UDP with what it gets (RFC 862), on every address of a namespace, both families.
//!
//! The threads belong to the test's process, only the sockets live in the namespace. UDP answers leave with the source
//! address that the kernel's routing picks: to probe one of several addresses of a node, use TCP.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recvfrom, sendto, shutdown};

use crate::namespace::Namespace;

/// Where stations answer: the port that RFC 862 gives to echo.
pub const ECHO_PORT: u16 = 7;

/// How soon an open connection notices that the service has ended.
const NOTICE: Duration = Duration::from_millis(100);

/// A running echo service.
pub(crate) struct Echo {
    tcp: TcpListener,
    udp: UdpSocket,
    ended: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Echo {
    pub fn start(namespace: &Namespace) -> Result<Echo> {
        // `::` takes IPv4 too, as net.ipv6.bindv6only is 0 in a new namespace.
        let any = (Ipv6Addr::UNSPECIFIED, ECHO_PORT);
        let (tcp, udp) = namespace
            .within(|| Ok((TcpListener::bind(any)?, UdpSocket::bind(any)?)))
            .with_context(|| format!("cannot listen on port {ECHO_PORT} in {}", namespace.name()))?;
        roomy(&udp)?;
        let ended = Arc::new(AtomicBool::new(false));
        let threads = vec![
            std::thread::spawn({
                let (tcp, ended) = (tcp.try_clone()?, Arc::clone(&ended));
                move || accept(&tcp, &ended)
            }),
            std::thread::spawn({
                let (udp, ended) = (udp.try_clone()?, Arc::clone(&ended));
                move || answer(&udp, &ended)
            }),
        ];
        Ok(Echo { tcp, udp, ended, threads: Mutex::new(threads) })
    }

    /// Ends the service; its sockets are closed when this returns.
    pub fn stop(&self) {
        self.ended.store(true, Ordering::Release);
        // Shutting down wakes who waits in accept and recv, even where the kernel also says ENOTCONN (inet_shutdown
        // in net/ipv4/af_inet.c); there is nothing to do about an error.
        for socket in [self.tcp.as_fd(), self.udp.as_fd()] {
            shutdown(socket, Shutdown::Both).unwrap_or_default();
        }
        for thread in std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner)) {
            // A thread that panicked has said so on standard error.
            thread.join().unwrap_or_default();
        }
    }
}

/// Room for what comes while this process waits for a processor. The usual 200 kB is 256 small packets: at ten thousand a second they
/// would be lost to the test and not to what it looks at.
pub(crate) fn roomy(socket: &UdpSocket) -> Result<()> {
    const ROOM: usize = 8 << 20;
    Ok(set_socket_recv_buffer_size_force(socket, ROOM)?)
}

fn accept(listener: &TcpListener, ended: &Arc<AtomicBool>) {
    while let Ok((connection, _)) = listener.accept() {
        let ended = Arc::clone(ended);
        std::thread::spawn(move || serve(connection, &ended));
    }
}

/// One connection, until the other side closes it. What breaks it is the other side's to notice.
fn serve(mut connection: TcpStream, ended: &AtomicBool) {
    let ready = connection.set_read_timeout(Some(NOTICE)).and_then(|()| connection.set_nodelay(true));
    let mut buffer = [0; 4096];
    while ready.is_ok() && !ended.load(Ordering::Acquire) {
        match connection.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) if connection.write_all(&buffer[..length]).is_err() => return,
            Err(error) if !waiting(&error) => return,
            _ => {}
        }
    }
}

fn answer(socket: &UdpSocket, ended: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    while !ended.load(Ordering::Acquire) {
        // Errors here are those of earlier answers (ICMP): whoever sent to us has gone. What a shutdown wakes comes from
        // nowhere, which std's recv_from asserts against.
        if let Ok((length, _, Some(from))) = recvfrom(socket, &mut buffer[..], RecvFlags::empty()) {
            sendto(socket, &buffer[..length], SendFlags::empty(), &from).unwrap_or_default();
        }
    }
}

/// Whether an error only says that nothing has come yet.
fn waiting(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

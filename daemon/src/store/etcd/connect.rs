//! One connection to one member of etcd. Which member, and when again, is decided above: so a failure has one endpoint to
//! name, and a watch and the writes that it must see go the same way.

use std::fs;
use std::path::Path;
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};

use super::failure::Failure;
use crate::config::settings::EtcdSettings;

/// Where distributions keep the authorities that they trust; the first that exists is taken.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// How long etcd may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the connection.
    pub connect: Duration,
    /// For an answer to a request.
    pub request: Duration,
    /// Between two HTTP/2 pings. etcd drops a client that pings more often than every 5 s (`--grpc-keepalive-min-time`).
    pub ping: Duration,
    /// For the answer to a ping: after `ping` + `pong` a silent partition is noticed.
    pub pong: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        let seconds = Duration::from_secs;
        Patience { connect: seconds(3), request: seconds(5), ping: seconds(10), pong: seconds(5) }
    }
}

/// Connects to one endpoint. Certificates are read anew every time, so that renewed ones are used.
///
/// # Errors
/// A file's, or etcd's when it is asked for a token.
pub async fn connect(settings: &EtcdSettings, endpoint: &str, patience: Patience) -> Result<Client, Failure> {
    let mut options = ConnectOptions::new()
        .with_connect_timeout(patience.connect)
        .with_timeout(patience.request)
        .with_keep_alive(patience.ping, patience.pong)
        .with_keep_alive_while_idle(true)
        .with_require_leader(true);
    if endpoint.starts_with("https://") {
        options = options.with_tls(tls(settings)?);
    }
    if let Some(user) = &settings.user {
        options = options.with_user(&user.name, user.password.expose()).with_auto_token_refresh(true);
    }
    Ok(Client::connect([endpoint], Some(options)).await?)
}

fn tls(settings: &EtcdSettings) -> Result<TlsOptions, Failure> {
    let system = || SYSTEM_AUTHORITIES.iter().map(Path::new).find(|path| path.exists());
    let mut options = TlsOptions::new();
    if let Some(ca) = settings.tls.ca.as_deref().or_else(system) {
        options = options.ca_certificate(Certificate::from_pem(read(ca)?));
    }
    if let Some(client) = &settings.tls.client {
        options = options.identity(Identity::from_pem(read(&client.certificate)?, read(&client.key)?));
    }
    Ok(options)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|source| Failure::File { path: path.to_owned(), source })
}

//! TLS to the API server: rustls with ring, the authority that vouches for it, and our own certificate where we have one.

use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::access::{Access, Identity};

/// Why TLS cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Nobody may vouch for the server.
    #[error("no certificate authority is known for it: give certificate-authority-data, or install ca-certificates")]
    NoAuthority,
    /// Our own certificate is no certificate.
    #[error("the client certificate or its key is not PEM")]
    Identity,
    /// The server's name is no name.
    #[error("`{0}` is not a name that a certificate can have")]
    Name(String),
    /// Something else.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// What makes TLS of a TCP connection, and the name that the server must prove.
///
/// # Errors
/// [`TlsError`].
pub fn connector(access: &Access) -> Result<(TlsConnector, ServerName<'static>), TlsError> {
    let name = access.server_name.clone().unwrap_or_else(|| access.url.host.clone());
    let name = ServerName::try_from(name.clone()).map_err(|_| TlsError::Name(name))?;
    let mut roots = RootCertStore::empty();
    // A system's list may have one or two that rustls does not take.
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&access.authority).flatten());
    if roots.is_empty() {
        return Err(TlsError::NoAuthority);
    }
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let verified = versions.with_safe_default_protocol_versions()?.with_root_certificates(roots);
    let config = match &access.identity {
        None => verified.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = parsed(identity)?;
            verified.with_client_auth_cert(chain, key)?
        }
    };
    Ok((TlsConnector::from(Arc::new(config)), name))
}

fn parsed(identity: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&identity.certificate).flatten().collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key.expose()).map_err(|_| TlsError::Identity)?;
    if chain.is_empty() { Err(TlsError::Identity) } else { Ok((chain, key)) }
}

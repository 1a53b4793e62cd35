//! Health and metrics over HTTP: `/healthz` (the process runs), `/readyz` (pods can be started, else why not), `/metrics`.
//! It asks the run loop and knows nothing itself.

mod entrance;

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::ask::{Answer, Ears, Question, Unanswered, ask};
use crate::metrics::{MEDIA_TYPE, Process};
use crate::status::Readiness;
use entrance::Entrance;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Somebody else has the port, or the address is not this host's.
    #[error("cannot listen on {address}: {source}; choose another by --healthz-ip and --healthz-port")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The listener failed.
    #[error("the listener failed: {0}")]
    Serve(std::io::Error),
}

/// Serves for as long as the process runs.
///
/// # Errors
/// [`HttpError::Listen`] at once when the address cannot be listened on. The daemon does well without.
pub async fn serve(address: SocketAddr, ears: Ears) -> Result<(), HttpError> {
    let listener = TcpListener::bind(address).await.map_err(|source| HttpError::Listen { address, source })?;
    tracing::info!("health and metrics on http://{}", listener.local_addr().unwrap_or(address));
    axum::serve(Entrance::new(listener), router(ears)).await.map_err(HttpError::Serve)
}

fn router(ears: Ears) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "towpathd is running\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(ears)
}

async fn readyz(State(ears): State<Ears>) -> Response {
    match ask(&ears.asks, Question::Ready).await {
        Ok(Answer::Ready(readiness)) => {
            let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, body(&readiness)).into_response()
        }
        other => unanswered(other),
    }
}

/// One line a reason, or `ready`; then one line for each thing that harms no pod yet.
fn body(readiness: &Readiness) -> String {
    let ready = readiness.ready.then(|| "ready".to_owned());
    let degraded = readiness.degraded.iter().map(|reason| format!("degraded: {reason}"));
    let lines = ready.into_iter().chain(readiness.reasons.iter().cloned()).chain(degraded);
    // A reason from somewhere else may have lines of its own; here each is one.
    lines.map(|line| line.trim_end().replace('\n', "; ") + "\n").collect()
}

async fn metrics(State(ears): State<Ears>) -> Response {
    match ask(&ears.asks, Question::Metrics).await {
        Ok(Answer::Metrics(mut figures)) => {
            figures.peers_of_bgp = ears.peers_of_bgp().await;
            match figures.page(Process::now()) {
                Ok(page) => ([(header::CONTENT_TYPE, MEDIA_TYPE)], Bytes::from_owner(Page(page))).into_response(),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
            }
        }
        other => unanswered(other),
    }
}

/// A page on its way out. With fifteen thousand WireGuard peers it is ten megabytes, which go back when it is written.
struct Page(String);

/// A page that is smaller leaves no hole worth looking for.
const LARGE: usize = 1 << 20;

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let page = std::mem::take(&mut self.0);
        if page.len() > LARGE {
            drop(page);
            kernel::memory::give_back();
        }
    }
}

fn unanswered(answer: Result<Answer, Unanswered>) -> Response {
    let reason = match answer {
        Err(reason) => reason.to_string(),
        Ok(_) => "towpathd answered another question than the one asked".to_owned(),
    };
    (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response()
}

#[cfg(test)]
mod tests;

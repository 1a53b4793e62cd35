//! [`Client`]: requests to the API server over one connection (HTTP/1.1), made anew when it is gone; and [`Answer`]: a body that
//! comes piece by piece, each within its time.
//!
//! HTTP/1.1 because there is one request at a time: a watch has a client of its own, and then nothing of HTTP/2 is worth its
//! windows. What is silent is noticed by the kernel (TCP keepalive, user timeout) or by [`Patience`].

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::access::Access;
use super::clock;
use super::failure::Failure;
use super::object::Object;
use super::tls;
use crate::config::KubernetesSettings;
use crate::store::talk::Counted;
use crate::store::utc::Utc;

/// How long the API server may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the connection, TLS included.
    pub connect: Duration,
    /// For the beginning of an answer, and between two pieces of one that is not a watch.
    pub answer: Duration,
    /// Between two pieces of a watch. The server sends a bookmark about once a minute.
    pub watch: Duration,
    /// How long the server is asked to keep one watch, so that a load balancer's limits never matter.
    pub whole_watch: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        let seconds = Duration::from_secs;
        Patience { connect: seconds(3), answer: seconds(30), watch: seconds(150), whole_watch: seconds(480) }
    }
}

/// For TCP's part of a connection. One that was begun before kube-proxy had written its rules is never translated, however often
/// the kernel repeats it (its conntrack entry says so); another one is.
const HANDSHAKE: Duration = Duration::from_secs(1);
/// What is read from the connection at once: little, for there is one for each watch all the time.
const BUFFER: usize = 64 << 10;
/// Unanswered for so long, the kernel gives a connection up (RFC 5482).
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle for so long, the kernel asks whether the other end is there.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// What is read of an answer that says no.
const LONGEST_REFUSAL: usize = 64 << 10;

/// Something to be asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// GET, PATCH, POST.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The media type of the body, and the body.
    pub body: Option<(&'static str, String)>,
}

impl Question {
    /// To read something.
    pub fn get(path: String) -> Question {
        Question { method: Method::GET, path, body: None }
    }
}

/// One connection's worth of requests.
#[derive(Debug)]
pub struct Client {
    settings: KubernetesSettings,
    /// How long the server may be silent.
    pub patience: Patience,
    counted: Arc<Counted>,
    line: Option<Line>,
}

/// A connection with what it was made by.
#[derive(Debug)]
struct Line {
    sender: SendRequest<Full<Bytes>>,
    access: Access,
}

impl Client {
    /// Not connected yet.
    pub fn new(settings: &KubernetesSettings, patience: Patience, counted: &Arc<Counted>) -> Client {
        Client { settings: settings.clone(), patience, counted: Arc::clone(counted), line: None }
    }

    /// Asks. The answer is a success; everything else is a failure, after which the next question goes over a new connection,
    /// with certificates and tokens read anew.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn ask(&mut self, question: &Question) -> Result<Answer, Failure> {
        let asked = match self.ask_once(question).await {
            // An idle connection may have been closed by the server in the same moment: nothing was asked yet.
            Err(Failure::Broken(error)) if error.is_canceled() || error.is_closed() => {
                self.line = None;
                self.ask_once(question).await
            }
            asked => asked,
        };
        if asked.is_err() {
            self.line = None;
        }
        asked
    }

    async fn ask_once(&mut self, question: &Question) -> Result<Answer, Failure> {
        let patience = self.patience;
        let mut line = match self.line.take().filter(|line| !line.sender.is_closed()) {
            Some(line) => line,
            None => connect(&self.settings, patience.connect).await?,
        };
        within(patience.answer, async { Ok(line.sender.ready().await?) }).await?;
        let request = request(&line.access, question)?;
        let response = within(patience.answer, async { Ok(line.sender.send_request(request).await?) }).await?;
        let (parts, body) = response.into_parts();
        let date = parts.headers.get(DATE).and_then(|value| clock::read(value.to_str().ok()?));
        let mut answer = Answer { body, patience: patience.answer, date, counted: Arc::clone(&self.counted) };
        if parts.status.is_success() {
            self.line = Some(line);
            return Ok(answer);
        }
        let retry_after = parts.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let said = answer.whole(LONGEST_REFUSAL).await.unwrap_or_default();
        let status: Object = serde_json::from_slice(&said).unwrap_or_default();
        let message = status.message.map_or_else(|| String::from_utf8_lossy(&said).into_owned(), String::from);
        Err(Failure::Refused {
            code: parts.status.as_u16(),
            message,
            retry_after: retry_after.map(Duration::from_secs),
        })
    }
}

/// A body that comes piece by piece.
#[derive(Debug)]
pub struct Answer {
    body: Incoming,
    /// How long may pass between two pieces.
    pub patience: Duration,
    /// When it was given, by the server's clock.
    pub date: Option<Utc>,
    counted: Arc<Counted>,
}

impl Answer {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`Failure`]: the connection broke, or nothing came.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let Some(frame) = within(self.patience, async { Ok(self.body.frame().await.transpose()?) }).await? else {
                return Ok(None);
            };
            if let Ok(data) = frame.into_data() {
                self.counted.receive(data.len());
                return Ok(Some(data));
            }
        }
    }

    /// All of it, up to so many bytes.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn whole(&mut self, longest: usize) -> Result<Vec<u8>, Failure> {
        let mut all = Vec::new();
        while let Some(piece) = self.piece().await? {
            if all.len() + piece.len() > longest {
                return Err(Failure::Unreadable(format!("it is longer than {longest} bytes")));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }
}

/// Does something within its time.
async fn within<T>(time: Duration, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(time, work).await.unwrap_or(Err(Failure::Silence(time)))
}

fn request(access: &Access, question: &Question) -> Result<Request<Full<Bytes>>, Failure> {
    let unreadable = |error: hyper::http::Error| Failure::Unreadable(error.to_string());
    let mut builder = Request::builder()
        .method(question.method.clone())
        .uri(format!("{}{}", access.url.path, question.path))
        .header(HOST, access.url.authority())
        .header(USER_AGENT, concat!("towpathd/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/json");
    if let Some(login) = access.login.header()? {
        let value = HeaderValue::from_str(login.expose()).map_err(|error| unreadable(error.into()))?;
        builder = builder.header(AUTHORIZATION, value);
    }
    if let Some((media_type, _)) = &question.body {
        builder = builder.header(CONTENT_TYPE, *media_type);
    }
    let body = question.body.as_ref().map_or_else(Bytes::new, |(_, body)| Bytes::from(body.clone()));
    builder.body(Full::new(body)).map_err(unreadable)
}

async fn connect(settings: &KubernetesSettings, patience: Duration) -> Result<Line, Failure> {
    let access = Access::find(settings)?;
    let late = |_| Err(Failure::Connect { url: access.url.to_string(), source: io::ErrorKind::TimedOut.into() });
    let sender = timeout(patience, establish(&access)).await.unwrap_or_else(late)?;
    Ok(Line { sender, access })
}

async fn establish(access: &Access) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let failed = |source| Failure::Connect { url: access.url.to_string(), source };
    let connected = timeout(HANDSHAKE, TcpStream::connect((access.url.host.as_str(), access.url.port))).await;
    let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
    attentive(&stream).map_err(failed)?;
    if access.url.encrypted {
        let (connector, name) = tls::connector(access)?;
        begin(connector.connect(name, stream).await.map_err(failed)?).await
    } else {
        begin(stream).await
    }
}

/// A dead server or path is noticed by the kernel: `ss -o` shows both timers.
fn attentive(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE)?;
    sockopt::set_tcp_user_timeout(stream, u32::try_from(USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

/// Begins HTTP. The connection works beside us until either end has enough of it; its errors come with the answers.
async fn begin<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("a connection to the API server ended: {error}");
        }
    });
    Ok(sender)
}

/// `a=b&c=d`: keys and values are written here and need no escaping but in node names, which have no such letters.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join("&")
}

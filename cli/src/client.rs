//! One question to the daemon, one answer: a line of JSON over its status socket, and one or more back. What the answer says is
//! the daemon's; here it is only carried.

use std::io::{self, BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use towpathd::bgp::asked::Asked;

use crate::arguments::Output;

/// What is asked.
#[derive(Debug, Serialize)]
pub struct Question {
    ask: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bgp: Option<serde_json::Value>,
    /// How long the next line may take; for ever where things are told as they happen.
    #[serde(skip)]
    patience: Option<Duration>,
    output: Output,
}

impl Question {
    /// A question of this name.
    pub fn new(ask: &'static str, output: Output) -> Question {
        Question { ask, address: None, bgp: None, patience: Some(PATIENCE), output }
    }

    /// The same about this of BGP.
    pub fn of_bgp(self, asked: &Asked) -> serde_json::Result<Question> {
        let patience = match asked {
            Asked::Monitor => None,
            // Peers are given some seconds to find other ways.
            Asked::Drain { .. } => Some(LONG_PATIENCE),
            _ => self.patience,
        };
        Ok(Question { bgp: Some(serde_json::to_value(asked)?), patience, ..self })
    }

    /// The same about an address.
    pub fn about(self, address: IpAddr) -> Question {
        Question { address: Some(address), ..self }
    }
}

/// Whether the rest is to be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is.
    Some,
    /// It is not.
    Enough,
}

/// What is answered, or a piece of it.
#[derive(Debug, Deserialize)]
pub struct Reply {
    /// What to print.
    pub text: String,
    /// With what to exit.
    pub exit: u8,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error(
        "nobody answers on {}: is towpathd running? (`systemctl status towpathd`, or the pod's log; another socket is named by --socket or TOWPATH_STATUS_SOCKET)",
        socket.display()
    )]
    Nobody {
        /// The socket.
        socket: PathBuf,
    },
    /// Only root may.
    #[error("{} does not let you in: run towpathctl as root", socket.display())]
    Forbidden {
        /// The socket.
        socket: PathBuf,
    },
    /// It is there and says nothing.
    #[error(
        "towpathd did not answer on {} within {} s: it is stopped or stuck, see its log",
        socket.display(),
        PATIENCE.as_secs()
    )]
    Silent {
        /// The socket.
        socket: PathBuf,
    },
    /// Something failed on the way.
    #[error("asking on {}: {source}", socket.display())]
    Failed {
        /// The socket.
        socket: PathBuf,
        /// What.
        source: io::Error,
    },
    /// That is no answer of towpathd's.
    #[error("what answers on {} is not towpathd, or one of another time: {source}", socket.display())]
    Garbled {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with the answer.
        source: serde_json::Error,
    },
}

/// Longer than the daemon takes to give up by itself.
const PATIENCE: Duration = Duration::from_secs(15);

/// The same where the daemon itself waits for others.
const LONG_PATIENCE: Duration = Duration::from_secs(70);

/// Asks and waits for the answer, however many pieces it has.
pub fn ask(socket: &Path, question: &Question) -> Result<Reply, ClientError> {
    let mut whole = Reply { text: String::new(), exit: 0 };
    hear(socket, question, |piece| {
        whole.text.push_str(&piece.text);
        whole.exit = piece.exit;
        Heard::Some
    })?;
    Ok(whole)
}

/// Asks, and hands on what is answered, piece by piece.
pub fn hear(socket: &Path, question: &Question, mut each: impl FnMut(&Reply) -> Heard) -> Result<(), ClientError> {
    let owned = || socket.to_owned();
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::Nobody { socket: owned() },
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Silent { socket: owned() },
        io::ErrorKind::PermissionDenied => ClientError::Forbidden { socket: owned() },
        _ => ClientError::Failed { socket: owned(), source },
    };
    let mut answer = BufReader::new(send(socket, question).map_err(failed)?);
    let mut line = String::new();
    // Nothing at all is no answer; nothing more is its end.
    for piece in 0_u64.. {
        line.clear();
        if answer.read_line(&mut line).map_err(failed)? == 0 && piece > 0 {
            break;
        }
        let reply = serde_json::from_str(&line).map_err(|source| ClientError::Garbled { socket: owned(), source })?;
        if each(&reply) == Heard::Enough {
            break;
        }
    }
    Ok(())
}

fn send(socket: &Path, question: &Question) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(question.patience)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all((serde_json::to_string(question)? + "\n").as_bytes())?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    fn socket(test: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("towpathctl-{test}-{}.sock", std::process::id()));
        std::fs::remove_file(&path).ok();
        path
    }

    /// A daemon that reads one line and says something; gives what it heard.
    fn daemon(path: &Path, says: &'static str) -> thread::JoinHandle<String> {
        let listener = UnixListener::bind(path).unwrap();
        thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut heard = String::new();
            BufReader::new(&client).read_line(&mut heard).unwrap();
            client.write_all(says.as_bytes()).unwrap();
            heard
        })
    }

    #[test]
    fn a_question_is_a_line_and_so_is_the_answer() {
        let path = socket("question");
        let daemon = daemon(&path, "{\"text\":\"nothing to do\\n\",\"exit\":0,\"later\":\"fields are no harm\"}\n");
        let question = Question::new("explain", Output::Json).about("fd00::7".parse().unwrap());
        let reply = ask(&path, &question).unwrap();
        assert_eq!((reply.text.as_str(), reply.exit), ("nothing to do\n", 0));
        assert_eq!(daemon.join().unwrap(), "{\"ask\":\"explain\",\"address\":\"fd00::7\",\"output\":\"json\"}\n");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_answer_in_pieces_is_heard_to_its_end_or_as_far_as_one_likes() {
        for (enough, expected) in [(9, "abc"), (2, "ab")] {
            let path = socket(&format!("pieces-{enough}"));
            let says = "{\"text\":\"a\",\"exit\":0}\n{\"text\":\"b\",\"exit\":0}\n{\"text\":\"c\",\"exit\":1}\n";
            let daemon = daemon(&path, says);
            let question = Question::new("bgp", Output::Text).of_bgp(&Asked::Monitor).unwrap();
            let mut heard = String::new();
            hear(&path, &question, |reply| {
                heard += &reply.text;
                if heard.len() == enough { Heard::Enough } else { Heard::Some }
            })
            .unwrap();
            assert_eq!(heard, expected);
            let asked = daemon.join().unwrap();
            assert_eq!(asked, "{\"ask\":\"bgp\",\"bgp\":\"monitor\",\"output\":\"text\"}\n");
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn whoever_answers_nonsense_is_not_believed() {
        for (number, says) in ["", "hello\n", "{\"text\":1}\n", "{\"text\":\"half"].into_iter().enumerate() {
            let path = socket(&format!("nonsense-{number}"));
            let daemon = daemon(&path, says);
            let error = ask(&path, &Question::new("plan", Output::Text)).unwrap_err();
            assert!(matches!(error, ClientError::Garbled { .. }), "{error}");
            daemon.join().unwrap();
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_daemon_that_is_not_there_or_dead_is_said_not_to_run() {
        let path = socket("nobody");
        let nobody = |path: &Path| ask(path, &Question::new("plan", Output::Text)).unwrap_err().to_string();
        assert!(nobody(&path).contains("is towpathd running?"));
        drop(UnixListener::bind(&path).unwrap());
        assert!(nobody(&path).contains("is towpathd running?"), "its socket is still there");
        std::fs::remove_file(path).unwrap();
    }
}

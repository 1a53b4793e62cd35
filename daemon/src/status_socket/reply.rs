//! [`Request`] and [`Reply`]: the two lines of the status socket's protocol, and how an answer becomes text.

use std::fmt::Display;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::ask::{Answer, Ears, Question, ask};
use crate::bgp::asked::Asked;
use crate::status::SpeakerStatus;

/// `{"ask":"explain","address":"10.244.3.7","output":"json"}`
#[derive(Debug, Deserialize)]
pub struct Request {
    ask: String,
    address: Option<String>,
    /// What exactly, of `bgp`.
    bgp: Option<Asked>,
    #[serde(default)]
    output: Output,
}

/// How the answer shall look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// `{"text":"…","exit":0}`
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Reply {
    /// What to print: to standard output, or to standard error when `exit` is 2.
    text: String,
    /// The exit status: 0 yes, 1 no (something to do, something missing, not ready), 2 the question was not answered.
    exit: u8,
}

impl Request {
    /// Takes a line.
    pub fn parse(line: &[u8]) -> Result<Request, String> {
        serde_json::from_slice(line).map_err(|error| format!("the request is not understood: {error}"))
    }

    /// What is asked of BGP, and how it shall look; `None` when something else is asked.
    pub fn of_bgp(&self) -> Option<(&Asked, Output)> {
        let asked = self.bgp.as_ref().filter(|_| self.ask == "bgp")?;
        Some((asked, self.output))
    }

    /// Asks the run loop.
    pub async fn answer(&self, ears: &Ears) -> Reply {
        let question = match self.question() {
            Ok(question) => question,
            Err(reason) => return Reply::error(reason),
        };
        let output = self.output;
        let mut answered = ask(&ears.asks, question).await;
        if let Ok(Answer::Status(status)) = &mut answered {
            status.bgp = SpeakerStatus::new(&ears.peers_of_bgp().await);
        }
        match answered {
            Ok(Answer::Probing(Ok(probing))) => match probing.wait().await {
                Ok(probed) => Reply::of(&probed, &probed, output, u8::from(!probed.tried)),
                Err(reason) => Reply::error(reason),
            },
            // Fifteen thousand peers make ten megabytes of JSON: the run loop, which shares our thread, does not wait for it.
            Ok(answer) => match tokio::task::spawn_blocking(move || Reply::from(answer, output)).await {
                Ok(reply) => reply,
                Err(error) => Reply::error(error),
            },
            Err(reason) => Reply::error(reason),
        }
    }

    fn question(&self) -> Result<Question, String> {
        match (self.ask.as_str(), &self.address) {
            ("status", _) => Ok(Question::Status),
            ("plan", _) => Ok(Question::Plan),
            ("rollout", _) => Ok(Question::Rollout),
            ("release", _) => Ok(Question::Release),
            ("rotate-keys", _) => Ok(Question::RotateKeys),
            ("probe-offloads", _) => Ok(Question::ProbeOffloads),
            ("explain", Some(address)) => match address.parse::<IpAddr>() {
                // A pod's address is the same whether or not it is written as if mapped into IPv6.
                Ok(address) => Ok(Question::Explain(address.to_canonical())),
                Err(_) => Err(format!("`{address}` is not an IP address")),
            },
            ("explain", None) => Err("`explain` needs an `address`".to_owned()),
            ("bgp", _) => Err("`bgp` needs a `bgp` that says what of it".to_owned()),
            (other, _) => {
                let known =
                    "`status`, `plan`, `explain`, `rollout`, `bgp`, `release`, `rotate-keys` and `probe-offloads`";
                Err(format!("`{other}` is not something to ask: there are {known}"))
            }
        }
    }
}

impl Reply {
    /// A piece of an answer that goes on.
    pub fn piece(text: String) -> Reply {
        Reply { text, exit: 0 }
    }

    /// The question was not answered.
    pub fn error(reason: impl Display) -> Reply {
        Reply { text: format!("{reason}\n"), exit: 2 }
    }

    /// What the run loop said, as it is printed.
    pub fn from(answer: Answer, output: Output) -> Reply {
        match answer {
            Answer::Status(status) => Reply::of(&status, &*status, output, u8::from(!status.readiness.ready)),
            Answer::Rollout(rollout) => Reply::of(&rollout, &*rollout, output, u8::from(rollout.changing)),
            Answer::Plan(Ok(plan)) => {
                let commands: Vec<String> = plan.changes.iter().map(ToString::to_string).collect();
                let text = if plan.is_empty() { "nothing to do\n".to_owned() } else { plan.to_string() };
                Reply::of(&text, &json!({ "changes": commands }), output, u8::from(!plan.is_empty()))
            }
            Answer::Explanation(Ok(explanation)) => {
                Reply::of(&explanation, &*explanation, output, u8::from(!explanation.complete))
            }
            Answer::Plan(Err(reason))
            | Answer::Explanation(Err(reason))
            | Answer::RotateKeys(Err(reason))
            | Answer::Probing(Err(reason)) => Reply::error(reason),
            Answer::RotateKeys(Ok(sentence)) => {
                Reply::of(&format!("{sentence}\n"), &json!({ "rotate-keys": sentence }), output, 0)
            }
            Answer::Release(sentence) => {
                Reply::of(&format!("{sentence}\n"), &json!({ "release": sentence }), output, 0)
            }
            Answer::Ready(_) | Answer::Metrics(_) | Answer::Policies(_) | Answer::Probing(Ok(_)) => {
                Reply::error("towpathd answered another question")
            }
        }
    }

    /// A text, or the same as JSON.
    pub fn of(text: &impl Display, value: &impl Serialize, output: Output, exit: u8) -> Reply {
        match output {
            Output::Text => Reply { text: text.to_string(), exit },
            Output::Json => match serde_json::to_string_pretty(value) {
                Ok(text) => Reply { text: text + "\n", exit },
                Err(error) => Reply::error(error),
            },
        }
    }
}

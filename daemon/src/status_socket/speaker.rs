//! What is asked of the BGP speaker, and how its answers go out: most as one line, routes in pieces, what happens as it happens.

use std::io;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::reply::{Output, Reply};
use super::say;
use crate::ask::{self, Answer, Ears};
use crate::bgp::asked::{Asked, PolicyAsked, RouteFamily};
use crate::bgp::question::{Question, RouteFilter};
use crate::bgp::text::{self, First};
use crate::bgp::trial::{Trial, TrialView};
use crate::bgp::views::{Happening, PeerView, PeersView, RouteView};
use crate::bgp::wish::NeighbourName;

const NO_SPEAKER: &str = "BGP does not run on this node: the network's configuration asks for none (docs/bgp.md), or the node still waits \
                          for what `towpathctl status` says";

/// How long the speaker may take: it leaves its peers after some seconds of grace.
const PATIENCE: Duration = Duration::from_secs(60);

/// Happenings that may wait for somebody who reads them.
const MOST_WAITING: usize = 1024;

/// Answers, and ends the conversation.
pub(super) async fn answer(client: &mut UnixStream, asked: &Asked, (ears, output): (&Ears, Output)) -> io::Result<()> {
    let ended = match asked {
        Asked::Routes { within, neighbour, family } => {
            let neighbour = neighbour.clone().map(NeighbourName);
            let family = family.map(RouteFamily::on_the_wire);
            routes(client, RouteFilter { within: *within, neighbour, family }, (ears, output)).await
        }
        Asked::Monitor => monitor(client, (ears, output)).await,
        asked => {
            let reply = one(asked, (ears, output)).await.unwrap_or_else(Reply::error);
            say(client, reply).await
        }
    };
    ended?;
    tokio::io::AsyncWriteExt::shutdown(client).await
}

/// What one line answers.
async fn one(asked: &Asked, (ears, output): (&Ears, Output)) -> Result<Reply, String> {
    match asked {
        Asked::Peers { neighbour: None } => {
            let (own, peers) = (question(ears, Question::Own).await?, question(ears, Question::Peers).await?);
            let all = PeersView { own, peers };
            Ok(Reply::of(&text::peers(&all), &all, output, 0))
        }
        Asked::Peers { neighbour: Some(name) } => {
            let peer = peer(name, ears).await?;
            Ok(Reply::of(&text::peer(&peer), &peer, output, 0))
        }
        Asked::Explain { prefix } => {
            let prefix = prefix.trunc();
            let paths = question(ears, |to| Question::Explain(prefix, to)).await?;
            Ok(Reply::of(&text::paths(&prefix.to_string(), &paths), &paths, output, u8::from(paths.is_empty())))
        }
        Asked::Policy(asked) => {
            let view = trial(asked, ears).await?;
            Ok(Reply::of(&view, &view, output, u8::from(!view.accepted)))
        }
        Asked::Drain { text } => {
            question(ears, |to| Question::Drain(text.clone(), to)).await?;
            let sentence = "this node has left its BGP peers; `towpathctl bgp undrain` brings it back";
            Ok(Reply::of(&format!("{sentence}\n"), &json!({ "drain": sentence }), output, 0))
        }
        Asked::Undrain => {
            question(ears, Question::Resume).await?;
            let sentence = "this node meets its BGP peers again";
            Ok(Reply::of(&format!("{sentence}\n"), &json!({ "undrain": sentence }), output, 0))
        }
        Asked::Routes { .. } | Asked::Monitor => Err("this is answered in pieces".to_owned()),
    }
}

/// The peer of this name, or which there are instead.
async fn peer(name: &str, ears: &Ears) -> Result<PeerView, String> {
    let peers = question(ears, Question::Peers).await?;
    let names: Vec<String> = peers.iter().take(MOST_NAMED).map(|peer| peer.name.clone()).collect();
    peers.into_iter().find(|peer| peer.name == name).ok_or_else(|| match names.is_empty() {
        true => format!("there is no peer `{name}`, and no other"),
        false => format!("there is no peer `{name}`: there are {}", names.join(", ")),
    })
}

/// Names that stand in a sentence.
const MOST_NAMED: usize = 20;

async fn trial(asked: &PolicyAsked, ears: &Ears) -> Result<TrialView, String> {
    if let Some(neighbour) = asked.neighbour.clone().map(NeighbourName) {
        let trial = Box::new(Trial { neighbour, way: asked.way, route: asked.route.route()? });
        return question(ears, |to| Question::Test(trial, to)).await?;
    }
    match ask::ask(&ears.asks, ask::Question::Policies).await.map_err(|error| error.to_string())? {
        Answer::Policies(Some(policies)) => asked.with(&policies),
        Answer::Policies(None) => Err("no network configuration is known yet, and so no policy".to_owned()),
        _ => Err("towpathd answered another question".to_owned()),
    }
}

/// The speaker, if there is one.
fn speaker(ears: &Ears) -> Result<&mpsc::Sender<Question>, String> {
    ears.speaker.as_ref().ok_or_else(|| NO_SPEAKER.to_owned())
}

async fn question<T>(ears: &Ears, of: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, String> {
    let (to, answer) = oneshot::channel();
    let gone = || "the BGP speaker has ended: see towpathd's log for why".to_owned();
    let answered = async {
        speaker(ears)?.send(of(to)).await.map_err(|_| gone())?;
        // Without a wish it lets questions drop.
        answer.await.map_err(|_| NO_SPEAKER.to_owned())
    };
    let busy = || format!("the BGP speaker did not answer within {} s: see towpathd's log", PATIENCE.as_secs());
    timeout(PATIENCE, answered).await.unwrap_or_else(|_| Err(busy()))
}

/// Routes as they come: five hundred thousand are never in memory together.
async fn routes(client: &mut UnixStream, filter: RouteFilter, (ears, output): (&Ears, Output)) -> io::Result<()> {
    let (to, mut pieces) = mpsc::channel(4);
    let asked = match &filter.neighbour {
        Some(name) => peer(&name.0, ears).await.map(drop),
        None => Ok(()),
    };
    let asked = match asked {
        Ok(()) => send(ears, Question::Routes(filter, to)).await,
        none => none,
    };
    if let Err(reason) = asked {
        return say(client, Reply::error(reason)).await;
    }
    let (mut first, mut count) = (First::Yes, 0_usize);
    while let Some(piece) = pieces.recv().await {
        if piece.is_empty() {
            continue;
        }
        count += piece.len();
        let text = match output {
            Output::Text => text::routes(&piece, first),
            Output::Json => listed(&piece, first)?,
        };
        first = First::No;
        say(client, Reply::piece(text)).await?;
    }
    let last = match (output, first) {
        (Output::Json, First::Yes) => "[]\n".to_owned(),
        (Output::Json, First::No) => "\n]\n".to_owned(),
        (Output::Text, _) if count == 0 => "no routes\n".to_owned(),
        (Output::Text, _) => String::new(),
    };
    say(client, Reply::piece(last)).await
}

/// Items of a JSON list that goes on.
fn listed(routes: &[RouteView], first: First) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    for (index, route) in routes.iter().enumerate() {
        text.push_str(if index == 0 && first == First::Yes { "[\n" } else { ",\n" });
        text.push_str(&serde_json::to_string(route)?);
    }
    Ok(text)
}

async fn send(ears: &Ears, question: Question) -> Result<(), String> {
    speaker(ears)?.send(question).await.map_err(|_| "the BGP speaker has ended: see towpathd's log for why".to_owned())
}

/// What happens, until the client goes or does not keep up.
async fn monitor(client: &mut UnixStream, (ears, output): (&Ears, Output)) -> io::Result<()> {
    let (to, mut happenings) = mpsc::channel(MOST_WAITING);
    if let Err(reason) = send(ears, Question::Monitor(to)).await {
        return say(client, Reply::error(reason)).await;
    }
    let mut nothing = [0_u8; 1];
    loop {
        let happening = tokio::select! {
            happening = happenings.recv() => happening,
            // A client says nothing more: this is its end.
            _ = client.read(&mut nothing) => return Ok(()),
        };
        let Some(happening) = happening else {
            let why = format!(
                "dropped: {MOST_WAITING} changes waited and were not read in time, or the speaker has ended; ask again to see what is \
                 true now"
            );
            return say(client, Reply::error(why)).await;
        };
        say(client, Reply::piece(line(&happening, output)?)).await?;
    }
}

fn line(happening: &Happening, output: Output) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    struct Stamped<'h> {
        time: String,
        #[serde(flatten)]
        happening: &'h Happening,
    }
    let time = crate::ask::Clock::at(Duration::ZERO).time_of(Duration::ZERO);
    Ok(match output {
        Output::Text => format!("{time}  {happening}\n"),
        Output::Json => serde_json::to_string(&Stamped { time, happening })? + "\n",
    })
}

#[cfg(test)]
mod tests;

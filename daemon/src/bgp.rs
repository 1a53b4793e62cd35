//! THE SHELL AROUND THE BGP SPEAKER: what it is to be ([`wish`]), what it learns ([`learnt`]), what it can be asked ([`question`]).
//!
//! Does not decide which peers there are or what is announced (the node does), nor what learnt routes mean for the kernel (`backends`).

pub mod asked;
pub mod learnt;
pub mod liveness;
pub mod question;
pub mod text;
pub mod trial;
pub mod views;
pub mod wish;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use learnt::Learnt;
use question::Question;
use wish::Wish;

/// The node loop's end of the talk with the speaker.
#[derive(Debug)]
pub struct NodeEnd {
    /// What the speaker is to be; nothing while there is no BGP.
    pub wish: watch::Sender<Option<Arc<Wish>>>,
    /// What it learnt. It waits while this is full, and tells then what is true by then.
    pub learnt: mpsc::Receiver<Learnt>,
    /// What it is asked.
    pub questions: mpsc::Sender<Question>,
}

/// The speaker's end.
#[derive(Debug)]
pub struct SpeakerEnd {
    /// What it is to be.
    pub wish: watch::Receiver<Option<Arc<Wish>>>,
    /// Where what it learns is told.
    pub learnt: mpsc::Sender<Learnt>,
    /// What it is asked.
    pub questions: mpsc::Receiver<Question>,
}

/// Both ends of a talk.
pub fn talk() -> (NodeEnd, SpeakerEnd) {
    let (wish, wished) = watch::channel(None);
    let (tell, learnt) = mpsc::channel(16);
    let (questions, asked) = mpsc::channel(16);
    let node = NodeEnd { wish, learnt, questions };
    (node, SpeakerEnd { wish: wished, learnt: tell, questions: asked })
}

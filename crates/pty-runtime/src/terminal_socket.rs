//! One viewer of one agent's terminal.
//!
//! The viewer pulls from the agent's ring with a cursor of its own, first what was printed
//! before and then what comes, through the same reads: so nothing can be missed or doubled
//! between the two.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use chrono::Utc;
use futures_util::{SinkExt, StreamExt};
use runtime_protocol::Control;
use serde_json::Value;
use terminal_screen::Decoder;
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::{
    agents::{Agent, State},
    process::{Exit, Input, Size},
    ring::{Found, Progress, Reader},
    screen::Snapshot,
    socket::{self, Goodbye, Incoming, Sink, Socket, Stream},
};

/// Output bytes in one frame at the most: small enough that a ping or a pong is soon its turn.
const FRAME_BYTES_MAX: usize = 32 * 1024;

/// How output and control share the socket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// All text; only the first frame to the viewer is control.
    Default,
    /// Output in binary frames, control in text frames, so neither can be taken for the other.
    Negotiated,
}

/// Where a viewer starts.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    Live,
    Oldest,
    Offset(u64),
    /// With the screen as it stands.
    Snapshot,
}

/// Serves one viewer until either side has enough, or the runtime is `closing`. With `snapshots`
/// a viewer that fell behind gets the screen as it stands.
pub(crate) async fn serve(socket: Socket, agent: Arc<Agent>, framing: Framing, start: Start, snapshots: bool, closing: CancellationToken) {
    let (mut sink, mut stream) = socket.split();
    let (ask_pong, pong_asked) = mpsc::channel(1);
    let goodbye = tokio::select! {
        goodbye = show(&mut sink, View::new(&agent, framing, start, snapshots, &closing), pong_asked) => goodbye,
        goodbye = take_input(&mut stream, &agent, ask_pong) => goodbye,
        () = socket::overdue(&closing) => Goodbye::SHUTDOWN,
    };
    socket::farewell(sink, stream, goodbye).await;
}

async fn show(sink: &mut Sink, mut view: View<'_>, mut pong_asked: mpsc::Receiver<()>) -> Goodbye {
    let mut pings = socket::ping_interval();
    let mut outgoing = view.greeting();
    loop {
        if let Err(error) = sink.send(outgoing).await {
            return Goodbye::broken(&error);
        }
        outgoing = tokio::select! {
            biased;
            _ = pings.tick() => Message::Ping(Bytes::new()),
            Some(()) = pong_asked.recv() => control(&Control::Pong),
            next = view.next() => match next {
                Ok(frame) => frame,
                Err(goodbye) => return goodbye,
            },
        };
    }
}

/// What one viewer has seen and what comes next for it.
struct View<'a> {
    agent: &'a Agent,
    framing: Framing,
    snapshots: bool,
    cursor: u64,
    /// It can go on where it was, so it wants every byte.
    reader: Option<Reader<'a>>,
    /// Where the output ended when the viewer came.
    live: u64,
    output: watch::Receiver<Progress>,
    state: watch::Receiver<State>,
    decoder: Decoder,
    /// Frames ready to go, from one read.
    frames: VecDeque<Message>,
    told_exit: bool,
    closing: &'a CancellationToken,
    /// The runtime is closing: what is there now is the last to be told.
    last_look: bool,
}

impl<'a> View<'a> {
    fn new(agent: &'a Agent, framing: Framing, start: Start, snapshots: bool, closing: &'a CancellationToken) -> Self {
        // Subscribed before the cursor is set, so that what comes in between wakes the viewer.
        let (output, state) = (agent.output.subscribe(), agent.watch());
        let (oldest, end) = agent.output.bounds();
        let mut frames = VecDeque::new();
        let cursor = match start {
            Start::Live => end,
            Start::Snapshot => draw(agent, &mut frames),
            Start::Offset(offset) if snapshots && offset < oldest => draw(agent, &mut frames),
            // An offset from the future belongs to another agent of the same id.
            Start::Offset(offset) if offset <= end => offset.max(oldest),
            Start::Oldest | Start::Offset(_) => oldest,
        };
        Self {
            agent,
            framing,
            snapshots,
            cursor,
            reader: (framing == Framing::Negotiated && !snapshots).then(|| agent.output.reader(cursor)),
            live: end.max(cursor),
            output,
            state,
            decoder: Decoder::default(),
            frames,
            told_exit: false,
            closing,
            last_look: false,
        }
    }

    fn greeting(&self) -> Message {
        let more = self.framing == Framing::Negotiated;
        let size = self.agent.size();
        control(&Control::Connected {
            agent_id: self.agent.id.clone(),
            timestamp: Utc::now(),
            offset: more.then_some(self.cursor),
            live: more.then_some(self.live),
            cols: more.then_some(size.cols),
            rows: more.then_some(size.rows),
        })
    }

    /// Waits for the next frame; may be dropped and called again without losing any.
    async fn next(&mut self) -> Result<Message, Goodbye> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(frame);
            }
            self.state.mark_unchanged();
            self.output.mark_unchanged();
            // The exit is looked at first: it comes after the last output. A failed start has none.
            let (exit, is_final) = {
                let state = self.state.borrow();
                (state.exit.clone(), state.status.is_final())
            };
            match self.agent.output.read(self.cursor, FRAME_BYTES_MAX) {
                Found::Bytes(bytes) => {
                    self.cursor += bytes.len() as u64;
                    if let Some(reader) = &self.reader {
                        reader.took(bytes.len(), self.cursor);
                    }
                    self.frame(bytes);
                }
                Found::Lost { start } if self.framing == Framing::Negotiated => {
                    self.cursor = start;
                    if self.snapshots {
                        self.cursor = draw(self.agent, &mut self.frames);
                    }
                    if let Some(reader) = &self.reader {
                        reader.took(0, self.cursor);
                    }
                    return Ok(control(&Control::Lagged { offset: self.cursor }));
                }
                Found::Lost { .. } => return Err(Goodbye::TOO_SLOW),
                Found::UpToDate => match exit {
                    Some(exit) if !self.told_exit => self.tell_exit(&exit),
                    Some(_) => return Err(Goodbye::AGENT_EXITED),
                    None if is_final => return Err(Goodbye::AGENT_EXITED),
                    None if self.last_look => return Err(Goodbye::SHUTDOWN),
                    None => self.changed().await?,
                },
            }
        }
    }

    async fn changed(&mut self) -> Result<(), Goodbye> {
        let changed = tokio::select! {
            changed = self.output.changed() => changed,
            changed = self.state.changed() => changed,
            () = self.closing.cancelled() => {
                self.last_look = true;
                Ok(())
            }
        };
        changed.map_err(|_| Goodbye::GONE)
    }

    fn frame(&mut self, bytes: Vec<u8>) {
        match self.framing {
            Framing::Negotiated => self.frames.push_back(Message::binary(bytes)),
            Framing::Default => self.frames.extend(text_frames(&self.decoder.decode(&bytes))),
        }
    }

    fn tell_exit(&mut self, exit: &Exit) {
        self.told_exit = true;
        match self.framing {
            Framing::Negotiated => {
                self.frames.push_back(control(&Control::Exited { exit_code: exit.code(), signal: exit.signal().map(Into::into) }));
            }
            Framing::Default => self.frames.extend(text_frames(self.decoder.finish())),
        }
    }
}

/// Has the screen as it stands go to the viewer; gives the offset from which output goes on.
fn draw(agent: &Agent, frames: &mut VecDeque<Message>) -> u64 {
    let Snapshot { offset, size, drawing } = agent.snapshot();
    frames.push_back(control(&Control::Snapshot { offset, cols: size.cols, rows: size.rows }));
    frames.push_back(Message::binary(drawing));
    offset
}

/// Cuts output into text frames. Some clients take any frame that starts with a brace for
/// control, so such a frame gets a NUL in front, which terminals ignore.
fn text_frames(output: &str) -> Vec<Message> {
    let mut frames = Vec::new();
    let mut rest = output;
    while !rest.is_empty() {
        let (frame, tail) = rest.split_at(rest.floor_char_boundary(FRAME_BYTES_MAX - 1));
        let guarded = if frame.starts_with('{') { format!("\0{frame}") } else { frame.to_owned() };
        frames.push(Message::text(guarded));
        rest = tail;
    }
    frames
}

fn control(control: &Control) -> Message {
    Message::text(serde_json::json!(control).to_string())
}

async fn take_input(stream: &mut Stream, agent: &Agent, ask_pong: mpsc::Sender<()>) -> Goodbye {
    let mut input = None;
    loop {
        let keys = match socket::receive(stream).await {
            Incoming::Text(text) => match Said::by(&text) {
                Said::Keys => Bytes::from(text),
                Said::Resize(size) => {
                    agent.resize(size);
                    continue;
                }
                Said::Ping => {
                    if ask_pong.try_send(()).is_err() {
                        tracing::trace!("a pong is already on its way");
                    }
                    continue;
                }
                Said::Nonsense => continue,
            },
            Incoming::Binary(bytes) => bytes,
            Incoming::Ended(goodbye) => return goodbye,
        };
        if input.is_none() {
            // Not kept where there is none: the agent may be about to start.
            input = agent.input_when_started().await.ok();
        }
        // Once the agent has ended nobody reads input; the viewer hears of the end by itself.
        if let Some(open) = &input
            && open.send(Input::Keys(keys)).await.is_err()
        {
            input = None;
        }
    }
}

/// What a text frame of a viewer means.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Keys,
    Resize(Size),
    Ping,
    /// A known control that cannot be followed; never typed.
    Nonsense,
}

impl Said {
    /// Only an object that names a known control is one; any other text, JSON or not, is keys.
    fn by(text: &str) -> Self {
        if !text.starts_with('{') {
            return Self::Keys;
        }
        let Ok(value) = serde_json::from_str::<Value>(text) else {
            return Self::Keys;
        };
        match value["type"].as_str() {
            Some("ping") => Self::Ping,
            Some("resize") => match serde_json::from_value(value) {
                Ok(Control::Resize { cols, rows }) => Size::new(cols, rows).map_or(Self::Nonsense, Self::Resize),
                Ok(_) | Err(_) => Self::Nonsense,
            },
            Some(_) | None => Self::Keys,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_controls_are_kept_from_the_terminal() {
        for keys in ["ls\r", "{", r#"{"a":1}"#, r#"{"type":"exited"}"#, r#"{"type":1}"#, r#"[{"type":"ping"}]"#, r#" {"type":"ping"}"#] {
            assert_eq!(Said::by(keys), Said::Keys, "{keys}");
        }
        for nonsense in [
            r#"{"type":"resize"}"#,
            r#"{"type":"resize","cols":-1,"rows":5}"#,
            r#"{"type":"resize","cols":0,"rows":5}"#,
            r#"{"type":"resize","cols":80.5,"rows":5}"#,
            r#"{"type":"resize","cols":"80","rows":24}"#,
            r#"{"type":"resize","cols":1001,"rows":24}"#,
            r#"{"type":"resize","cols":70000,"rows":24}"#,
        ] {
            assert_eq!(Said::by(nonsense), Said::Nonsense, "{nonsense}");
        }
        assert_eq!(Said::by(r#"{"type":"ping"}"#), Said::Ping);
        assert_eq!(Said::by(r#"{"type":"resize","cols":100,"rows":30}"#), Said::Resize(Size { cols: 100, rows: 30 }));
    }

    #[test]
    fn a_text_frame_is_bounded_and_never_starts_with_a_brace() {
        let output = format!("{{{}", "é{".repeat(FRAME_BYTES_MAX));
        let frames: Vec<String> = text_frames(&output).iter().map(|frame| frame.to_text().unwrap().to_owned()).collect();
        assert!(frames.iter().all(|frame| frame.len() <= FRAME_BYTES_MAX && !frame.starts_with('{')));
        assert_eq!(frames.concat().replace('\0', ""), output);
    }
}

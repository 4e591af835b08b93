//! Turns: what an agent printed between a message and the moment when it was done with it.
//!
//! The text of a turn is what the screen and the lines above it have that they did not have when
//! the message was sent, without the echo of the message and without the prompt below.

use chrono::{DateTime, Utc};
use runtime_protocol::{AgentMessage, Direction, MessageKind};
use serde_json::{Map, Value};
use terminal_screen::spaced;
use tokio::sync::oneshot;

use crate::{adapter::Adapter, screen::Screen};

/// Bytes of text in one message: many pages, and little enough for an event.
const CONTENT_BYTES_MAX: usize = 64 * 1024;
/// Characters of a message by which its echo is found; programs wrap or shorten longer ones.
const ECHO_CHARS: usize = 40;

/// What programs put before the place where they take their input.
const PROMPT_SIGNS: [char; 9] = ['❯', '›', '>', '$', '#', '%', '!', '*', '»'];

/// The messages of one agent, and its turn if one is open.
#[derive(Default)]
pub(crate) struct Turns {
    count: u64,
    open: Option<Turn>,
}

struct Turn {
    message: String,
    /// Every line that was known when the message was sent.
    before: Vec<String>,
    reply: Option<oneshot::Sender<AgentMessage>>,
}

impl Turns {
    /// Opens a turn, unless one is open already: then the message belongs to that one.
    pub(crate) fn open(&mut self, message: &str, screen: &mut Screen, reply: Option<oneshot::Sender<AgentMessage>>) {
        if self.open.is_none() {
            let before = screen.lines();
            screen.start_record();
            self.open = Some(Turn { message: message.to_owned(), before, reply });
        }
    }

    /// Gives the next message the number `first`, unless messages have come that far already.
    pub(crate) fn number_from(&mut self, first: u64) {
        self.count = self.count.max(first.saturating_sub(1));
    }

    /// Closes the turn without a text: nobody is told.
    pub(crate) fn abandon(&mut self, screen: &mut Screen) {
        self.open = None;
        screen.end_record();
    }

    /// Closes the turn; gives its text and whether a part of it is missing, and who waits for it.
    pub(crate) fn close(&mut self, screen: &mut Screen, adapter: &Adapter) -> Option<Closed> {
        let turn = self.open.take()?;
        let cut = screen.record_is_cut();
        let text = answer(if cut { &[] } else { &turn.before }, &screen.lines(), &turn.message, adapter);
        screen.end_record();
        Some(Closed { text, cut, reply: turn.reply })
    }

    /// The next message of the agent with this id, with its content within bounds.
    pub(crate) fn message(
        &mut self,
        agent_id: &str,
        direction: Direction,
        content: &str,
        cut: bool,
        timestamp: DateTime<Utc>,
    ) -> AgentMessage {
        self.count += 1;
        let truncated = cut || content.len() > CONTENT_BYTES_MAX;
        let kind = match direction {
            Direction::Inbound => MessageKind::Task,
            Direction::Outbound => MessageKind::Response,
        };
        AgentMessage {
            id: format!("{agent_id}-msg-{}", self.count),
            agent_id: agent_id.to_owned(),
            direction,
            kind,
            content: content[..content.floor_char_boundary(CONTENT_BYTES_MAX)].to_owned(),
            metadata: truncated.then(|| Map::from_iter([("truncated".to_owned(), Value::Bool(true))])),
            timestamp,
        }
    }
}

/// A turn that is over.
pub(crate) struct Closed {
    pub(crate) text: String,
    pub(crate) cut: bool,
    pub(crate) reply: Option<oneshot::Sender<AgentMessage>>,
}

/// What is in `after` and was not in `before`: the answer to `message`.
fn answer(before: &[String], after: &[String], message: &str, adapter: &Adapter) -> String {
    let same = before.iter().zip(after).take_while(|(old, new)| old == new).count();
    let is_prompt = |line: &String| adapter.prompt_line.as_ref().is_some_and(|prompt| prompt.is_match(&spaced(line)));
    let mut lines = &after[same..];
    lines = &lines[..lines.iter().rposition(is_prompt).unwrap_or(lines.len())];
    lines = match echo(lines, message) {
        Some(echo) => after_echo(&lines[echo..], message),
        // What a person typed stands where the program showed its prompt.
        None if message.is_empty() => &lines[lines.iter().rposition(is_prompt).map_or(0, |typed| typed + 1)..],
        None => lines,
    };
    let mut text: Vec<String> = Vec::new();
    for line in lines.iter().filter(|line| !adapter.leave_out.iter().any(|pattern| pattern.is_match(&spaced(line)))) {
        let line = adapter.bullet.as_ref().map_or(line.as_str().into(), |bullet| bullet.replace(line, ""));
        // Where frames were taken out, one empty line is enough.
        if !(line.trim().is_empty() && text.last().is_none_or(String::is_empty)) {
            text.push(line.trim_end().to_owned());
        }
    }
    while text.last().is_some_and(String::is_empty) {
        text.pop();
    }
    text.join("\n")
}

/// The line that repeats the beginning of `message`. Programs that draw everything anew repeat it
/// more than once, behind the sign of their prompt; what comes after the last one is the answer.
fn echo(lines: &[String], message: &str) -> Option<usize> {
    let sought = beginning(message.lines().map(spaced).find(|part| !part.is_empty())?);
    let prompted = |line: &String| {
        let line = spaced(line);
        line.find(&sought).is_some_and(|at| line[..at].trim_end().ends_with(PROMPT_SIGNS))
    };
    lines.iter().rposition(prompted).or_else(|| lines.iter().position(|line| spaced(line).contains(&sought)))
}

/// What follows the echo of `message` with which `lines` begin.
fn after_echo<'a>(lines: &'a [String], message: &str) -> &'a [String] {
    let whole = spaced(message);
    let mut parts = message.lines().map(spaced).filter(|part| !part.is_empty()).skip(1);
    let mut end = 1;
    // The rest of the message: the lines that it has itself, and those that a program broke it into.
    while let Some(line) = lines.get(end).map(|line| spaced(line)).filter(|line| !line.is_empty()) {
        let of_message = parts.next().is_some_and(|part| line.contains(&beginning(part)));
        let broken_off = whole.chars().count() > ECHO_CHARS && whole.ends_with(&line);
        if !of_message && !broken_off {
            break;
        }
        end += 1;
    }
    &lines[end.min(lines.len())..]
}

fn beginning(text: String) -> String {
    if text.chars().count() <= ECHO_CHARS { text } else { text.chars().take(ECHO_CHARS).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::Adapters;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_answer_has_neither_what_was_there_before_nor_the_echo_nor_the_prompt() {
        let adapters = Adapters::built_in();
        let echo = adapters.find("echo").unwrap();
        for (before, after, message, text) in [
            ("old\necho>", "old\necho> date\nSat\n\n\nNov\necho>", "date", "Sat\n\nNov"),
            ("old\necho>", "old\necho> date\necho>", "date", ""),
            ("echo>", "echo> a\nb\nc: a\nb", "a\nb", "c: a\nb"),
            ("echo>", "echo> yes\nyes\nyes\necho>", "yes", "yes\nyes"),
            ("x", "x\nanswer without an echo", "", "answer without an echo"),
        ] {
            assert_eq!(answer(&lines(before), &lines(after), message, &echo), text, "{after:?}");
        }
        let claude = adapters.find("claude").unwrap();
        let screen = "\u{276f} say hi\n\n\u{23fa} Hello there\n  and more\n\n  Brewed for 3s\n\n\u{276f}\n\n  ? for shortcuts";
        assert_eq!(answer(&lines("\u{276f}\n  ? for shortcuts"), &lines(screen), "say hi", &claude), "Hello there\n  and more");
    }

    #[test]
    fn a_message_is_numbered_and_bounded() {
        let mut turns = Turns::default();
        let now = DateTime::UNIX_EPOCH;
        let first = turns.message("a", Direction::Inbound, "hi", false, now);
        assert_eq!((first.id.as_str(), first.kind, first.metadata), ("a-msg-1", MessageKind::Task, None));
        let long = turns.message("a", Direction::Outbound, &"\u{20ac}".repeat(CONTENT_BYTES_MAX), false, now);
        assert!(long.content.len() <= CONTENT_BYTES_MAX && long.metadata.is_some());
        assert_eq!((long.id.as_str(), long.kind), ("a-msg-2", MessageKind::Response));
        turns.number_from(2);
        assert_eq!(turns.message("a", Direction::Inbound, "hi", false, now).id, "a-msg-3");
        turns.number_from(5000);
        assert_eq!(turns.message("a", Direction::Inbound, "hi", false, now).id, "a-msg-5000");
    }
}

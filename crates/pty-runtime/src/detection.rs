//! What an agent does, judged from its screen: a state machine without clock and without I/O.
//!
//! A program that shows nothing of the kind is judged by its quiet alone. Nothing here ever takes
//! an agent for ended: that is the operating system's to say. Text that a model printed must not
//! move anything: logins are looked for before the first ready and afterwards below an idle prompt
//! only, where a program prints its own notices, and no question is answered after the first ready.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use runtime_protocol::{BlockingPrompt, Login, LoginMethod};
use terminal_screen::View;

use crate::{
    adapter::{Adapter, LoginSign, PromptSign, Sign, When},
    login,
};

/// How long a question or a login must be seen before it counts: programs draw in several steps.
const SHOWN_FOR: Duration = Duration::from_millis(500);
/// The same for a login notice at an idle prompt, where nothing is urgent.
const IDLE_LOGIN_SHOWN_FOR: Duration = Duration::from_millis(1500);
/// How long an address or a code may take to appear after the sign of a login that needs it.
const LOGIN_DRAWN_WITHIN: Duration = Duration::from_secs(5);
/// How long a question that was answered may stay before it is answered again.
const ANSWER_AGAIN_AFTER: Duration = Duration::from_secs(3);
/// Time for which a turn must look complete before it is.
const TURN_SETTLE: Duration = Duration::from_millis(1500);
/// A screen that looks ready for this long is ready, although a part of it keeps moving.
const READY_AT_LAST: Duration = Duration::from_secs(10);
/// A sign of work on a screen that has not changed for this long is none: such signs move.
const WORK_STALE: Duration = Duration::from_mins(1);
/// How often a login that goes on is told anew, since its address or code appeared.
const LOGIN_CHANGES_MAX: u8 = 8;
/// Lines from the bottom, empty ones not counted, in which a question may begin.
const QUESTION_LINES: usize = 20;
/// The same for signs of work, which programs show beside their prompt.
const WORK_LINES: usize = 10;
/// The same for the prompt itself, below which programs print a few notices.
const PROMPT_LINES: usize = 8;
/// Choices of one question that are told.
const OPTIONS_MAX: usize = 10;
/// Characters of a text that is told from the screen.
const TOLD_CHARS_MAX: usize = 500;

/// Where an agent stands as far as its screen tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting,
    Authenticating,
    Ready,
    Busy,
}

/// What is known of an agent before it is looked at, be it from an earlier runtime.
pub(crate) struct Known {
    pub(crate) phase: Phase,
    /// It was ready once, whatever it does now: nothing may be typed for it any more.
    pub(crate) was_ready: bool,
    /// The login that was told and goes on.
    pub(crate) login: Option<Login>,
}

impl From<Phase> for Known {
    fn from(phase: Phase) -> Self {
        Self { phase, was_ready: false, login: None }
    }
}

/// Something that was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It waits for work, for the first time or after a login.
    Ready,
    /// It works without having been sent anything.
    Working,
    TurnComplete,
    Login(Login),
    Prompt {
        prompt: BlockingPrompt,
        /// What to type; empty when a person has to answer.
        answer: Vec<String>,
    },
    Question(String),
}

/// The state of one agent's detection.
pub(crate) struct Detection {
    adapter: Arc<Adapter>,
    phase: Phase,
    was_ready: bool,
    view: View,
    started_at: Instant,
    printed_at: Option<Instant>,
    changed_at: Instant,
    phase_since: Instant,
    ready_seen: Option<Instant>,
    login_seen: Option<Instant>,
    login_told: Option<Login>,
    login_changes: u8,
    prompt_seen: Option<(usize, Instant)>,
    prompt_gone: Option<Instant>,
    prompt_told: Option<usize>,
    /// How often each of the adapter's prompts was answered, and when last.
    answers: Vec<(u8, Option<Instant>)>,
    wake_at: Option<Instant>,
}

impl Detection {
    /// For an agent that stands as `known` already when it is first looked at.
    pub(crate) fn new(adapter: Arc<Adapter>, known: Known, now: Instant) -> Self {
        let Known { phase, was_ready, login } = known;
        Self {
            answers: vec![(0, None); adapter.prompts.len()],
            was_ready: was_ready || matches!(phase, Phase::Ready | Phase::Busy),
            adapter,
            phase,
            view: View::default(),
            started_at: now,
            printed_at: None,
            changed_at: now,
            phase_since: now,
            ready_seen: None,
            login_seen: None,
            login_told: login,
            login_changes: 0,
            prompt_seen: None,
            prompt_gone: None,
            prompt_told: None,
            wake_at: None,
        }
    }

    /// When to look again although nothing was printed.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    /// Something was typed for the agent to work on.
    pub(crate) fn message_sent(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Ready | Phase::Busy) {
            self.enter(Phase::Busy, now);
        }
    }

    /// The agent printed something, whatever it did to the screen.
    pub(crate) fn printed(&mut self, now: Instant) {
        self.printed_at = Some(now);
    }

    /// Judges what the screen shows `now`. With `automation` off no question gets an answer.
    pub(crate) fn look(&mut self, now: Instant, view: View, automation: bool) -> Vec<Finding> {
        if view != self.view {
            if view.lines != self.view.lines {
                self.changed_at = now;
            }
            self.view = view;
        }
        self.wake_at = None;
        let mut findings = Vec::new();
        let asked = self.question(now, automation, &mut findings);
        match self.phase {
            Phase::Starting | Phase::Authenticating => {
                // A question such as the one about a key in the environment names that key too.
                let locked = !asked && self.login(now, &mut findings);
                if !asked && !locked && self.looks_ready(now) {
                    self.enter(Phase::Ready, now);
                    self.was_ready = true;
                    self.login_told = None;
                    findings.push(Finding::Ready);
                }
            }
            Phase::Ready => {
                if !self.login(now, &mut findings) && self.changed_at > self.phase_since && self.shows_work() {
                    self.enter(Phase::Busy, now);
                    findings.push(Finding::Working);
                    self.due(now, now + TURN_SETTLE);
                }
            }
            Phase::Busy => {
                if !asked && self.turn_is_over(now) {
                    self.enter(Phase::Ready, now);
                    findings.push(Finding::TurnComplete);
                }
            }
        }
        findings
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.phase_since = now;
        self.ready_seen = None;
        self.login_seen = None;
    }

    /// Whether `at` has come; if not, wakes the caller then.
    fn due(&mut self, now: Instant, at: Instant) -> bool {
        if at <= now {
            return true;
        }
        self.wake_at = Some(self.wake_at.map_or(at, |wake| wake.min(at)));
        false
    }

    fn looks_ready(&mut self, now: Instant) -> bool {
        let times = self.adapter.times.clone();
        if !self.adapter.reads_screen() {
            let settled = match (self.printed_at, times.silent) {
                (Some(at), _) => self.due(now, at + times.settle),
                (None, Some(silent)) => self.due(now, self.started_at + silent),
                (None, None) => false,
            };
            return times.latest.is_some_and(|latest| self.due(now, self.started_at + latest)) || settled;
        }
        if self.printed_at.is_none() || self.is_held_up() || self.shows_work() {
            self.ready_seen = None;
            return false;
        }
        if shows(&self.adapter.ready, &self.view.lines.join("\n")) {
            let since = *self.ready_seen.get_or_insert(now);
            return self.due(now, self.changed_at + times.settle) || self.due(now, since + READY_AT_LAST);
        }
        self.ready_seen = None;
        // A login ends with a screen that is ready, never with one that nobody knows.
        let unknown = times.unrecognised.filter(|_| self.phase == Phase::Starting);
        unknown.is_some_and(|quiet| self.due(now, self.changed_at + quiet))
    }

    /// Whether the program shows that it is not ready. What is above its prompt is over.
    fn is_held_up(&self) -> bool {
        let (start, lines) = self.bottom(QUESTION_LINES);
        let from = self.prompt_line().map_or(0, |line| line.saturating_sub(start));
        shows(&self.adapter.not_ready, &lines[from..].join("\n"))
    }

    fn shows_work(&self) -> bool {
        shows(&self.adapter.working, &self.bottom(WORK_LINES).1.join("\n"))
    }

    fn turn_is_over(&mut self, now: Instant) -> bool {
        let times = self.adapter.times.clone();
        if !self.adapter.reads_screen() {
            let quiet_since = self.printed_at.map_or(self.phase_since, |at| at.max(self.phase_since));
            return self.due(now, quiet_since + times.turn_quiet);
        }
        let quiet_since = self.changed_at.max(self.phase_since);
        let text = self.view.lines.join("\n");
        if self.is_held_up() || self.shows_work() {
            return self.due(now, quiet_since + WORK_STALE);
        }
        let settle = if shows(&self.adapter.complete, &text) { TURN_SETTLE } else { times.turn_quiet };
        self.due(now, quiet_since + settle)
    }

    /// Tells of a login that the screen asks for. Returns whether it shows one.
    fn login(&mut self, now: Instant, findings: &mut Vec<Finding>) -> bool {
        let Some(login) = self.shown_login() else {
            self.login_seen = None;
            return false;
        };
        let since = *self.login_seen.get_or_insert(now);
        let patience = if self.phase == Phase::Ready { IDLE_LOGIN_SHOWN_FOR } else { SHOWN_FOR };
        let drawn = is_whole(&login) && self.due(now, self.changed_at.max(since) + patience);
        if !drawn && !self.due(now, since + LOGIN_DRAWN_WITHIN) {
            return true;
        }
        match &self.login_told {
            None => self.login_changes = 0,
            // An address that is drawn step by step, or a hint instead of it, is nothing new.
            Some(told) if !adds_to(told, &login) || self.login_changes == LOGIN_CHANGES_MAX => return true,
            Some(_) => self.login_changes += 1,
        }
        if self.phase != Phase::Authenticating {
            self.enter(Phase::Authenticating, now);
        }
        self.login_seen = Some(since);
        self.login_told = Some(login.clone());
        findings.push(Finding::Login(login));
        true
    }

    fn shown_login(&self) -> Option<Login> {
        let lines = &self.view.lines;
        let below = self.prompt_line();
        let idle = self.was_ready;
        let ready = shows(&self.adapter.ready, &lines.join("\n"));
        let counts = |sign: &&LoginSign| {
            let from = match below {
                Some(line) if idle => line,
                // Without a prompt there is no place that is the program's alone.
                None if idle && self.phase == Phase::Ready => return false,
                None if idle => 0,
                Some(line) if ready && !sign.despite_ready => line,
                Some(_) | None => 0,
            };
            (!idle || sign.when_idle || below.is_none()) && sign.sign.is_in(&lines[from..].join("\n"))
        };
        let sign = self.adapter.logins.iter().find(counts)?;
        let from = below.filter(|_| idle || (ready && !sign.despite_ready)).unwrap_or(0);
        let rows = &self.view.rows[self.view.line_rows[from]..];
        let address = login::address(rows, self.view.cols, &self.adapter.login_hosts);
        let device_code = login::device_code(&lines[from..]).filter(|_| sign.method != LoginMethod::ApiKey);
        Some(Login {
            verified: address.as_ref().is_some_and(|address| address.verified),
            login_url: address.map(|address| address.url),
            instructions: sign.instructions.clone().or_else(|| line_of(&sign.sign, &lines[from..]).map(|(_, line)| told(line))),
            device_code,
            method: sign.method,
        })
    }

    /// Answers or tells the question that the screen shows. Returns whether it shows one.
    fn question(&mut self, now: Instant, automation: bool, findings: &mut Vec<Finding>) -> bool {
        let Some(index) = self.shown_prompt() else {
            self.prompt_seen = None;
            // A screen that is drawn anew is empty for a moment; that makes no new question.
            let gone = *self.prompt_gone.get_or_insert(now);
            if self.prompt_told.is_some() && self.due(now, gone + SHOWN_FOR) {
                self.prompt_told = None;
            }
            return false;
        };
        self.prompt_gone = None;
        let since = match self.prompt_seen {
            Some((seen, since)) if seen == index => since,
            Some(_) | None => now,
        };
        self.prompt_seen = Some((index, since));
        if !self.due(now, since + SHOWN_FOR) {
            return true;
        }
        let (count, last) = self.answers[index];
        if last.is_some_and(|last| !self.due(now, last + ANSWER_AGAIN_AFTER)) {
            return true;
        }
        let adapter = Arc::clone(&self.adapter);
        let sign = &adapter.prompts[index];
        let can_answer = !sign.answer.is_empty();
        if can_answer && automation && !self.was_ready && count < sign.times {
            self.answers[index] = (count + 1, Some(now));
            self.prompt_told = Some(index);
            self.due(now, now + ANSWER_AGAIN_AFTER);
            findings.push(Finding::Prompt { prompt: self.prompt(sign), answer: sign.answer.clone() });
        } else if self.prompt_told != Some(index) || last.is_some() {
            self.prompt_told = Some(index);
            self.answers[index].1 = None;
            let prompt = self.prompt(sign);
            findings.push(match prompt.prompt {
                Some(question) if sign.question => Finding::Question(question),
                prompt_text => Finding::Prompt { prompt: BlockingPrompt { prompt: prompt_text, ..prompt }, answer: Vec::new() },
            });
        }
        true
    }

    fn shown_prompt(&self) -> Option<usize> {
        let (start, lines) = self.bottom(QUESTION_LINES);
        let text = lines.join("\n");
        let when = if self.was_ready { When::Running } else { When::Startup };
        // Once there are answers above, only what is below the program's own prompt is a question.
        let from = self.prompt_line().filter(|_| self.was_ready).map_or(0, |line| line.saturating_sub(start));
        let asked = |sign: &PromptSign| {
            sign.when == when && sign.sign.is_in(&text) && line_of(&sign.sign, lines).is_some_and(|(line, _)| line >= from)
        };
        self.adapter.prompts.iter().position(asked)
    }

    fn prompt(&self, sign: &PromptSign) -> BlockingPrompt {
        let (_, lines) = self.bottom(QUESTION_LINES);
        let asked = line_of(&sign.sign, lines);
        let after = asked.map_or(lines.len(), |(index, _)| index);
        BlockingPrompt {
            kind: sign.kind.clone(),
            prompt: asked.map(|(_, line)| told(line)),
            options: lines[after..].iter().filter_map(|line| option(line)).take(OPTIONS_MAX).collect(),
            can_auto_respond: !sign.answer.is_empty(),
            instructions: sign.instructions.clone(),
            url: None,
        }
    }

    /// The last line that looks like the one where the program takes its input. One that is far
    /// from the bottom is only the echo of what was typed before.
    fn prompt_line(&self) -> Option<usize> {
        let pattern = self.adapter.prompt_line.as_ref()?;
        let (start, lines) = self.bottom(PROMPT_LINES);
        Some(start + lines.iter().rposition(|line| pattern.is_match(line))?)
    }

    /// The last lines up to `count` that are not empty, with the number of the first of them.
    fn bottom(&self, count: usize) -> (usize, &[String]) {
        let lines = &self.view.lines;
        let used = lines.iter().enumerate().rev().filter(|(_, line)| !line.is_empty()).take(count);
        let (mut start, mut end) = (lines.len(), 0);
        for (index, _) in used {
            start = index;
            end = end.max(index + 1);
        }
        (start, lines.get(start..end).unwrap_or_default())
    }
}

fn shows(signs: &[Sign], text: &str) -> bool {
    signs.iter().any(|sign| sign.is_in(text))
}

/// Whether `login` has all that its method takes.
fn is_whole(login: &Login) -> bool {
    match login.method {
        LoginMethod::DeviceCode => login.login_url.is_some() && login.device_code.is_some(),
        LoginMethod::Browser => login.login_url.is_some(),
        LoginMethod::ApiKey | LoginMethod::CliAuth | LoginMethod::Oauth => true,
    }
}

/// Whether `now` has an address or a code that `told` lacked.
fn adds_to(told: &Login, now: &Login) -> bool {
    (told.login_url.is_none() && now.login_url.is_some()) || (now.device_code.is_some() && told.device_code != now.device_code)
}

/// The line in which the sign's first pattern matches last, and its number.
fn line_of<'a>(sign: &Sign, lines: &'a [String]) -> Option<(usize, &'a str)> {
    let text = lines.join("\n");
    let number = text[..sign.place(&text)?].matches('\n').count();
    Some((number, lines.get(number)?))
}

fn told(line: &str) -> String {
    line.trim().chars().take(TOLD_CHARS_MAX).collect()
}

/// A line of a numbered menu, without its number and pointer.
fn option(line: &str) -> Option<String> {
    let line = line.trim_start_matches(['❯', '›', '>', '●', '○', ' ']);
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let choice = line[digits..].strip_prefix(['.', ')']).filter(|_| (1..=2).contains(&digits))?.trim();
    (!choice.is_empty()).then(|| told(choice))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use terminal_screen::Row;

    use crate::adapter::Adapters;

    const PIECES: [&str; 16] = [
        "❯",
        "❯ 1. Yes, I trust this folder",
        "? for shortcuts",
        "esc to interrupt",
        "Is this a project you created or one you trust?",
        "Do you want to use this API key?",
        "Do you want to proceed?",
        "Not logged in · Run /login",
        "Open this URL: https://claude.ai/login",
        "https://claude.ai.evil.example/login",
        "enter this one-time code ABCD-1234",
        "New MCP server found in .mcp.json",
        "Process exited with code 1",
        "1. Yes",
        "Cooked for 3s",
        "",
    ];

    fn view(lines: &[&str]) -> View {
        View::of(lines.iter().map(|line| Row { text: (*line).to_owned(), wrapped: false }).collect(), 80)
    }

    fn agent(phase: Phase, now: Instant) -> Detection {
        Detection::new(claude(), phase.into(), now)
    }

    fn claude() -> Arc<Adapter> {
        static CLAUDE: LazyLock<Arc<Adapter>> = LazyLock::new(|| Adapters::built_in().find("claude").unwrap());
        Arc::clone(&CLAUDE)
    }

    proptest! {
        #[test]
        fn whatever_is_printed_after_the_first_ready_has_nothing_typed(
            screens in proptest::collection::vec((proptest::collection::vec(0..PIECES.len(), 0..24), 1_u64..20_000, any::<bool>()), 1..12),
        ) {
            let mut now = Instant::now();
            let mut detection = agent(Phase::Ready, now);
            for (lines, millis, send) in screens {
                now += Duration::from_millis(millis);
                if send {
                    detection.message_sent(now);
                }
                detection.printed(now);
                let lines: Vec<&str> = lines.into_iter().map(|index| PIECES[index]).collect();
                for finding in detection.look(now, view(&lines), true) {
                    let typed = matches!(finding, Finding::Prompt { ref answer, .. } if !answer.is_empty());
                    prop_assert!(!typed, "{finding:?}");
                }
                prop_assert!(detection.wake_at().is_none_or(|at| at > now));
            }
        }
    }

    #[test]
    fn an_adopted_agent_that_logs_in_again_has_nothing_typed_and_its_login_is_not_told_anew() {
        let now = Instant::now();
        let view =
            view(&["Not logged in · Run /login", "❯ 1. Yes, I trust this folder", "Is this a project you created or one you trust?"]);
        let found = |known: Known| {
            let mut detection = Detection::new(claude(), known, now);
            detection.printed(now);
            let mut findings = detection.look(now, view.clone(), true);
            findings.extend(detection.look(now + Duration::from_secs(2), view.clone(), true));
            findings
        };
        let typed =
            |findings: &[Finding]| findings.iter().any(|finding| matches!(finding, Finding::Prompt { answer, .. } if !answer.is_empty()));
        assert!(typed(&found(Phase::Authenticating.into())));
        let again = Known { phase: Phase::Authenticating, was_ready: true, login: None };
        let findings = found(again);
        let told = findings.iter().find_map(|finding| if let Finding::Login(login) = finding { Some(login.clone()) } else { None });
        assert!(!typed(&findings) && told.is_some(), "{findings:?}");
        assert_eq!(found(Known { phase: Phase::Authenticating, was_ready: true, login: told }), []);
    }

    #[test]
    fn text_above_an_idle_prompt_asks_for_no_login_and_text_while_busy_neither() {
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let above = view(&["Not logged in · Run /login", "❯", "? for shortcuts"]);
        let below = view(&["❯", "? for shortcuts Not logged in · Run /login"]);
        let login = |findings: Vec<Finding>| findings.iter().any(|finding| matches!(finding, Finding::Login(_)));
        for (phase, view, expected) in
            [(Phase::Ready, &above, false), (Phase::Ready, &below, true), (Phase::Busy, &below, false), (Phase::Starting, &below, true)]
        {
            let mut detection = agent(phase, now);
            detection.printed(now);
            assert!(!login(detection.look(now, view.clone(), true)));
            assert_eq!(login(detection.look(later(2), view.clone(), true)), expected, "{phase:?} {:?}", view.lines);
        }
    }
}

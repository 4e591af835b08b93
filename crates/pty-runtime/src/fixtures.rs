//! Plays what programs printed, on virtual time, and compares what is found out with what should
//! be. The format of the files in `fixtures` is told in its `README.md`.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use runtime_protocol::{BlockingPrompt, Login};
use serde::Deserialize;
use serde_json::json;

use crate::{
    adapter::Adapters,
    detection::{Finding, Phase},
    following::Follower,
    process::Size,
    ring::Output,
};

/// Time that is played after the last step, in milliseconds: as long as it takes until an unknown screen is ready.
const AFTERWARDS_MS: u64 = 40_000;

/// One line of a script: milliseconds from the start, and what happens then.
#[derive(Deserialize)]
struct Line(u64, Step);

#[derive(Deserialize)]
#[serde(untagged)]
enum Step {
    Prints(String),
    Sent { send: String },
    Resized { resize: (u16, u16) },
    Paused { paused: bool },
}

/// One agent that is played.
struct Play {
    started: Instant,
    output: Output,
    follower: Follower,
    size: Size,
    paused: bool,
    told: String,
}

impl Play {
    fn of(adapter: &str) -> Self {
        let adapter = Adapters::built_in().find(adapter).unwrap_or_else(|| panic!("no adapter {adapter}"));
        let started = Instant::now();
        let mut follower = Follower::new(adapter, Size::DEFAULT);
        follower.begin(Phase::Starting.into(), started);
        Self { started, output: Output::new(), follower, size: Size::DEFAULT, paused: false, told: String::new() }
    }

    fn run(&mut self, script: &str) {
        let mut now = 0;
        self.look(now);
        for line in script.lines() {
            let Line(at, step) = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(at >= now, "steps go back in time at {at}");
            self.wait_until(at);
            now = at;
            match step {
                Step::Prints(text) => self.output.print(text.as_bytes()),
                Step::Sent { send } => {
                    self.tell(at, &format!("sent {send:?}"));
                    self.follower.message_sent(self.time(at), &self.output, &send, None);
                }
                Step::Resized { resize: (cols, rows) } => self.size = Size::new(cols, rows).unwrap(),
                Step::Paused { paused } => self.paused = paused,
            }
            self.look(at);
        }
        self.wait_until(now + AFTERWARDS_MS);
    }

    fn time(&self, at: u64) -> Instant {
        self.started + Duration::from_millis(at)
    }

    fn wait_until(&mut self, at: u64) {
        let until = self.time(at);
        while let Some(wake) = self.follower.wake_at().filter(|wake| *wake <= until) {
            self.look(u64::try_from(wake.duration_since(self.started).as_millis()).unwrap());
        }
    }

    fn look(&mut self, at: u64) {
        for finding in self.follower.look(self.time(at), &self.output, self.size, !self.paused) {
            match finding {
                Finding::Ready => self.tell(at, "ready"),
                Finding::Working => self.tell(at, "busy"),
                Finding::TurnComplete => {
                    let closed = self.follower.close_turn();
                    self.tell(at, &format!("turn complete: {}", json!(closed.map(|closed| closed.text))));
                }
                Finding::Login(Login { login_url, instructions, device_code, method, verified }) => {
                    let parts = json!({ "url": login_url, "verified": verified, "code": device_code, "instructions": instructions });
                    self.tell(at, &format!("login {method:?} {parts}"));
                }
                Finding::Prompt { prompt: BlockingPrompt { kind, prompt, options, .. }, answer } => {
                    self.tell(at, &format!("prompt {kind} {}", json!({ "prompt": prompt, "options": options, "answer": answer })));
                }
                Finding::Question(question) => self.tell(at, &format!("question {question:?}")),
            }
        }
    }

    fn tell(&mut self, at: u64, what: &str) {
        writeln!(self.told, "{at:>6} {what}").unwrap();
    }
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn name(folder: &Path) -> &str {
    folder.file_name().and_then(|name| name.to_str()).unwrap()
}

#[test]
fn every_recorded_screen_is_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let (mut cases, mut wrong) = (0, String::new());
    for adapter in folders(&root) {
        for case in folders(&adapter) {
            let mut play = Play::of(name(&adapter));
            play.run(&fs::read_to_string(case.join("script.jsonl")).unwrap());
            let expected = case.join("expected.txt");
            if std::env::var_os("UPDATE_FIXTURES").is_some() {
                fs::write(&expected, &play.told).unwrap();
            }
            let expected = fs::read_to_string(&expected).unwrap_or_default();
            if play.told != expected {
                writeln!(wrong, "{}/{}", name(&adapter), name(&case)).unwrap();
                let gone = expected.lines().filter(|line| !play.told.lines().any(|told| told == *line));
                gone.for_each(|line| writeln!(wrong, "  - {line}").unwrap());
                let new = play.told.lines().filter(|line| !expected.lines().any(|told| told == *line));
                new.for_each(|line| writeln!(wrong, "  + {line}").unwrap());
            }
            cases += 1;
        }
    }
    assert!(wrong.is_empty(), "found out (+) instead of expected (-):\n{wrong}");
    assert!(cases > 3, "only {cases} cases were found");
}

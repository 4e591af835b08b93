//! Adapters: what the runtime knows of each kind of program that it runs, as data.
//!
//! One file per adapter says how the program is started and what its screen shows when it waits
//! for a login, for an answer or for work. The files in `adapters` are part of the binary; an
//! operator adds more, or replaces one, with a folder of such files. No code names any program.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use regex::{Regex, RegexBuilder};
use runtime_protocol::LoginMethod;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{problem::Problem, process::Mode};

const BUILT_IN: [(&str, &str); 7] = [
    ("claude.toml", include_str!("../adapters/claude.toml")),
    ("codex.toml", include_str!("../adapters/codex.toml")),
    ("gemini.toml", include_str!("../adapters/gemini.toml")),
    ("aider.toml", include_str!("../adapters/aider.toml")),
    ("hermes.toml", include_str!("../adapters/hermes.toml")),
    ("custom.toml", include_str!("../adapters/custom.toml")),
    ("echo.toml", include_str!("../adapters/echo.toml")),
];

/// Files that a folder of adapters may hold: many times what one host has programs for.
const FILES_MAX: usize = 100;
/// Bytes of one such file, more than ten times the longest that is built in.
const FILE_BYTES_MAX: u64 = 128 * 1024;
/// Compiled size of one pattern, in bytes: what a line of regular expression comes to, and far
/// below what would slow every look at a screen.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;
/// How often one startup prompt may be answered at the most, whatever its file says.
const ANSWERS_MAX: u8 = 5;
/// Where a key of the request goes in a value of `[credentials]`.
const KEY: &str = "{key}";
/// Where the message goes in the input of the structured mode.
const MESSAGE: &str = "{message}";
/// The credential that every program's tools may need, whatever its adapter says.
const GITHUB: (&str, [&str; 2]) = ("githubToken", ["GITHUB_TOKEN", "GH_TOKEN"]);
/// The credentials that a request may carry beside a GitHub token and variables of its own.
const PROVIDER_KEYS: [&str; 3] = ["anthropicKey", "openaiKey", "googleKey"];

/// All adapters of one runtime, by each spelling of their names.
#[derive(Clone, Debug)]
pub struct Adapters {
    by_spelling: HashMap<String, Arc<Adapter>>,
}

impl Adapters {
    /// The adapters that are part of the binary.
    #[must_use]
    pub fn built_in() -> Self {
        let mut adapters = Self { by_spelling: HashMap::new() };
        for (file, text) in BUILT_IN {
            let added = Adapter::read(text).and_then(|adapter| adapters.add(adapter));
            if let Err(why) = added {
                tracing::error!(file, why, "built-in adapter cannot be used");
            }
        }
        adapters
    }

    /// The built-in adapters and those in `folder`, where one with the name of another replaces it.
    ///
    /// # Errors
    /// One sentence for each file that cannot be used, naming the file and the key.
    pub fn with_folder(folder: &Path) -> Result<Self, Vec<String>> {
        let mut adapters = Self::built_in();
        let mut bad = Vec::new();
        let files = files(folder).map_err(|error| vec![format!("{}: {error}", folder.display())])?;
        if files.len() > FILES_MAX {
            return Err(vec![format!("{}: holds more than {FILES_MAX} adapters", folder.display())]);
        }
        for file in files {
            let added = text(&file).and_then(|text| Adapter::read(&text)).and_then(|adapter| adapters.add(adapter));
            if let Err(why) = added {
                bad.push(format!("{}: {why}", file.display()));
            }
        }
        if bad.is_empty() { Ok(adapters) } else { Err(bad) }
    }

    /// The adapter with this name or alias.
    pub(crate) fn find(&self, spelling: &str) -> Option<Arc<Adapter>> {
        self.by_spelling.get(spelling).cloned()
    }

    fn add(&mut self, adapter: Adapter) -> Result<(), String> {
        self.by_spelling.retain(|_, other| other.name != adapter.name);
        let adapter = Arc::new(adapter);
        for spelling in std::iter::once(&adapter.name).chain(&adapter.aliases) {
            if let Some(other) = self.by_spelling.get(spelling).filter(|other| !Arc::ptr_eq(other, &adapter)) {
                return Err(format!("aliases: {spelling:?} is taken by {:?}", other.name));
            }
            self.by_spelling.insert(spelling.clone(), Arc::clone(&adapter));
        }
        Ok(())
    }
}

/// How much a program may do without asking the person who watches it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Preset {
    Readonly,
    /// The program asks before it does anything that its own defaults hold for risky.
    #[default]
    Standard,
    Permissive,
    Autonomous,
}

impl Preset {
    /// Errors: `Invalid` for an unknown name.
    pub(crate) fn named(name: &str) -> Result<Self, Problem> {
        let known = "readonly, standard, permissive or autonomous";
        serde_json::from_value(Value::from(name)).map_err(|_| Problem::invalid("approvalPreset", format!("must be {known}, got {name:?}")))
    }
}

/// What the runtime knows of one kind of program.
#[derive(Debug)]
pub(crate) struct Adapter {
    pub(crate) name: String,
    aliases: Vec<String>,
    /// The first that is installed is run; empty when the request names one of the allow-list.
    pub(crate) commands: Vec<String>,
    arguments: Vec<String>,
    command_arguments: BTreeMap<String, Vec<String>>,
    pub(crate) environment: BTreeMap<String, String>,
    credentials: BTreeMap<String, BTreeMap<String, String>>,
    approval: BTreeMap<Preset, Vec<String>>,
    autonomous_only: Vec<Guarded>,
    pub(crate) login_hosts: Vec<String>,
    /// How the line looks where the program takes its input.
    pub(crate) prompt_line: Option<Regex>,
    pub(crate) ready: Vec<Sign>,
    pub(crate) not_ready: Vec<Sign>,
    pub(crate) working: Vec<Sign>,
    pub(crate) complete: Vec<Sign>,
    /// Lines that belong to the program's frame and not to what it answers.
    pub(crate) leave_out: Vec<Regex>,
    /// What the program puts before each part of an answer.
    pub(crate) bullet: Option<Regex>,
    pub(crate) logins: Vec<LoginSign>,
    pub(crate) prompts: Vec<PromptSign>,
    pub(crate) times: Times,
    structured: Option<Structured>,
}

/// An argument that gives a program more rights than a person watches over.
#[derive(Debug)]
struct Guarded {
    flag: String,
    /// Which values of the flag; all, and none at all, where there is no pattern.
    value: Option<Regex>,
}

impl Guarded {
    /// `--flag`, or `--flag PATTERN` for those values only that the pattern matches as a whole.
    fn read(text: &str) -> Result<Self, String> {
        let (flag, value) = text.split_once(' ').map_or((text, None), |(flag, value)| (flag, Some(value)));
        let value = value.map(|value| pattern("autonomous_only", &format!("^(?:{value})$"))).transpose()?;
        Ok(Self { flag: flag.into(), value })
    }

    /// Whether `arg`, with the argument that may follow it, is this one: the value comes behind an equals
    /// sign, as the next argument, or right behind a flag of one letter.
    fn is_in(&self, arg: &str, next: Option<&String>) -> bool {
        let is_short = self.flag.len() == 2 && !self.flag.starts_with("--");
        let Some(value) = &self.value else {
            let together = arg.strip_prefix('-').filter(|letters| letters.bytes().all(|letter| letter.is_ascii_alphabetic()));
            return arg.split('=').next() == Some(&self.flag)
                || (is_short && together.is_some_and(|letters| letters.contains(&self.flag[1..])));
        };
        let Some(rest) = arg.strip_prefix(&self.flag) else {
            return false;
        };
        match rest.strip_prefix('=') {
            Some(given) => value.is_match(given),
            None if rest.is_empty() => next.is_some_and(|given| value.is_match(given)),
            None => is_short && value.is_match(rest),
        }
    }
}

/// How long things take with one program.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    /// Quiet time after which a screen that looks ready counts as ready.
    pub(crate) settle: Duration,
    /// Time after which a program that prints nothing counts as ready too.
    pub(crate) silent: Option<Duration>,
    /// Time after which one that never pauses counts as ready too.
    pub(crate) latest: Option<Duration>,
    /// Quiet time after which a screen that no pattern knows counts as ready.
    pub(crate) unrecognised: Option<Duration>,
    /// Quiet time after which a turn counts as complete although no pattern says so.
    pub(crate) turn_quiet: Duration,
}

/// Something that a screen shows: all of its patterns.
#[derive(Debug)]
pub(crate) struct Sign(Vec<Regex>);

impl Sign {
    pub(crate) fn is_in(&self, text: &str) -> bool {
        self.0.iter().all(|pattern| pattern.is_match(text))
    }

    /// Where the first pattern matches last, if all do.
    pub(crate) fn place(&self, text: &str) -> Option<usize> {
        let place = self.0.first()?.find_iter(text).last()?.start();
        self.is_in(text).then_some(place)
    }
}

/// A sign that the program waits for a login.
#[derive(Debug)]
pub(crate) struct LoginSign {
    pub(crate) sign: Sign,
    pub(crate) method: LoginMethod,
    pub(crate) instructions: Option<String>,
    /// It counts, before the first ready, although the program shows where to type as well.
    pub(crate) despite_ready: bool,
    /// It counts below an idle prompt too, once the program was ready.
    pub(crate) when_idle: bool,
}

/// A question that holds the program up.
#[derive(Debug)]
pub(crate) struct PromptSign {
    pub(crate) sign: Sign,
    pub(crate) kind: String,
    pub(crate) when: When,
    /// What is typed to answer it, key by key; empty when a person has to.
    pub(crate) answer: Vec<String>,
    pub(crate) times: u8,
    pub(crate) instructions: Option<String>,
    /// A question of the program's own, not about permission: told as such.
    pub(crate) question: bool,
}

/// In which part of its life a program asks something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum When {
    /// Before the first ready.
    #[default]
    Startup,
    /// After it.
    Running,
}

impl Adapter {
    /// Whether the program's screen tells when it is ready; otherwise only its quiet does.
    pub(crate) fn reads_screen(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The arguments for `program` that the adapter gives by itself.
    pub(crate) fn arguments(&self, program: &Path, preset: Preset, mode: Mode) -> Vec<String> {
        let structured = self.structured.iter().filter(|_| mode == Mode::Structured).flat_map(|structured| &structured.arguments);
        let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let its = self.command_arguments.get(name).into_iter().flatten();
        let approved = self.approval.get(&preset).into_iter().flatten();
        // Last, since it may begin with a command of the program's own.
        self.arguments.iter().chain(its).chain(approved).chain(structured).cloned().collect()
    }

    /// The line that tells a structured program `message`; the message itself where the adapter has no form for it.
    pub(crate) fn structured_line(&self, message: &str) -> String {
        match self.structured.as_ref().and_then(|structured| structured.input.as_ref()) {
            Some(input) => input.replace(MESSAGE, &Value::from(message).to_string()),
            None => message.to_owned(),
        }
    }

    /// Errors: `Invalid` for an argument that would give more rights than `preset` does.
    pub(crate) fn check_arguments(&self, preset: Preset, given: &[String]) -> Result<(), Problem> {
        let next = given.iter().skip(1).map(Some).chain([None]);
        let guarded = |(arg, next): &(&String, Option<&String>)| self.autonomous_only.iter().any(|only| only.is_in(arg, *next));
        match given.iter().zip(next).find(guarded) {
            Some((arg, _)) if preset != Preset::Autonomous => {
                Err(Problem::invalid("config.args", format!("{arg:?} needs the approval preset autonomous")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The variables that carry the `credentials` of a request to the program.
    ///
    /// Errors: `Invalid` for a credential that is unknown, that the program does not use, or that
    /// is not text.
    pub(crate) fn credentials(&self, given: &Map<String, Value>) -> Result<HashMap<String, String>, Problem> {
        let mut env = HashMap::new();
        for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
            let field = format!("credentials.{name}");
            if name == "custom" {
                let own: HashMap<String, String> =
                    serde_json::from_value(value.clone()).map_err(|_| Problem::invalid(&field, "must be a map of texts"))?;
                env.extend(own);
                continue;
            }
            let key = value.as_str().ok_or_else(|| Problem::invalid(&field, "must be text"))?;
            match self.credentials.get(name) {
                Some(variables) => env.extend(variables.iter().map(|(name, value)| (name.clone(), value.replace(KEY, key)))),
                None if name == GITHUB.0 => env.extend(GITHUB.1.map(|name| (name.to_owned(), key.to_owned()))),
                None if PROVIDER_KEYS.contains(&name.as_str()) => {
                    return Err(Problem::invalid(&field, format!("is not used by {}", self.name)));
                }
                None => return Err(Problem::invalid(&field, "is not a known credential")),
            }
        }
        Ok(env)
    }

    fn read(text: &str) -> Result<Self, String> {
        let described: Description = toml::from_str(text).map_err(|error| error.to_string())?;
        described.check()?;
        let millis = |millis: Option<u64>| millis.map(Duration::from_millis);
        Ok(Self {
            prompt_line: described.prompt_line.as_deref().map(|text| pattern("prompt_line", text)).transpose()?,
            ready: signs("ready", &described.ready)?,
            not_ready: signs("not_ready", &described.not_ready)?,
            working: signs("working", &described.working)?,
            complete: signs("complete", &described.complete)?,
            leave_out: described.leave_out.iter().map(|text| pattern("leave_out", text)).collect::<Result<_, _>>()?,
            bullet: described.bullet.as_deref().map(|text| pattern("bullet", text)).transpose()?,
            logins: described.login.into_iter().enumerate().map(login_sign).collect::<Result<_, _>>()?,
            prompts: described.prompt.into_iter().enumerate().map(prompt_sign).collect::<Result<_, _>>()?,
            times: Times {
                settle: Duration::from_millis(described.settle_ms),
                silent: millis(described.silent_ms),
                latest: millis(described.latest_ms),
                unrecognised: millis(described.unrecognised_ms),
                turn_quiet: Duration::from_millis(described.turn_quiet_ms),
            },
            name: described.name,
            aliases: described.aliases,
            commands: described.commands,
            arguments: described.arguments,
            command_arguments: described.command_arguments,
            environment: described.environment,
            credentials: described.credentials,
            approval: described.approval,
            autonomous_only: described.autonomous_only.iter().map(|text| Guarded::read(text)).collect::<Result<_, _>>()?,
            login_hosts: described.login_hosts,
            structured: described.structured,
        })
    }
}

/// An adapter's file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    commands: Vec<String>,
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default)]
    command_arguments: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    credentials: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    approval: BTreeMap<Preset, Vec<String>>,
    #[serde(default)]
    autonomous_only: Vec<String>,
    #[serde(default)]
    login_hosts: Vec<String>,
    settle_ms: u64,
    silent_ms: Option<u64>,
    latest_ms: Option<u64>,
    unrecognised_ms: Option<u64>,
    turn_quiet_ms: u64,
    prompt_line: Option<String>,
    #[serde(default)]
    ready: Vec<SignText>,
    #[serde(default)]
    not_ready: Vec<SignText>,
    #[serde(default)]
    working: Vec<SignText>,
    #[serde(default)]
    complete: Vec<SignText>,
    #[serde(default)]
    leave_out: Vec<String>,
    bullet: Option<String>,
    #[serde(default)]
    login: Vec<LoginText>,
    #[serde(default)]
    prompt: Vec<PromptText>,
    structured: Option<Structured>,
}

/// One pattern, or several that a screen must show together.
#[derive(Deserialize)]
#[serde(untagged)]
enum SignText {
    One(String),
    All(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginText {
    pattern: SignText,
    method: LoginMethod,
    instructions: Option<String>,
    #[serde(default)]
    despite_ready: bool,
    #[serde(default)]
    when_idle: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PromptText {
    pattern: SignText,
    kind: String,
    #[serde(default)]
    when: When,
    #[serde(default)]
    answer: Vec<String>,
    #[serde(default = "twice")]
    times: u8,
    instructions: Option<String>,
    #[serde(default)]
    question: bool,
}

/// How the program is started without a terminal, to speak in lines of JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Structured {
    arguments: Vec<String>,
    /// One line of input, with the message as a JSON text at its place. Without it the message is the line.
    input: Option<String>,
}

fn twice() -> u8 {
    2
}

impl Description {
    fn check(&self) -> Result<(), String> {
        let plain = |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if let Some(name) = std::iter::once(&self.name).chain(&self.aliases).find(|name| !plain(name)) {
            return Err(format!("name and aliases: {name:?} must be letters, digits, dashes and underscores"));
        }
        for (credential, variables) in &self.credentials {
            if !PROVIDER_KEYS.contains(&credential.as_str()) && credential != GITHUB.0 {
                return Err(format!("credentials.{credential}: is not a known credential"));
            }
            if !variables.values().any(|value| value.contains(KEY)) {
                return Err(format!("credentials.{credential}: no value has {KEY}"));
            }
        }
        if self.ready.is_empty() && self.latest_ms.is_none() {
            return Err("latest_ms: is needed where no pattern of ready tells".into());
        }
        match &self.structured {
            Some(structured) if structured.input.as_ref().is_some_and(|input| !input.contains(MESSAGE)) => {
                Err(format!("structured.input: must have {MESSAGE}"))
            }
            Some(structured) if structured.arguments.iter().any(|arg| arg.contains('\0')) => {
                Err("structured.arguments: must not contain NUL".into())
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn login_sign((index, text): (usize, LoginText)) -> Result<LoginSign, String> {
    Ok(LoginSign {
        sign: sign(&format!("login[{index}].pattern"), &text.pattern)?,
        method: text.method,
        instructions: text.instructions,
        despite_ready: text.despite_ready,
        when_idle: text.when_idle,
    })
}

fn prompt_sign((index, text): (usize, PromptText)) -> Result<PromptSign, String> {
    if !(1..=ANSWERS_MAX).contains(&text.times) {
        return Err(format!("prompt[{index}].times: must be from 1 to {ANSWERS_MAX}"));
    }
    if text.when == When::Running && !text.answer.is_empty() {
        return Err(format!("prompt[{index}].answer: only what is asked before the first ready is answered"));
    }
    Ok(PromptSign {
        sign: sign(&format!("prompt[{index}].pattern"), &text.pattern)?,
        kind: text.kind,
        when: text.when,
        answer: text.answer,
        times: text.times,
        instructions: text.instructions,
        question: text.question,
    })
}

fn signs(key: &str, texts: &[SignText]) -> Result<Vec<Sign>, String> {
    texts.iter().enumerate().map(|(index, text)| sign(&format!("{key}[{index}]"), text)).collect()
}

fn sign(key: &str, text: &SignText) -> Result<Sign, String> {
    let patterns = match text {
        SignText::One(one) => vec![pattern(key, one)?],
        SignText::All(all) => all.iter().map(|one| pattern(key, one)).collect::<Result<_, _>>()?,
    };
    if patterns.is_empty() { Err(format!("{key}: needs a pattern")) } else { Ok(Sign(patterns)) }
}

fn pattern(key: &str, text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).case_insensitive(true).multi_line(true).size_limit(PATTERN_BYTES_MAX).build();
    built.map_err(|error| format!("{key}: {error}"))
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn text(file: &Path) -> Result<String, String> {
    let about = fs::metadata(file).map_err(|error| error.to_string())?;
    if !about.is_file() || about.len() > FILE_BYTES_MAX {
        return Err(format!("is no file of at most {FILE_BYTES_MAX} bytes"));
    }
    fs::read_to_string(file).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SMALLEST: &str = "name = \"scout\"\ncommands = [\"scout\"]\nsettle_ms = 1\nlatest_ms = 1\nturn_quiet_ms = 1\n";

    fn map(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn every_built_in_adapter_is_found_by_each_spelling() {
        let adapters = Adapters::built_in();
        for (spelling, name) in [
            ("claude-code", "claude"),
            ("claudecode", "claude"),
            ("claude_code", "claude"),
            ("gpt-codex", "codex"),
            ("openai-codex", "codex"),
            ("gemini-cli", "gemini"),
            ("gemini_cli", "gemini"),
            ("aider", "aider"),
            ("hermes", "hermes"),
            ("custom", "custom"),
            ("echo", "echo"),
        ] {
            assert_eq!(adapters.find(spelling).map(|adapter| adapter.name.clone()), Some(name.to_owned()), "{spelling}");
        }
        assert!(adapters.find("bash -c").is_none());
    }

    #[test]
    fn only_the_autonomous_preset_skips_permissions() {
        let adapters = Adapters::built_in();
        let skips = |name: &str, preset| {
            let adapter = adapters.find(name).unwrap();
            adapter.check_arguments(Preset::Standard, &adapter.arguments(Path::new(name), preset, Mode::Terminal)).is_err()
        };
        for name in ["claude", "codex", "gemini", "aider"] {
            assert!(!skips(name, Preset::Readonly) && !skips(name, Preset::Standard) && skips(name, Preset::Autonomous), "{name}");
        }
        assert!(!skips("claude", Preset::Permissive) && !skips("codex", Preset::Permissive) && !skips("gemini", Preset::Permissive));
        let claude = adapters.find("claude").unwrap();
        let skip = ["--dangerously-skip-permissions".to_owned()];
        assert_eq!(claude.arguments(Path::new("claude"), Preset::Autonomous, Mode::Terminal), skip);
        assert!(claude.check_arguments(Preset::Permissive, &skip).is_err());
        for (name, args) in [
            ("claude", vec!["--permission-mode", "bypassPermissions"]),
            ("claude", vec!["--permission-mode=bypassPermissions"]),
            ("claude", vec!["--settings", r#"{"permissions":{"defaultMode":"bypassPermissions"}}"#]),
            ("codex", vec!["--model", "x", "-s", "danger-full-access"]),
            ("codex", vec!["-sdanger-full-access"]),
            ("codex", vec!["--sandbox=danger-full-access"]),
            ("codex", vec!["-c", "sandbox_mode=\"danger-full-access\""]),
            ("codex", vec!["--config=profiles.x.sandbox_mode=danger-full-access"]),
            ("gemini", vec!["--approval-mode", "yolo"]),
            ("gemini", vec!["--approvalMode=yolo"]),
            ("gemini", vec!["-dy"]),
            ("aider", vec!["--yes-al"]),
            ("aider", vec!["--y"]),
        ] {
            let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
            let adapter = adapters.find(name).unwrap();
            assert!(adapter.check_arguments(Preset::Permissive, &args).is_err(), "{name} {args:?}");
            assert!(adapter.check_arguments(Preset::Autonomous, &args).is_ok(), "{name} {args:?}");
        }
        for (name, args) in [("claude", ["--permission-mode", "plan"]), ("codex", ["-s", "read-only"]), ("gemini", ["--prompt", "yolo"])] {
            assert!(adapters.find(name).unwrap().check_arguments(Preset::Standard, &args.map(str::to_owned)).is_ok(), "{name}");
        }
        assert!(Preset::named("root").is_err());
    }

    #[test]
    fn credentials_go_to_the_variables_of_the_program_and_unknown_ones_are_refused() {
        let adapters = Adapters::built_in();
        let gemini = adapters.find("gemini").unwrap();
        let env = gemini.credentials(&map(&json!({ "googleKey": "g", "githubToken": "h", "custom": { "A": "b" } }))).unwrap();
        let names = ["A", "GEMINI_API_KEY", "GH_TOKEN", "GITHUB_TOKEN", "GOOGLE_API_KEY"];
        let mut given: Vec<_> = env.keys().map(String::as_str).collect();
        given.sort_unstable();
        assert_eq!(given, names);
        assert_eq!(env["GEMINI_API_KEY"], "g");
        for bad in [json!({ "anthropicKey": "a" }), json!({ "password": "p" }), json!({ "googleKey": 1 }), json!({ "custom": { "A": 1 } })]
        {
            assert!(matches!(gemini.credentials(&map(&bad)), Err(Problem::Invalid(_))), "{bad}");
        }
    }

    #[test]
    fn a_folder_adds_an_adapter_and_replaces_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("scout.toml"), format!("aliases = [\"scouting\"]\n{SMALLEST}")).unwrap();
        fs::write(folder.path().join("echo.toml"), SMALLEST.replace("scout", "echo")).unwrap();
        fs::write(folder.path().join("notes.txt"), "no adapter").unwrap();
        let adapters = Adapters::with_folder(folder.path()).unwrap();
        assert_eq!(adapters.find("scouting").unwrap().name, "scout");
        assert_eq!(adapters.find("echo").unwrap().commands, ["echo"]);
    }

    #[test]
    fn a_bad_file_is_named_with_its_key() {
        for (text, key) in [
            (SMALLEST.replace("settle_ms", "settled_ms"), "settled_ms"),
            (format!("ready = [\"(\"]\n{SMALLEST}"), "ready[0]"),
            (format!("aliases = [\"claude\"]\n{SMALLEST}"), "aliases"),
            (format!("{SMALLEST}[credentials]\nroot = {{ A = \"{{key}}\" }}\n"), "credentials.root"),
            (
                format!("{SMALLEST}[[prompt]]\npattern = \"x\"\nkind = \"permission\"\nwhen = \"running\"\nanswer = [\"y\"]\n"),
                "prompt[0].answer",
            ),
            (format!("{SMALLEST}[structured]\narguments = []\ninput = \"x\"\n"), "structured.input"),
            (SMALLEST.replace("latest_ms = 1\n", ""), "latest_ms"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("bad.toml"), &text).unwrap();
            let reasons = Adapters::with_folder(folder.path()).unwrap_err();
            assert!(reasons.len() == 1 && reasons[0].contains("bad.toml") && reasons[0].contains(key), "{reasons:?}");
        }
    }
}

//! What the documents and the container files say of the project is so.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The parts of a decision record, in their order.
const PARTS: [&str; 5] = ["Context", "Decision", "Consequences", "Alternatives", "How we would know it was wrong"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn entries(folder: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn decisions() -> Vec<String> {
    entries("docs/decisions").iter().map(|path| path.strip_prefix(root()).unwrap().display().to_string()).collect()
}

/// Every document of the project.
fn documents() -> Vec<String> {
    let mut paths = decisions();
    paths.extend(["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(str::to_owned));
    paths
}

fn rust_sources(folder: &Path, into: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            into.push((path, text));
        }
    }
}

/// What stands between backticks, outside of code blocks.
fn quoted(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2)).collect()
}

fn looks_like_a_path(word: &str) -> bool {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c));
    let named = [".rs", ".md", ".toml", ".yml", ".json"].iter().any(|end| word.ends_with(end));
    let hidden = word.strip_prefix('.').is_some_and(|rest| rest.starts_with(char::is_alphabetic));
    plain && !word.starts_with('/') && (word.contains('/') || named || hidden)
}

/// The cells of a table's rows, without its head.
fn rows<'a>(text: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let table = text.split_once(head).unwrap_or_else(|| panic!("no table {head:?}")).1;
    let lines = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    lines.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// Names and values of `.env.example`.
fn settings() -> Vec<(String, String)> {
    let text = read(".env.example");
    let lines = text.lines().filter_map(|line| line.trim_start_matches("# ").split_once('='));
    let named = lines.filter(|(name, _)| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
    named.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn default_of(name: &str) -> String {
    settings().into_iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no setting {name}")).1
}

/// The names of the variants of an enum of commands, as the command line spells them.
fn commands(path: &str, name: &str) -> Vec<String> {
    let text = read(path);
    let body = text.split_once(&format!("enum {name} {{")).unwrap().1.split_once("\n}").unwrap().0;
    let variants = body.lines().filter_map(|line| line.strip_prefix("    ")).filter(|line| line.starts_with(char::is_uppercase));
    variants.map(|line| kebab(&line.chars().take_while(char::is_ascii_alphanumeric).collect::<String>())).collect()
}

/// `create-user` for `CreateUser`.
fn kebab(variant: &str) -> String {
    let mut name = String::new();
    for c in variant.chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// The words of a JSON list behind `key`, wherever it occurs.
fn lists<'a>(text: &'a str, key: &str) -> Vec<Vec<&'a str>> {
    let found = text.lines().filter_map(|line| line.trim().strip_prefix(key)?.trim().strip_prefix('[')?.strip_suffix(']'));
    found.map(|list| list.split(',').map(|word| word.trim().trim_matches('"')).collect()).collect()
}

/// The word behind each occurrence of `before`.
fn words_after<'a>(text: &'a str, before: &str) -> BTreeSet<&'a str> {
    let word = |rest: &'a str| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').next().unwrap_or_default();
    text.split(before).skip(1).map(word).filter(|word| !word.is_empty()).collect()
}

#[test]
fn every_path_in_the_architecture_and_in_the_decisions_exists() {
    let mut missing = Vec::new();
    for document in decisions().into_iter().chain(["ARCHITECTURE.md".to_owned()]) {
        let text = read(&document);
        let paths: Vec<&str> = quoted(&text).into_iter().filter(|word| looks_like_a_path(word)).collect();
        missing.extend(paths.iter().filter(|path| !root().join(path).exists()).map(|path| format!("{document}: {path}")));
    }
    let map = read("ARCHITECTURE.md");
    for row in rows(&map, "| Path | What it is |") {
        missing.extend(quoted(row[0]).into_iter().filter(|path| !root().join(path).exists()).map(|path| format!("the map: {path}")));
    }
    assert!(missing.is_empty(), "named but not there:\n{}", missing.join("\n"));
}

#[test]
fn the_code_map_has_every_module_and_every_crate() {
    let map = read("ARCHITECTURE.md");
    let named = quoted(&map);
    let modules = entries("src").into_iter().filter(|path| !path.ends_with("lib.rs"));
    let crates = entries("crates").into_iter().filter(|path| path.is_dir());
    for path in modules.chain(crates) {
        let path = path.strip_prefix(root()).unwrap().display().to_string();
        assert!(named.contains(&path.as_str()), "ARCHITECTURE.md lacks {path}");
    }
    for path in entries("src/domain") {
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(module == "mod" || named.contains(&module.as_str()), "ARCHITECTURE.md lacks the domain's {module}");
    }
}

#[test]
fn every_function_in_the_architecture_and_in_the_decisions_exists() {
    let mut sources = Vec::new();
    rust_sources(&root().join("src"), &mut sources);
    let exists = |owner: &str, function: &str| {
        let is_owner = |path: &Path, text: &str| {
            let is_module = path.file_stem().is_some_and(|stem| stem == owner) || path.ends_with(format!("{owner}/mod.rs"));
            is_module || text.contains(&format!("impl {owner} {{"))
        };
        let is_there = |text: &str| ["(", "<"].iter().any(|open| text.contains(&format!("fn {function}{open}")));
        sources.iter().any(|(path, text)| is_owner(path, text) && is_there(text))
    };
    let mut seen = 0;
    for document in decisions().into_iter().chain(["ARCHITECTURE.md".to_owned()]) {
        let text = read(&document);
        for (owner, function) in quoted(&text).into_iter().filter_map(|word| word.split_once("::")) {
            if function.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !function.is_empty() {
                assert!(exists(owner, function), "{document} names {owner}::{function}, which is not there");
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "the names were not found");
}

#[test]
fn the_architecture_fits_into_two_hundred_lines() {
    assert!(read("ARCHITECTURE.md").lines().count() < 200);
}

#[test]
fn every_decision_has_its_number_and_its_five_parts() {
    for (index, path) in decisions().iter().enumerate() {
        let number = format!("{:04}", index + 1);
        let text = read(path);
        assert!(path.starts_with(&format!("docs/decisions/{number}-")), "{path} should be {number}");
        assert!(text.starts_with(&format!("# {number} ")), "{path} has another number in its title");
        let parts: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(parts, PARTS, "{path}");
    }
}

#[test]
fn every_link_into_the_project_leads_somewhere() {
    for document in documents() {
        let text = read(&document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            // The console's picture is no link.
            if !link.contains("://") && link != "docs/console.png" {
                assert!(root().join(&document).parent().unwrap().join(link).exists(), "{document} links to {link}");
            }
        }
    }
}

#[test]
fn the_two_commands_and_every_other_task_that_is_named_exist() {
    let tasks = commands("xtask/src/main.rs", "Task");
    let readme = read("README.md");
    for command in ["up", "test"] {
        assert!(readme.contains(&format!("```text\ncargo xtask {command}\n```")), "README.md lacks cargo xtask {command}");
    }
    for document in documents() {
        for task in words_after(&read(&document), "cargo xtask ") {
            assert!(task.starts_with("--") || tasks.iter().any(|known| known == task), "{document} names cargo xtask {task}");
        }
    }
}

#[test]
fn every_command_in_the_operations_and_in_the_container_files_exists() {
    let mut known = commands("src/main.rs", "Task");
    known.retain(|command| command != "admin");
    known.extend(commands("src/main.rs", "Admin").iter().map(|command| format!("admin {command}")));
    let readme = read("README.md");
    let table = rows(&readme, "| Command | Does |");
    let named = table.iter().filter_map(|row| row[0].trim_matches('`').strip_prefix("raven-agents "));
    assert_eq!(named.collect::<BTreeSet<_>>(), known.iter().map(String::as_str).collect::<BTreeSet<_>>());

    let (dockerfile, compose) = (read("Dockerfile"), read("docker-compose.yml"));
    let given = [lists(&dockerfile, "CMD "), lists(&compose, "command:")].concat();
    let own: Vec<&Vec<&str>> = given.iter().filter(|words| words[0] != "CMD" && words[0] != "bash").collect();
    assert_eq!(own.len(), 2, "serve and migrate");
    for words in own {
        assert!(known.iter().any(|known| known == words[0]), "a container runs raven-agents {}", words[0]);
    }
    let programs: Vec<&str> = lists(&dockerfile, "ENTRYPOINT ").concat();
    assert_eq!(programs, ["raven-runtime", "raven-agents"]);
    assert!(read("Cargo.toml").contains("default-run = \"raven-agents\""));
    assert!(read("crates/pty-runtime/Cargo.toml").contains("name = \"raven-runtime\""));
}

#[test]
fn the_settings_table_is_the_example_file() {
    let readme = read("README.md");
    let table = rows(&readme, "| Name | Default | Meaning |");
    let example = settings();
    let names = |names: &mut dyn Iterator<Item = String>| names.collect::<BTreeSet<_>>();
    assert_eq!(
        names(&mut table.iter().map(|row| row[0].trim_matches('`').to_owned())),
        names(&mut example.iter().map(|(name, _)| name.clone())),
    );
    for row in &table {
        let name = row[0].trim_matches('`');
        match row[1] {
            "unset" => {}
            default => assert_eq!(default.trim_matches('`'), default_of(name), "{name}"),
        }
    }
    for (name, _) in example.iter().filter(|(_, value)| value.is_empty()) {
        assert!(table.iter().any(|row| row[0].trim_matches('`') == name && row[1] == "unset"), "{name} has no default");
    }
}

#[test]
fn containers_get_only_settings_that_there_are() {
    let compose = read("docker-compose.yml");
    let known: BTreeSet<String> = settings().into_iter().map(|(name, _)| name).collect();
    let set = compose.lines().filter_map(|line| line.strip_prefix("      ")?.split_once(": ")).map(|(name, _)| name);
    let taken_over = words_after(&compose, "${");
    let mut seen = 0;
    // The database's own begin with POSTGRES_.
    for name in set.chain(taken_over).filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')) {
        assert!(name.starts_with("POSTGRES_") || known.contains(name), "docker-compose.yml sets {name}");
        seen += 1;
    }
    assert!(seen > 20, "the settings were not found");
    for line in read("Dockerfile").lines().filter_map(|line| line.strip_prefix("ENV ")) {
        for (name, _) in line.split(' ').filter_map(|word| word.split_once('=')).filter(|(name, _)| !name.starts_with('-')) {
            assert!(name.starts_with("RUST") || known.contains(name), "Dockerfile sets {name}");
        }
    }
}

#[test]
fn containers_use_the_default_ports_and_publish_them_on_this_machine_only() {
    let (dockerfile, compose) = (read("Dockerfile"), read("docker-compose.yml"));
    let (service, runtime) = (default_of("PORT"), default_of("RUNTIME_PORT"));
    let exposed: Vec<&str> = dockerfile.lines().filter_map(|line| line.strip_prefix("EXPOSE ")).collect();
    assert_eq!(exposed, [runtime.as_str(), service.as_str()]);
    assert!(dockerfile.contains(&format!("ENV HOST=0.0.0.0 PORT={service}\n")));
    assert!(dockerfile.contains(&format!("RUNTIME_PORT={runtime}\n")));
    assert!(compose.contains(&format!("\"127.0.0.1:${{PORT:-{service}}}:{service}\"")));
    assert!(compose.contains(&format!("AGENT_RUNTIME_ENDPOINT: http://raven-runtime:{runtime}\n")));

    let published =
        compose.lines().skip_while(|line| !line.contains("ports:")).filter(|line| line.trim().starts_with("- \"") && line.contains(':'));
    let published: Vec<&str> = published.collect();
    assert_eq!(published.len(), 2, "{published:?}");
    assert!(published.iter().all(|line| line.contains("\"127.0.0.1:")), "{published:?}");
}

#[test]
fn the_runtime_in_a_container_may_call_the_service_back() {
    let compose = read("docker-compose.yml");
    let value =
        |name: &str| compose.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default().to_owned();
    assert!(!value("APP_URL").is_empty());
    assert_eq!(value("APP_URL"), value("CALLBACK_URL"), "callbacks go to the origin of CALLBACK_URL only");
    assert!(value("APP_URL").contains("http://raven-agents:"), "agents reach the service by its name");
}

#[test]
fn containers_ask_for_health_where_it_is_told() {
    let dockerfile = read("Dockerfile");
    let asked = words_after(&dockerfile.replace('/', "_"), "GET _")
        .into_iter()
        .map(|path| format!("/{}", path.replace('_', "/")))
        .collect::<Vec<_>>();
    assert_eq!(asked, ["/api/health", "/api/health/live"]);
    assert!(read("openapi/openapi.json").contains("\"/api/health/live\""));
    assert!(read("crates/pty-runtime/src/routes.rs").contains("\"/api/health\""));
}

#[test]
fn the_console_is_built_before_the_program_that_embeds_it() {
    let dockerfile = read("Dockerfile");
    let place = |text: &str| dockerfile.find(text).unwrap_or_else(|| panic!("Dockerfile lacks {text}"));
    assert!(place("npm run build") < place("COPY --from=web /src/web/dist web/dist"));
    assert!(place("COPY . .") < place("COPY --from=web /src/web/dist web/dist"));
    assert!(place("COPY --from=web /src/web/dist web/dist") < place("cargo build"));
    assert!(read("src/http/console.rs").contains("#[folder = \"web/dist\"]"));
}

#[test]
fn containers_are_built_with_the_versions_that_the_project_names() {
    let dockerfile = read("Dockerfile");
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    assert!(dockerfile.contains(&format!("FROM rust:{channel}-")), "the image is of another Rust than {channel}");
    assert!(dockerfile.contains(&format!("ENV RUSTUP_TOOLCHAIN={channel}\n")));

    let version = |text: &str| text.split('.').map(|part| part.parse().unwrap()).collect::<Vec<u32>>();
    let package = read("web/package.json");
    let engine = package.split_once("\"node\": \">=").unwrap().1.split_once('"').unwrap().0;
    let image = dockerfile.split_once("FROM node:").unwrap().1.split_once('-').unwrap().0;
    assert!(version(image) >= version(engine), "the image has Node.js {image}, the console needs {engine}");
    assert!(read("README.md").contains(&format!("Node.js {engine} or newer")));
    assert!(read("xtask/src/web.rs").contains(&format!("NODE_MIN: (u32, u32) = ({})", engine.replace('.', ", "))));
}

/// D-65: no credential is in the tree. What looks like one in tests is too short, or is checked by its own checksum.
#[test]
fn no_file_of_the_project_holds_a_credential() {
    let listed = std::process::Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let Some(listed) = listed.ok().filter(|output| output.status.success()) else { return };
    let mut found = Vec::new();
    for path in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|path| !path.is_empty()) {
        let Ok(text) = fs::read_to_string(root().join(path)) else { continue };
        let tokens = text.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-'));
        for token in tokens.filter(|token| is_credential(token)) {
            found.push(format!("{path}: {}…", &token[..12]));
        }
        if text.contains(concat!("PRIVATE KEY", "-----")) {
            found.push(format!("{path}: a private key"));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Whether a word has the form of a key, token or secret of ours, or of those that often leak.
fn is_credential(word: &str) -> bool {
    let long = |prefix: &str, chars: usize| word.strip_prefix(prefix).is_some_and(|rest| rest.len() >= chars && !is_repetitive(rest));
    [("mcp_", 64), ("agent_inv_", 40), ("agent_claim_", 40), ("ghp_", 36), ("sk-", 40), ("xoxb-", 30), ("AKIA", 16)]
        .into_iter()
        .any(|(prefix, chars)| long(prefix, chars))
}

/// Whether a text is made of so few characters that nobody drew it at random.
fn is_repetitive(text: &str) -> bool {
    text.chars().collect::<BTreeSet<char>>().len() < 8
}

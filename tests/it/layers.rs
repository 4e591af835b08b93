//! Which module may import which: left may name right, nothing else of ours.

use std::{fs, path::Path};

/// Layer → what it may import. `serve`, `main` and `up` put everything together and may import all.
const MAY_IMPORT: [(&str, &[&str]); 12] = [
    ("config", &[]),
    ("telemetry", &["config"]),
    ("database", &["config"]),
    ("http", &["app", "wire", "domain", "model"]),
    ("socket", &["app", "wire", "domain", "model"]),
    ("mcp", &["app", "wire", "domain", "model"]),
    ("workers", &["app", "wire", "domain", "model"]),
    ("domain", &["storage", "runtime", "model"]),
    ("storage", &["model"]),
    ("runtime", &["model"]),
    ("wire", &["model"]),
    ("app", &["config", "storage", "runtime", "model"]),
];

/// Inside the domain, downward only.
const DOMAIN_ORDER: [&[&str]; 9] = [
    &["spawns", "invites", "steering"],
    &["approvals", "runtimes", "credentials"],
    &[
        "adoption",
        "idempotency",
        "agents",
        "runs",
        "auth",
        "workspaces",
        "health",
        "standing",
        "webhooks",
        "activity",
        "listeners",
        "control",
        "shares",
    ],
    &["assignments", "keys", "terminals", "notifications", "tool_approvals", "tool_calls"],
    &["tasks"],
    &["projects", "comments", "memories", "search"],
    &["pages"],
    &["settings", "spaces", "recordings"],
    &["content", "events"],
];

fn sources(folder: &Path, into: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string();
            into.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The names right behind `crate::`, also in `use crate::{a, b::{…}}`.
fn imported(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (start, _) in text.match_indices("crate::") {
        let rest = &text[start + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            let mut taken = false;
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => taken = false,
                    c if depth == 0 && !taken && (c.is_alphanumeric() || c == '_') => word.push(c),
                    ':' if depth == 0 && !taken => taken = true,
                    _ => {}
                }
                if (taken || c == ',') && !word.is_empty() {
                    names.push(std::mem::take(&mut word));
                }
            }
            names.extend((!word.is_empty()).then_some(word));
        } else {
            names.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    names
}

/// The code without its tests.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

#[test]
fn every_layer_imports_only_what_lies_below_it() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 40, "the sources were not found");
    let mut broken = Vec::new();
    for (name, text) in &files {
        let layer = name.strip_prefix("src/").unwrap().split(['/', '.']).next().unwrap();
        let allowed: &[&str] = match layer {
            "lib" | "main" | "serve" | "up" => continue,
            "model" => &[],
            layer => MAY_IMPORT.iter().find(|(name, _)| *name == layer).unwrap_or_else(|| panic!("{name} is in no layer")).1,
        };
        for import in imported(code(text)) {
            if import != layer && !allowed.contains(&import.as_str()) {
                broken.push(format!("{name} imports {import}; {layer} may import {allowed:?}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn domain_modules_call_downward_only() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain"), &mut files);
    let rank = |module: &str| DOMAIN_ORDER.iter().position(|rank| rank.contains(&module));
    for (name, text) in &files {
        let module = name.strip_prefix("src/domain/").unwrap().trim_end_matches(".rs");
        if module == "mod" {
            continue;
        }
        let own = rank(module).unwrap_or_else(|| panic!("{name} has no place in the order"));
        let block = code(text).split("use super::").nth(1).map_or("", |rest| rest.split(';').next().unwrap_or(""));
        let words = block.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
        for used in words.filter(|word| rank(word).is_some()) {
            assert!(rank(used).unwrap() > own, "{name} uses {used}, which is not below it");
        }
    }
}

#[test]
fn the_scanner_sees_imports_in_every_form() {
    let text = "use crate::{\n    app::{App, B},\n    model::x,\n    storage,\n};\nfn f() { crate::wire::y() }";
    assert_eq!(imported(text), ["app", "model", "storage", "wire"]);
}

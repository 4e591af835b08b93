//! What was found: per scenario its claims, each with what was expected and what was seen.

use std::{
    fmt::{Debug, Display, Write as _},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{Profile, scenarios::Scenario, trouble::Trouble};

/// Characters of what was seen that are kept: a screen, not a flood.
const SEEN_CHARS_MAX: usize = 400;

/// How one claim stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Pass,
    Fail { expected: String, seen: String },
    NotApplicable { reason: String },
}

/// One claim of a scenario.
#[derive(Clone, Debug)]
pub struct Finding {
    pub claim: String,
    pub outcome: Outcome,
}

/// One scenario, played.
#[derive(Clone, Debug)]
pub struct Played {
    pub scenario: Scenario,
    pub findings: Vec<Finding>,
    pub took: Duration,
}

impl Played {
    /// A scenario fails with any of its claims, and applies with any of them.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        let any = |wanted: fn(&Outcome) -> bool| self.findings.iter().any(|finding| wanted(&finding.outcome));
        if any(|outcome| matches!(outcome, Outcome::Fail { .. })) {
            "fail"
        } else if any(|outcome| matches!(outcome, Outcome::Pass)) {
            "pass"
        } else {
            "not applicable"
        }
    }

    fn count(&self, wanted: fn(&Outcome) -> bool) -> usize {
        self.findings.iter().filter(|finding| wanted(&finding.outcome)).count()
    }
}

/// All scenarios that were played on one runtime.
#[derive(Clone, Debug)]
pub struct Report {
    pub base: String,
    pub profile: Profile,
    pub played: Vec<Played>,
}

impl Report {
    /// Whether no claim failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.played.iter().all(|played| played.verdict() != "fail")
    }

    /// Every claim, and a table of the scenarios at the end.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for played in &self.played {
            line(&mut text, format_args!("{}: {} ({:.1} s)", played.scenario.name(), played.verdict(), played.took.as_secs_f64()));
            for finding in &played.findings {
                match &finding.outcome {
                    Outcome::Pass => line(&mut text, format_args!("  pass  {}", finding.claim)),
                    Outcome::Fail { expected, seen } => {
                        line(&mut text, format_args!("  FAIL  {}", finding.claim));
                        line(&mut text, format_args!("        expected {expected}"));
                        line(&mut text, format_args!("        saw      {seen}"));
                    }
                    Outcome::NotApplicable { reason } => line(&mut text, format_args!("  n/a   {}: {reason}", finding.claim)),
                }
            }
        }
        line(&mut text, format_args!("\n{:<18} {:<14} {:>6} {:>6} {:>6} {:>8}", "scenario", "result", "pass", "fail", "n/a", "seconds"));
        for played in &self.played {
            let passed = played.count(|outcome| matches!(outcome, Outcome::Pass));
            let failed = played.count(|outcome| matches!(outcome, Outcome::Fail { .. }));
            let rest = played.findings.len() - passed - failed;
            let (name, verdict, seconds) = (played.scenario.name(), played.verdict(), played.took.as_secs_f64());
            line(&mut text, format_args!("{name:<18} {verdict:<14} {passed:>6} {failed:>6} {rest:>6} {seconds:>8.1}"));
        }
        text
    }

    #[must_use]
    pub fn to_json(&self) -> Value {
        let finding = |finding: &Finding| match &finding.outcome {
            Outcome::Pass => json!({ "claim": finding.claim, "result": "pass" }),
            Outcome::Fail { expected, seen } => json!({ "claim": finding.claim, "result": "fail", "expected": expected, "seen": seen }),
            Outcome::NotApplicable { reason } => json!({ "claim": finding.claim, "result": "not applicable", "reason": reason }),
        };
        let scenarios: Vec<Value> = self
            .played
            .iter()
            .map(|played| {
                json!({
                    "scenario": played.scenario.name(),
                    "result": played.verdict(),
                    "seconds": played.took.as_secs_f64(),
                    "findings": played.findings.iter().map(finding).collect::<Vec<_>>(),
                })
            })
            .collect();
        let profile = match self.profile {
            Profile::Raven => "raven",
            Profile::Parallax => "parallax",
        };
        json!({ "runtime": self.base, "profile": profile, "passed": self.passed(), "scenarios": scenarios })
    }
}

/// Gathers the claims of a scenario while it is played.
#[derive(Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn holds(&mut self, claim: impl Into<String>, holds: bool, expected: impl Display, seen: impl Display) {
        let outcome =
            if holds { Outcome::Pass } else { Outcome::Fail { expected: expected.to_string(), seen: shortened(&seen.to_string()) } };
        self.0.push(Finding { claim: claim.into(), outcome });
    }

    pub(crate) fn equal<T: PartialEq + Debug>(&mut self, claim: impl Into<String>, expected: &T, seen: &T) {
        self.holds(claim, expected == seen, format!("{expected:?}"), format!("{seen:?}"));
    }

    pub(crate) fn not_applicable(&mut self, claim: impl Into<String>, reason: impl Into<String>) {
        self.0.push(Finding { claim: claim.into(), outcome: Outcome::NotApplicable { reason: reason.into() } });
    }

    /// The end of a scenario, reached or not.
    pub(crate) fn end(mut self, played: Result<(), Trouble>) -> Vec<Finding> {
        if let Err(trouble) = played {
            self.holds("the scenario is played to its end", false, "every step to be possible", trouble);
        }
        self.0
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SEEN_CHARS_MAX) {
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], text.len()),
        None => text.to_owned(),
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(outcomes: &[Outcome]) -> Played {
        let findings = outcomes.iter().map(|outcome| Finding { claim: "a claim".into(), outcome: outcome.clone() }).collect();
        Played { scenario: Scenario::Spawn, findings, took: Duration::ZERO }
    }

    #[test]
    fn one_failed_claim_fails_its_scenario_and_the_report() {
        let fail = Outcome::Fail { expected: "1".into(), seen: "2".into() };
        let rest = Outcome::NotApplicable { reason: "none here".into() };
        let verdicts = [
            played(&[Outcome::Pass, fail.clone()]),
            played(&[Outcome::Pass, rest.clone()]),
            played(std::slice::from_ref(&rest)),
            played(&[]),
        ]
        .map(|played| played.verdict());
        assert_eq!(verdicts, ["fail", "pass", "not applicable", "not applicable"]);
        let report = Report { base: "http://host".into(), profile: Profile::Raven, played: vec![played(&[fail])] };
        assert!(!report.passed() && report.to_json()["passed"] == false);
        assert!(report.to_text().contains("FAIL  a claim"), "{}", report.to_text());
    }

    #[test]
    fn what_was_seen_is_cut_between_characters() {
        let long = "é".repeat(SEEN_CHARS_MAX + 1);
        assert!(shortened(&long).ends_with(&format!("é… ({} bytes)", long.len())));
        assert_eq!(shortened("short"), "short");
    }
}

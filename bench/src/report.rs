//! What is printed and what is kept: medians of all runs with their spread, and where they come from.

use std::{borrow::Cow, fmt::Write as _, fs, time::Duration};

use anyhow::{Context as _, Result};
use chrono::{SecondsFormat, Utc};
use serde::Serialize;

use crate::{
    Plan, compare,
    load::Run,
    machine::{self, Machine, Versions},
    scenario::Scenario,
    stage::Stage,
};

/// When the last of 200 sockets should be closed.
const REVOCATION_AIM_MS: f64 = 100.0;

/// Cores that others may keep busy before the numbers say more of them than of us.
const DISTURBANCE_CORES_MAX: f64 = 0.1;

/// Digits that mean something: the runs differ by more.
const DIGITS: i32 = 4;

/// The middle of all runs, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.saturating_sub(1)), at(middle)) };
        Self { median: rounded(median), min: rounded(at(0)), max: rounded(at(values.len().saturating_sub(1))) }
    }
}

/// The value with as many digits as mean something.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a logarithm of a float is small")]
    let magnitude = value.abs().log10().floor() as i32;
    let decimals = DIGITS - 1 - magnitude;
    // Dividing by a power of ten is exact where multiplying by its inverse is not.
    if decimals >= 0 {
        let scale = 10_f64.powi(decimals);
        (value * scale).round() / scale
    } else {
        let scale = 10_f64.powi(-decimals);
        (value / scale).round() * scale
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// One server in one case.
#[derive(Serialize)]
struct Measured {
    case: &'static str,
    connections: usize,
    server: &'static str,
    answer_bytes: usize,
    requests_per_second: Spread,
    p50_ms: Spread,
    p99_ms: Spread,
    max_ms: Spread,
    cpu_ms_per_request: Spread,
    requests_per_cpu_second: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    database_cpu_ms_per_request: Option<Spread>,
    load_cores: Spread,
    other_cores: Spread,
}

impl Measured {
    fn of(row: &compare::Row) -> Self {
        let spread = |value: fn(&Run) -> f64| Spread::of(row.runs.iter().map(value));
        let database: Option<Vec<f64>> = row.runs.iter().map(|run| run.database_cpu_ms).collect();
        Self {
            case: row.case,
            connections: row.connections,
            server: row.server,
            answer_bytes: row.answer_bytes,
            requests_per_second: spread(|run| run.requests_per_second),
            p50_ms: spread(|run| run.p50_ms),
            p99_ms: spread(|run| run.p99_ms),
            max_ms: spread(|run| run.max_ms),
            cpu_ms_per_request: spread(|run| run.cpu_ms),
            requests_per_cpu_second: spread(|run| run.requests_per_cpu_second),
            database_cpu_ms_per_request: database.map(|values| Spread::of(values.into_iter())),
            load_cores: spread(|run| run.load_cores),
            other_cores: spread(|run| run.other_cores),
        }
    }

    fn cells(&self) -> Vec<String> {
        let Spread { median, min, max } = self.requests_per_second;
        vec![
            self.case.to_owned(),
            self.connections.to_string(),
            self.server.to_owned(),
            median.to_string(),
            format!("{min}–{max}"),
            self.p50_ms.median.to_string(),
            self.p99_ms.median.to_string(),
            self.max_ms.median.to_string(),
            self.cpu_ms_per_request.median.to_string(),
            self.requests_per_cpu_second.median.to_string(),
            self.database_cpu_ms_per_request.map_or("–".to_owned(), |spread| spread.median.to_string()),
            self.load_cores.median.to_string(),
            self.other_cores.median.to_string(),
        ]
    }
}

const MEASURED_HEAD: [&str; 13] = [
    "case",
    "conns",
    "server",
    "requests/s",
    "from–to",
    "p50 ms",
    "p99 ms",
    "max ms",
    "CPU ms/req",
    "req/CPU-s",
    "db CPU ms/req",
    "load cores",
    "other cores",
];

/// The service by the peer, medians by medians.
#[derive(Serialize)]
struct Ratio {
    case: &'static str,
    connections: usize,
    requests_per_second: f64,
    requests_per_cpu_second: f64,
    p99: f64,
}

impl Ratio {
    fn of(service: &Measured, peer: &Measured) -> Self {
        let by = |value: fn(&Measured) -> Spread| rounded(value(service).median / value(peer).median);
        Self {
            case: service.case,
            connections: service.connections,
            requests_per_second: by(|row| row.requests_per_second),
            requests_per_cpu_second: by(|row| row.requests_per_cpu_second),
            p99: by(|row| row.p99_ms),
        }
    }

    fn cells(&self) -> Vec<String> {
        let numbers = [self.requests_per_second, self.requests_per_cpu_second, self.p99];
        let mut cells = vec![self.case.to_owned(), self.connections.to_string()];
        cells.extend(numbers.map(|number| number.to_string()));
        cells
    }
}

#[derive(Serialize)]
struct Servers {
    rows: Vec<Measured>,
    service_by_peer: Vec<Ratio>,
}

/// What one revocation took.
pub(crate) struct Revocation {
    /// Opening all sockets, one after the other.
    pub(crate) opened: Duration,
    pub(crate) first_closed: Duration,
    pub(crate) last_closed: Duration,
    /// Until the receipt was read.
    pub(crate) answered: Duration,
    /// What the receipt says.
    pub(crate) told_ms: u64,
    pub(crate) told_sockets: u64,
    /// CPU of the service meanwhile.
    pub(crate) cpu: Duration,
}

/// All that were measured.
pub(crate) struct Revocations {
    pub(crate) sockets: usize,
    pub(crate) revocations: Vec<Revocation>,
}

#[derive(Serialize)]
struct Revoked {
    sockets: usize,
    aim_ms: f64,
    last_closed_ms: Spread,
    first_closed_ms: Spread,
    answered_ms: Spread,
    receipt_took_ms: Spread,
    receipt_sockets: Spread,
    /// The mean: one revocation takes less than a clock tick.
    mean_cpu_ms: f64,
    opening_ms: Spread,
}

impl Revoked {
    fn of(measured: &Revocations) -> Self {
        let spread = |value: fn(&Revocation) -> f64| Spread::of(measured.revocations.iter().map(value));
        let cpu = ms(measured.revocations.iter().map(|one| one.cpu).sum());
        Self {
            sockets: measured.sockets,
            aim_ms: REVOCATION_AIM_MS,
            last_closed_ms: spread(|one| ms(one.last_closed)),
            first_closed_ms: spread(|one| ms(one.first_closed)),
            answered_ms: spread(|one| ms(one.answered)),
            receipt_took_ms: spread(|one| ms(Duration::from_millis(one.told_ms))),
            receipt_sockets: spread(|one| count(one.told_sockets)),
            mean_cpu_ms: rounded(cpu / count(measured.revocations.len() as u64)),
            opening_ms: spread(|one| ms(one.opened)),
        }
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let row = |name: &str, spread: Spread| vec![name.to_owned(), spread.median.to_string(), format!("{}–{}", spread.min, spread.max)];
        vec![
            row("last socket closed, ms", self.last_closed_ms),
            row("first socket closed, ms", self.first_closed_ms),
            row("receipt read, ms", self.answered_ms),
            row("receipt: tookMs", self.receipt_took_ms),
            row("receipt: sockets", self.receipt_sockets),
            vec!["CPU of the service, mean ms".to_owned(), self.mean_cpu_ms.to_string(), String::new()],
            row("opening all sockets, ms", self.opening_ms),
        ]
    }
}

/// One quantity of one subject, as measured in each run.
pub(crate) struct Figure {
    pub(crate) quantity: Cow<'static, str>,
    pub(crate) subject: &'static str,
    pub(crate) values: Vec<f64>,
}

#[derive(Serialize)]
struct Row {
    quantity: Cow<'static, str>,
    subject: &'static str,
    #[serde(flatten)]
    spread: Spread,
}

#[expect(clippy::cast_precision_loss, reason = "nobody has 2^52 sockets")]
fn count(number: u64) -> f64 {
    number as f64
}

/// The file with the results of one scenario.
#[derive(Serialize)]
struct Document<T> {
    scenario: &'static str,
    about: String,
    date: String,
    versions: Versions,
    machine: Machine,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    runs: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_per_run: Option<u64>,
    results: T,
}

/// The results of one scenario.
pub(crate) struct Report {
    scenario: Scenario,
    json: String,
    text: String,
}

impl Report {
    /// Of the service and its peer, row by row in turn.
    pub(crate) fn of_servers(scenario: Scenario, about: &str, rows: &[compare::Row], stage: &Stage, plan: &Plan) -> Result<Self> {
        let rows: Vec<Measured> = rows.iter().map(Measured::of).collect();
        let ratios: Vec<Ratio> = rows.chunks_exact(2).map(|pair| Ratio::of(&pair[0], &pair[1])).collect();
        let mut text = table(&MEASURED_HEAD, &rows.iter().map(Measured::cells).collect::<Vec<_>>());
        let head = ["service by peer", "conns", "requests/s", "req/CPU-s", "p99"];
        text.push('\n');
        text.push_str(&table(&head, &ratios.iter().map(Ratio::cells).collect::<Vec<_>>()));
        let disturbance = rows.iter().map(|row| row.other_cores.median).fold(0.0, f64::max);
        if disturbance > DISTURBANCE_CORES_MAX {
            writeln!(text, "\nOther programs kept up to {disturbance} cores busy: measure again when this machine is idle.")?;
        }
        let seconds = Some(plan.window.as_secs());
        Self::new(scenario, about.to_owned(), &text, Servers { rows, service_by_peer: ratios }, seconds, Some(stage), plan)
    }

    /// Of revocations, one per run.
    pub(crate) fn of_revocations(scenario: Scenario, measured: &Revocations, stage: &Stage, plan: &Plan) -> Result<Self> {
        let revoked = Revoked::of(measured);
        let text = table(&["", "median", "from–to"], &revoked.rows());
        let about = format!("POST /api/parallax-agents/{{id}}/revoke with {} sockets of the agent open on /mcp", revoked.sockets);
        Self::new(scenario, about, &text, revoked, None, Some(stage), plan)
    }

    /// Of the runtime and of what it is compared with.
    pub(crate) fn of_runtime(scenario: Scenario, about: &str, figures: Vec<Figure>, plan: &Plan) -> Result<Self> {
        Self::of_figures(scenario, about, figures, None, plan)
    }

    /// Of terminals, through the service and through its peer.
    pub(crate) fn of_terminals(scenario: Scenario, about: &str, figures: Vec<Figure>, stage: &Stage, plan: &Plan) -> Result<Self> {
        Self::of_figures(scenario, about, figures, Some(stage), plan)
    }

    fn of_figures(scenario: Scenario, about: &str, figures: Vec<Figure>, stage: Option<&Stage>, plan: &Plan) -> Result<Self> {
        let row =
            |figure: Figure| Row { quantity: figure.quantity, subject: figure.subject, spread: Spread::of(figure.values.into_iter()) };
        let rows: Vec<Row> = figures.into_iter().map(row).collect();
        let cells = |row: &Row| {
            let Spread { median, min, max } = row.spread;
            vec![row.quantity.clone().into_owned(), row.subject.to_owned(), median.to_string(), format!("{min}–{max}")]
        };
        let text = table(&["", "of", "median", "from–to"], &rows.iter().map(cells).collect::<Vec<_>>());
        Self::new(scenario, about.to_owned(), &text, rows, None, stage, plan)
    }

    fn new(
        scenario: Scenario,
        about: String,
        table: &str,
        results: impl Serialize,
        seconds_per_run: Option<u64>,
        stage: Option<&Stage>,
        plan: &Plan,
    ) -> Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "there is no transaction here to take the time from")]
        let date = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
        let database = stage.map(Stage::database_facts);
        let facts = database.as_ref().map(|database| format!("{database}; ")).unwrap_or_default();
        let text = format!("{}: {about}\n{facts}medians of {} runs\n\n{table}", scenario.name(), plan.runs);
        let document = Document {
            scenario: scenario.name(),
            about,
            date,
            versions: Versions::read(),
            machine: Machine::read(),
            database,
            runs: plan.runs,
            seconds_per_run,
            results,
        };
        Ok(Self { scenario, json: serde_json::to_string_pretty(&document)? + "\n", text })
    }

    /// For people.
    pub(crate) fn to_text(&self) -> &str {
        &self.text
    }

    /// Writes the file that is committed when something was measured on purpose; its path in the project.
    pub(crate) fn save(&self) -> Result<String> {
        let name = format!("bench/results/{}.json", self.scenario.name());
        let path = machine::root().join(&name);
        let folder = path.parent().context("the file lies in a folder")?;
        fs::create_dir_all(folder).and_then(|()| fs::write(&path, &self.json)).with_context(|| format!("{name} could not be written"))?;
        Ok(name)
    }
}

/// Columns as wide as their widest cell; the first is aligned to the left, numbers to the right.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([head[column].chars().count()]).max().unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    for row in [&head].into_iter().chain(rows) {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") })
            .collect();
        writeln!(text, "{}", cells.join("  ").trim_end()).expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        let of = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(of(&[5.0, 1.0, 3.0]), Spread { median: 3.0, min: 1.0, max: 5.0 });
        assert_eq!(of(&[4.0, 1.0, 3.0, 2.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(of(&[]), Spread { median: 0.0, min: 0.0, max: 0.0 });
    }

    #[test]
    fn values_keep_four_digits() {
        let shown = [12345.6, 1.234_56, 0.001_234_56, 0.0].map(|value| rounded(value).to_string());
        assert_eq!(shown, ["12350", "1.235", "0.001235", "0"]);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "1–2".to_owned()], vec!["bcd".to_owned(), "3".to_owned()]];
        assert_eq!(table(&["x", "n"], &rows), "x      n\na    1–2\nbcd    3\n");
    }
}

//! Everything that is generated and committed: the query cache, the API document, the console's types.
//!
//! All of it is made in a temporary folder from a database with nothing but our migrations, and then
//! either compared with the project or moved into it. The query cache needs no tool of its own:
//! sqlx's macros, compiled with `SQLX_OFFLINE=false` and a database, write one file per query into
//! the folder `SQLX_OFFLINE_DIR`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::database::Temporary;
use crate::{interrupt, run, web};

const QUERIES: &str = ".sqlx";
const API: &str = "openapi/openapi.json";
const CONSOLE_TYPES: &str = "web/src/api/schema.d.ts";

/// Lines of difference shown at most: the command to run matters more.
const DIFF_LINES_MAX: usize = 200;

/// Regenerates everything.
pub(crate) fn write() -> Result<()> {
    let made = Made::all()?;
    let stale = made.differing()?;
    for path in &stale {
        made.install(path)?;
        eprintln!("    wrote {path}");
    }
    if stale.is_empty() {
        eprintln!("    everything generated was up to date");
    }
    Ok(())
}

/// Fails, showing the difference, when something generated is not what the sources say.
pub(crate) fn check() -> Result<()> {
    let made = Made::all()?;
    let stale = made.differing()?;
    if stale.is_empty() {
        return Ok(());
    }
    for path in &stale {
        made.show_difference(path)?;
    }
    bail!("{} generated file(s) differ from their sources ({}): run `cargo xtask gen` and commit the result", stale.len(), some(&stale));
}

fn some(paths: &BTreeSet<String>) -> String {
    /// Names enough to recognize what happened.
    const SHOWN: usize = 3;
    let mut text = paths.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if paths.len() > SHOWN {
        text.push_str(", …");
    }
    text
}

/// A folder with everything generated, under the paths it has in the project; removed when dropped.
struct Made {
    folder: PathBuf,
}

impl Made {
    fn all() -> Result<Self> {
        web::require_node()?;
        web::install()?;
        web::ensure_dist_folder()?;
        let made = Self { folder: std::env::temp_dir().join(format!("raven-gen-{}", std::process::id())) };
        for folder in [QUERIES, "openapi", "web/src/api"] {
            fs::create_dir_all(made.folder.join(folder)).context("the temporary folder cannot be written: check TMPDIR")?;
        }
        let database = Temporary::start("gen")?;
        database.migrate()?;
        made.queries(&database)?;
        made.api(&database)?;
        database.stop()?;
        made.console_types()?;
        Ok(made)
    }

    /// Compiles everything that may hold a query, with the database to ask.
    fn queries(&self, database: &Temporary) -> Result<()> {
        // Neither cargo nor rustc knows that the macros read the database: a newer file makes them run again.
        let library = run::root().join("src/lib.rs");
        File::options()
            .append(true)
            .open(&library)
            .and_then(|file| file.set_modified(SystemTime::now()))
            .context("src/lib.rs cannot be touched: check its permissions")?;
        let mut command = run::cargo(&["check", "--quiet", "--package", "raven-agents", "--all-targets"]);
        self.with_database(&mut command, database);
        run::step("query cache", &mut command, "correct the queries or migrations that the compiler names above")
    }

    fn api(&self, database: &Temporary) -> Result<()> {
        let file = File::create(self.folder.join(API)).context("the temporary folder cannot be written: check TMPDIR")?;
        let mut command = run::cargo(&["run", "--quiet", "--package", "raven-agents", "--bin", "raven-agents", "--", "schema"]);
        self.with_database(&mut command, database);
        command.stdin(Stdio::null()).stdout(file);
        run::step("API document", &mut command, "correct what is named above; `cargo run -- schema` shows it alone")
    }

    fn with_database(&self, command: &mut Command, database: &Temporary) {
        command.env("DATABASE_URL", database.url()).env("SQLX_OFFLINE", "false").env("SQLX_OFFLINE_DIR", self.folder.join(QUERIES));
    }

    /// The same program as `npm run gen`, with other paths.
    fn console_types(&self) -> Result<()> {
        let mut command = Command::new(web::folder().join("node_modules/.bin/openapi-typescript"));
        command
            .arg(self.folder.join(API))
            .arg("--output")
            .arg(self.folder.join(CONSOLE_TYPES))
            .current_dir(web::folder())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        run::step("console types", &mut command, "delete web/node_modules and run this again")
    }

    /// Paths whose content here and in the project is not the same, including those only in one.
    fn differing(&self) -> Result<BTreeSet<String>> {
        let mut paths = BTreeSet::from([API.to_owned(), CONSOLE_TYPES.to_owned()]);
        for root in [&self.folder, run::root()] {
            paths.extend(queries_in(&root.join(QUERIES))?);
        }
        paths.retain(|path| content(&self.folder.join(path)) != content(&run::root().join(path)));
        Ok(paths)
    }

    fn install(&self, path: &str) -> Result<()> {
        let target = run::root().join(path);
        let done = match content(&self.folder.join(path)) {
            Some(bytes) => target.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&target, bytes)),
            None => fs::remove_file(&target),
        };
        done.with_context(|| format!("{path} could not be written: check its permissions"))
    }

    fn show_difference(&self, path: &str) -> Result<()> {
        let existing = |path: PathBuf| if path.exists() { path } else { PathBuf::from("/dev/null") };
        let (committed, made) = (existing(run::root().join(path)), existing(self.folder.join(path)));
        eprintln!("--- {path}, as it is and as it should be");
        let mut command = Command::new("git");
        command.args(["--no-pager", "diff", "--no-index", "--no-prefix"]).args([committed, made]);
        let output = command.stdin(Stdio::null()).output().context("git is missing, which shows differences: install it")?;
        let text = String::from_utf8_lossy(&output.stdout);
        // The first lines repeat the paths.
        let lines: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("@@")).collect();
        for line in lines.iter().take(DIFF_LINES_MAX) {
            eprintln!("{line}");
        }
        if lines.len() > DIFF_LINES_MAX {
            eprintln!("… and {} more lines", lines.len() - DIFF_LINES_MAX);
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder)
            && !interrupt::happened()
        {
            eprintln!("xtask: {} is left over ({error}): delete it", self.folder.display());
        }
    }
}

/// Files of the query cache in a folder, as paths in the project; none when there is no folder.
fn queries_in(folder: &Path) -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut paths = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("query-") {
            paths.push(format!("{QUERIES}/{name}"));
        }
    }
    Ok(paths)
}

fn content(path: &Path) -> Option<Vec<u8>> {
    fs::read(path).ok()
}

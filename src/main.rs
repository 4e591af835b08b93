//! Parses the command line and hands over.

use std::{io::Read as _, net::TcpListener, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use mimalloc::MiMalloc;
use raven_agents::{
    config::{self, Config},
    database::Database,
    domain::{
        adoption::{self, Contents, Found, Rehearsal},
        auth,
        health::{ProbeError, refuses_token},
        runtimes,
        workspaces::{self, NewPerson, Standing},
    },
    http, mcp,
    model::{clock::Clock, ids::WorkspaceId, mcp_config, seal::Sealer, workspace::Role},
    runtime::{RuntimeClient, Runtimes},
    serve,
    storage::{self, Tx},
    telemetry, up,
};
use sqlx::migrate::MigrateError;

/// Requests are many small allocations, on all threads at once.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How long it takes at the most until another second has begun.
const UNTIL_NEXT_SECOND: Duration = Duration::from_secs(1);

/// The agent control plane of Raven Docs.
#[derive(Parser)]
#[command(name = "raven-agents", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Task>,
}

#[derive(Subcommand)]
enum Task {
    /// Run the service (the default)
    Serve,
    /// Run service, database and a local runtime together, with nothing to set
    Up,
    /// Bring the database's schema up to date
    Migrate {
        /// Only say what was found and what would be done; changes nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Say what is wrong with this machine or its settings
    Doctor,
    /// Print the OpenAPI document
    Schema,
    /// Print what makes an MCP client know this service; the key stays in the environment
    McpConfig {
        #[arg(value_enum)]
        client: McpClient,
        /// Address of the service; the configured one without it
        #[arg(long)]
        url: Option<String>,
    },
    /// Look after accounts
    #[command(subcommand)]
    Admin(Admin),
}

#[derive(Subcommand)]
enum Admin {
    /// Add a person to the first workspace; the password is read from standard input
    CreateUser {
        #[arg(long)]
        email: String,
        #[arg(long)]
        name: String,
        #[arg(long, value_enum, default_value = "member")]
        role: PersonRole,
        /// Add to this workspace instead
        #[arg(long)]
        workspace: Option<uuid::Uuid>,
    },
    /// Give a person another password, read from standard input
    ResetPassword {
        #[command(flatten)]
        person: Whom,
    },
    /// Give a person another role; their open connections end
    SetRole {
        #[command(flatten)]
        person: Whom,
        #[arg(long, value_enum)]
        role: PersonRole,
    },
    /// Keep a person out: sign-ins, API keys and open connections end
    DeactivateUser {
        #[command(flatten)]
        person: Whom,
        /// Let them in again instead
        #[arg(long)]
        undo: bool,
    },
    /// Make a further workspace with its owner; the password is read from standard input
    CreateWorkspace {
        #[arg(long)]
        name: String,
        /// First label of its host name, for CLOUD=true
        #[arg(long)]
        hostname: Option<String>,
        #[arg(long)]
        owner_email: String,
        #[arg(long)]
        owner_name: String,
    },
}

/// Names a person.
#[derive(clap::Args)]
struct Whom {
    #[arg(long)]
    email: String,
    /// Of this workspace instead of the first
    #[arg(long)]
    workspace: Option<uuid::Uuid>,
}

#[derive(Clone, Copy, ValueEnum)]
enum McpClient {
    ClaudeCode,
    Codex,
    Gemini,
    Generic,
}

impl From<McpClient> for mcp_config::Client {
    fn from(client: McpClient) -> Self {
        match client {
            McpClient::ClaudeCode => Self::ClaudeCode,
            McpClient::Codex => Self::Codex,
            McpClient::Gemini => Self::Gemini,
            McpClient::Generic => Self::Generic,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum PersonRole {
    Owner,
    Admin,
    Member,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command.unwrap_or(Task::Serve)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("raven-agents: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(task: Task) -> anyhow::Result<()> {
    if matches!(task, Task::Schema) {
        println!("{}", http::document(mcp::routes()).to_pretty_json()?);
        return Ok(());
    }
    if let Err(error) = dotenvy::dotenv()
        && !error.not_found()
    {
        anyhow::bail!("the file .env cannot be read: {error}");
    }
    #[expect(clippy::disallowed_methods, reason = "this is where settings enter")]
    let config = Config::read(&|name| std::env::var(name).ok())?;
    telemetry::start(&config.log_level, config.log_format);
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
    let names: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    for name in config::unknown_names(names.iter().map(String::as_str)) {
        tracing::warn!(name, "unknown setting; see .env.example");
    }
    match task {
        Task::Serve => {
            serve::app_secret(&config)?;
            let shutdown = signalled()?;
            let database = Database::resolve(&config, &mut report)?;
            serve::run(&config, database.options.clone(), shutdown).await?;
            database.stop()
        }
        Task::Up => up::run(config, signalled()?).await,
        Task::Migrate { dry_run: false } => migrate(&config).await,
        Task::Migrate { dry_run: true } => rehearse(&config).await,
        Task::Doctor => doctor(&config).await,
        Task::Admin(task) => admin(&config, task).await,
        Task::McpConfig { client, url } => print_mcp_config(&config, client.into(), url.as_deref()),
        Task::Schema => Ok(()),
    }
}

/// Prints a client's configuration, and to the terminal where it belongs.
fn print_mcp_config(config: &Config, client: mcp_config::Client, url: Option<&str>) -> anyhow::Result<()> {
    let own = || config.app_url.clone().unwrap_or_else(|| format!("http://{}", config.address()));
    let url = url.map_or_else(own, |url| url.trim_end_matches('/').to_owned());
    anyhow::ensure!(url.starts_with("http://") || url.starts_with("https://"), "--url must begin with http:// or https://");
    let configuration = mcp_config::of(client, &url);
    report(&format!("belongs into {}; the agent's key is expected in {}", configuration.file, mcp_config::KEY_VARIABLE));
    print!("{}", configuration.text);
    Ok(())
}

fn report(step: &str) {
    eprintln!("raven-agents: {step}");
}

/// Resolves when the process is told to end. Listens from the call on, so that a Ctrl-C while
/// things start is not lost: it ends them in order once they have.
#[cfg(unix)]
fn signalled() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be received")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be received")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn signalled() -> anyhow::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            tracing::error!("signals cannot be received");
        }
    })
}

async fn migrate(config: &Config) -> anyhow::Result<()> {
    let database = Database::resolve(config, &mut report)?;
    let pool = storage::db::pool(database.options.clone(), 1);
    let pending = storage::db::pending_migrations(&pool).await.map_err(|error| serve::explain_database(&error))?;
    let unsealed = serve::prepare_database(&pool, config.app_secret.as_deref()).await?;
    for migration in pending {
        println!("applied {} {}", migration.version, migration.description);
    }
    println!("the schema is up to date");
    if unsealed > 0 {
        println!("{unsealed} invite tokens of the original stay in plain text until the first `serve`, since APP_SECRET is not set");
    }
    pool.close().await;
    database.stop()
}

/// Says what the database is and what `migrate` would do with it, and changes nothing.
async fn rehearse(config: &Config) -> anyhow::Result<()> {
    let database = Database::resolve(config, &mut report)?;
    let pool = storage::db::pool(database.options.clone(), 1);
    let contents = adoption::inspect(&pool).await.map_err(|error| serve::explain_database(&error))?;
    println!("found: {}", describe(&contents));
    for (table, rows) in &contents.tables {
        println!("  {table}: {rows} rows");
    }
    for migration in &contents.pending {
        println!("would apply {migration}");
    }
    if !contents.pending.is_empty() {
        let rehearsal = adoption::rehearse(&pool).await.map_err(|error| explain_rehearsal(&error))?;
        if let Some(rehearsal) = &rehearsal {
            print_rehearsal(rehearsal);
        }
        println!("the migrations were tried in one transaction and undone; writers to the database waited meanwhile");
    }
    println!("nothing was changed");
    pool.close().await;
    database.stop()
}

/// One sentence for a rehearsal that did not come to its end.
fn explain_rehearsal(error: &MigrateError) -> anyhow::Error {
    let code = if let MigrateError::ExecuteMigration(sqlx::Error::Database(cause), _) = error { cause.code() } else { None };
    // "Lock not available" and "query canceled" (PostgreSQL, appendix A).
    match code.as_deref() {
        Some("55P03") => anyhow::anyhow!("somebody holds locks on the original's tables: stop the server that uses them, or try again"),
        Some("57014") => {
            anyhow::anyhow!("the rehearsal was undone before it made others wait for too long: rehearse on a copy of the database")
        }
        Some(_) | None => anyhow::anyhow!("the migrations were tried and undone: {error}"),
    }
}

fn print_rehearsal(rehearsal: &Rehearsal) {
    for rows in &rehearsal.tables {
        println!("would copy {} of {} rows of {}", rows.found - rows.left, rows.found, rows.table);
    }
    for note in &rehearsal.outcomes {
        let outcome = match note.outcome.as_str() {
            "set_aside" => "stay in the schema raven_original",
            other => other,
        };
        println!("  {}: {} {outcome}: {}", note.table_name, note.rows, note.reason);
    }
    println!("would hash {} invite tokens and encrypt {} of them", rehearsal.tokens_hashed, rehearsal.tokens_sealed);
    println!("would give {} accounts of agents the role agent", rehearsal.accounts_changed);
    println!("would change the ids of {} agents", rehearsal.ids_changed);
    for (original, id) in &rehearsal.ids {
        println!("  {original:?} becomes {id:?}");
    }
    println!("the rehearsal took {} ms", rehearsal.took.as_millis());
}

/// One line on whose database it is.
fn describe(contents: &Contents) -> String {
    let what = match contents.found {
        Found::Empty => "an empty database",
        Found::KnowledgeBase => "a database of Raven Docs without agents",
        Found::Original => "a database of Raven Docs with agents of its own",
        Found::Ours => "a database of raven-agents",
    };
    let what = contents.version.map_or_else(|| what.to_owned(), |version| format!("{what} at version {version}"));
    match contents.pending.len() {
        0 => format!("{what}, up to date"),
        1 => format!("{what}; 1 migration will be applied"),
        pending => format!("{what}; {pending} migrations will be applied"),
    }
}

/// Prints what works and what does not; fails when something does not.
async fn doctor(config: &Config) -> anyhow::Result<()> {
    let mut sound = true;
    let mut check = |name: &str, outcome: Result<String, String>| match outcome {
        Ok(text) => println!("ok    {name}: {text}"),
        Err(text) => {
            sound = false;
            println!("FAIL  {name}: {text}");
        }
    };
    check("settings", Ok("all can be read".to_owned()));
    let mut own_runtimes = Vec::new();
    match Database::resolve(config, &mut report) {
        Err(error) => check("database", Err(format!("{error:#}"))),
        Ok(database) => {
            let pool = storage::db::pool(database.options.clone(), 1);
            let contents = adoption::inspect(&pool).await;
            check("database", contents.as_ref().map(|_| "answers".to_owned()).map_err(ToString::to_string));
            if let Ok(contents) = contents {
                let rows: i64 = contents.tables.iter().map(|(_, rows)| rows).sum();
                let more = format!(", which take over {rows} rows; `migrate --dry-run` says how");
                let text = describe(&contents) + if contents.found == Found::Original { &more } else { "" };
                check("schema", Ok(text));
                match own_runtimes_in(config, &pool).await {
                    Ok(found) => own_runtimes = found,
                    Err(error) => tracing::debug!(error = format!("{error:#}"), "the workspaces' own runtimes cannot be read"),
                }
            }
            pool.close().await;
            if let Err(error) = database.stop() {
                check("database", Err(format!("{error:#}")));
            }
        }
    }
    let environment = config.runtime.as_ref().map(|runtime| (runtime.endpoint.as_str(), runtime.token.clone()));
    match environment.map(|(endpoint, token)| RuntimeClient::new(endpoint, token)) {
        None => check("runtime", Ok("none configured; `up` brings its own".to_owned())),
        Some(Err(error)) => check("runtime", Err(error.to_string())),
        Some(Ok(client)) => check("runtime", well(&client).await),
    }
    for link in own_runtimes {
        let users = link.reach.users.iter().filter_map(|(workspace, name)| Some(format!("{name} of workspace {}", workspace.as_ref()?)));
        let name = format!("runtime {} ({})", link.client.endpoint(), users.collect::<Vec<_>>().join(", "));
        check(&name, well(&link.client).await);
    }
    let secret = if config.app_secret.is_some() { "set" } else { "not set: `up` makes one, `serve` needs it" };
    check("APP_SECRET", Ok(secret.to_owned()));
    check(
        "port",
        match TcpListener::bind(config.address()) {
            Ok(_) => Ok(format!("{} is free", config.address())),
            Err(_) if is_ours(config).await => Ok(format!("raven-agents answers on {}", config.address())),
            Err(error) => Err(serve::explain_bind(config.address(), &error).to_string()),
        },
    );
    if sound { Ok(()) } else { Err(anyhow::anyhow!("something is wrong, see above")) }
}

/// What a runtime says of how it is.
async fn well(client: &RuntimeClient) -> Result<String, String> {
    let why = |error| if refuses_token(&error) { ProbeError::TokenRefused.to_string() } else { error.to_string() };
    let health = client.health().await.map_err(why)?;
    Ok(health.message.unwrap_or_else(|| "answers".to_owned()))
}

/// The runtimes that workspaces brought. None, where there is no secret to open their tokens with.
async fn own_runtimes_in(config: &Config, pool: &sqlx::PgPool) -> anyhow::Result<Vec<runtimes::Link>> {
    let Some(secret) = &config.app_secret else { return Ok(Vec::new()) };
    let environment = config.runtime.as_ref().map(|runtime| (runtime.endpoint.as_str(), runtime.token.clone()));
    let known = Runtimes::new(environment, config.runtime_origins.clone(), Sealer::new(secret))?;
    let mut links = runtimes::links(&mut *pool.acquire().await?, &known).await?;
    links.retain(|link| link.reach.users.iter().any(|(workspace, _)| workspace.is_some()));
    Ok(links)
}

/// Whether what has our port is this service.
async fn is_ours(config: &Config) -> bool {
    let asked = async {
        let http = reqwest::Client::builder().timeout(std::time::Duration::from_secs(2)).build()?;
        http.get(format!("{}/api/health/live", config.public_url())).send().await?.json::<serde_json::Value>().await
    };
    asked.await.is_ok_and(|answer| answer["data"] == "ok")
}

impl From<PersonRole> for Role {
    fn from(role: PersonRole) -> Self {
        match role {
            PersonRole::Owner => Self::Owner,
            PersonRole::Admin => Self::Admin,
            PersonRole::Member => Self::Member,
        }
    }
}

/// The password from standard input, hashed.
async fn password_hash() -> anyhow::Result<String> {
    let mut password = String::new();
    std::io::stdin().take(200).read_to_string(&mut password).context("the password is read from standard input")?;
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    anyhow::ensure!((8..=72).contains(&password.len()), "the password must have 8 to 72 bytes");
    Ok(auth::hash_password(password).await)
}

/// The workspace named, or the first.
async fn workspace_of(tx: &mut Tx, named: Option<uuid::Uuid>) -> anyhow::Result<WorkspaceId> {
    match named {
        Some(id) => Ok(WorkspaceId(id)),
        None => workspaces::resolve(tx.conn(), None).await?.context("there is no workspace yet: open the console to set one up"),
    }
}

async fn admin(config: &Config, task: Admin) -> anyhow::Result<()> {
    let is_new_password = matches!(task, Admin::ResetPassword { .. });
    let password_hash = match task {
        Admin::CreateUser { .. } | Admin::CreateWorkspace { .. } | Admin::ResetPassword { .. } => password_hash().await?,
        Admin::SetRole { .. } | Admin::DeactivateUser { .. } => String::new(),
    };
    let database = Database::resolve(config, &mut report)?;
    let pool = storage::db::pool(database.options.clone(), 1);
    serve::prepare_database(&pool, config.app_secret.as_deref()).await?;
    let mut tx = Tx::begin(&pool, &Clock::default()).await?;
    match task {
        Admin::CreateUser { email, name, role, workspace } => {
            let workspace = workspace_of(&mut tx, workspace).await?;
            let user = workspaces::add_person(&mut tx, workspace, &NewPerson { name, email, password_hash }, role.into()).await?;
            println!("{user}");
        }
        Admin::ResetPassword { person } => change_person(&mut tx, person, Standing::Password(password_hash)).await?,
        Admin::SetRole { person, role } => change_person(&mut tx, person, Standing::Role(role.into())).await?,
        Admin::DeactivateUser { person, undo } => change_person(&mut tx, person, Standing::Deactivated(!undo)).await?,
        Admin::CreateWorkspace { name, hostname, owner_email, owner_name } => {
            let owner = NewPerson { name: owner_name, email: owner_email, password_hash };
            let (workspace, _) = workspaces::create(&mut tx, &name, hostname.as_deref(), &owner).await?;
            println!("{workspace}");
        }
    }
    tx.commit().await?;
    pool.close().await;
    if is_new_password {
        // Tokens say in whole seconds when they were issued: what is issued from here on is good.
        tokio::time::sleep(UNTIL_NEXT_SECOND).await;
    }
    database.stop()
}

async fn change_person(tx: &mut Tx, person: Whom, change: Standing) -> anyhow::Result<()> {
    let workspace = workspace_of(tx, person.workspace).await?;
    let user = workspaces::change_person(tx, workspace, &person.email, change).await?;
    println!("{user}");
    Ok(())
}

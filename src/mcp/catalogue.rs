//! The tools as data: what each is called, who may call it, what it takes and what it does.
//!
//! A tool is described once. What is published, what is checked and what is listed for a key all come
//! from this description; a tool without one does not exist.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value, json};
use sqlx::{Postgres, pool::PoolConnection};

use super::tools;
use crate::{
    app::{App, Proviso, StorageError, Tx},
    model::{
        actor::{AgentCaller, KeyHolder},
        ids::{ApprovalId, WorkspaceId},
        tool_approval::APPROVAL_ARGUMENT,
    },
    wire::input,
};

/// One tool.
pub(super) struct Tool {
    /// The name that is published.
    pub(super) name: &'static str,
    /// Other names that callers know; the dotted one need not be repeated here.
    pub(super) aliases: &'static [&'static str],
    /// Dotted name, by which policies and approvals know the call.
    pub(super) method: &'static str,
    pub(super) category: Category,
    pub(super) tags: &'static [&'static str],
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    pub(super) need: Need,
    /// JSON Schema 2020-12 of the arguments: an object. Who calls is added to it, see [`Entry::schema`].
    pub(super) input: fn() -> Value,
    pub(super) annotations: Annotations,
    pub(super) run: Run,
}

/// Carries out a call whose arguments fit the schema.
pub(super) type Run = for<'a> fn(&'a Call<'a>) -> BoxFuture<'a, Result<Value, ToolError>>;

/// What a key needs to call a tool (REST contract §5.4). What is not named here is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Any good key.
    Nothing,
    /// An agent's key: the tool is about the agent that calls.
    Own,
    /// An agent's key with this permission.
    OwnWith(&'static str),
    /// This permission, for agents; people go by their role and by the spaces that they see.
    Permission(&'static str),
    /// One of these permissions, for agents.
    Any(&'static [&'static str]),
}

impl Need {
    /// The permissions of which an agent must have one; empty where none is asked for.
    pub(super) fn permissions(&self) -> &[&'static str] {
        match self {
            Self::OwnWith(permission) | Self::Permission(permission) => std::slice::from_ref(permission),
            Self::Any(permissions) => permissions,
            Self::Nothing | Self::Own => &[],
        }
    }

    /// Whether a key's holder may call the tool. Agents go by their permissions, people by their role and
    /// their spaces, of which the tool itself knows.
    pub(super) fn is_met_by(&self, caller: &KeyHolder) -> bool {
        match (self, caller) {
            (Self::Nothing, _) | (Self::Own, KeyHolder::Agent(_)) | (Self::Permission(_) | Self::Any(_), KeyHolder::Person { .. }) => true,
            (Self::Own | Self::OwnWith(_), KeyHolder::Person { .. }) => false,
            (Self::OwnWith(_) | Self::Permission(_) | Self::Any(_), KeyHolder::Agent(agent)) => {
                self.permissions().iter().any(|permission| agent.permissions.contains(permission))
            }
        }
    }
}

/// What a client may assume of a tool before it calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Annotations {
    /// It changes nothing.
    Reads,
    /// It adds or changes something; calling it again does so again.
    Writes,
    /// As [`Self::Writes`], and calling it again changes nothing more.
    Sets,
    /// It takes something away that was there.
    Destroys,
}

/// Where a tool stands in the lists (REST contract §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Category {
    Space,
    Page,
    Project,
    Task,
    User,
    Comment,
    Group,
    Workspace,
    Attachment,
    Search,
    ImportExport,
    Approval,
    Ai,
    Memory,
    Research,
    Navigation,
    System,
    Context,
    CodingSwarm,
    GithubIssues,
    TeamMessaging,
    Agent,
}

impl Category {
    pub(super) const ALL: [Self; 22] = [
        Self::Space,
        Self::Page,
        Self::Project,
        Self::Task,
        Self::User,
        Self::Comment,
        Self::Group,
        Self::Workspace,
        Self::Attachment,
        Self::Search,
        Self::ImportExport,
        Self::Approval,
        Self::Ai,
        Self::Memory,
        Self::Research,
        Self::Navigation,
        Self::System,
        Self::Context,
        Self::CodingSwarm,
        Self::GithubIssues,
        Self::TeamMessaging,
        Self::Agent,
    ];

    pub(super) fn find(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.id() == id)
    }

    pub(super) fn id(self) -> &'static str {
        self.row().0
    }

    pub(super) fn name(self) -> &'static str {
        self.row().1
    }

    pub(super) fn description(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Space => ("space", "Spaces", "Where pages, projects and tasks are kept"),
            Self::Page => ("page", "Pages", "Read, write and find pages"),
            Self::Project => ("project", "Projects", "Groups of tasks with an aim"),
            Self::Task => ("task", "Tasks", "What is to be done, and by whom"),
            Self::User => ("user", "People", "Who works in the workspace"),
            Self::Comment => ("comment", "Comments", "What is said about pages"),
            Self::Group => ("group", "Groups", "Groups of people"),
            Self::Workspace => ("workspace", "Workspace", "The workspace as a whole"),
            Self::Attachment => ("attachment", "Attachments", "Files beside pages"),
            Self::Search => ("search", "Search", "Find things wherever they are"),
            Self::ImportExport => ("import_export", "Import and export", "Pages from and to files"),
            Self::Approval => ("approval", "Approvals", "Calls that a person decides"),
            Self::Ai => ("ai", "AI", "Text made by models"),
            Self::Memory => ("memory", "Memory", "What agents keep for later"),
            Self::Research => ("research", "Research", "Questions that are looked into"),
            Self::Navigation => ("navigation", "Navigation", "Where a person is in the web UI"),
            Self::System => ("system", "System", "The tools themselves"),
            Self::Context => ("context", "Context", "What belongs together"),
            Self::CodingSwarm => ("coding_swarm", "Coding swarms", "Agents that change a repository"),
            Self::GithubIssues => ("github_issues", "GitHub issues", "Issues of connected repositories"),
            Self::TeamMessaging => ("team_messaging", "Team messaging", "Messages between agents"),
            Self::Agent => ("agent", "Agents", "The agent that calls, and its colleagues"),
        }
    }
}

/// JSON-RPC codes of what can go wrong (REST contract §5.3).
pub(super) mod code {
    pub(in crate::mcp) const PARSE: i32 = -32700;
    pub(in crate::mcp) const INVALID_REQUEST: i32 = -32600;
    pub(in crate::mcp) const METHOD_NOT_FOUND: i32 = -32601;
    pub(in crate::mcp) const INVALID_PARAMS: i32 = -32602;
    pub(in crate::mcp) const INTERNAL: i32 = -32603;
    pub(in crate::mcp) const SERVER: i32 = -32000;
    pub(in crate::mcp) const NOT_FOUND: i32 = -32001;
    pub(in crate::mcp) const PERMISSION_DENIED: i32 = -32002;
    pub(in crate::mcp) const VALIDATION: i32 = -32003;
    pub(in crate::mcp) const EXISTS: i32 = -32004;
    pub(in crate::mcp) const APPROVAL_REQUIRED: i32 = -32005;
}

/// Why a call did not do what was asked.
#[derive(Debug)]
pub(super) struct ToolError {
    pub(super) code: i32,
    pub(super) message: String,
    pub(super) data: Option<Value>,
}

impl ToolError {
    pub(super) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// Also for what the caller must not know of.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(code::NOT_FOUND, message)
    }

    pub(super) fn denied(message: impl Into<String>) -> Self {
        Self::new(code::PERMISSION_DENIED, message)
    }

    /// The argument `field` breaks a rule that its schema cannot say.
    pub(super) fn invalid(field: &str, message: &str) -> Self {
        let data = json!({"errors": [{"field": field, "message": message}]});
        Self { data: Some(data), ..Self::new(code::VALIDATION, format!("{field} {message}")) }
    }

    /// It is there already, or the state of things does not allow it.
    pub(super) fn exists(message: impl Into<String>) -> Self {
        Self::new(code::EXISTS, message)
    }

    pub(super) fn with(self, data: Value) -> Self {
        Self { data: Some(data), ..self }
    }
}

/// What storage says is logged with its causes and told without them.
impl From<StorageError> for ToolError {
    fn from(error: StorageError) -> Self {
        if error.is_transient() {
            tracing::warn!(error = &error as &dyn std::error::Error, "a tool could not reach the database");
            return Self::new(code::SERVER, "the database cannot be reached; try again");
        }
        if matches!(error, StorageError::KeyWithdrawn | StorageError::ApprovalEnded) {
            return Self::denied(error.to_string());
        }
        tracing::error!(error = &error as &dyn std::error::Error, "a tool failed");
        Self::new(code::INTERNAL, "something went wrong on the server")
    }
}

/// One call on its way. The arguments fit the tool's schema; `workspaceId`, `agentId` and `approvalId`
/// are taken out of them.
pub(super) struct Call<'a> {
    pub(super) app: &'a App,
    pub(super) caller: &'a KeyHolder,
    /// When it came.
    pub(super) at: DateTime<Utc>,
    pub(super) arguments: &'a Map<String, Value>,
    /// `approvalId` as it was given.
    pub(super) named_approval: Option<&'a str>,
    /// The approval that is used up with the commit of what the call changes.
    pub(super) approval: Option<ApprovalId>,
}

impl<'a> Call<'a> {
    /// A text argument; null counts as absent.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.arguments.get(name).and_then(Value::as_str)
    }

    /// A whole number, also where it is written with a fraction of nothing: JSON Schema has `30.0` for an integer.
    pub(super) fn whole(&self, name: &str) -> Option<i64> {
        let value = self.arguments.get(name)?;
        value.as_i64().or_else(|| value.as_f64().and_then(whole))
    }

    /// A list of texts; absent is empty.
    pub(super) fn texts(&self, name: &str) -> Vec<&'a str> {
        let items = self.arguments.get(name).and_then(Value::as_array);
        items.map(|items| items.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
    }

    /// The id in an argument, if it is there.
    ///
    /// Errors: the text is no id.
    pub(super) fn id<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ToolError> {
        self.text(name).map(|text| text.parse().map_err(|_| ToolError::invalid(name, "must be an id"))).transpose()
    }

    /// The id in an argument that the schema requires.
    pub(super) fn required_id<T: std::str::FromStr>(&self, name: &str) -> Result<T, ToolError> {
        self.id(name)?.ok_or_else(|| ToolError::invalid(name, "is missing"))
    }

    /// The agent that calls.
    ///
    /// Errors: the key is a person's.
    pub(super) fn agent(&self) -> Result<&'a AgentCaller, ToolError> {
        match self.caller {
            KeyHolder::Agent(agent) => Ok(agent),
            KeyHolder::Person { .. } => Err(ToolError::denied("this tool is for agents; the key is a person's")),
        }
    }

    pub(super) fn workspace(&self) -> WorkspaceId {
        workspace_of(self.caller)
    }

    /// Begins a use case that changes something; the tool commits it. That fails when the key was withdrawn before.
    pub(super) async fn begin(&self) -> Result<Tx, ToolError> {
        let mut tx = self.app.begin().await?;
        tx.provided(Proviso { key_id: self.caller.key_id().to_owned(), approval: self.approval });
        Ok(tx)
    }

    /// A connection to read with.
    pub(super) async fn read(&self) -> Result<PoolConnection<Postgres>, ToolError> {
        Ok(self.app.read().await?)
    }
}

/// The integer that a number is, if it is one that a floating-point number has exactly.
#[expect(clippy::cast_possible_truncation, reason = "it is in the range and has no fraction")]
fn whole(number: f64) -> Option<i64> {
    /// Up to here every integer has its own floating-point number.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= EXACT_MAX).then_some(number as i64)
}

pub(super) fn workspace_of(caller: &KeyHolder) -> WorkspaceId {
    match caller {
        KeyHolder::Agent(agent) => agent.workspace,
        KeyHolder::Person { person, .. } => person.workspace,
    }
}

impl Annotations {
    pub(super) fn is_read_only(self) -> bool {
        self == Self::Reads
    }

    pub(super) fn is_destructive(self) -> bool {
        self == Self::Destroys
    }

    /// Whether a repeated call changes nothing more.
    pub(super) fn is_idempotent(self) -> bool {
        matches!(self, Self::Reads | Self::Sets)
    }
}

/// A tool with its schema, which is published and checked against.
pub(super) struct Entry {
    pub(super) tool: &'static Tool,
    /// All that policies know it by, its dotted name first: its own names, and those of the tool that it [counts as](COUNTS_AS).
    pub(super) policy_names: Vec<&'static str>,
    /// The names of other tools, and with which arguments a call does their work.
    also: Vec<(With, Vec<&'static str>)>,
    pub(super) schema: Arc<Map<String, Value>>,
    validator: jsonschema::Validator,
}

/// Broken rules told of one call at the most.
const BROKEN_RULES_TOLD_MAX: usize = 10;

impl Entry {
    /// The names of the tools whose work a call with these arguments does, too.
    pub(super) fn also_named(&self, arguments: &Map<String, Value>) -> Vec<&'static str> {
        self.also.iter().filter(|(with, _)| with.is_in(arguments)).flat_map(|(_, names)| names).copied().collect()
    }

    /// Checks arguments against the schema.
    ///
    /// Errors: what breaks it, each with its field. Values are not repeated: they may be secrets.
    pub(super) fn check(&self, arguments: &Map<String, Value>) -> Result<(), ToolError> {
        let arguments = Value::Object(arguments.clone());
        if self.validator.is_valid(&arguments) {
            return Ok(());
        }
        let broken: Vec<(String, String)> = self
            .validator
            .iter_errors(&arguments)
            .take(BROKEN_RULES_TOLD_MAX)
            .map(|error| {
                let is_left_out = matches!(error.kind(), ValidationErrorKind::Not { .. });
                if is_left_out { self.left_out() } else { (field_of(&error), error.masked().to_string()) }
            })
            .collect();
        let told: Vec<String> = broken.iter().map(|(field, message)| format!("{field}: {message}")).collect();
        let errors: Vec<Value> = broken.iter().map(|(field, message)| json!({"field": field, "message": message})).collect();
        Err(ToolError::new(code::INVALID_PARAMS, told.join("; ")).with(json!({"errors": errors})))
    }

    /// The arguments that the schema describes. What it does not is understood by nobody: a person who decides about a call
    /// is not to read it, and an approval is not bound to it.
    pub(super) fn understood(&self, arguments: &Map<String, Value>) -> Map<String, Value> {
        let described = self.schema.get("properties").and_then(Value::as_object);
        let is_described = |name: &str| described.is_some_and(|described| described.contains_key(name));
        arguments.iter().filter(|(name, _)| is_described(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// What is told of a call that has none of the arguments of which one has to be there (`not` of the schema).
    fn left_out(&self) -> (String, String) {
        let names = self.schema.get("not").and_then(|not| not.get("properties")).and_then(Value::as_object);
        let names: Vec<&str> = names.map(|names| names.keys().map(String::as_str).collect()).unwrap_or_default();
        ("arguments".to_owned(), format!("one of {} has to be there", names.join(", ")))
    }
}

/// Refuses arguments in which a NUL character is, wherever they come from: the database would refuse what is made of them,
/// and the row of the call with it.
///
/// Errors: the first one that has it, in its name or in its value.
pub(super) fn without_nul(arguments: &Map<String, Value>) -> Result<(), ToolError> {
    let Some((name, _)) = arguments.iter().find(|(name, value)| name.contains('\0') || input::has_nul(value)) else { return Ok(()) };
    let field = if name.contains('\0') { "arguments" } else { name.as_str() };
    let message = "must not contain the character U+0000";
    let data = json!({"errors": [{"field": field, "message": message}]});
    Err(ToolError::new(code::INVALID_PARAMS, format!("{field}: {message}")).with(data))
}

/// The argument that an error is about, with dots into objects; of one that is missing its name.
fn field_of(error: &jsonschema::ValidationError<'_>) -> String {
    let path = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
    let missing = if let ValidationErrorKind::Required { property } = error.kind() { property.as_str() } else { None };
    match missing {
        Some(name) if path.is_empty() => name.to_owned(),
        Some(name) => format!("{path}.{name}"),
        None if path.is_empty() => "arguments".to_owned(),
        None => path,
    }
}

/// The tools in the order of their categories, and where each of their names leads.
struct Catalogue {
    entries: Vec<Entry>,
    names: HashMap<&'static str, usize>,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let mut tools: Vec<&'static Tool> = tools::ALL.iter().copied().flatten().collect();
    tools.sort_by_key(|tool| Category::ALL.iter().position(|category| *category == tool.category));
    let mut catalogue = Catalogue { entries: Vec::with_capacity(tools.len()), names: HashMap::new() };
    for tool in tools {
        match compile(tool) {
            Ok(entry) => {
                let index = catalogue.entries.len();
                catalogue.names.extend(names(tool).map(|name| (name, index)));
                catalogue.entries.push(entry);
            }
            // A tool whose arguments cannot be checked is not offered; a test walks them all.
            Err(error) => tracing::error!(tool = tool.name, %error, "the schema of a tool cannot be used"),
        }
    }
    catalogue
});

/// Every tool there is.
pub(super) fn all() -> &'static [Entry] {
    &CATALOGUE.entries
}

/// A tool by any of its names.
pub(super) fn find(name: &str) -> Option<&'static Entry> {
    CATALOGUE.names.get(name).and_then(|index| CATALOGUE.entries.get(*index))
}

/// Every name of a tool, the dotted one first.
fn names(tool: &'static Tool) -> impl Iterator<Item = &'static str> {
    [tool.method, tool.name].into_iter().chain(tool.aliases.iter().copied())
}

/// Arguments that every tool takes: who calls, which the key says already (D-28), and the approval of a repeated call.
fn common_arguments() -> [(&'static str, Value); 3] {
    [
        ("workspaceId", json!({"type": "string", "description": "The caller's own workspace. May be left out: the key says it."})),
        ("agentId", json!({"type": "string", "description": "The caller's own id. May be left out: the key says it."})),
        (
            APPROVAL_ARGUMENT,
            json!({"type": "string", "description": "Of a call that needed an approval: the id that the first call told."}),
        ),
    ]
}

/// Methods of tools that do what another one does, by another way to it: a policy about that one is about them, too.
const COUNTS_AS: [(&str, &str); 2] = [("project.createPage", "page.create"), ("search.query", "page.search")];

/// As [`COUNTS_AS`], of calls with some arguments only.
const ALSO_COUNTS_AS: [(&str, With, &str); 10] = [
    ("page.update", With::Any(&["parentId", "parentPageId"]), "page.move"),
    ("task.create", With::Any(&["assigneeId"]), "task.assign"),
    ("task.update", With::Any(&["assigneeId"]), "task.assign"),
    ("task.create", With::Word("status", "done"), "task.complete"),
    ("task.update", With::Word("status", "done"), "task.complete"),
    ("task.create", With::Any(&["bucket"]), "task.bucketSet"),
    ("task.update", With::Any(&["bucket"]), "task.bucketSet"),
    ("task.update", With::Word("bucket", "none"), "task.bucketClear"),
    ("task.bucketSet", With::Word("bucket", "none"), "task.bucketClear"),
    ("agent.delegate", With::Any(&["taskId"]), "task.assign"),
];

/// Arguments by which a call does what another tool does.
#[derive(Clone, Copy)]
enum With {
    /// One of these, whatever it says.
    Any(&'static [&'static str]),
    /// This word in this one.
    Word(&'static str, &'static str),
}

impl With {
    fn is_in(self, arguments: &Map<String, Value>) -> bool {
        match self {
            Self::Any(names) => names.iter().any(|name| arguments.contains_key(*name)),
            Self::Word(name, word) => arguments.get(name).and_then(Value::as_str) == Some(word),
        }
    }
}

/// Every name of the tool with this method.
fn names_of(method: &str) -> impl Iterator<Item = &'static str> {
    tools::ALL.iter().copied().flatten().filter(move |tool| tool.method == method).flat_map(names)
}

/// Every name by which a policy may mean a tool, its dotted one first.
fn policy_names(tool: &'static Tool) -> Vec<&'static str> {
    let others = COUNTS_AS.iter().filter(|(one, _)| *one == tool.method);
    names(tool).chain(others.flat_map(|(_, other)| names_of(other))).collect()
}

fn compile(tool: &'static Tool) -> Result<Entry, String> {
    let mut schema = (tool.input)();
    let fields = schema.as_object_mut().ok_or("it is no object")?;
    fields.insert("type".to_owned(), json!("object"));
    let properties = fields.entry("properties").or_insert_with(|| json!({})).as_object_mut().ok_or("its properties are no object")?;
    for (name, described) in common_arguments() {
        properties.entry(name).or_insert(described);
    }
    let validator = jsonschema::draft202012::options().build(&schema).map_err(|error| error.to_string())?;
    let Value::Object(schema) = schema else { return Err("it is no object".to_owned()) };
    let also = ALSO_COUNTS_AS.iter().filter(|(one, ..)| *one == tool.method);
    let also = also.map(|(_, with, other)| (*with, names_of(other).collect())).collect();
    Ok(Entry { tool, policy_names: policy_names(tool), also, schema: Arc::new(schema), validator })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::model::permission::CATALOGUE as PERMISSIONS;

    fn tools() -> impl Iterator<Item = &'static Tool> {
        tools::ALL.iter().copied().flatten()
    }

    #[test]
    fn every_tool_has_a_schema_that_can_be_used_and_refuses_arguments_of_the_wrong_type() {
        for tool in tools() {
            let entry = compile(tool).unwrap_or_else(|error| panic!("{}: {error}", tool.name));
            let properties = entry.schema["properties"].as_object().unwrap();
            for required in entry.schema.get("required").and_then(Value::as_array).into_iter().flatten() {
                assert!(
                    properties.contains_key(required.as_str().unwrap()),
                    "{} requires {required}, which it does not describe",
                    tool.name
                );
            }
            let wrong = Map::from_iter([("workspaceId".to_owned(), json!(7))]);
            assert!(entry.check(&wrong).is_err(), "{}", tool.name);
        }
    }

    #[test]
    fn no_two_tools_share_a_name() {
        let mut taken = HashSet::new();
        for name in tools().flat_map(|tool| names(tool).collect::<HashSet<_>>()) {
            assert!(taken.insert(name), "{name} is taken twice");
        }
    }

    #[test]
    fn what_counts_as_another_tool_is_one_and_so_is_the_other() {
        for (one, other) in COUNTS_AS {
            let names = &find(one).unwrap().policy_names;
            assert_eq!(names.first(), Some(&one));
            assert!(find(other).is_some() && names.contains(&other), "{names:?}");
        }
        for (one, with, other) in ALSO_COUNTS_AS {
            let (entry, property) = (find(one).unwrap(), |name: &str| find(one).unwrap().schema["properties"].get(name).cloned());
            let arguments = match with {
                With::Any(names) => Map::from_iter([(names[0].to_owned(), Value::Null)]),
                With::Word(name, word) => {
                    assert!(property(name).unwrap()["enum"].as_array().unwrap().contains(&json!(word)), "{one} knows {word}");
                    Map::from_iter([(name.to_owned(), json!(word))])
                }
            };
            assert!(arguments.keys().all(|name| property(name).is_some()), "{one} takes {arguments:?}");
            assert!(entry.also_named(&arguments).contains(&other) && entry.also_named(&Map::new()).is_empty(), "{one} {other}");
        }
    }

    #[test]
    fn a_call_that_says_nothing_is_told_what_one_of_is_missing() {
        let refused = find("approval_request").unwrap().check(&Map::new()).unwrap_err();
        assert_eq!(refused.message, "arguments: one of action, method, permission has to be there");
    }

    #[test]
    fn every_permission_that_a_tool_needs_is_in_the_catalogue_of_permissions() {
        let known = |id: &str| PERMISSIONS.iter().any(|permission| permission.id == id);
        for tool in tools() {
            let needed = tool.need.permissions();
            assert!(needed.iter().all(|id| known(id)), "{} needs {needed:?}", tool.name);
        }
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_fraction_of_nothing() {
        assert_eq!([30.0, -2.0, 0.0].map(whole), [Some(30), Some(-2), Some(0)]);
        assert_eq!([30.5, 1e300, f64::NAN, f64::INFINITY].map(whole), [None; 4]);
    }

    #[test]
    fn a_broken_rule_is_told_with_its_field_and_without_the_value() {
        let schema = json!({"type": "object", "properties": {"deep": {"type": "object", "properties": {"at": {"type": "integer"}}}},
                            "required": ["title"]});
        let validator = jsonschema::draft202012::options().build(&schema).unwrap();
        let bad = json!({"deep": {"at": "a secret"}});
        let mut told: Vec<(String, String)> =
            validator.iter_errors(&bad).map(|error| (field_of(&error), error.masked().to_string())).collect();
        told.sort();
        assert_eq!(told.iter().map(|(field, _)| field.as_str()).collect::<Vec<_>>(), ["deep.at", "title"]);
        assert!(told.iter().all(|(_, message)| !message.contains("a secret")), "{told:?}");
    }
}

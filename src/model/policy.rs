//! Settings that the rules of the domain depend on.

use serde_json::Value;

use super::seal::Sealer;

/// What the operator decided, as far as the domain needs it.
#[derive(Clone)]
pub struct Policy {
    /// Agents of one workspace that can act at the same time.
    pub agents_per_workspace_max: u32,
    /// Prefix of the API keys that agents get.
    pub agent_key_prefix: String,
    pub sealer: Sealer,
    pub control_plane: ControlPlanePolicy,
    pub tool_approvals: ToolApprovalPolicy,
    /// Hosts where agents of any type may log in, beside those that are known for their types.
    pub login_hosts: Vec<String>,
}

/// What the control plane is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct ControlPlanePolicy {
    /// Whether it is told of decisions at all: it has an address, and we share a secret with it.
    pub is_told: bool,
    /// Whether agents' keys may go to it: it is reached by https.
    pub may_get_keys: bool,
}

/// By what names policies know a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallNames<'a> {
    /// Those of the tool, its method first.
    pub names: &'a [&'a str],
    /// Those of other tools whose work this call does with its arguments. What lets such a tool go on by itself does not
    /// let this one.
    pub also: &'a [&'a str],
}

/// Methods by which approvals are asked for and looked at.
const ASKING: &str = "approval.";

/// Which tool calls of agents wait for a person's approval (REST contract §5.6).
#[derive(Clone, Debug, Default)]
pub struct ToolApprovalPolicy {
    pub enabled: bool,
    /// Names of tools, usually the dotted ones such as `page.delete`.
    pub methods: Vec<String>,
}

impl ToolApprovalPolicy {
    /// Whether a call is covered, by any of its names.
    #[must_use]
    pub fn covers(&self, named: &CallNames<'_>) -> bool {
        self.enabled && (is_listed(&self.methods, named.names) || is_listed(&self.methods, named.also))
    }
}

/// Methods that a switch of the workspace lets agents call without asking, by the switch (REST contract §5.6).
const SWITCHES: [(&str, &[&str]); 4] = [
    ("allowTaskWrites", &["task.create", "task.update"]),
    ("allowPageWrites", &["page.create", "project.createPage"]),
    ("allowProjectWrites", &["project.create"]),
    ("allowResearchWrites", &["research.create"]),
];

/// What a workspace's admins decided about the tool calls of its agents (`settings.agent`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkspacePolicy {
    /// When not empty: of the methods that a switch covers, only these go on by themselves.
    auto_apply: Vec<String>,
    require_approval: Vec<String>,
    deny: Vec<String>,
    /// Switches that are on.
    switched_on: Vec<&'static str>,
}

/// Whether a tool call goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Goes,
    /// A person decides first. The text says why.
    Asks(String),
    /// Not in this workspace, whoever is asked.
    Denied,
}

impl WorkspacePolicy {
    /// Reads `settings.agent`. A switch that nobody set is off, as the settings show it.
    #[must_use]
    pub fn read(agent: &Value) -> Self {
        let list = |name: &str| {
            let items = agent.pointer(&format!("/policy/{name}")).and_then(Value::as_array);
            items.map(|items| items.iter().filter_map(Value::as_str).map(|item| item.trim().to_owned()).collect()).unwrap_or_default()
        };
        let is_on = |name: &str| agent.get(name).and_then(Value::as_bool).unwrap_or(false);
        Self {
            auto_apply: list("allowAutoApply"),
            require_approval: list("requireApproval"),
            deny: list("deny"),
            switched_on: SWITCHES.iter().map(|(name, _)| *name).filter(|name| is_on(name)).collect(),
        }
    }

    /// What becomes of a call. What is denied comes first; then whatever asks for approval, the workspace's switches and
    /// lists before the operator's list. An operator who switched approvals off is asked for none, and nobody is asked
    /// whether somebody may ask.
    #[must_use]
    pub fn verdict(&self, operators: &ToolApprovalPolicy, named: &CallNames<'_>) -> Verdict {
        let lists = |list: &[String]| is_listed(list, named.names) || is_listed(list, named.also);
        if lists(&self.deny) {
            return Verdict::Denied;
        }
        let names = named.names;
        if !operators.enabled || names.first().is_some_and(|method| method.starts_with(ASKING)) {
            return Verdict::Goes;
        }
        let covered = |methods: &[&str]| names.first().is_some_and(|method| methods.contains(method));
        let switch = SWITCHES.iter().find(|(_, methods)| covered(methods)).map(|(name, _)| *name);
        match switch {
            Some(name) if !self.switched_on.contains(&name) => Verdict::Asks(format!("the workspace's setting {name} is off")),
            _ if lists(&self.require_approval) => Verdict::Asks("the workspace's policy asks for it".to_owned()),
            _ if operators.covers(named) => Verdict::Asks("it takes away what others made".to_owned()),
            Some(_) if !self.auto_apply.is_empty() && !is_listed(&self.auto_apply, names) => {
                Verdict::Asks("the workspace's policy does not let it go on by itself".to_owned())
            }
            Some(_) | None => Verdict::Goes,
        }
    }
}

/// Whether a list means a tool, by any of its names.
fn is_listed(list: &[String], names: &[&str]) -> bool {
    list.iter().any(|listed| names.iter().any(|name| means(listed, name)))
}

/// Whether an entry of a list means a tool: by its name in any case, or by its beginning where the entry ends with `*`.
fn means(listed: &str, name: &str) -> bool {
    match listed.strip_suffix('*') {
        Some(beginning) => name.get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning)),
        None => name.eq_ignore_ascii_case(listed),
    }
}

/// Access requests of one workspace that may wait for a decision at the same time. Beyond it an
/// admin could not read them anyway, and a flood of requests must not fill the table.
pub const PENDING_AGENTS_MAX: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn named<'a>(names: &'a [&'a str]) -> CallNames<'a> {
        CallNames { names, also: &[] }
    }

    fn asks(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Asks(_))
    }

    #[test]
    fn a_policy_is_read_in_its_order() {
        let operators = ToolApprovalPolicy { enabled: true, methods: vec!["page.delete".to_owned()] };
        let verdict = |agent: Value, method: &str| WorkspacePolicy::read(&agent).verdict(&operators, &named(&[method]));
        for covered in ["task.create", "task.update", "page.create", "project.createPage", "project.create"] {
            assert!(asks(&verdict(json!({}), covered)), "{covered}: a switch that nobody set is off");
        }
        for other in ["page.update", "page.get", "comment.create"] {
            assert_eq!(verdict(json!({}), other), Verdict::Goes, "{other}");
        }
        assert_eq!(verdict(json!({"allowTaskWrites": true}), "task.create"), Verdict::Goes);
        assert!(asks(&verdict(json!({"allowTaskWrites": true, "policy": {"allowAutoApply": ["task.update"]}}), "task.create")));
        assert_eq!(verdict(json!({"allowTaskWrites": true, "policy": {"allowAutoApply": ["task.update"]}}), "task.update"), Verdict::Goes);
        assert_eq!(verdict(json!({"policy": {"allowAutoApply": ["task.update"]}}), "page.get"), Verdict::Goes);
        assert!(asks(&verdict(json!({"policy": {"requireApproval": ["page.get"]}}), "page.get")));
        assert!(asks(&verdict(json!({}), "page.delete")));
        let both = json!({"policy": {"deny": ["page.delete"], "requireApproval": ["page.delete"]}});
        assert_eq!(verdict(both, "page.delete"), Verdict::Denied);
        let broad = ToolApprovalPolicy { enabled: true, methods: vec!["Page.*".to_owned()] };
        assert!(
            broad.covers(&named(&["page.get", "page_get"])) && !broad.covers(&named(&["task.get"])),
            "the operator's list means the same"
        );
        let moves = CallNames { names: &["page.update"], also: &["page.move"] };
        let of = |policy: Value| WorkspacePolicy::read(&json!({"policy": policy})).verdict(&operators, &moves);
        assert_eq!(of(json!({"deny": ["page.move"]})), Verdict::Denied, "by another way to the same");
        assert!(asks(&of(json!({"requireApproval": ["page.move"]}))));
        let assigns = CallNames { names: &["task.update"], also: &["task.assign"] };
        let lets = json!({"allowTaskWrites": true, "policy": {"allowAutoApply": ["task.assign"]}});
        assert!(asks(&WorkspacePolicy::read(&lets).verdict(&operators, &assigns)), "what is let go on is that tool alone");
        let everything = json!({"policy": {"requireApproval": ["*"]}});
        assert_eq!(verdict(everything, "approval.status"), Verdict::Goes, "who waits may ask how it stands");
        assert_eq!(verdict(json!({"policy": {"deny": ["approval.*"]}}), "approval.request"), Verdict::Denied);
        let by_name = WorkspacePolicy::read(&json!({"policy": {"deny": ["page_delete"]}}));
        assert_eq!(by_name.verdict(&operators, &named(&["page.delete", "page_delete"])), Verdict::Denied, "by any of its names");
        for (listed, method, expected) in [
            (" PAGE.Search ", "page.search", Verdict::Denied),
            ("page.*", "page.get", Verdict::Denied),
            ("*", "comment.create", Verdict::Denied),
            ("page.*", "pages", Verdict::Goes),
            ("page.get", "page.getHistory", Verdict::Goes),
            ("é*", "page.get", Verdict::Goes),
        ] {
            assert_eq!(verdict(json!({"policy": {"deny": [listed]}}), method), expected, "{listed} {method}");
        }
        assert_eq!(verdict(json!({"policy": "all", "allowTaskWrites": "yes"}), "page.get"), Verdict::Goes);
    }

    #[test]
    fn without_approvals_only_what_is_denied_does_not_go_on() {
        let operators = ToolApprovalPolicy { enabled: false, methods: vec!["page.delete".to_owned()] };
        let policy = WorkspacePolicy::read(&json!({"policy": {"deny": ["task.delete"], "requireApproval": ["page.get"]}}));
        assert_eq!(policy.verdict(&operators, &named(&["task.create"])), Verdict::Goes);
        assert_eq!(policy.verdict(&operators, &named(&["page.get"])), Verdict::Goes);
        assert_eq!(policy.verdict(&operators, &named(&["task.delete"])), Verdict::Denied);
    }
}

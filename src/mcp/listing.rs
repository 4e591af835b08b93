//! Which tools there are: for a key those that it may call, for nobody in particular all of them.

use serde_json::Value;

use super::{
    catalogue::{self, Category, Entry, ToolError},
    pipeline,
};
use crate::{
    app::App,
    domain::tool_approvals,
    model::{
        actor::KeyHolder,
        policy::{CallNames, Verdict},
    },
    wire::mcp::{Annotations, CategoryBrief, CategoryOfTools, FoundTool, FoundTools, ToolDescription},
};

/// Tools found at the most when the caller does not say.
pub(super) const FOUND: usize = 20;
/// Tools found at the most.
pub(super) const FOUND_MAX: usize = 100;

/// What is looked for. All of it is optional.
#[derive(Default)]
pub(super) struct Wanted<'a> {
    pub(super) query: &'a str,
    pub(super) category: Option<Category>,
    pub(super) tags: Vec<&'a str>,
    pub(super) limit: usize,
}

/// The tools that a key may call, with what its agent was granted for a while and without what the workspace denies;
/// without a key all of them.
pub(super) async fn allowed(app: &App, caller: Option<&KeyHolder>) -> Result<Vec<&'static Entry>, ToolError> {
    let Some(caller) = caller else { return Ok(catalogue::all().iter().collect()) };
    let granted = match caller {
        KeyHolder::Agent(agent) => Some(pipeline::granted(app, agent).await?),
        KeyHolder::Person { .. } => None,
    };
    let caller = granted.as_ref().unwrap_or(caller);
    let is_denied = |entry: &&Entry| {
        let named = CallNames { names: &entry.policy_names, also: &[] };
        tool_approvals::verdict(&app.policy, caller, &named) == Verdict::Denied
    };
    Ok(catalogue::all().iter().filter(|entry| entry.tool.need.is_met_by(caller) && !is_denied(entry)).collect())
}

/// A tool as lists show it.
pub(super) fn describe(entry: &Entry) -> ToolDescription {
    let annotations = entry.tool.annotations;
    ToolDescription {
        name: entry.tool.name,
        title: entry.tool.title,
        description: entry.tool.description,
        input_schema: Value::Object((*entry.schema).clone()),
        annotations: Annotations {
            read_only_hint: annotations.is_read_only(),
            destructive_hint: annotations.is_destructive(),
            idempotent_hint: annotations.is_idempotent(),
            open_world_hint: false,
        },
        category: entry.tool.category.id(),
        aliases: std::iter::once(entry.tool.method).chain(entry.tool.aliases.iter().copied()).collect(),
        tags: entry.tool.tags.to_vec(),
    }
}

/// The categories of tools, with how many of `among` are in each; empty ones are left out.
pub(super) fn categories(among: &[&'static Entry]) -> Vec<CategoryOfTools> {
    let count = |category| among.iter().filter(|entry| entry.tool.category == category).count();
    let counted = Category::ALL.into_iter().map(|category| (category, count(category)));
    let filled = counted.filter(|(_, count)| *count > 0);
    filled.map(|(category, tool_count)| CategoryOfTools { brief: brief(category), tool_count }).collect()
}

pub(super) fn brief(category: Category) -> CategoryBrief {
    CategoryBrief { id: category.id(), name: category.name(), description: category.description() }
}

/// Looks for tools among those that the caller may call, the best first (REST contract §5.2).
pub(super) fn search(among: &[&'static Entry], wanted: &Wanted<'_>) -> FoundTools {
    let mut found: Vec<(u32, Vec<&'static str>, &'static Entry)> = among
        .iter()
        .filter_map(|entry| {
            let (score, matched) = score(entry, wanted);
            (score > 0).then_some((score, matched, *entry))
        })
        .collect();
    found.sort_by(|(a, _, one), (b, _, other)| b.cmp(a).then(one.tool.name.cmp(other.tool.name)));
    let total_matches = found.len();
    let tools = found.into_iter().take(wanted.limit.min(FOUND_MAX));
    let tools = tools.map(|(score, matched_on, entry)| FoundTool { tool: describe(entry), score, matched_on }).collect();
    FoundTools { tools, total_matches, categories: categories(among) }
}

/// How well a tool fits, and by what. Zero does not fit.
fn score(entry: &Entry, wanted: &Wanted<'_>) -> (u32, Vec<&'static str>) {
    let tool = entry.tool;
    let mut matched = Vec::new();
    let mut score = 0;
    if wanted.category.is_some_and(|category| category != tool.category) {
        return (0, matched);
    }
    let (query, name, description) = (wanted.query.trim().to_lowercase(), tool.name.to_lowercase(), tool.description.to_lowercase());
    let words: Vec<&str> = query.split(|c: char| c.is_whitespace() || c == '_').filter(|word| !word.is_empty()).collect();
    let hits = |text: &str, each: u32| words.iter().filter(|word| text.contains(**word)).map(|_| each).sum::<u32>();
    if query.is_empty() {
        score += 1;
    } else {
        let by_name = if name == query {
            100
        } else if name.contains(&query) {
            50
        } else {
            hits(&name, 20)
        };
        let by_description = if description.contains(&query) { 30 } else { hits(&description, 10) };
        for (points, what) in [(by_name, "name"), (by_description, "description")] {
            score += points;
            matched.extend((points > 0).then_some(what));
        }
    }
    let tags =
        tool.tags.iter().filter(|tag| wanted.tags.iter().any(|wanted| wanted.eq_ignore_ascii_case(tag)) || words.contains(*tag)).count();
    if tags > 0 {
        score += 15 * u32::try_from(tags).unwrap_or(u32::MAX / 15);
        matched.push("tags");
    } else if !wanted.tags.is_empty() && query.is_empty() {
        return (0, matched);
    }
    if score > 0 && wanted.category.is_some() {
        score += 10;
        matched.push("category");
    }
    (score, matched)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &Wanted<'_>) -> Vec<&'static str> {
        let all: Vec<&'static Entry> = catalogue::all().iter().collect();
        search(&all, &Wanted { limit: 5, query: wanted.query, category: wanted.category, tags: wanted.tags.clone() })
            .tools
            .iter()
            .map(|found| found.tool.name)
            .collect()
    }

    #[test]
    fn the_best_fit_comes_first_and_what_does_not_fit_is_left_out() {
        assert_eq!(names(&Wanted { query: "agent_profile", ..Wanted::default() })[0], "agent_profile");
        assert_eq!(names(&Wanted { query: "claim a task", ..Wanted::default() })[0], "agent_claim_task");
        assert!(names(&Wanted { query: "zzzz", ..Wanted::default() }).is_empty());
        let system = names(&Wanted { category: Some(Category::System), ..Wanted::default() });
        assert_eq!(system, ["tool_categories", "tool_search"]);
    }
}

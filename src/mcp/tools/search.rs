//! Tools that search whatever there is (REST contract §5.7): pages by their words, and names for a caller who types.

use serde_json::{Value, json};

use super::{
    super::{
        catalogue::{Annotations, Call, Category, Need, Tool, ToolError},
        pipeline,
    },
    fields, pages as page_tools,
};
use crate::{
    domain::{pages, search},
    model::{
        account::Account,
        page::{SearchWords, Suggestion},
    },
};

/// Hits when the caller does not say.
const LIMIT: i64 = 20;
/// Suggestions when the caller does not say: as many as a list below a field shows.
const SUGGESTIONS: i64 = 10;
/// Whoever reads pages may search them.
const NEED: Need = Need::Any(&["execute:search", "read:pages"]);

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "search_query",
        aliases: &["search"],
        method: "search.query",
        category: Category::Search,
        tags: &["search", "find", "pages"],
        title: "Search",
        description: "Finds pages that hold all of the words, or whose title holds the text; the best fit comes first, with the place of the words.",
        need: NEED,
        input: || {
            let properties = json!({
                "query": fields::text(500, "Words, or the beginning of words."),
                "spaceId": fields::optional_id("Only pages of this space."),
            });
            json!({"properties": fields::leafed(properties, LIMIT), "required": ["query"]})
        },
        annotations: Annotations::Reads,
        run: |call| Box::pin(query(call)),
    },
    Tool {
        name: "search_suggest",
        aliases: &["search_suggestions"],
        method: "search.suggest",
        category: Category::Search,
        tags: &["search", "names"],
        title: "Suggest by name",
        description: "Finds spaces, pages, projects and tasks by a part of their name, as far as the caller may read such things.",
        need: NEED,
        input: || {
            json!({"properties": {
                "query": fields::text(200, "A part of a name."),
                "spaceId": fields::optional_id("Only what is in this space."),
                "limit": {"type": ["integer", "null"], "minimum": 1, "maximum": 50, "default": SUGGESTIONS, "description": "How many are wanted at the most."},
            }, "required": ["query"]})
        },
        annotations: Annotations::Reads,
        run: |call| Box::pin(suggest(call)),
    },
];

async fn query(call: &Call<'_>) -> Result<Value, ToolError> {
    let (account, request) = (Account::from(call.caller), fields::request(call, LIMIT));
    let words = SearchWords::parse(&fields::required(call, "query")?);
    let found = pages::search(&mut *call.read().await?, &account, &words, call.id("spaceId")?, &request).await?;
    Ok(fields::listed("hits", &found, &request, page_tools::hit))
}

async fn suggest(call: &Call<'_>) -> Result<Value, ToolError> {
    let text = fields::required(call, "query")?;
    let limit = fields::limit(call, SUGGESTIONS);
    let account = pipeline::account(call, &search::SUGGESTED).await?;
    let found = search::suggest(&mut *call.read().await?, &account, &text, call.id("spaceId")?, limit).await?;
    Ok(json!({"suggestions": found.iter().map(suggestion).collect::<Vec<_>>()}))
}

fn suggestion(found: &Suggestion) -> Value {
    json!({"type": found.kind, "id": found.id, "title": found.title, "spaceId": found.space, "slugId": found.slug_id})
}

//! Tools about the tools.

use serde_json::{Value, json};

use super::super::{
    catalogue::{Annotations, Call, Category, Need, Tool, ToolError},
    listing::{self, Wanted},
};

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "tool_search",
        aliases: &["search_tools"],
        method: "tool.search",
        category: Category::System,
        tags: &["discovery", "help"],
        title: "Look for a tool",
        description: "Finds tools by words, category or tags, among those that the caller may call. The best fit comes first.",
        need: Need::Nothing,
        input: || {
            json!({"properties": {
                "query": {"type": ["string", "null"], "maxLength": 200, "description": "Words to look for in names and descriptions."},
                "category": {"type": ["string", "null"], "description": "Id of a category, see tool_categories."},
                "tags": {"type": ["array", "null"], "items": {"type": "string"}, "maxItems": 20},
                "limit": {"type": ["integer", "null"], "minimum": 1, "maximum": listing::FOUND_MAX, "default": listing::FOUND},
            }})
        },
        annotations: Annotations::Reads,
        run: |call| Box::pin(search(call)),
    },
    Tool {
        name: "tool_categories",
        aliases: &["list_categories"],
        method: "tool.categories",
        category: Category::System,
        tags: &["discovery", "help"],
        title: "List categories of tools",
        description: "Lists the categories of tools, with the number of tools in each that the caller may call.",
        need: Need::Nothing,
        input: || json!({"properties": {}}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(categories(call)),
    },
];

async fn search(call: &Call<'_>) -> Result<Value, ToolError> {
    let named = call.text("category");
    let category = named.map(|id| Category::find(id).ok_or_else(|| ToolError::invalid("category", "must be the id of a category")));
    let wanted = Wanted {
        query: call.text("query").unwrap_or_default(),
        category: category.transpose()?,
        tags: call.texts("tags"),
        limit: call.whole("limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(listing::FOUND),
    };
    let allowed = listing::allowed(call.app, Some(call.caller)).await?;
    Ok(json!(listing::search(&allowed, &wanted)))
}

async fn categories(call: &Call<'_>) -> Result<Value, ToolError> {
    let allowed = listing::allowed(call.app, Some(call.caller)).await?;
    Ok(json!({"categories": listing::categories(&allowed)}))
}

//! Tools for comments on pages (REST contract §5.7).

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    super::catalogue::{Annotations, Call, Category, Need, Tool, ToolError},
    fields,
};
use crate::{
    domain::comments,
    model::{
        account::Account,
        comment::{Comment, TEXT_CHARS_MAX},
        document::Document,
        page::PageRef,
    },
    wire::time::Timestamp,
};

/// Items of a list when the caller does not say.
const LIMIT: i64 = 50;
/// Whoever reads pages reads what is said about them.
const READS: &[&str] = &["read:comments", "read:pages"];
const READ: Need = Need::Any(READS);
const WRITE: Need = Need::Permission("write:comments");

const PAGE_ID: &str = "Id of the page, or the short id of its address.";
const COMMENT_ID: &str = "Id of the comment.";

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "comment_list",
        aliases: &["list_comments"],
        method: "comment.list",
        category: Category::Comment,
        tags: &["comments", "list", "pages"],
        title: "List comments",
        description: "Lists the comments on a page, the first one first; answers name the comment that they answer.",
        need: READ,
        input: || json!({"properties": fields::leafed(json!({"pageId": fields::id(PAGE_ID)}), LIMIT), "required": ["pageId"]}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(list(call)),
    },
    Tool {
        name: "comment_get",
        aliases: &["get_comment"],
        method: "comment.get",
        category: Category::Comment,
        tags: &["comments", "read"],
        title: "Read a comment",
        description: "Reads one comment.",
        need: READ,
        input: || json!({"properties": {"commentId": fields::id(COMMENT_ID)}, "required": ["commentId"]}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(get(call)),
    },
    Tool {
        name: "comment_create",
        aliases: &["create_comment"],
        method: "comment.create",
        category: Category::Comment,
        tags: &["comments", "write"],
        title: "Comment on a page",
        description: "Says something about a page, or answers a comment on it.",
        need: WRITE,
        input: || {
            json!({"properties": {
                "pageId": fields::id(PAGE_ID),
                "text": fields::text(TEXT_CHARS_MAX, "What is to be said; empty lines divide paragraphs."),
                "parentId": fields::optional_id("Id of the comment that is answered."),
                "parentCommentId": fields::optional_id("The same as parentId."),
            }, "required": ["pageId", "text"]})
        },
        annotations: Annotations::Writes,
        run: |call| Box::pin(create(call)),
    },
    Tool {
        name: "comment_update",
        aliases: &["update_comment"],
        method: "comment.update",
        category: Category::Comment,
        tags: &["comments", "write"],
        title: "Change a comment",
        description: "Writes one's own comment anew.",
        need: WRITE,
        input: || {
            let text = fields::text(TEXT_CHARS_MAX, "What is to be said instead.");
            json!({"properties": {"commentId": fields::id(COMMENT_ID), "text": text}, "required": ["commentId", "text"]})
        },
        annotations: Annotations::Sets,
        run: |call| Box::pin(update(call)),
    },
    Tool {
        name: "comment_resolve",
        aliases: &["resolve_comment"],
        method: "comment.resolve",
        category: Category::Comment,
        tags: &["comments", "write"],
        title: "Settle a comment",
        description: "Notes that what a comment is about is settled, or that it is not.",
        need: WRITE,
        input: || {
            let resolved = json!({"type": ["boolean", "null"], "default": true, "description": "Whether it is settled."});
            json!({"properties": {"commentId": fields::id(COMMENT_ID), "resolved": resolved}, "required": ["commentId"]})
        },
        annotations: Annotations::Sets,
        run: |call| Box::pin(resolve(call)),
    },
    Tool {
        name: "comment_delete",
        aliases: &["delete_comment"],
        method: "comment.delete",
        category: Category::Comment,
        tags: &["comments", "delete"],
        title: "Delete a comment",
        description: "Deletes one's own comment with its answers.",
        need: WRITE,
        input: || json!({"properties": {"commentId": fields::id(COMMENT_ID)}, "required": ["commentId"]}),
        annotations: Annotations::Destroys,
        run: |call| Box::pin(delete(call)),
    },
];

async fn list(call: &Call<'_>) -> Result<Value, ToolError> {
    let (account, request) = (Account::from(call.caller), fields::request(call, LIMIT));
    let found = comments::list(&mut *call.read().await?, &account, &page_id(call)?, &request).await?;
    Ok(fields::listed("comments", &found, &request, told))
}

async fn get(call: &Call<'_>) -> Result<Value, ToolError> {
    let found = comments::find(&mut *call.read().await?, &Account::from(call.caller), comment_id(call)?).await?;
    Ok(told(&found))
}

async fn create(call: &Call<'_>) -> Result<Value, ToolError> {
    let parent = call.id(fields::either(call, ["parentId", "parentCommentId"])?)?;
    let (page, text) = (page_id(call)?, said(call)?);
    let mut tx = call.begin().await?;
    let made = comments::create(&mut tx, &Account::from(call.caller), &page, parent, &text).await?;
    tx.commit().await?;
    Ok(told(&made))
}

async fn update(call: &Call<'_>) -> Result<Value, ToolError> {
    let text = said(call)?;
    let mut tx = call.begin().await?;
    let changed = comments::update(&mut tx, &Account::from(call.caller), comment_id(call)?, &text).await?;
    tx.commit().await?;
    Ok(told(&changed))
}

async fn resolve(call: &Call<'_>) -> Result<Value, ToolError> {
    let resolved = fields::flag(call, "resolved").unwrap_or(true);
    let mut tx = call.begin().await?;
    let changed = comments::resolve(&mut tx, &Account::from(call.caller), comment_id(call)?, resolved).await?;
    tx.commit().await?;
    Ok(fields::without_unread(call, READS, told(&changed), &["content", "text", "selection"]).await)
}

async fn delete(call: &Call<'_>) -> Result<Value, ToolError> {
    let mut tx = call.begin().await?;
    comments::delete(&mut tx, &Account::from(call.caller), comment_id(call)?).await?;
    tx.commit().await?;
    Ok(json!({"success": true}))
}

fn page_id(call: &Call<'_>) -> Result<PageRef, ToolError> {
    Ok(PageRef::parse(&fields::required(call, "pageId")?))
}

fn comment_id(call: &Call<'_>) -> Result<Uuid, ToolError> {
    call.required_id("commentId")
}

fn said(call: &Call<'_>) -> Result<Document, ToolError> {
    Document::from_text(&fields::required(call, "text")?).map_err(|error| ToolError::invalid("text", &error.to_string()))
}

/// A comment as tools tell it: as the editor keeps it, and its words.
fn told(comment: &Comment) -> Value {
    let words = comment.content.clone().and_then(|content| Document::parse(content).ok());
    json!({
        "id": comment.id,
        "pageId": comment.page,
        "parentCommentId": comment.parent,
        "content": comment.content,
        "text": words.as_ref().map(Document::text),
        "selection": comment.selection,
        "creator": fields::author(comment.creator.as_ref()),
        "resolvedAt": fields::optional_time(comment.resolved_at),
        "createdAt": Timestamp(comment.created_at),
        "editedAt": fields::optional_time(comment.edited_at),
    })
}

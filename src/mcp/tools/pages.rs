//! Tools for pages (REST contract §5.7).

use serde_json::{Value, json};

use super::{
    super::catalogue::{Annotations, Call, Category, Need, Tool, ToolError},
    fields,
};
use crate::{
    domain::pages,
    model::{
        account::Account,
        page::{NewPage, Page, PageChange, PageHit, PageRef, PageSummary, Revision, SearchWords, TITLE_CHARS_MAX},
        position::POSITION_CHARS_MAX,
    },
    wire::time::Timestamp,
};

/// Items of a list when the caller does not say.
const LIMIT: i64 = 50;
/// Length of an icon in characters at the most: an emoji is up to some ten.
const ICON_CHARS_MAX: usize = 50;
/// Length of what is searched for in characters at the most.
const QUERY_CHARS_MAX: usize = 500;

const PAGE_ID: &str = "Id of the page, or the short id of its address.";
const SPACE_ID: &str = "Only pages of this space.";

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "page_list",
        aliases: &["list_pages"],
        method: "page.list",
        category: Category::Page,
        tags: &["pages", "list", "space"],
        title: "List pages",
        description: "Lists the pages of a space, those changed last first.",
        need: Need::Permission("read:pages"),
        input: || json!({"properties": fields::leafed(json!({"spaceId": fields::id("Id of the space.")}), LIMIT), "required": ["spaceId"]}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(list(call)),
    },
    Tool {
        name: "page_get",
        aliases: &["get_page"],
        method: "page.get",
        category: Category::Page,
        tags: &["pages", "read", "content"],
        title: "Read a page",
        description: "Reads one page with its content.",
        need: Need::Permission("read:pages"),
        input: || json!({"properties": {"pageId": fields::id(PAGE_ID)}, "required": ["pageId"]}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(get(call)),
    },
    Tool {
        name: "page_search",
        aliases: &["search_pages"],
        method: "page.search",
        category: Category::Page,
        tags: &["pages", "search", "find"],
        title: "Search pages",
        description: "Finds pages that hold all of the words, or whose title holds the text; the best fit comes first, with the place of the words.",
        need: Need::Permission("read:pages"),
        input: || {
            let query = fields::text(QUERY_CHARS_MAX, "Words, or the beginning of words.");
            let properties = json!({"query": query, "spaceId": fields::optional_id(SPACE_ID)});
            json!({"properties": fields::leafed(properties, LIMIT), "required": ["query"]})
        },
        annotations: Annotations::Reads,
        run: |call| Box::pin(search(call)),
    },
    Tool {
        name: "page_recent",
        aliases: &[],
        method: "page.recent",
        category: Category::Page,
        tags: &["pages", "list", "latest"],
        title: "List pages changed last",
        description: "Lists pages of all spaces that the caller belongs to, those changed last first.",
        need: Need::Permission("read:pages"),
        input: || json!({"properties": fields::leafed(json!({"spaceId": fields::optional_id(SPACE_ID)}), LIMIT)}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(recent(call)),
    },
    Tool {
        name: "page_breadcrumbs",
        aliases: &["page_getBreadcrumbs"],
        method: "page.breadcrumbs",
        category: Category::Page,
        tags: &["pages", "tree", "path"],
        title: "Read where a page stands",
        description: "Lists the pages above a page, the topmost first, and the page itself.",
        need: Need::Permission("read:pages"),
        input: || json!({"properties": {"pageId": fields::id(PAGE_ID)}, "required": ["pageId"]}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(breadcrumbs(call)),
    },
    Tool {
        name: "page_sidebar_pages",
        aliases: &["page_getSidebarPages", "page_sidebarPages"],
        method: "page.sidebarPages",
        category: Category::Page,
        tags: &["pages", "tree", "children"],
        title: "List pages below a page",
        description: "Lists the pages right below a page, or at the top of a space, in their order.",
        need: Need::Permission("read:pages"),
        input: || {
            let parent = fields::optional_id("Id of the page whose children are wanted; without it the pages at the top of the space.");
            let properties = json!({"spaceId": fields::id("Id of the space."), "pageId": parent});
            json!({"properties": fields::leafed(properties, LIMIT), "required": ["spaceId"]})
        },
        annotations: Annotations::Reads,
        run: |call| Box::pin(children(call)),
    },
    Tool {
        name: "page_get_history",
        aliases: &["page_getHistory", "page_history"],
        method: "page.getHistory",
        category: Category::Page,
        tags: &["pages", "history"],
        title: "List changes of a page",
        description: "Lists what was done to a page through these tools, the latest first: what, when and by whom.",
        need: Need::Permission("read:pages"),
        input: || json!({"properties": fields::leafed(json!({"pageId": fields::id(PAGE_ID)}), LIMIT), "required": ["pageId"]}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(history(call)),
    },
    Tool {
        name: "page_history_info",
        aliases: &["page_historyInfo", "page_getHistoryInfo"],
        method: "page.historyInfo",
        category: Category::Page,
        tags: &["pages", "history"],
        title: "Read one change of a page",
        description: "Reads one entry of a page's history.",
        need: Need::Permission("read:pages"),
        input: || json!({"properties": {"historyId": fields::id("Id of the entry, from page_get_history.")}, "required": ["historyId"]}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(history_info(call)),
    },
    Tool {
        name: "page_create",
        aliases: &["create_page"],
        method: "page.create",
        category: Category::Page,
        tags: &["pages", "write", "content"],
        title: "Write a new page",
        description: "Makes a page in a space, at its top or below another page.",
        need: Need::Permission("write:pages"),
        input: || {
            json!({"properties": {
                "title": fields::text(TITLE_CHARS_MAX, "The page's title."),
                "content": fields::document("What is written on it."),
                "spaceId": fields::id("Id of the space that it is to be in."),
                "parentId": fields::optional_id("Id of the page that it is to be below."),
                "parentPageId": fields::optional_id("The same as parentId."),
                "icon": fields::optional_text(ICON_CHARS_MAX, "An emoji."),
            }, "required": ["title", "content", "spaceId"]})
        },
        annotations: Annotations::Writes,
        run: |call| Box::pin(create(call)),
    },
    Tool {
        name: "page_update",
        aliases: &["update_page"],
        method: "page.update",
        category: Category::Page,
        tags: &["pages", "write", "content"],
        title: "Change a page",
        description: "Changes a page's title, content, icon or place; what is left out stays. New content takes the place of all of the old.",
        need: Need::Permission("write:pages"),
        input: || {
            json!({"properties": {
                "pageId": fields::id(PAGE_ID),
                "title": fields::text(TITLE_CHARS_MAX, "The new title."),
                "content": fields::document("What is to be written on it instead."),
                "icon": fields::optional_text(ICON_CHARS_MAX, "An emoji; null for none."),
                "parentId": fields::optional_id("Id of the page that it is to be below; null for the top of its space."),
                "parentPageId": fields::optional_id("The same as parentId."),
                "agentAccessible": fields::optional_flag("Whether agents may know of the page; for people to decide."),
            }, "required": ["pageId"], "not": fields::none_of(&["title", "content", "icon", "parentId", "parentPageId", "agentAccessible"])})
        },
        annotations: Annotations::Sets,
        run: |call| Box::pin(update(call)),
    },
    Tool {
        name: "page_move",
        aliases: &["move_page"],
        method: "page.move",
        category: Category::Page,
        tags: &["pages", "write", "tree"],
        title: "Move a page",
        description: "Moves a page with all below it to another place in its space: below another page, or to the top.",
        need: Need::Permission("write:pages"),
        input: || {
            json!({"properties": {
                "pageId": fields::id(PAGE_ID),
                "parentId": fields::optional_id("Id of the page that it is to be below; null for the top of its space."),
                "parentPageId": fields::optional_id("The same as parentId."),
                "position": fields::optional_text(POSITION_CHARS_MAX, "Where among those beside it, as other pages' positions say; without it at the end."),
            }, "required": ["pageId"], "not": fields::none_of(&["parentId", "parentPageId", "position"])})
        },
        annotations: Annotations::Sets,
        run: |call| Box::pin(move_within_space(call)),
    },
    Tool {
        name: "page_move_to_space",
        aliases: &["page_moveToSpace"],
        method: "page.moveToSpace",
        category: Category::Page,
        tags: &["pages", "write", "space"],
        title: "Move a page to another space",
        description: "Moves a page with all below it to the top of another space.",
        need: Need::Permission("write:pages"),
        input: || {
            let space = fields::id("Id of the space that it is to be in.");
            json!({"properties": {"pageId": fields::id(PAGE_ID), "spaceId": space}, "required": ["pageId", "spaceId"]})
        },
        annotations: Annotations::Sets,
        run: |call| Box::pin(move_to_space(call)),
    },
    Tool {
        name: "page_restore",
        aliases: &["restore_page"],
        method: "page.restore",
        category: Category::Page,
        tags: &["pages", "write", "undo"],
        title: "Restore a page",
        description: "Brings a deleted page back, with what was deleted with it.",
        need: Need::Permission("write:pages"),
        input: || json!({"properties": {"pageId": fields::id(PAGE_ID)}, "required": ["pageId"]}),
        annotations: Annotations::Writes,
        run: |call| Box::pin(restore(call)),
    },
    Tool {
        name: "page_delete",
        aliases: &["delete_page"],
        method: "page.delete",
        category: Category::Page,
        tags: &["pages", "delete"],
        title: "Delete a page",
        description: "Deletes a page with all below it. It can be restored.",
        need: Need::Permission("delete:pages"),
        input: || json!({"properties": {"pageId": fields::id(PAGE_ID)}, "required": ["pageId"]}),
        annotations: Annotations::Destroys,
        run: |call| Box::pin(delete(call)),
    },
];

async fn list(call: &Call<'_>) -> Result<Value, ToolError> {
    let (account, request) = (Account::from(call.caller), fields::request(call, LIMIT));
    let found = pages::list(&mut *call.read().await?, &account, Some(call.required_id("spaceId")?), &request).await?;
    Ok(fields::listed("pages", &found, &request, summary))
}

async fn recent(call: &Call<'_>) -> Result<Value, ToolError> {
    let (account, request) = (Account::from(call.caller), fields::request(call, LIMIT));
    let found = pages::list(&mut *call.read().await?, &account, call.id("spaceId")?, &request).await?;
    Ok(fields::listed("pages", &found, &request, summary))
}

async fn search(call: &Call<'_>) -> Result<Value, ToolError> {
    let (account, request) = (Account::from(call.caller), fields::request(call, LIMIT));
    let words = SearchWords::parse(&fields::required(call, "query")?);
    let found = pages::search(&mut *call.read().await?, &account, &words, call.id("spaceId")?, &request).await?;
    Ok(fields::listed("pages", &found, &request, hit))
}

async fn get(call: &Call<'_>) -> Result<Value, ToolError> {
    let page = pages::find(&mut *call.read().await?, &Account::from(call.caller), &page_id(call)?).await?;
    Ok(whole(call, &page))
}

async fn breadcrumbs(call: &Call<'_>) -> Result<Value, ToolError> {
    let path = pages::path(&mut *call.read().await?, &Account::from(call.caller), &page_id(call)?).await?;
    Ok(json!({"breadcrumbs": path.iter().map(summary).collect::<Vec<_>>()}))
}

async fn children(call: &Call<'_>) -> Result<Value, ToolError> {
    let (account, request) = (Account::from(call.caller), fields::request(call, LIMIT));
    let parent = call.text("pageId").map(PageRef::parse);
    let found = pages::children(&mut *call.read().await?, &account, call.required_id("spaceId")?, parent.as_ref(), &request).await?;
    Ok(fields::listed("pages", &found, &request, summary))
}

async fn history(call: &Call<'_>) -> Result<Value, ToolError> {
    let (account, request) = (Account::from(call.caller), fields::request(call, LIMIT));
    let found = pages::history(&mut *call.read().await?, &account, &page_id(call)?, &request).await?;
    Ok(fields::listed("history", &found, &request, revision))
}

async fn history_info(call: &Call<'_>) -> Result<Value, ToolError> {
    let found = pages::revision(&mut *call.read().await?, &Account::from(call.caller), call.required_id("historyId")?).await?;
    Ok(revision(&found))
}

async fn create(call: &Call<'_>) -> Result<Value, ToolError> {
    let page = NewPage {
        title: fields::required(call, "title")?,
        content: fields::document_in(call, "content")?.ok_or_else(|| ToolError::invalid("content", "is missing"))?,
        icon: fields::text_change(call, "icon").flatten(),
        space: call.required_id("spaceId")?,
        parent: call.id(parent_field(call)?)?,
    };
    let mut tx = call.begin().await?;
    let made = pages::create(&mut tx, &Account::from(call.caller), &page).await?;
    tx.commit().await?;
    Ok(whole(call, &made))
}

async fn update(call: &Call<'_>) -> Result<Value, ToolError> {
    let change = PageChange {
        title: call.text("title").map(|_| fields::required(call, "title")).transpose()?,
        icon: fields::text_change(call, "icon"),
        content: fields::document_in(call, "content")?,
        parent: fields::id_change(call, parent_field(call)?)?,
        position: None,
        agent_accessible: fields::flag(call, "agentAccessible"),
    };
    change_to(call, &change).await
}

async fn move_within_space(call: &Call<'_>) -> Result<Value, ToolError> {
    let position = fields::position(call)?;
    let parent = fields::id_change(call, parent_field(call)?)?;
    change_to(call, &PageChange { parent, position, ..PageChange::default() }).await
}

async fn change_to(call: &Call<'_>, change: &PageChange) -> Result<Value, ToolError> {
    let mut tx = call.begin().await?;
    let changed = pages::update(&mut tx, &Account::from(call.caller), &page_id(call)?, change).await?;
    tx.commit().await?;
    Ok(after_change(call, &changed).await)
}

async fn move_to_space(call: &Call<'_>) -> Result<Value, ToolError> {
    let space = call.required_id("spaceId")?;
    let mut tx = call.begin().await?;
    let moved = pages::move_to_space(&mut tx, &Account::from(call.caller), &page_id(call)?, space).await?;
    tx.commit().await?;
    Ok(after_change(call, &moved).await)
}

async fn restore(call: &Call<'_>) -> Result<Value, ToolError> {
    let mut tx = call.begin().await?;
    let restored = pages::restore(&mut tx, &Account::from(call.caller), &page_id(call)?).await?;
    tx.commit().await?;
    Ok(after_change(call, &restored).await)
}

async fn delete(call: &Call<'_>) -> Result<Value, ToolError> {
    let mut tx = call.begin().await?;
    pages::delete(&mut tx, &Account::from(call.caller), &page_id(call)?).await?;
    tx.commit().await?;
    Ok(json!({"success": true, "message": "the page was deleted; page_restore brings it back"}))
}

fn page_id(call: &Call<'_>) -> Result<PageRef, ToolError> {
    Ok(PageRef::parse(&fields::required(call, "pageId")?))
}

/// The schema of the original says `parentId`, its handler `parentPageId` (D-32).
fn parent_field(call: &Call<'_>) -> Result<&'static str, ToolError> {
    fields::either(call, ["parentId", "parentPageId"])
}

/// A page as tools tell it.
pub(super) fn whole(call: &Call<'_>, page: &Page) -> Value {
    let mut told = summary(&page.summary);
    told["workspaceId"] = json!(call.workspace());
    told["content"] = json!(page.content);
    told["space"] = json!({"id": page.summary.space, "name": page.space_name, "slug": page.space_slug});
    told["creator"] = fields::author(page.creator.as_ref());
    told["lastUpdatedBy"] = fields::author(page.last_updated_by.as_ref());
    told["isLocked"] = json!(page.is_locked);
    told["agentAccessible"] = json!(page.agent_accessible);
    told
}

/// A page that was there before, as who changed it is told of it.
async fn after_change(call: &Call<'_>, page: &Page) -> Value {
    fields::without_unread(call, &["read:pages"], whole(call, page), &["content"]).await
}

fn summary(page: &PageSummary) -> Value {
    json!({
        "id": page.id,
        "slugId": page.slug_id,
        "title": page.title,
        "icon": page.icon,
        "position": page.position,
        "parentPageId": page.parent,
        "creatorId": page.creator,
        "spaceId": page.space,
        "hasChildren": page.has_children,
        "createdAt": Timestamp(page.created_at),
        "updatedAt": Timestamp(page.updated_at),
    })
}

/// What a search tells of a page.
pub(super) fn hit(hit: &PageHit) -> Value {
    let mut told = summary(&hit.page);
    told["space"] = json!({"id": hit.page.space, "name": hit.space_name, "slug": hit.space_slug});
    told["snippet"] = json!(hit.snippet);
    told["rank"] = json!(hit.rank);
    told
}

fn revision(revision: &Revision) -> Value {
    json!({
        "id": revision.id,
        "pageId": revision.page,
        "change": revision.metadata.get("change").cloned().unwrap_or_else(|| json!("created")),
        "title": revision.metadata["page"]["title"],
        "description": revision.description,
        "agentId": revision.agent,
        "userId": revision.actor,
        "createdAt": Timestamp(revision.created_at),
    })
}

//! Tools for projects (REST contract §5.7).

use serde_json::{Value, json};

use super::{
    super::catalogue::{Annotations, Call, Category, Need, Tool, ToolError},
    fields, pages,
};
use crate::{
    domain::projects,
    model::{
        account::Account,
        ids::ProjectId,
        page::TITLE_CHARS_MAX,
        project::{NAME_CHARS_MAX, NewProject, Project, ProjectChange, ProjectFilter},
        task::DESCRIPTION_CHARS_MAX,
    },
    wire::time::Timestamp,
};

/// Items of a list when the caller does not say.
const LIMIT: i64 = 20;
/// Length of an icon or a colour in characters at the most.
const MARK_CHARS_MAX: usize = 50;

const PROJECT_ID: &str = "Id of the project.";

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "project_list",
        aliases: &["list_projects"],
        method: "project.list",
        category: Category::Project,
        tags: &["projects", "list"],
        title: "List projects",
        description: "Lists the projects of a space, or of all spaces that the caller belongs to, by name.",
        need: Need::Permission("read:projects"),
        input: || {
            let properties = json!({
                "spaceId": fields::optional_id("Only projects of this space."),
                "includeArchived": fields::optional_flag("Whether archived ones are wanted too."),
                "searchTerm": fields::optional_text(200, "Only projects whose name holds this."),
            });
            json!({"properties": fields::leafed(properties, LIMIT)})
        },
        annotations: Annotations::Reads,
        run: |call| Box::pin(list(call)),
    },
    Tool {
        name: "project_get",
        aliases: &["get_project"],
        method: "project.get",
        category: Category::Project,
        tags: &["projects", "read"],
        title: "Read a project",
        description: "Reads one project.",
        need: Need::Permission("read:projects"),
        input: || json!({"properties": {"projectId": fields::id(PROJECT_ID)}, "required": ["projectId"]}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(get(call)),
    },
    Tool {
        name: "project_create",
        aliases: &["create_project"],
        method: "project.create",
        category: Category::Project,
        tags: &["projects", "write"],
        title: "Make a project",
        description: "Makes a project in a space.",
        need: Need::Permission("write:projects"),
        input: || {
            json!({"properties": {
                "name": fields::text(NAME_CHARS_MAX, "The project's name."),
                "spaceId": fields::id("Id of the space that it is to be in."),
                "description": fields::optional_text(DESCRIPTION_CHARS_MAX, "What it is about."),
                "icon": fields::optional_text(MARK_CHARS_MAX, "An emoji."),
                "color": fields::optional_text(MARK_CHARS_MAX, "Its colour, as CSS writes it."),
                "startDate": fields::optional_instant("When it begins."),
                "endDate": fields::optional_instant("When it ends."),
            }, "required": ["name", "spaceId"]})
        },
        annotations: Annotations::Writes,
        run: |call| Box::pin(create(call)),
    },
    Tool {
        name: "project_update",
        aliases: &["update_project"],
        method: "project.update",
        category: Category::Project,
        tags: &["projects", "write"],
        title: "Change a project",
        description: "Changes a project; what is left out stays.",
        need: Need::Permission("write:projects"),
        input: || {
            json!({"properties": {
                "projectId": fields::id(PROJECT_ID),
                "name": fields::text(NAME_CHARS_MAX, "The new name."),
                "description": fields::optional_text(DESCRIPTION_CHARS_MAX, "What it is about; null for nothing."),
                "icon": fields::optional_text(MARK_CHARS_MAX, "An emoji; null for none."),
                "color": fields::optional_text(MARK_CHARS_MAX, "Its colour, as CSS writes it; null for none."),
                "startDate": fields::optional_instant("When it begins; null for no such time."),
                "endDate": fields::optional_instant("When it ends; null for no such time."),
                "agentLive": fields::optional_flag("Whether agents may take up its tasks. For people to decide."),
            }, "required": ["projectId"],
               "not": fields::none_of(&["name", "description", "icon", "color", "startDate", "endDate", "agentLive"])})
        },
        annotations: Annotations::Sets,
        run: |call| Box::pin(update(call)),
    },
    Tool {
        name: "project_archive",
        aliases: &["archive_project"],
        method: "project.archive",
        category: Category::Project,
        tags: &["projects", "write"],
        title: "Archive a project",
        description: "Puts a project into the archive, or takes it out again.",
        need: Need::Permission("write:projects"),
        input: || {
            let archived = json!({"type": ["boolean", "null"], "default": true, "description": "Whether it is to be in the archive."});
            json!({"properties": {"projectId": fields::id(PROJECT_ID), "isArchived": archived}, "required": ["projectId"]})
        },
        annotations: Annotations::Sets,
        run: |call| Box::pin(archive(call)),
    },
    Tool {
        name: "project_delete",
        aliases: &["delete_project"],
        method: "project.delete",
        category: Category::Project,
        tags: &["projects", "delete"],
        title: "Delete a project",
        description: "Deletes a project with its tasks; where it has some, that needs delete:tasks.",
        need: Need::Permission("write:projects"),
        input: || json!({"properties": {"projectId": fields::id(PROJECT_ID)}, "required": ["projectId"]}),
        annotations: Annotations::Destroys,
        run: |call| Box::pin(delete(call)),
    },
    Tool {
        name: "project_create_page",
        aliases: &["project_createPage"],
        method: "project.createPage",
        category: Category::Project,
        tags: &["projects", "pages", "write"],
        title: "Write a page for a project",
        description: "Makes a page that tells of a project: its home page, or one below that if it has one already.",
        need: Need::Permission("write:pages"),
        input: || {
            json!({"properties": {
                "projectId": fields::id(PROJECT_ID),
                "title": fields::optional_text(TITLE_CHARS_MAX, "The page's title; the project's name if left out."),
                "content": fields::document("What is written on it; nothing if left out."),
            }, "required": ["projectId"]})
        },
        annotations: Annotations::Writes,
        run: |call| Box::pin(create_page(call)),
    },
];

async fn list(call: &Call<'_>) -> Result<Value, ToolError> {
    let request = fields::request(call, LIMIT);
    let filter = ProjectFilter { space: call.id("spaceId")?, archived_too: fields::flag(call, "includeArchived").unwrap_or(false) };
    let found = projects::list(&mut *call.read().await?, &Account::from(call.caller), &filter, &request).await?;
    Ok(fields::listed("projects", &found, &request, |found| project(call, found)))
}

async fn get(call: &Call<'_>) -> Result<Value, ToolError> {
    let found = projects::find(&mut *call.read().await?, &Account::from(call.caller), project_id(call)?).await?;
    Ok(project(call, &found))
}

async fn create(call: &Call<'_>) -> Result<Value, ToolError> {
    let new = NewProject {
        name: fields::required(call, "name")?,
        description: fields::text_change(call, "description").flatten(),
        icon: fields::text_change(call, "icon").flatten(),
        color: fields::text_change(call, "color").flatten(),
        starts_at: fields::instant(call, "startDate")?,
        ends_at: fields::instant(call, "endDate")?,
        space: call.required_id("spaceId")?,
    };
    let mut tx = call.begin().await?;
    let made = projects::create(&mut tx, &Account::from(call.caller), &new).await?;
    tx.commit().await?;
    Ok(project(call, &made))
}

async fn update(call: &Call<'_>) -> Result<Value, ToolError> {
    let change = ProjectChange {
        name: call.text("name").map(|_| fields::required(call, "name")).transpose()?,
        description: fields::text_change(call, "description"),
        icon: fields::text_change(call, "icon"),
        color: fields::text_change(call, "color"),
        starts_at: fields::instant_change(call, "startDate")?,
        ends_at: fields::instant_change(call, "endDate")?,
        is_archived: None,
        agent_live: fields::flag(call, "agentLive"),
    };
    change_to(call, &change).await
}

async fn archive(call: &Call<'_>) -> Result<Value, ToolError> {
    let is_archived = Some(fields::flag(call, "isArchived").unwrap_or(true));
    change_to(call, &ProjectChange { is_archived, ..ProjectChange::default() }).await
}

async fn change_to(call: &Call<'_>, change: &ProjectChange) -> Result<Value, ToolError> {
    let mut tx = call.begin().await?;
    let changed = projects::update(&mut tx, &Account::from(call.caller), project_id(call)?, change).await?;
    tx.commit().await?;
    Ok(fields::without_unread(call, &["read:projects"], project(call, &changed), &["description"]).await)
}

async fn delete(call: &Call<'_>) -> Result<Value, ToolError> {
    let mut tx = call.begin().await?;
    projects::delete(&mut tx, &Account::from(call.caller), project_id(call)?).await?;
    tx.commit().await?;
    Ok(json!({"success": true}))
}

async fn create_page(call: &Call<'_>) -> Result<Value, ToolError> {
    let title = fields::text_change(call, "title").flatten();
    let content = fields::document_in(call, "content")?;
    let mut tx = call.begin().await?;
    let page = projects::create_page(&mut tx, &Account::from(call.caller), project_id(call)?, title, content).await?;
    tx.commit().await?;
    Ok(pages::whole(call, &page))
}

fn project_id(call: &Call<'_>) -> Result<ProjectId, ToolError> {
    call.required_id("projectId")
}

/// A project as tools tell it.
fn project(call: &Call<'_>, project: &Project) -> Value {
    json!({
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "icon": project.icon,
        "color": project.color,
        "isArchived": project.is_archived,
        "startDate": fields::optional_time(project.starts_at),
        "endDate": fields::optional_time(project.ends_at),
        "spaceId": project.space,
        "workspaceId": call.workspace(),
        "homePageId": project.home_page,
        "creator": fields::author(project.creator.as_ref()),
        "agentLive": project.agent_live,
        "createdAt": Timestamp(project.created_at),
        "updatedAt": Timestamp(project.updated_at),
    })
}

//! Tools for tasks (REST contract §5.7). Taking a task up is a matter of agents, see their tools.

use serde_json::{Value, json};

use super::{
    super::catalogue::{Annotations, Call, Category, Need, Tool, ToolError},
    fields,
};
use crate::{
    domain::tasks,
    model::{
        account::Account,
        ids::TaskId,
        page::TITLE_CHARS_MAX,
        position::POSITION_CHARS_MAX,
        task::{DESCRIPTION_CHARS_MAX, ESTIMATE_MINUTES_MAX, NewTask, Task, TaskBucket, TaskChange, TaskFilter, TaskPriority, TaskStatus},
    },
    wire::time::Timestamp,
};

/// Items of a list when the caller does not say.
const LIMIT: i64 = 20;

const TASK_ID: &str = "Id of the task.";
const ASSIGNEE_ID: &str = "Id of the account that is to do it. Anybody but oneself needs assign:tasks.";

/// What a change of a task may name.
const CHANGES: &[&str] = &[
    "title",
    "description",
    "status",
    "priority",
    "bucket",
    "dueDate",
    "assigneeId",
    "pageId",
    "estimatedTime",
    "position",
    "agentLive",
    "agentAccessible",
];

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "task_list",
        aliases: &["list_tasks"],
        method: "task.list",
        category: Category::Task,
        tags: &["tasks", "list"],
        title: "List tasks",
        description: "Lists tasks of a space, a project or all spaces that the caller belongs to, in their order, with how many there are.",
        need: Need::Permission("read:tasks"),
        input: || {
            let statuses = json!({"type": ["array", "string", "null"], "items": {"enum": TaskStatus::WORDS}, "maxItems": 5,
                                  "description": "Only tasks that stand so: one word or several."});
            let properties = json!({
                "spaceId": fields::optional_id("Only tasks of this space."),
                "projectId": fields::optional_id("Only tasks of this project."),
                "status": statuses,
                "assigneeId": fields::optional_id("Only tasks that this account is to do."),
                "bucket": fields::optional_word(TaskBucket::WORDS, "Only tasks in this bucket."),
                "query": fields::optional_text(200, "Only tasks whose title holds this."),
            });
            json!({"properties": fields::leafed(properties, LIMIT)})
        },
        annotations: Annotations::Reads,
        run: |call| Box::pin(list(call)),
    },
    Tool {
        name: "task_get",
        aliases: &["get_task"],
        method: "task.get",
        category: Category::Task,
        tags: &["tasks", "read"],
        title: "Read a task",
        description: "Reads one task.",
        need: Need::Permission("read:tasks"),
        input: || json!({"properties": {"taskId": fields::id(TASK_ID)}, "required": ["taskId"]}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(get(call)),
    },
    Tool {
        name: "task_triage_summary",
        aliases: &["task_triageSummary"],
        method: "task.triageSummary",
        category: Category::Task,
        tags: &["tasks", "overview"],
        title: "Count open tasks",
        description: "Counts the open tasks that wait in each bucket, are overdue, due today, blocked or nobody's. Days are those of UTC.",
        need: Need::Permission("read:tasks"),
        input: || json!({"properties": {"spaceId": fields::optional_id("Only tasks of this space.")}}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(triage(call)),
    },
    Tool {
        name: "task_create",
        aliases: &["create_task"],
        method: "task.create",
        category: Category::Task,
        tags: &["tasks", "write"],
        title: "Make a task",
        description: "Makes a task in a project, or in a space.",
        need: Need::Permission("write:tasks"),
        input: || {
            json!({"properties": {
                "title": fields::text(TITLE_CHARS_MAX, "What is to be done."),
                "spaceId": fields::optional_id("Id of the space; needed unless projectId is given."),
                "projectId": fields::optional_id("Id of the project."),
                "description": fields::optional_text(DESCRIPTION_CHARS_MAX, "More about it."),
                "status": fields::optional_word(TaskStatus::WORDS, "How far it is; todo if left out."),
                "priority": fields::optional_word(TaskPriority::WORDS, "How much it matters; medium if left out."),
                "bucket": fields::optional_word(TaskBucket::WORDS, "Where it waits for somebody to think of it."),
                "dueDate": fields::optional_instant("When it is to be done."),
                "assigneeId": fields::optional_id(ASSIGNEE_ID),
                "parentTaskId": fields::optional_id("Id of the task that it is a part of."),
                "pageId": fields::optional_id("Id of the page that it comes from."),
                "estimatedTime": estimate(),
            }, "required": ["title"], "not": fields::none_of(&["spaceId", "projectId"])})
        },
        annotations: Annotations::Writes,
        run: |call| Box::pin(create(call)),
    },
    Tool {
        name: "task_update",
        aliases: &["update_task"],
        method: "task.update",
        category: Category::Task,
        tags: &["tasks", "write", "status"],
        title: "Change a task",
        description: "Changes a task; what is left out stays.",
        need: Need::Permission("write:tasks"),
        input: || {
            json!({"properties": {
                "taskId": fields::id(TASK_ID),
                "title": fields::text(TITLE_CHARS_MAX, "What is to be done."),
                "description": fields::optional_text(DESCRIPTION_CHARS_MAX, "More about it; null for nothing."),
                "status": fields::optional_word(TaskStatus::WORDS, "How far it is."),
                "priority": fields::optional_word(TaskPriority::WORDS, "How much it matters."),
                "bucket": fields::optional_word(TaskBucket::WORDS, "Where it waits for somebody to think of it."),
                "dueDate": fields::optional_instant("When it is to be done; null for no such time."),
                "assigneeId": fields::optional_id(ASSIGNEE_ID),
                "pageId": fields::optional_id("Id of the page that it comes from; null for none."),
                "estimatedTime": estimate(),
                "position": fields::optional_text(POSITION_CHARS_MAX, "Where among other tasks, as their positions say."),
                "agentLive": fields::optional_flag("Whether agents may take it up; null is as its project says. For people to decide."),
                "agentAccessible": fields::optional_flag("Whether agents may know of it. For people to decide."),
            }, "required": ["taskId"], "not": fields::none_of(CHANGES)})
        },
        annotations: Annotations::Sets,
        run: |call| Box::pin(update(call)),
    },
    Tool {
        name: "task_complete",
        aliases: &["complete_task"],
        method: "task.complete",
        category: Category::Task,
        tags: &["tasks", "write", "status", "done"],
        title: "Say that a task is done",
        description: "Marks a task as done, or as open again.",
        need: Need::Permission("write:tasks"),
        input: || {
            let done = json!({"type": ["boolean", "null"], "default": true, "description": "Whether it is done."});
            json!({"properties": {"taskId": fields::id(TASK_ID), "isCompleted": done}, "required": ["taskId"]})
        },
        annotations: Annotations::Sets,
        run: |call| Box::pin(complete(call)),
    },
    Tool {
        name: "task_move_to_project",
        aliases: &["task_moveToProject"],
        method: "task.moveToProject",
        category: Category::Task,
        tags: &["tasks", "write", "projects"],
        title: "Move a task to a project",
        description: "Moves a task to the end of a project, which may be in another space, or out of its project.",
        need: Need::Permission("write:tasks"),
        input: || {
            let project = fields::optional_id("Id of the project; null for none.");
            json!({"properties": {"taskId": fields::id(TASK_ID), "projectId": project}, "required": ["taskId", "projectId"]})
        },
        annotations: Annotations::Sets,
        run: |call| Box::pin(move_to_project(call)),
    },
    Tool {
        name: "task_bucket_set",
        aliases: &["task_bucketSet"],
        method: "task.bucketSet",
        category: Category::Task,
        tags: &["tasks", "write", "triage"],
        title: "Put a task into a bucket",
        description: "Puts a task where it waits for somebody to think of it.",
        need: Need::Permission("write:tasks"),
        input: || json!({"properties": {"taskId": fields::id(TASK_ID), "bucket": {"enum": TaskBucket::WORDS}}, "required": ["taskId", "bucket"]}),
        annotations: Annotations::Sets,
        run: |call| Box::pin(set_bucket(call)),
    },
    Tool {
        name: "task_bucket_clear",
        aliases: &["task_bucketClear"],
        method: "task.bucketClear",
        category: Category::Task,
        tags: &["tasks", "write", "triage"],
        title: "Take a task out of its bucket",
        description: "Takes a task out of its bucket.",
        need: Need::Permission("write:tasks"),
        input: || json!({"properties": {"taskId": fields::id(TASK_ID)}, "required": ["taskId"]}),
        annotations: Annotations::Sets,
        run: |call| Box::pin(put_into(call, TaskBucket::None)),
    },
    Tool {
        name: "task_assign",
        aliases: &["assign_task"],
        method: "task.assign",
        category: Category::Task,
        tags: &["tasks", "write", "people"],
        title: "Give a task to somebody",
        description: "Gives a task to somebody who belongs to its space, or takes it from whoever has it.",
        need: Need::Permission("assign:tasks"),
        input: || {
            let assignee = fields::optional_id("Id of the account that is to do it; null for nobody.");
            json!({"properties": {"taskId": fields::id(TASK_ID), "assigneeId": assignee}, "required": ["taskId", "assigneeId"]})
        },
        annotations: Annotations::Sets,
        run: |call| Box::pin(assign(call)),
    },
    Tool {
        name: "task_delete",
        aliases: &["delete_task"],
        method: "task.delete",
        category: Category::Task,
        tags: &["tasks", "delete"],
        title: "Delete a task",
        description: "Deletes a task.",
        need: Need::Permission("delete:tasks"),
        input: || json!({"properties": {"taskId": fields::id(TASK_ID)}, "required": ["taskId"]}),
        annotations: Annotations::Destroys,
        run: |call| Box::pin(delete(call)),
    },
];

fn estimate() -> Value {
    json!({"type": ["integer", "null"], "minimum": 0, "maximum": ESTIMATE_MINUTES_MAX, "description": "How long it will take, in minutes."})
}

async fn list(call: &Call<'_>) -> Result<Value, ToolError> {
    let request = fields::request(call, LIMIT);
    let filter = TaskFilter {
        space: call.id("spaceId")?,
        project: call.id("projectId")?,
        statuses: statuses(call)?,
        assignee: call.id("assigneeId")?,
        bucket: call.text("bucket").map(TaskBucket::from_column),
    };
    let (found, total) = tasks::list(&mut *call.read().await?, &Account::from(call.caller), &filter, &request).await?;
    let pages = (total + request.limit - 1) / request.limit;
    Ok(json!({
        "tasks": found.iter().map(|found| task(call, found)).collect::<Vec<_>>(),
        "pagination": {"page": request.page, "limit": request.limit, "total": total, "totalPages": pages},
    }))
}

async fn get(call: &Call<'_>) -> Result<Value, ToolError> {
    let found = tasks::find(&mut *call.read().await?, &Account::from(call.caller), task_id(call)?).await?;
    Ok(task(call, &found))
}

async fn triage(call: &Call<'_>) -> Result<Value, ToolError> {
    let mut tx = call.begin().await?;
    let counts = tasks::triage(&mut tx, &Account::from(call.caller), call.id("spaceId")?).await?;
    tx.commit().await?;
    Ok(json!({
        "inbox": counts.inbox, "waiting": counts.waiting, "someday": counts.someday, "overdue": counts.overdue,
        "dueToday": counts.due_today, "blocked": counts.blocked, "unassigned": counts.unassigned, "open": counts.open,
    }))
}

async fn create(call: &Call<'_>) -> Result<Value, ToolError> {
    let new = NewTask {
        title: fields::required(call, "title")?,
        description: fields::text_change(call, "description").flatten(),
        status: call.text("status").map_or(TaskStatus::Todo, TaskStatus::from_column),
        priority: call.text("priority").map_or(TaskPriority::Medium, TaskPriority::from_column),
        bucket: call.text("bucket").map_or(TaskBucket::None, TaskBucket::from_column),
        due_at: fields::instant(call, "dueDate")?,
        estimate_minutes: minutes(call).flatten(),
        space: call.id("spaceId")?,
        project: call.id("projectId")?,
        parent: call.id("parentTaskId")?,
        page: call.id("pageId")?,
        assignee: call.id("assigneeId")?,
    };
    let mut tx = call.begin().await?;
    let made = tasks::create(&mut tx, &Account::from(call.caller), &new).await?;
    tx.commit().await?;
    Ok(task(call, &made))
}

async fn update(call: &Call<'_>) -> Result<Value, ToolError> {
    let people_decide = |name: &str| call.arguments.get(name).map(Value::as_bool);
    let change = TaskChange {
        title: call.text("title").map(|_| fields::required(call, "title")).transpose()?,
        description: fields::text_change(call, "description"),
        status: call.text("status").map(TaskStatus::from_column),
        priority: call.text("priority").map(TaskPriority::from_column),
        bucket: call.text("bucket").map(TaskBucket::from_column),
        due_at: fields::instant_change(call, "dueDate")?,
        estimate_minutes: minutes(call),
        page: fields::id_change(call, "pageId")?,
        assignee: fields::id_change(call, "assigneeId")?,
        position: fields::position(call)?,
        agent_live: people_decide("agentLive"),
        agent_accessible: people_decide("agentAccessible"),
    };
    let mut tx = call.begin().await?;
    let changed = tasks::update(&mut tx, &Account::from(call.caller), task_id(call)?, &change).await?;
    tx.commit().await?;
    Ok(after_change(call, &changed).await)
}

async fn complete(call: &Call<'_>) -> Result<Value, ToolError> {
    let done = fields::flag(call, "isCompleted").unwrap_or(true);
    let mut tx = call.begin().await?;
    let changed = tasks::complete(&mut tx, &Account::from(call.caller), task_id(call)?, done).await?;
    tx.commit().await?;
    Ok(after_change(call, &changed).await)
}

async fn move_to_project(call: &Call<'_>) -> Result<Value, ToolError> {
    let project = call.id("projectId")?;
    let mut tx = call.begin().await?;
    let moved = tasks::move_to_project(&mut tx, &Account::from(call.caller), task_id(call)?, project).await?;
    tx.commit().await?;
    Ok(after_change(call, &moved).await)
}

async fn set_bucket(call: &Call<'_>) -> Result<Value, ToolError> {
    put_into(call, call.text("bucket").map_or(TaskBucket::None, TaskBucket::from_column)).await
}

async fn put_into(call: &Call<'_>, bucket: TaskBucket) -> Result<Value, ToolError> {
    let mut tx = call.begin().await?;
    let changed = tasks::set_bucket(&mut tx, &Account::from(call.caller), task_id(call)?, bucket).await?;
    tx.commit().await?;
    Ok(after_change(call, &changed).await)
}

async fn assign(call: &Call<'_>) -> Result<Value, ToolError> {
    let assignee = call.id("assigneeId")?;
    let mut tx = call.begin().await?;
    let changed = tasks::assign(&mut tx, &Account::from(call.caller), task_id(call)?, assignee).await?;
    tx.commit().await?;
    Ok(after_change(call, &changed).await)
}

async fn delete(call: &Call<'_>) -> Result<Value, ToolError> {
    let mut tx = call.begin().await?;
    tasks::delete(&mut tx, &Account::from(call.caller), task_id(call)?).await?;
    tx.commit().await?;
    Ok(json!({"success": true}))
}

fn task_id(call: &Call<'_>) -> Result<TaskId, ToolError> {
    call.required_id("taskId")
}

/// The statuses that a list is to have; one may come as a word alone.
fn statuses(call: &Call<'_>) -> Result<Vec<TaskStatus>, ToolError> {
    let words = call.text("status").map_or_else(|| call.texts("status"), |word| vec![word]);
    if words.iter().any(|word| !TaskStatus::WORDS.contains(word)) {
        return Err(ToolError::invalid("status", "must be todo, in_progress, in_review, done or blocked"));
    }
    Ok(words.into_iter().map(TaskStatus::from_column).collect())
}

#[expect(clippy::option_option, reason = "left out, taken away and given are three things")]
fn minutes(call: &Call<'_>) -> Option<Option<i32>> {
    call.arguments.get("estimatedTime")?;
    Some(call.whole("estimatedTime").and_then(|minutes| i32::try_from(minutes).ok()))
}

/// A task that was there before, as who changed it is told of it.
async fn after_change(call: &Call<'_>, changed: &Task) -> Value {
    fields::without_unread(call, &["read:tasks"], task(call, changed), &["description"]).await
}

/// A task as tools tell it. The host has no table of labels that this service knows of.
fn task(call: &Call<'_>, task: &Task) -> Value {
    json!({
        "id": task.id,
        "title": task.title,
        "description": task.description,
        "status": task.status.as_str(),
        "priority": task.priority.as_str(),
        "bucket": task.bucket.as_str(),
        "position": task.position,
        "dueDate": fields::optional_time(task.due_at),
        "isCompleted": task.completed_at.is_some(),
        "completedAt": fields::optional_time(task.completed_at),
        "estimatedTime": task.estimate_minutes,
        "projectId": task.project,
        "project": task.project.map(|id| json!({"id": id, "name": task.project_name})),
        "parentTaskId": task.parent,
        "parent": task.parent.map(|id| json!({"id": id, "title": task.parent_title})),
        "pageId": task.page,
        "spaceId": task.space,
        "workspaceId": call.workspace(),
        "creator": fields::author(task.creator.as_ref()),
        "assigneeId": task.assignee.as_ref().map(|assignee| assignee.id),
        "assignee": fields::author(task.assignee.as_ref()),
        "labels": [],
        "agentLive": task.agent_live,
        "createdAt": Timestamp(task.created_at),
        "updatedAt": Timestamp(task.updated_at),
    })
}

//! What an agent does with pages.

use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{World, content::each};

const ALL: [&str; 3] = ["read:pages", "write:pages", "delete:pages"];

fn doc(text: &str) -> Value {
    json!({"type": "doc", "content": [{"type": "paragraph", "content": [{"type": "text", "text": text}]}]})
}

fn id_of(page: &Value) -> Uuid {
    page["id"].as_str().unwrap().parse().unwrap()
}

#[sqlx::test]
async fn an_agent_writes_reads_changes_deletes_and_restores_a_page(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &ALL).await, world.first_space().await);

    let made = scout
        .does("page_create", json!({"title": " Plan ", "content": doc("first things"), "spaceId": space, "workspaceId": world.workspace}))
        .await;
    assert_eq!((&made["title"], &made["content"], &made["creator"]["name"]), (&json!("Plan"), &doc("first things"), &json!("Agent scout")));
    assert_eq!(made["slugId"].as_str().unwrap().len(), 10);
    let by_slug = scout.does("page_get", json!({"pageId": made["slugId"]})).await;
    assert_eq!(by_slug, made);

    let changed = scout.does("page.update", json!({"pageId": made["id"], "content": "now\n\nother things", "icon": "x"})).await;
    assert_eq!((&changed["title"], &changed["icon"]), (&json!("Plan"), &json!("x")));
    assert_eq!(changed["content"]["content"].as_array().unwrap().len(), 2);
    let text: String =
        sqlx::query_scalar("SELECT text_content FROM pages WHERE id = $1").bind(id_of(&made)).fetch_one(&world.pool).await.unwrap();
    assert_eq!(text, "now\nother things");
    assert_eq!(scout.does("page_update", json!({"pageId": made["id"], "icon": null})).await["icon"], Value::Null);

    scout.does("page_delete", json!({"pageId": made["id"]})).await;
    scout.finds_none("page_get", "pageId", &[id_of(&made), Uuid::new_v4()], json!({})).await;
    scout.does("page_restore", json!({"pageId": made["id"]})).await;
    scout.finds_none("page_restore", "pageId", &[id_of(&made), Uuid::new_v4()], json!({})).await;

    let history = scout.does("page_get_history", json!({"pageId": made["id"]})).await;
    assert_eq!(each(&history["history"], "change"), ["restored", "deleted", "updated", "updated", "created"]);
    let entry = scout.does("page_history_info", json!({"historyId": history["history"][4]["id"]})).await;
    assert_eq!((&entry["agentId"], &entry["title"]), (&json!("scout"), &json!("Plan")));
    assert_eq!((world.events("agent.page_created").await, world.events("agent.page_updated").await), (1, 4));
    world.end().await;
}

/// D-40: what is kept from agents, what is in a space without them and what is another workspace's are all nothing to them.
#[sqlx::test]
async fn a_page_that_an_agent_must_not_see_is_nowhere_and_cannot_be_touched(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &ALL).await, world.first_space().await);
    let secret = world.page_in(space, "Secret salaries").await;
    world.keep_from_agents("pages", secret).await;
    let closed = world.page_in(world.closed_space("board").await, "Secret board").await;
    let foreign = world.page_in(world.foreign_space().await, "Secret other").await;
    let open = world.page_in(space, "Open").await;
    let none = [secret, closed, foreign, Uuid::new_v4()];

    for tool in ["page_get", "page_breadcrumbs", "page_get_history", "page_delete"] {
        scout.finds_none(tool, "pageId", &none, json!({})).await;
    }
    scout.finds_none("page_update", "pageId", &none, json!({"title": "mine"})).await;
    scout.finds_none("page_move", "pageId", &none, json!({"parentId": null})).await;
    scout.finds_none("page_move_to_space", "pageId", &none, json!({"spaceId": space})).await;
    scout.finds_none("page_create", "parentId", &none, json!({"title": "below", "content": "x", "spaceId": space})).await;
    scout.finds_none("page_update", "parentId", &none, json!({"pageId": open})).await;
    scout.finds_none("page_sidebar_pages", "pageId", &none, json!({"spaceId": space})).await;

    let listed = scout.does("page_list", json!({"spaceId": space})).await;
    assert_eq!(each(&listed["pages"], "title"), ["Open"]);
    assert_eq!(each(&scout.does("page_recent", json!({})).await["pages"], "title"), ["Open"]);
    assert_eq!(scout.does("page_search", json!({"query": "secret"})).await["pages"], json!([]));
    assert_eq!(scout.does("search_query", json!({"query": "secret"})).await["hits"], json!([]));
    assert_eq!(scout.does("search_suggest", json!({"query": "secret"})).await["suggestions"], json!([]));
    let spaces: [Uuid; 2] =
        [sqlx::query_scalar("SELECT space_id FROM pages WHERE id = $1").bind(closed).fetch_one(&world.pool).await.unwrap(), Uuid::new_v4()];
    for tool in ["page_list", "page_sidebar_pages"] {
        scout.finds_none(tool, "spaceId", &spaces, json!({})).await;
    }
    scout.finds_none("page_create", "spaceId", &spaces, json!({"title": "x", "content": "x"})).await;

    sqlx::query("UPDATE pages SET deleted_at = now() WHERE id = ANY ($1)").bind(&none[..]).execute(&world.pool).await.unwrap();
    scout.finds_none("page_restore", "pageId", &none, json!({})).await;
    world.end().await;
}

#[sqlx::test]
async fn a_reader_reads_and_does_not_write(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &ALL).await, world.first_space().await);
    let page = world.page_in(space, "Rules").await;
    world.set_group_role("reader").await;

    assert_eq!(scout.does("page_get", json!({"pageId": page})).await["title"], "Rules");
    for (tool, arguments) in [
        ("page_create", json!({"title": "x", "content": "x", "spaceId": space})),
        ("page_update", json!({"pageId": page, "title": "x"})),
        ("page_move", json!({"pageId": page, "parentId": null})),
        ("page_delete", json!({"pageId": page})),
    ] {
        assert_eq!(scout.refused(tool, arguments).await["code"], -32002, "{tool}");
    }
    // The stronger of two roles counts.
    world.join(space, world.account_of("scout").await, "writer").await;
    scout.does("page_update", json!({"pageId": page, "title": "New rules"})).await;
    world.end().await;
}

#[sqlx::test]
async fn a_tree_keeps_its_order_and_no_page_comes_below_itself(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &ALL).await, world.first_space().await);
    let make = async |title: &str, parent: Option<&Value>| {
        let arguments = json!({"title": title, "content": "x", "spaceId": space, "parentPageId": parent});
        scout.does("page_create", arguments).await["id"].clone()
    };
    let (a, b) = (make("a", None).await, make("b", None).await);
    let (c, d) = (make("c", Some(&a)).await, make("d", Some(&a)).await);

    let top = scout.does("page_sidebar_pages", json!({"spaceId": space})).await;
    assert_eq!(each(&top["pages"], "title"), ["a", "b"]);
    assert_eq!((&top["pages"][0]["hasChildren"], &top["pages"][1]["hasChildren"]), (&json!(true), &json!(false)));
    let below = scout.does("page_sidebar_pages", json!({"spaceId": space, "pageId": a})).await;
    assert_eq!(each(&below["pages"], "title"), ["c", "d"]);
    let path = scout.does("page_breadcrumbs", json!({"pageId": d})).await;
    assert_eq!(each(&path["breadcrumbs"], "title"), ["a", "d"]);

    for parent in [&a, &c] {
        let refused = scout.refused("page_move", json!({"pageId": a, "parentId": parent})).await;
        assert_eq!((&refused["code"], &refused["data"]["errors"][0]["field"]), (&json!(-32003), &json!("parentPageId")));
    }
    scout.does("page_move", json!({"pageId": c, "parentId": b, "title": "not by this tool"})).await;
    let below = scout.does("page_sidebar_pages", json!({"spaceId": space, "pageId": b})).await;
    assert_eq!(each(&below["pages"], "title"), ["c"]);

    let other = world.closed_space("archive").await;
    world.join(other, world.account_of("scout").await, "writer").await;
    let moved = scout.does("page_move_to_space", json!({"pageId": a, "spaceId": other})).await;
    assert_eq!(moved["spaceId"], json!(other));
    let all = scout.does("page_list", json!({"spaceId": other})).await;
    assert_eq!(all["pages"].as_array().unwrap().len(), 2, "what is below moves along");

    // What is below goes with its page, and comes back with it.
    scout.does("page_delete", json!({"pageId": a})).await;
    assert_eq!(scout.refused("page_get", json!({"pageId": d})).await["code"], -32001);
    scout.does("page_restore", json!({"pageId": a})).await;
    assert_eq!(scout.does("page_get", json!({"pageId": d})).await["parentPageId"], a);
    world.end().await;
}

#[sqlx::test]
async fn an_agent_takes_nothing_away_that_is_kept_from_it(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &ALL).await, world.first_space().await);
    let (top, below) = (world.page_in(space, "Top").await, world.page_in(space, "Hidden").await);
    sqlx::query("UPDATE pages SET parent_page_id = $1 WHERE id = $2").bind(top).bind(below).execute(&world.pool).await.unwrap();
    world.keep_from_agents("pages", below).await;

    assert_eq!(scout.does("page_get", json!({"pageId": top})).await["hasChildren"], false);
    assert_eq!(scout.refused("page_delete", json!({"pageId": top})).await["code"], -32002);
    let (other, archive) = (world.page_in(space, "Other").await, world.closed_space("archive").await);
    world.join(archive, world.account_of("scout").await, "writer").await;
    for (tool, arguments) in [
        ("page_move", json!({"pageId": top, "parentId": other})),
        ("page_update", json!({"pageId": top, "parentId": other})),
        ("page_move_to_space", json!({"pageId": top, "spaceId": archive})),
    ] {
        assert_eq!(scout.refused(tool, arguments).await["code"], -32002, "{tool}");
    }
    scout.does("page_move", json!({"pageId": top, "parentId": null, "position": "b0"})).await;
    let deleted = "UPDATE pages SET deleted_at = $2 WHERE id = ANY ($1)";
    let set_deleted = async |at: Option<chrono::DateTime<chrono::Utc>>| {
        sqlx::query(deleted).bind([top, below].as_slice()).bind(at).execute(&world.pool).await.unwrap();
    };
    set_deleted(chrono::DateTime::from_timestamp(1_600_000_000, 0)).await;
    assert_eq!(scout.refused("page_restore", json!({"pageId": top})).await["code"], -32002);
    set_deleted(None).await;
    assert_eq!(scout.refused("page_update", json!({"pageId": top, "agentAccessible": false})).await["code"], -32002);
    sqlx::query("UPDATE pages SET is_locked = true WHERE id = $1").bind(top).execute(&world.pool).await.unwrap();
    assert_eq!(scout.refused("page_update", json!({"pageId": top, "title": "x"})).await["code"], -32002);
    world.end().await;
}

/// D-40.
#[sqlx::test]
async fn a_page_below_one_that_is_kept_from_agents_does_not_tell_of_it(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &ALL).await, world.first_space().await);
    let (above, page) = (world.page_in(space, "Hidden").await, world.page_in(space, "Salaries").await);
    sqlx::query("UPDATE pages SET parent_page_id = $1 WHERE id = $2").bind(above).bind(page).execute(&world.pool).await.unwrap();
    world.keep_from_agents("pages", above).await;
    for (tool, arguments) in [
        ("page_get", json!({"pageId": page})),
        ("page_list", json!({"spaceId": space})),
        ("page_recent", json!({})),
        ("page_search", json!({"query": "salaries"})),
        ("search_query", json!({"query": "salaries"})),
        ("page_breadcrumbs", json!({"pageId": page})),
        ("page_update", json!({"pageId": page, "icon": "x"})),
        ("page_move", json!({"pageId": page, "position": "b0"})),
    ] {
        let told = scout.does(tool, arguments).await.to_string();
        assert!(told.contains(&page.to_string()) && !told.contains(&above.to_string()), "{tool}: {told}");
    }
    scout.finds_none("page_update", "parentId", &[above, Uuid::new_v4()], json!({"pageId": page})).await;
    let kept: Option<Uuid> =
        sqlx::query_scalar("SELECT parent_page_id FROM pages WHERE id = $1").bind(page).fetch_one(&world.pool).await.unwrap();
    assert_eq!(kept, Some(above), "a change leaves alone what the agent does not know");
    world.end().await;
}

#[sqlx::test]
async fn bad_input_is_refused_with_its_field(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &ALL).await, world.first_space().await);
    for (tool, arguments, field) in [
        ("page_create", json!({"content": "x", "spaceId": space}), "title"),
        ("page_create", json!({"title": "  ", "content": "x", "spaceId": space}), "title"),
        ("page_create", json!({"title": "x".repeat(501), "content": "x", "spaceId": space}), "title"),
        ("page_create", json!({"title": "x", "content": 7, "spaceId": space}), "content"),
        ("page_create", json!({"title": "x", "content": {"type": "paragraph"}, "spaceId": space}), "content"),
        ("page_create", json!({"title": "x", "content": "x", "spaceId": "general"}), "spaceId"),
        ("page_list", json!({"spaceId": space, "limit": 101}), "limit"),
        ("page_list", json!({"spaceId": space, "limit": 0}), "limit"),
        ("page_list", json!({"spaceId": space, "page": 0}), "page"),
        ("page_move", json!({"pageId": space, "position": "a-b"}), "position"),
        ("page_search", json!({"query": " "}), "query"),
    ] {
        let refused = scout.refused(tool, arguments.clone()).await;
        assert!([-32602, -32003].contains(&refused["code"].as_i64().unwrap()), "{tool} {arguments}: {refused}");
        assert_eq!(refused["data"]["errors"][0]["field"], field, "{tool} {arguments}: {refused}");
    }
    world.end().await;
}

#[sqlx::test]
async fn a_list_is_leafed_through_without_gap_or_repeat(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &ALL).await, world.first_space().await);
    for number in 0..5 {
        world.page_in(space, &format!("page {number}")).await;
    }
    let mut seen = Vec::new();
    for page in 1..=3 {
        let list = scout.does("page_list", json!({"spaceId": space, "limit": 2, "page": page})).await;
        assert_eq!(list["pagination"], json!({"limit": 2, "page": page, "hasNextPage": page < 3, "hasPrevPage": page > 1}));
        seen.extend(each(&list["pages"], "title").into_iter().map(str::to_owned));
    }
    assert_eq!(seen, ["page 4", "page 3", "page 2", "page 1", "page 0"]);
    world.end().await;
}

#[sqlx::test]
async fn two_agents_that_write_at_once_both_find_their_place(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (a, b, space) = (world.agent_with("a", &ALL).await, world.agent_with("b", &ALL).await, world.first_space().await);
    let make =
        async |who: &crate::support::Caller<'_>| who.does("page_create", json!({"title": "x", "content": "x", "spaceId": space})).await;
    let (one, two) = tokio::join!(make(&a), make(&b));
    assert_ne!(one["position"], two["position"]);

    let page = json!(one["id"]);
    let (first, second) = tokio::join!(
        a.does("page_update", json!({"pageId": page, "title": "by a"})),
        b.does("page_update", json!({"pageId": page, "icon": "b"}))
    );
    assert!(first["title"] == "by a" && second["icon"] == "b");
    let now = a.does("page_get", json!({"pageId": page})).await;
    assert_eq!((&now["title"], &now["icon"]), (&json!("by a"), &json!("b")), "neither undoes the other");
    world.end().await;
}

/// Each of two moves is fine by itself; both would leave a ring that no list shows.
#[sqlx::test]
async fn of_two_pages_that_are_moved_below_each_other_at_once_one_stays_where_it_is(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (a, b, space) = (world.agent_with("a", &ALL).await, world.agent_with("b", &ALL).await, world.first_space().await);
    let (one, two) = (world.page_in(space, "one").await, world.page_in(space, "two").await);
    for round in 0..30 {
        let (first, second) = tokio::join!(
            a.tool("page_move", json!({"pageId": one, "parentId": two})),
            b.tool("page_move", json!({"pageId": two, "parentId": one}))
        );
        let codes = [first.tool_text()["code"].clone(), second.tool_text()["code"].clone()];
        assert!(codes.contains(&Value::Null) && codes.contains(&json!(-32003)), "round {round}: {codes:?}");
        let top: i64 = sqlx::query_scalar("SELECT count(*) FROM pages WHERE parent_page_id IS NULL").fetch_one(&world.pool).await.unwrap();
        assert_eq!(top, 1, "round {round}");
        for page in [one, two] {
            a.does("page_move", json!({"pageId": page, "parentId": null})).await;
        }
    }
    world.end().await;
}

#[sqlx::test]
async fn a_tree_has_an_end_and_a_deeper_one_of_old_stays_whole(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &ALL).await, world.first_space().await);
    let mut chain = Vec::new();
    for level in 0..80 {
        let page = world.page_in(space, &format!("level {level}")).await;
        let below = sqlx::query("UPDATE pages SET parent_page_id = $1 WHERE id = $2").bind(chain.last().copied()).bind(page);
        below.execute(&world.pool).await.unwrap();
        chain.push(page);
    }
    let field = async |tool: &'static str, arguments: Value| {
        scout.refused(tool, arguments).await["data"]["errors"][0]["field"].as_str().unwrap().to_owned()
    };
    for parent in [chain[0], chain[70], chain[79]] {
        assert_eq!(field("page_move", json!({"pageId": chain[0], "parentId": parent})).await, "parentPageId");
    }
    let new = |parent: Uuid| json!({"title": "new", "content": "x", "spaceId": space, "parentId": parent});
    let last = scout.does("page_create", new(chain[62])).await;
    assert_eq!(field("page_create", new(chain[63])).await, "parentPageId");
    let pair = world.page_in(space, "pair").await;
    scout.does("page_create", new(pair)).await;
    assert_eq!(field("page_move", json!({"pageId": pair, "parentId": chain[62]})).await, "parentPageId");
    scout.does("page_move", json!({"pageId": last["id"], "parentId": null})).await;

    let archive = world.closed_space("archive").await;
    world.join(archive, world.account_of("scout").await, "writer").await;
    let count = async |condition: &str| -> i64 {
        let query = format!("SELECT count(*) FROM pages WHERE title LIKE 'level %' AND {condition}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(query)).bind(archive).fetch_one(&world.pool).await.unwrap()
    };
    scout.does("page_move_to_space", json!({"pageId": chain[0], "spaceId": archive})).await;
    assert_eq!(count("space_id = $1").await, 80);
    scout.does("page_delete", json!({"pageId": chain[0]})).await;
    assert_eq!(count("space_id = $1 AND deleted_at IS NULL").await, 0);
    scout.does("page_restore", json!({"pageId": chain[0]})).await;
    assert_eq!(count("space_id = $1 AND deleted_at IS NULL").await, 80);
    world.end().await;
}

/// To write is not to read: what was there before is told to those only who may read it.
#[sqlx::test]
async fn who_may_only_write_reads_nothing_by_writing(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let writes = ["write:pages", "write:tasks", "write:projects", "write:comments", "assign:tasks"];
    let (writer, space) = (world.agent_with("writer", &writes).await, world.first_space().await);
    let page = world.page_in(space, "Plan").await;
    let (task, project) = (world.task_in(space, "Do").await, world.project_in(space, "Docs").await);
    sqlx::query("UPDATE pages SET content = '{\"type\": \"doc\", \"content\": [{\"type\": \"text\", \"text\": \"the formula\"}]}'")
        .execute(&world.pool)
        .await
        .unwrap();
    for table in ["tasks", "projects"] {
        let update = format!("UPDATE {table} SET description = 'the formula'");
        sqlx::query(sqlx::AssertSqlSafe(update)).execute(&world.pool).await.unwrap();
    }
    let comment: Uuid = sqlx::query_scalar(
        "INSERT INTO comments (page_id, workspace_id, selection, content)
         SELECT id, workspace_id, 'the formula', '{\"type\": \"doc\", \"content\": [{\"type\": \"text\", \"text\": \"the formula\"}]}'
         FROM pages RETURNING id",
    )
    .fetch_one(&world.pool)
    .await
    .unwrap();
    let other = world.closed_space("lab").await;
    world.join(other, world.account_of("writer").await, "writer").await;

    let reader = world.agent_with("reader", &[&writes[..], &["read:pages", "read:tasks", "read:projects"]].concat()).await;
    world.join(other, world.account_of("reader").await, "writer").await;
    for (tool, arguments) in [
        ("page_update", json!({"pageId": page, "icon": "x"})),
        ("page_move", json!({"pageId": page, "position": "b0"})),
        ("page_move_to_space", json!({"pageId": page, "spaceId": space})),
        ("task_update", json!({"taskId": task, "priority": "high"})),
        ("task_complete", json!({"taskId": task})),
        ("task_bucket_set", json!({"taskId": task, "bucket": "inbox"})),
        ("task_bucket_clear", json!({"taskId": task})),
        ("task_assign", json!({"taskId": task, "assigneeId": null})),
        ("task_move_to_project", json!({"taskId": task, "projectId": null})),
        ("project_update", json!({"projectId": project, "color": "teal"})),
        ("project_archive", json!({"projectId": project})),
        ("comment_resolve", json!({"commentId": comment})),
    ] {
        let told = writer.does(tool, arguments.clone()).await;
        assert!(told["id"].is_string() && !told.to_string().contains("formula"), "{tool}: {told}");
        let told = reader.does(tool, arguments).await;
        assert!(told.to_string().contains("formula"), "{tool}: {told}");
    }
    let own = writer.does("page_create", json!({"title": "Own", "content": "own words", "spaceId": space})).await;
    assert!(own.to_string().contains("own words"), "{own}");

    let updated = "SELECT (SELECT max(updated_at) FROM pages), (SELECT count(*) FROM outbox)";
    let before: (chrono::DateTime<chrono::Utc>, i64) = sqlx::query_as(updated).fetch_one(&world.pool).await.unwrap();
    for (tool, arguments) in [
        ("page_update", json!({"pageId": page})),
        ("page_update", json!({"pageId": page, "agentAccessible": null})),
        ("page_update", json!({"pageId": page, "colour": "red"})),
        ("page_move", json!({"pageId": page, "position": null})),
        ("task_update", json!({"taskId": task})),
        ("task_update", json!({"taskId": task, "status": null})),
        ("project_update", json!({"projectId": project, "workspaceId": world.workspace})),
    ] {
        let refused = writer.refused(tool, arguments.clone()).await;
        assert!([-32602, -32003].contains(&refused["code"].as_i64().unwrap()), "{tool} {arguments}: {refused}");
        assert_eq!(refused["data"]["errors"][0]["field"], "arguments", "{tool} {arguments}: {refused}");
    }
    let count = "SELECT count(*) FROM outbox WHERE name <> 'tool.executed' AND created_at > $1";
    let events: i64 = sqlx::query_scalar(count).bind(before.0).fetch_one(&world.pool).await.unwrap();
    let after: (chrono::DateTime<chrono::Utc>, i64) = sqlx::query_as(updated).fetch_one(&world.pool).await.unwrap();
    assert_eq!((after.0, events), (before.0, 0), "what names no change leaves none");
    world.end().await;
}

/// Two names of one argument: null takes nothing back, and two values are no choice.
#[sqlx::test]
async fn an_argument_under_two_names_says_one_thing(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &ALL).await, world.first_space().await);
    let (above, other, page) =
        (world.page_in(space, "Above").await, world.page_in(space, "Other").await, world.page_in(space, "Page").await);
    let new = json!({"title": "x", "content": "x", "spaceId": space});
    for (one, two) in [("parentId", "parentPageId"), ("parentPageId", "parentId")] {
        for (tool, rest) in [("page_create", new.clone()), ("page_update", json!({"pageId": page})), ("page_move", json!({"pageId": page}))]
        {
            let with = |second: Value| {
                let mut arguments = rest.clone();
                arguments[one] = json!(above);
                arguments[two] = second;
                arguments
            };
            for second in [Value::Null, json!(above)] {
                assert_eq!(scout.does(tool, with(second)).await["parentPageId"], json!(above), "{tool} {one}");
            }
            assert_eq!(scout.refused(tool, with(json!(other))).await["code"], -32003, "{tool} {one}");
        }
        let up = json!({"pageId": page, (one): null, (two): null});
        assert_eq!(scout.does("page_move", up).await["parentPageId"], Value::Null);
    }
    world.end().await;
}

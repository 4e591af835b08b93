//! Tool calls that wait for a person.

use chrono::TimeDelta;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{Answer, Caller, World, config};

/// A world in which an agent's own profile is a sensitive thing, and so is what it looks for among its tools.
async fn careful(pool: PgPool) -> World {
    let mut settings = config(None);
    settings.tool_approval_methods = vec!["agent.profile".to_owned(), "tool.search".to_owned()];
    World::with_config(pool, settings, None).await
}

/// The approval that a call waits for.
#[track_caller]
fn waits(answer: Answer) -> String {
    let told = answer.tool_text();
    assert_eq!(told["code"], -32005, "{told}");
    told["data"]["approvalId"].as_str().unwrap().to_owned()
}

async fn confirm(caller: &Caller<'_>, id: &str) -> Answer {
    caller.post("/approvals/confirm", json!({"approvalToken": id})).await
}

/// D-09.
#[sqlx::test]
async fn an_agent_cannot_approve_its_own_call_and_an_admins_approval_counts_once(pool: PgPool) {
    let world = careful(pool).await;
    let owner = world.owner().await;
    let key = world.approved_agent("scout").await;
    let agent = world.with_key(&key);
    let id = waits(agent.tool("agent_profile", json!({})).await);

    // The id by itself permits nothing, and the agent's key opens no door of people.
    assert_eq!(waits(agent.tool("agent_profile", json!({"approvalId": id})).await), id, "it waits for the same approval");
    confirm(&agent, &id).await.expect(StatusCode::UNAUTHORIZED);

    let listed = owner.post("/approvals/list", json!({})).await.expect(StatusCode::OK)["data"].clone();
    assert_eq!((&listed[0]["token"], &listed[0]["method"], &listed[0]["agentId"]), (&json!(id), &json!("agent.profile"), &json!("scout")));
    let confirmed = confirm(&owner, &id).await.expect(StatusCode::OK);
    assert_eq!((&confirmed["data"]["approved"], &confirmed["data"]["result"]["approvalId"]), (&json!(true), &json!(id)));
    confirm(&owner, &id).await.expect_problem(StatusCode::CONFLICT, "APPROVAL_OVER");

    let other_call = agent.tool("agent_profile", json!({"approvalId": id, "agentId": "scout"})).await.tool_text();
    assert_eq!(other_call["code"], -32002, "approved was another call: {other_call}");
    let done = agent.tool("agent_profile", json!({"approvalId": id})).await.tool_text();
    assert_eq!(done["id"], "scout");
    let again = agent.tool("agent_profile", json!({"approvalId": id})).await.tool_text();
    assert_eq!(again["code"], -32002, "used already: {again}");
    let counts = (world.activities("approval_requested", Some("scout")).await, world.activities("approval_granted", Some("scout")).await);
    assert_eq!(counts, (1, 1));
    world.end().await;
}

#[sqlx::test]
async fn an_approval_serves_one_of_two_calls_at_once(pool: PgPool) {
    let world = careful(pool).await;
    let key = world.approved_agent("scout").await;
    let agent = world.with_key(&key);
    let id = waits(agent.tool("agent_profile", json!({})).await);
    confirm(&world.owner().await, &id).await.expect(StatusCode::OK);
    let call = || agent.tool("agent_profile", json!({"approvalId": id}));
    let (a, b) = tokio::join!(call(), call());
    let served = [a, b].into_iter().filter(|answer| answer.body.get("isError").is_none()).count();
    assert_eq!(served, 1);
    world.end().await;
}

/// A world in which agents' changes of pages wait for approval, with a page and an agent that may change it.
async fn with_page(pool: PgPool) -> (World, String, uuid::Uuid) {
    let mut settings = config(None);
    settings.tool_approval_methods = vec!["page.update".to_owned()];
    let world = World::with_config(pool, settings, None).await;
    let key = world.agent_with_key("scout", &["read:pages", "write:pages"]).await;
    let page = world.page_in(world.first_space().await, "Minutes").await;
    (world, key, page)
}

/// Waits until a statement waits for somebody else's row.
async fn until_one_waits(world: &World) {
    let query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let waits = || async { (sqlx::query_scalar::<_, i64>(query).fetch_one(&world.pool).await.unwrap() == 1).then_some(()) };
    world.until("a statement waits for a row", waits).await;
}

async fn title_of(world: &World, page: uuid::Uuid) -> String {
    sqlx::query_scalar("SELECT title FROM pages WHERE id = $1").bind(page).fetch_one(&world.pool).await.unwrap()
}

#[sqlx::test]
async fn a_call_that_changes_nothing_leaves_its_approval_and_one_of_two_at_once_uses_it(pool: PgPool) {
    let (world, key, page) = with_page(pool).await;
    let agent = world.with_key(&key);
    let change = json!({"pageId": page, "title": "Minutes of May"});
    let id = waits(agent.tool("page_update", change.clone()).await);
    confirm(&world.owner().await, &id).await.expect(StatusCode::OK);
    let mut approved = change;
    approved["approvalId"] = json!(id);
    world.keep_from_agents("pages", page).await;
    assert_eq!(agent.tool("page_update", approved.clone()).await.tool_text()["code"], -32001, "there is nothing to change");
    let status = agent.tool("approval_status", json!({"id": id})).await.tool_text();
    assert_eq!(status["status"], "approved", "{status}");

    sqlx::query("UPDATE pages SET agent_accessible = true WHERE id = $1").bind(page).execute(&world.pool).await.unwrap();
    let (a, b) = tokio::join!(agent.tool("page_update", approved.clone()), agent.tool("page_update", approved.clone()));
    let told = [a.tool_text(), b.tool_text()];
    assert_eq!(told.iter().filter(|told| told["title"] == "Minutes of May").count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|told| told["code"] == -32002).count(), 1, "{told:?}");
    assert_eq!(world.activities("page_updated", Some("scout")).await, 1);
    assert_eq!(agent.tool("page_update", approved).await.tool_text()["code"], -32002);
    world.end().await;
}

/// D-07: what a revocation finds on its way does not count after it.
#[sqlx::test]
async fn a_call_that_a_revocation_overtakes_changes_nothing(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let owner = world.owner().await;
    let page = world.page_in(world.first_space().await, "Minutes").await;
    for (id, whole) in [("scout", true), ("other", false)] {
        let agent = world.agent_with(id, &["read:pages", "write:pages"]).await;
        let mut holder = world.pool.begin().await.unwrap();
        sqlx::query("SELECT 1 FROM pages WHERE id = $1 FOR UPDATE").bind(page).execute(&mut *holder).await.unwrap();
        let (answer, ()) = tokio::join!(agent.tool("page_update", json!({"pageId": page, "title": "mine"})), async {
            until_one_waits(&world).await;
            if whole {
                owner.revoke(id).await.expect(StatusCode::OK);
            } else {
                let key = sqlx::query_scalar::<_, String>("SELECT id FROM mcp_api_keys WHERE agent_id = $1").bind(id);
                let key = key.fetch_one(&world.pool).await.unwrap();
                owner.delete(&format!("/parallax-agents/{id}/keys/{key}")).await.expect(StatusCode::OK);
            }
            holder.rollback().await.unwrap();
        });
        let refused = answer.tool_text();
        assert_eq!((&refused["code"], &refused["message"]), (&json!(-32002), &json!("the key is no longer good")), "{refused}");
        assert_eq!((title_of(&world, page).await.as_str(), world.activities("page_updated", None).await), ("Minutes", 0));
        agent.tool("page_get", json!({"pageId": page})).await.expect(StatusCode::UNAUTHORIZED);
    }
    world.end().await;
}

#[sqlx::test]
async fn a_call_that_is_rejected_or_too_old_is_not_carried_out(pool: PgPool) {
    let world = careful(pool).await;
    let owner = world.owner().await;
    let key = world.approved_agent("scout").await;
    let agent = world.with_key(&key);
    let refused = async |id: &str| agent.tool("agent_profile", json!({"approvalId": id})).await.tool_text()["code"].clone();
    let id = waits(agent.tool("agent_profile", json!({})).await);
    let rejected = owner.post("/approvals/reject", json!({"approvalToken": id})).await.expect(StatusCode::OK);
    assert_eq!(rejected["data"], json!({"deleted": true}));
    assert_eq!(refused(&id).await, -32002);

    let id = waits(agent.tool("agent_profile", json!({})).await);
    confirm(&owner, &id).await.expect(StatusCode::OK);
    world.clock.advance(TimeDelta::minutes(61));
    assert_eq!(refused(&id).await, -32002, "granted, and too late");
    let id = waits(agent.tool("agent_profile", json!({})).await);
    world.clock.advance(TimeDelta::minutes(61));
    confirm(&owner, &id).await.expect_problem(StatusCode::CONFLICT, "APPROVAL_OVER");
    for bad in [json!("x"), json!(1), json!(uuid::Uuid::now_v7())] {
        let answer = agent.tool("agent_profile", json!({"approvalId": bad})).await.tool_text();
        assert_eq!(answer["code"], -32002, "{answer}");
    }
    world.end().await;
}

/// People decide about titles, not about ids; what a person does not see is not told to them here either.
#[sqlx::test]
async fn whoever_decides_reads_what_the_ids_of_a_call_stand_for(pool: PgPool) {
    let mut settings = config(None);
    settings.tool_approval_methods = vec!["page.move".to_owned()];
    let world = World::with_config(pool, settings, None).await;
    let agent = world.agent_with("scout", &["read:pages", "write:pages"]).await;
    let (first, closed) = (world.first_space().await, world.closed_space("board").await);
    let (page, hidden) = (world.page_in(first, "Minutes").await, world.page_in(closed, "Salaries").await);
    let slug: String = sqlx::query_scalar("SELECT slug_id FROM pages WHERE id = $1").bind(page).fetch_one(&world.pool).await.unwrap();

    waits(agent.tool("page_move", json!({"pageId": page.to_string().to_uppercase(), "parentId": hidden})).await);
    waits(agent.tool("page_move", json!({"pageId": slug, "parentId": uuid::Uuid::now_v7()})).await);

    let listed = world.owner().await.post("/approvals/list", json!({})).await.expect(StatusCode::OK)["data"].clone();
    let minutes = json!([{"argument": "pageId", "kind": "page", "title": "Minutes"}]);
    assert_eq!((&listed[0]["named"], &listed[1]["named"]), (&minutes, &minutes), "{listed}");
    let owner: uuid::Uuid = sqlx::query_scalar("SELECT id FROM users WHERE role = 'owner'").fetch_one(&world.pool).await.unwrap();
    world.join(closed, owner, "reader").await;
    let listed = world.owner().await.post("/approvals/list", json!({})).await.expect(StatusCode::OK)["data"].clone();
    let both = json!([
        {"argument": "pageId", "kind": "page", "title": "Minutes"}, {"argument": "parentId", "kind": "page", "title": "Salaries"}
    ]);
    assert_eq!(listed[0]["named"], both, "{listed}");
    world.end().await;
}

/// What a tool does not take says nothing to whoever decides, and makes no other call of one that was approved.
#[sqlx::test]
async fn arguments_that_a_tool_does_not_take_are_not_what_a_person_decides_about(pool: PgPool) {
    let (world, key, page) = with_page(pool).await;
    let (agent, owner) = (world.with_key(&key), world.owner().await);
    let other = world.page_in(world.first_space().await, "Scratch").await;
    let change = json!({"pageId": page, "title": "Minutes of May"});
    let with = |added: Value| {
        let mut change = change.clone();
        change.as_object_mut().unwrap().extend(added.as_object().unwrap().clone());
        change
    };
    let adorned = with(json!({"oldPageId": other, "name": "Scratch", "note": {"harmless": true}}));
    let id = waits(agent.tool("page_update", adorned.clone()).await);
    let in_advance = json!({"method": "page.update", "params": adorned});
    let same = agent.tool("approval_request", in_advance).await.tool_text();
    assert_eq!(same["approvalId"], json!(id), "it is the same call: {same}");
    let listed = owner.post("/approvals/list", json!({})).await.expect(StatusCode::OK)["data"].clone();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["params"]), (1, &change), "{listed}");
    assert_eq!(listed[0]["named"], json!([{"argument": "pageId", "kind": "page", "title": "Minutes"}]));
    confirm(&owner, &id).await.expect(StatusCode::OK);
    let done = agent.tool("page_update", with(json!({"approvalId": id, "why": "because"}))).await.tool_text();
    assert_eq!(done["title"], "Minutes of May", "{done}");
    let sent = "SELECT metadata -> 'params' ->> 'oldPageId' FROM parallax_agent_activity WHERE activity_type = 'tool_executed' AND metadata ->> 'tool' = 'page_update'";
    let recorded = || async {
        let sent: Vec<Option<String>> = sqlx::query_scalar(sent).fetch_all(&world.pool).await.unwrap();
        sent.contains(&Some(other.to_string())).then_some(())
    };
    world.until("the record has what was sent", recorded).await;
    world.end().await;
}

#[sqlx::test]
async fn members_and_other_workspaces_see_and_decide_nothing_of_agents(pool: PgPool) {
    let world = careful(pool).await;
    let key = world.approved_agent("scout").await;
    let id = waits(world.with_key(&key).tool("agent_profile", json!({})).await);
    for caller in [world.member("mel").await, world.outsider().await] {
        assert_eq!(caller.post("/approvals/list", json!({})).await.expect(StatusCode::OK)["data"], json!([]));
        confirm(&caller, &id).await.expect_problem(StatusCode::NOT_FOUND, "APPROVAL_NOT_FOUND");
        caller.post("/approvals/reject", json!({"approvalToken": id})).await.expect(StatusCode::NOT_FOUND);
    }
    let listed: Value = world.owner().await.post("/approvals/list", json!({})).await.expect(StatusCode::OK);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    world.end().await;
}

/// D-09: nobody approves what they asked for, unless the workspace leaves it to them. Taking it back is always theirs.
#[sqlx::test]
async fn a_call_of_ones_own_key_is_approved_by_somebody_else_unless_the_workspace_allows_it(pool: PgPool) {
    let mut settings = config(None);
    settings.tool_approval_methods = vec!["tool.categories".to_owned()];
    let world = World::with_config(pool, settings, None).await;
    let (owner, ada) = (world.owner().await, world.admin("ada").await);
    let made = ada.post("/api-keys", json!({"name": "Laptop"})).await.expect(StatusCode::CREATED);
    let laptop = world.with_key(made["data"]["key"].as_str().unwrap());
    let scout = world.with_key(&world.approved_agent("scout").await);
    let ask = async |caller: &Caller<'_>| waits(caller.tool("tool_categories", json!({})).await);

    let id = ask(&laptop).await;
    let refused = confirm(&ada, &id).await.expect_problem(StatusCode::FORBIDDEN, "OWN_APPROVAL");
    assert!(refused["detail"].as_str().unwrap().contains("allowOwnApproval"), "{refused}");
    confirm(&ada, &ask(&scout).await).await.expect(StatusCode::OK);
    confirm(&owner, &id).await.expect(StatusCode::OK);
    let id = ask(&laptop).await;
    ada.post("/approvals/reject", json!({"approvalToken": id})).await.expect(StatusCode::OK);

    owner.patch_settings(json!({"allowOwnApproval": true})).await.expect(StatusCode::OK);
    let id = ask(&laptop).await;
    confirm(&ada, &id).await.expect(StatusCode::OK);
    assert!(laptop.tool("tool_categories", json!({"approvalId": id})).await.tool_text()["categories"].is_array());
    confirm(&ada, &ask(&scout).await).await.expect(StatusCode::OK);
    // Of somebody who was an admin when they made the key, and is none any more.
    sqlx::query("UPDATE users SET role = 'member' WHERE name = 'ada'").execute(&world.pool).await.unwrap();
    confirm(&ada, &ask(&laptop).await).await.expect(StatusCode::OK);
    owner.patch_settings(json!({"allowOwnApproval": false})).await.expect(StatusCode::OK);
    confirm(&ada, &ask(&laptop).await).await.expect_problem(StatusCode::FORBIDDEN, "OWN_APPROVAL");
    world.end().await;
}

#[sqlx::test]
async fn what_waits_is_listed_page_by_page(pool: PgPool) {
    let world = careful(pool).await;
    let agent = world.with_key(&world.approved_agent("scout").await);
    let mut asked = Vec::new();
    for number in 0..5 {
        asked.push(waits(agent.tool("tool_search", json!({"query": number.to_string()})).await));
    }
    let owner = world.owner().await;
    let (mut listed, mut cursor) = (Vec::new(), Value::Null);
    for left in [3, 1, 0] {
        let page = owner.post("/approvals/list", json!({"limit": 2, "cursor": cursor})).await.expect(StatusCode::OK);
        listed.extend(page["data"].as_array().unwrap().iter().map(|row| row["token"].as_str().unwrap().to_owned()));
        cursor = page["nextCursor"].clone();
        assert_eq!(cursor.is_null(), left == 0, "{page}");
    }
    assert_eq!(listed, asked);
    for bad in [json!({"cursor": "x"}), json!({"limit": 201})] {
        owner.post("/approvals/list", bad).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    }
    world.end().await;
}

/// However much agents send, one answer is bounded, and nothing that waits is left out for its size.
#[sqlx::test]
async fn a_page_of_what_waits_ends_by_its_bytes(pool: PgPool) {
    let (world, key, page) = with_page(pool).await;
    let (agent, owner) = (world.with_key(&key), world.owner().await);
    let mut asked = Vec::new();
    for letter in ["a", "b", "c", "d", "e"] {
        let content = letter.repeat(700_000);
        asked.push(waits(agent.tool("page_update", json!({"pageId": page, "content": content})).await));
    }
    let (mut listed, mut cursor) = (Vec::new(), Value::Null);
    for (count, limit) in [(2, 200), (1, 1), (2, 200)] {
        let page = owner.post("/approvals/list", json!({"limit": limit, "cursor": cursor})).await.expect(StatusCode::OK);
        let rows = page["data"].as_array().unwrap();
        assert_eq!(rows.len(), count, "{} bytes", page.to_string().len());
        listed.extend(rows.iter().map(|row| row["token"].as_str().unwrap().to_owned()));
        cursor = page["nextCursor"].clone();
    }
    assert_eq!((listed, cursor), (asked, Value::Null));
    world.end().await;
}

/// What a call was given is kept while somebody may decide about it or use it, and no longer.
#[sqlx::test]
async fn what_a_call_was_given_is_forgotten_when_it_is_over(pool: PgPool) {
    let (world, key, page) = with_page(pool).await;
    let (agent, owner) = (world.with_key(&key), world.owner().await);
    let ask = async |title: &str| waits(agent.tool("page_update", json!({"pageId": page, "title": title})).await);
    let kept = async |id: &str| {
        let row = sqlx::query_as("SELECT status, params FROM mcp_approvals WHERE id = $1").bind(id.parse::<uuid::Uuid>().unwrap());
        let (status, params): (String, Value) = row.fetch_one(&world.pool).await.unwrap();
        assert!(params == json!({}) || params["pageId"] == json!(page), "{params}");
        (status, params != json!({}))
    };
    let is = |status: &str, has: bool| (status.to_owned(), has);
    let used = ask("used").await;
    assert_eq!(kept(&used).await, is("pending", true));
    confirm(&owner, &used).await.expect(StatusCode::OK);
    assert_eq!(kept(&used).await, is("approved", true));
    agent.tool("page_update", json!({"pageId": page, "title": "used", "approvalId": used})).await.expect(StatusCode::OK);
    assert_eq!(kept(&used).await, is("consumed", false));
    let refused = ask("refused").await;
    owner.post("/approvals/reject", json!({"approvalToken": refused})).await.expect(StatusCode::OK);
    assert_eq!(kept(&refused).await, is("rejected", false));

    let (waiting, unused) = (ask("waiting").await, ask("unused").await);
    confirm(&owner, &unused).await.expect(StatusCode::OK);
    world.clock.advance(TimeDelta::minutes(61));
    assert_eq!((kept(&waiting).await, kept(&unused).await), (is("pending", true), is("approved", true)));
    let asked_later = ask("later").await;
    assert_eq!((kept(&waiting).await, kept(&unused).await), (is("expired", false), is("expired", false)));
    world.clock.advance(TimeDelta::minutes(61));
    let mut tx = world.app().begin().await.unwrap();
    raven_agents::domain::tool_approvals::prune(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(kept(&asked_later).await, is("expired", false));
    let asked_last = ask("last").await;
    owner.revoke("scout").await.expect(StatusCode::OK);
    assert_eq!(kept(&asked_last).await, is("expired", false));
    world.end().await;
}

/// A person's yes in the last second leaves the caller time to hear of it.
#[sqlx::test]
async fn a_call_that_was_approved_late_may_be_used_for_ten_minutes(pool: PgPool) {
    let (world, key, page) = with_page(pool).await;
    let (agent, owner) = (world.with_key(&key), world.owner().await);
    for (title, minutes, expected) in [("in time", 9, true), ("too late", 11, false)] {
        let asked = json!({"method": "page_update", "params": {"pageId": page, "title": title}, "ttlSeconds": 30});
        let id = agent.tool("approval_request", asked).await.tool_text()["approvalId"].as_str().unwrap().to_owned();
        world.clock.advance(TimeDelta::seconds(25));
        confirm(&owner, &id).await.expect(StatusCode::OK);
        world.clock.advance(TimeDelta::minutes(minutes));
        let done = agent.tool("page_update", json!({"pageId": page, "title": title, "approvalId": id})).await.tool_text();
        assert_eq!(done["title"] == title, expected, "{done}");
    }
    let id = waits(agent.tool("page_update", json!({"pageId": page, "title": "long before"})).await);
    confirm(&owner, &id).await.expect(StatusCode::OK);
    let status = agent.tool("approval_status", json!({"id": id})).await.tool_text();
    let expires: chrono::DateTime<chrono::Utc> = status["expiresAt"].as_str().unwrap().parse().unwrap();
    let listed: chrono::DateTime<chrono::Utc> = sqlx::query_scalar("SELECT created_at FROM mcp_approvals WHERE id = $1")
        .bind(id.parse::<uuid::Uuid>().unwrap())
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert!(expires - listed > TimeDelta::minutes(59), "no time is taken away: {status}");
    world.end().await;
}

/// Whoever decides knows whose words they read.
#[sqlx::test]
async fn what_the_caller_says_itself_is_told_as_that(pool: PgPool) {
    let (world, key, page) = with_page(pool).await;
    let agent = world.with_key(&key);
    waits(agent.tool("page_update", json!({"pageId": page, "title": "stopped"})).await);
    let in_advance = json!({"method": "page_update", "params": {"pageId": page, "title": "asked"}, "reason": "the owner said yes"});
    agent.tool("approval_request", in_advance).await.expect(StatusCode::OK);
    agent.tool("approval_request", json!({"permission": "read:tasks", "reason": "for the report"})).await.expect(StatusCode::OK);
    let listed = world.owner().await.post("/approvals/list", json!({})).await.expect(StatusCode::OK)["data"].clone();
    let told: Vec<_> = listed.as_array().unwrap().iter().map(|row| (&row["reason"], &row["askedInAdvance"])).collect();
    let operators = json!("it takes away what others made");
    assert_eq!(
        told,
        [(&operators, &json!(false)), (&json!("the owner said yes"), &json!(true)), (&json!("for the report"), &json!(true))],
        "{listed}"
    );
    world.end().await;
}

#[sqlx::test]
async fn what_an_agent_was_granted_is_seen_and_ended_by_those_who_manage_agents(pool: PgPool) {
    let world = World::new(pool).await;
    let agent = world.with_key(&world.agent_with_key("scout", &["read:pages"]).await);
    let (owner, mel) = (world.owner().await, world.member("mel").await);
    let grants = async |caller: &Caller<'_>| caller.get("/parallax-agents/scout").await.expect(StatusCode::OK)["data"]["grants"].clone();
    let reject = async |caller: &Caller<'_>, id: &str| caller.post("/approvals/reject", json!({"approvalToken": id})).await;
    let granted = async |permission: &str, minutes: u32| {
        let asked = agent.tool("approval_request", json!({"permission": permission, "minutes": minutes})).await.tool_text();
        let id = asked["approvalId"].as_str().unwrap().to_owned();
        confirm(&owner, &id).await.expect(StatusCode::OK);
        id
    };
    assert_eq!(grants(&owner).await, json!([]));
    let (users, tasks) = (granted("read:users", 60).await, granted("read:tasks", 30).await);
    let seen = grants(&owner).await;
    let told: Vec<_> = seen.as_array().unwrap().iter().map(|grant| (&grant["approvalId"], &grant["permission"])).collect();
    assert_eq!(told, [(&json!(tasks), &json!("read:tasks")), (&json!(users), &json!("read:users"))], "the first to end comes first");
    assert!(seen[0]["expiresAt"].as_str() < seen[1]["expiresAt"].as_str(), "{seen}");
    assert_eq!(grants(&mel).await, json!([]));

    reject(&mel, &users).await.expect_problem(StatusCode::NOT_FOUND, "APPROVAL_NOT_FOUND");
    confirm(&owner, &users).await.expect_problem(StatusCode::CONFLICT, "APPROVAL_OVER");
    assert!(agent.tool("user_list", json!({})).await.tool_text()["users"].is_array());
    reject(&owner, &users).await.expect(StatusCode::OK);
    assert_eq!(agent.tool("user_list", json!({})).await.tool_text()["data"]["requiredPermissions"], json!(["read:users"]));
    assert_eq!(grants(&owner).await.as_array().unwrap().len(), 1);
    let status = agent.tool("approval_status", json!({"id": users})).await.tool_text();
    assert_eq!((&status["status"], &status["permission"]), (&json!("rejected"), &json!("read:users")));
    assert_eq!(world.activities("approval_rejected", Some("scout")).await, 1);
    reject(&owner, &users).await.expect_problem(StatusCode::CONFLICT, "APPROVAL_OVER");

    world.clock.advance(TimeDelta::minutes(31));
    assert_eq!(grants(&owner).await, json!([]), "its time is over");
    reject(&owner, &tasks).await.expect_problem(StatusCode::CONFLICT, "APPROVAL_OVER");
    world.end().await;
}

#[sqlx::test]
async fn of_two_people_who_decide_at_once_one_does(pool: PgPool) {
    let world = careful(pool).await;
    let agent = world.with_key(&world.approved_agent("scout").await);
    let (owner, ada) = (world.owner().await, world.admin("ada").await);
    for attempt in 0..5 {
        let id = waits(agent.tool("tool_search", json!({"query": attempt.to_string()})).await);
        let (yes, no) = tokio::join!(confirm(&owner, &id), ada.post("/approvals/reject", json!({"approvalToken": id})));
        let mut statuses = [yes.status.as_u16(), no.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
        let done = agent.tool("tool_search", json!({"query": attempt.to_string(), "approvalId": id})).await.tool_text();
        assert_eq!(done["tools"].is_array(), yes.status == StatusCode::OK, "what was answered counts: {done}");
    }
    let counts = (world.activities("approval_granted", None).await, world.activities("approval_rejected", None).await);
    assert_eq!(counts.0 + counts.1, 5);
    world.end().await;
}

/// Whichever comes first, nothing that was approved or claimed is left of a revoked agent.
#[sqlx::test]
async fn a_revocation_leaves_nothing_of_an_approval_or_a_claim_at_the_same_time(pool: PgPool) {
    let world = careful(pool).await;
    let owner = world.owner().await;
    for number in 0..4 {
        let name = format!("scout{number}");
        let agent = world.agent_with(&name, &["write:tasks"]).await;
        let task = world.task("Write").await;
        sqlx::query("UPDATE tasks SET agent_live = true WHERE id = $1").bind(task).execute(&world.pool).await.unwrap();
        let id = waits(agent.tool("agent_profile", json!({})).await);
        let claim = agent.tool("agent_claim_task", json!({"taskId": task}));
        let (decided, revoked, claimed) = tokio::join!(confirm(&owner, &id), owner.revoke(&name), claim);
        revoked.expect(StatusCode::OK);
        assert!([StatusCode::OK, StatusCode::CONFLICT].contains(&decided.status), "{}", decided.body);
        assert!([StatusCode::OK, StatusCode::UNAUTHORIZED].contains(&claimed.status), "{}", claimed.body);
        let left: (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM mcp_approvals WHERE agent_id = $1 AND status IN ('pending', 'approved')),
                    (SELECT count(*) FROM parallax_agent_assignments WHERE agent_id = $1 AND unassigned_at IS NULL)",
        )
        .bind(&name)
        .fetch_one(&world.pool)
        .await
        .unwrap();
        assert_eq!(left, (0, 0), "{name}");
    }
    world.end().await;
}

/// What is withdrawn while a call waits for a row is not changed by it.
#[sqlx::test]
async fn a_page_that_is_kept_from_an_agent_while_its_call_waits_is_not_changed(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let space = world.first_space().await;
    let agent = world.agent_with("scout", &["read:pages", "write:pages"]).await;
    for withdrawal in
        ["UPDATE pages SET agent_accessible = false WHERE id = $1", "UPDATE space_members SET deleted_at = now() WHERE $1 = $1"]
    {
        let page = world.page_in(space, "Minutes").await;
        let mut holder = world.pool.begin().await.unwrap();
        sqlx::query("SELECT 1 FROM pages WHERE id = $1 FOR UPDATE").bind(page).execute(&mut *holder).await.unwrap();
        let (answer, ()) = tokio::join!(agent.tool("page_update", json!({"pageId": page, "title": "mine"})), async {
            until_one_waits(&world).await;
            sqlx::query(withdrawal).bind(page).execute(&mut *holder).await.unwrap();
            holder.commit().await.unwrap();
        });
        assert_eq!(answer.tool_text()["code"], -32001, "{withdrawal}");
        assert_eq!(title_of(&world, page).await, "Minutes", "{withdrawal}");
    }
    world.end().await;
}

#[sqlx::test]
async fn an_agent_hears_with_its_key_what_was_decided_and_another_does_not(pool: PgPool) {
    let world = careful(pool).await;
    let (key, other) = (world.approved_agent("scout").await, world.approved_agent("other").await);
    let (agent, other) = (world.with_key(&key), world.with_key(&other));
    let mut stream = agent.stream("", None).await.begun().await;
    let mut others = other.stream("", None).await.begun().await;
    let owner = world.owner().await;
    let (id, their) = (waits(agent.tool("agent_profile", json!({})).await), waits(other.tool("agent_profile", json!({})).await));
    confirm(&owner, &id).await.expect(StatusCode::OK);
    owner.post("/approvals/reject", json!({"approvalToken": their})).await.expect(StatusCode::OK);
    for (stream, id, approved) in [(&mut stream, &id, true), (&mut others, &their, false)] {
        let heard = stream.until("approval.decided").await;
        let decided: Vec<&Value> = heard.iter().filter(|event| event.name == "approval.decided").map(|event| &event.data).collect();
        assert_eq!(decided.len(), 1);
        let text = decided[0].to_string();
        assert!(text.contains(id.as_str()) && text.contains(&format!("\"approved\":{approved}")), "{text}");
    }
    world.end().await;
}

/// A resource is a tool's answer, and waits as the tool does.
#[sqlx::test]
async fn a_resource_that_needs_an_approval_is_read_with_it(pool: PgPool) {
    let world = careful(pool).await;
    let agent = world.with_key(&world.approved_agent("scout").await);
    let owner = world.owner().await;
    let call = |uri: &str| json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": uri}});
    for path in ["/mcp", "/mcp-standard"] {
        let waiting = agent.post(path, call("ravendocs://agent")).await.body;
        assert_eq!(waiting["error"]["code"], -32005, "{waiting}");
        let (id, uri) = (&waiting["error"]["data"]["approvalId"], waiting["error"]["data"]["uri"].as_str().unwrap());
        confirm(&owner, id.as_str().unwrap()).await.expect(StatusCode::OK);
        let read = agent.post(path, call(uri)).await.expect(StatusCode::OK);
        assert!(read["result"]["contents"][0]["text"].as_str().is_some_and(|text| text.contains("scout")), "{read}");
        assert_eq!(agent.post(path, call(uri)).await.body["error"]["code"], -32002, "it counts once");
    }
    let waiting = agent.post("/mcp-standard/read_resource", json!({"uri": "ravendocs://agent"})).await.expect(StatusCode::FORBIDDEN);
    confirm(&owner, waiting["data"]["approvalId"].as_str().unwrap()).await.expect(StatusCode::OK);
    let read = agent.post("/mcp-standard/read_resource", json!({"uri": waiting["data"]["uri"]})).await.expect(StatusCode::OK);
    assert_eq!(read["contents"][0]["uri"], "ravendocs://agent");
    let refused = agent.post("/mcp-standard/read_resource", json!({"uri": "ravendocs://users"})).await.expect(StatusCode::FORBIDDEN);
    assert_eq!(refused["data"]["requiredPermissions"], json!(["read:users"]));
    world.end().await;
}

/// Decision 0038: what a spawned agent was granted ends with its run.
#[sqlx::test]
async fn what_a_spawned_agent_was_granted_ends_with_its_process(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let id = owner.spawn_shell().await;
    owner.until_run_is(&id, "ready").await;
    let rotate = format!("/parallax-agents/{id}/keys/rotate");
    let key = owner.post(&rotate, json!({"graceSeconds": 60})).await.expect(StatusCode::OK)["data"]["mcpApiKey"].clone();
    let agent = world.with_key(key.as_str().unwrap());
    let asked = async |permission: &str| {
        agent.tool("approval_request", json!({"permission": permission})).await.tool_text()["approvalId"].as_str().unwrap().to_owned()
    };
    confirm(&owner, &asked("write:tasks").await).await.expect(StatusCode::OK);
    let waiting = asked("write:pages").await;
    owner.post(&format!("/parallax-agents/{id}/stop"), json!({})).await.expect(StatusCode::OK);
    owner.until_run_is(&id, "stopped").await;
    assert_eq!(owner.post("/approvals/list", json!({})).await.expect(StatusCode::OK)["data"], json!([]));
    confirm(&owner, &waiting).await.expect_problem(StatusCode::CONFLICT, "APPROVAL_OVER");
    let key = owner.post(&rotate, json!({})).await.expect(StatusCode::OK)["data"]["mcpApiKey"].clone();
    let again = world.with_key(key.as_str().unwrap());
    let refused = again.tool("task_complete", json!({"taskId": uuid::Uuid::now_v7()})).await.tool_text();
    assert_eq!(refused["data"]["requiredPermissions"], json!(["write:tasks"]), "{refused}");
    world.end().await;
}

#[sqlx::test]
async fn what_comes_later_takes_nobodys_place_though_it_expires_sooner(pool: PgPool) {
    let world = careful(pool).await;
    let agent = world.with_key(&world.approved_agent("scout").await);
    let first = waits(agent.tool("agent_profile", json!({})).await);
    let asked = json!({"method": "tool_search", "params": {"query": "task"}, "ttlSeconds": 30});
    let second = agent.tool("approval_request", asked).await.tool_text()["approvalId"].clone();
    let listed = world.owner().await.post("/approvals/list", json!({})).await.expect(StatusCode::OK);
    let order: Vec<&Value> = listed["data"].as_array().unwrap().iter().map(|approval| &approval["token"]).collect();
    assert_eq!(order, [&json!(first), &second]);
    world.end().await;
}

#[sqlx::test]
async fn whoever_sets_an_agents_permissions_ends_what_it_was_granted_for_a_while(pool: PgPool) {
    let world = World::new(pool).await;
    let agent = world.with_key(&world.agent_with_key("scout", &["read:pages"]).await);
    let owner = world.owner().await;
    let asked = agent.tool("approval_request", json!({"permission": "read:users", "minutes": 1440})).await.tool_text();
    confirm(&owner, asked["approvalId"].as_str().unwrap()).await.expect(StatusCode::OK);
    let feed = owner.get("/parallax-agents/scout/activity?type=approval_granted").await.expect(StatusCode::OK);
    assert_eq!(
        (&feed["data"][0]["description"], &feed["data"][0]["metadata"]["permission"]),
        (&json!("read:users was approved"), &json!("read:users"))
    );
    let profile = agent.tool("agent_profile", json!({})).await.tool_text();
    assert_eq!(profile["grantedPermissions"], json!(["read:pages", "read:users"]));
    assert!(agent.tool("user_list", json!({})).await.tool_text()["users"].is_array());
    owner.post("/parallax-agents/scout/permissions", json!({"permissions": ["read:pages"]})).await.expect(StatusCode::OK);
    assert_eq!(agent.tool("user_list", json!({})).await.tool_text()["data"]["requiredPermissions"], json!(["read:users"]));
    world.end().await;
}

#[sqlx::test]
async fn an_agent_has_a_bounded_number_of_calls_that_wait(pool: PgPool) {
    let world = careful(pool).await;
    let key = world.approved_agent("scout").await;
    let agent = world.with_key(&key);
    let calls = (0..30).map(|number| {
        let agent = agent.clone();
        async move { agent.tool("tool_search", json!({"query": number.to_string()})).await.tool_text()["code"].clone() }
    });
    let codes = futures_util::future::join_all(calls).await;
    assert_eq!(codes.iter().filter(|code| **code == -32005).count(), 20);
    assert_eq!(codes.iter().filter(|code| **code == -32002).count(), 10);
    world.end().await;
}

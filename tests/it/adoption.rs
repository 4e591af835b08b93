//! Taking over a database that Raven Docs made: what its rows mean here, and that none is lost.

use std::{collections::BTreeMap, time::Duration};

use raven_agents::{
    domain::adoption::{self, Found},
    model::{clock::Clock, ids::WorkspaceId, permission::CATALOGUE, seal::Sealer},
    serve,
    storage::{Tx, db::MIGRATOR},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool, migrate::Migrator};
use uuid::Uuid;

use crate::support::{
    APP_SECRET, PASSWORD, World,
    program::{database_url, raven_agents},
};

/// A database as the original leaves it, with the rows that are hard to take over.
const ORIGINAL: &str = include_str!("original_database.sql");

const ACME: WorkspaceId = WorkspaceId(Uuid::from_u128(0x1000_0000_0000_7000_8000_0000_0000_0001));
const OTHER: WorkspaceId = WorkspaceId(Uuid::from_u128(0x2000_0000_0000_7000_8000_0000_0000_0002));

/// The invites' tokens that can still admit somebody, and those that cannot.
const LIVE_TOKENS: [&str; 4] = [
    "agent_inv_open-OpenOpenOpenOpenOpenOpenOpenOpen",
    "agent_inv_free-FreeFreeFreeFreeFreeFreeFreeFree",
    "agent_inv_them-ThemThemThemThemThemThemThemThem",
    "tiny-token",
];
const SPENT_TOKENS: [&str; 3] = [
    "agent_inv_used-UsedUsedUsedUsedUsedUsedUsedUsed",
    "agent_inv_late-LateLateLateLateLateLateLateLate",
    "agent_inv_over-OverOverOverOverOverOverOverOver",
];

/// The plain text of a key of the original database.
fn key(name: &str) -> String {
    format!("mcp_{name:0<64}")
}

async fn original(pool: &PgPool) {
    sqlx::raw_sql(ORIGINAL).execute(pool).await.unwrap();
}

/// The service on an original database that it has taken over.
async fn world(pool: PgPool) -> World {
    original(&pool).await;
    World::taken_over(pool, ACME).await
}

async fn one<T>(pool: &PgPool, query: &'static str) -> T
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

async fn tables(pool: &PgPool) -> Vec<String> {
    let tables = "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
                  WHERE table_type = 'BASE TABLE' AND table_schema IN ('public', 'raven_original') ORDER BY 1";
    sqlx::query_scalar(tables).fetch_all(pool).await.unwrap()
}

/// Everything in a database: a sum over the rows of each table, and one over all definitions.
async fn fingerprint(pool: &PgPool) -> BTreeMap<String, Option<String>> {
    let mut sums = BTreeMap::new();
    for table in tables(pool).await {
        let sum = format!("SELECT md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM {table} t");
        sums.insert(table, sqlx::query_scalar(AssertSqlSafe(sum)).fetch_one(pool).await.unwrap());
    }
    let definitions = "SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
        SELECT concat_ws(' ', table_schema, table_name, column_name, data_type, is_nullable, column_default) FROM information_schema.columns
            WHERE table_schema IN ('public', 'raven_original')
        UNION ALL SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
        UNION ALL SELECT indexdef FROM pg_indexes
        UNION ALL SELECT proname || md5(prosrc) FROM pg_proc) AS definitions (line)";
    sums.insert("definitions".to_owned(), one(pool, definitions).await);
    sums
}

/// Tables that have this text in any column of any row, as text or as bytes.
async fn holding(pool: &PgPool, text: &str) -> Vec<String> {
    let mut holding = Vec::new();
    for table in tables(pool).await {
        let search = format!(
            "SELECT EXISTS (SELECT FROM {table} t WHERE strpos(t::text, $1) > 0 OR strpos(t::text, encode(convert_to($1, 'UTF8'), 'hex')) > 0)"
        );
        if sqlx::query_scalar(AssertSqlSafe(search)).bind(text).fetch_one(pool).await.unwrap() {
            holding.push(table);
        }
    }
    holding
}

#[sqlx::test(migrations = false)]
async fn the_migrations_succeed_on_an_original_database_and_a_second_run_changes_nothing(pool: PgPool) {
    original(&pool).await;
    assert_eq!(serve::prepare_database(&pool, Some(APP_SECRET)).await.unwrap(), 0);
    let before = fingerprint(&pool).await;
    assert_eq!(serve::prepare_database(&pool, Some(APP_SECRET)).await.unwrap(), 0);
    assert_eq!(fingerprint(&pool).await, before);
    let contents = adoption::inspect(&pool).await.unwrap();
    assert_eq!((contents.found, contents.pending.len(), contents.tables.len()), (Found::Ours, 0, 0));
}

#[sqlx::test(migrations = false)]
async fn an_original_database_ends_up_with_the_tables_of_a_fresh_one(pool: PgPool) {
    let columns = "SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
        SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable) FROM information_schema.columns
            WHERE table_schema = 'public' AND table_name NOT IN ('research_jobs', '_sqlx_migrations')
              AND (table_name, column_name) NOT IN (('users', 'scim_external_id'), ('workspaces', 'billing_email'))
        UNION ALL SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND indexname LIKE '%agent%') AS line (line)";
    assert_eq!(adoption::inspect(&pool).await.unwrap().found, Found::Empty);
    serve::prepare_database(&pool, None).await.unwrap();
    let fresh: String = one(&pool, columns).await;
    sqlx::raw_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public").execute(&pool).await.unwrap();
    // Statements that connections have prepared are about tables that are gone.
    let options = (*pool.connect_options()).clone();
    pool.close().await;
    let pool = PgPool::connect_with(options).await.unwrap();
    original(&pool).await;
    serve::prepare_database(&pool, None).await.unwrap();
    assert_eq!(one::<String>(&pool, columns).await, fresh);
}

#[sqlx::test(migrations = false)]
async fn every_original_row_is_one_of_ours_or_stays_with_a_reason(pool: PgPool) {
    original(&pool).await;
    let mut counts = BTreeMap::new();
    for (table, rows) in adoption::inspect(&pool).await.unwrap().tables {
        counts.insert(table, rows);
    }
    assert_eq!(counts.len(), 10);
    serve::prepare_database(&pool, Some(APP_SECRET)).await.unwrap();
    for (table, rows) in counts {
        assert!(rows > 0, "{table} proves nothing");
        let id = if table == "parallax_agents" {
            "(SELECT agent_id FROM raven_original.agent_ids i WHERE i.workspace_id = o.workspace_id AND i.original_id = o.id)"
        } else {
            "o.id"
        };
        let fate = format!(
            "SELECT count(*), count(*) FILTER (WHERE copied), count(*) FILTER (WHERE left_behind), count(*) FILTER (WHERE copied = left_behind)
             FROM raven_original.{table} o
             CROSS JOIN LATERAL (
                 SELECT EXISTS (SELECT FROM {table} n WHERE n.workspace_id::text = o.workspace_id::text AND n.id = {id}) AS copied,
                        EXISTS (SELECT FROM raven_original.notes x WHERE x.table_name = '{table}' AND x.row_id = o.id::text
                                AND x.outcome IN ('set_aside', 'merged') AND x.reason <> '') AS left_behind
             ) fate"
        );
        // Log lines have no workspace of their own.
        let fate = if table == "terminal_session_logs" {
            fate.replace("n.workspace_id::text = o.workspace_id::text", "n.session_id = o.session_id")
        } else {
            fate
        };
        let (found, copied, left, unclear): (i64, i64, i64, i64) = sqlx::query_as(AssertSqlSafe(fate)).fetch_one(&pool).await.unwrap();
        assert_eq!((found, copied + left, unclear), (rows, rows, 0), "{table}");
        let ours: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}"))).fetch_one(&pool).await.unwrap();
        assert_eq!(ours, copied, "{table} has rows from nowhere");
    }
}

#[sqlx::test(migrations = false)]
async fn people_sign_in_as_before(pool: PgPool) {
    let world = world(pool).await;
    let signed_in = |email: &'static str| {
        let world = &world;
        async move { world.anonymous().post("/auth/login", json!({"email": email, "password": PASSWORD})).await.status }
    };
    assert_eq!(signed_in("ada@acme.example").await, StatusCode::OK);
    assert_eq!(signed_in("bob@acme.example").await, StatusCode::UNAUTHORIZED, "he is deactivated");
    world.end().await;
}

/// D-07, D-10: in the original a key outlived the revocation of its agent and the end of its account.
#[sqlx::test(migrations = false)]
async fn keys_work_on_only_for_agents_that_may_act(pool: PgPool) {
    let world = world(pool).await;
    for name in ["rogue", "gone", "orphan-user", "orphan-workspace", "system", "deactivated", "deleted", "elsewhere"] {
        let answer = world.with_key(&key(name)).tool("agent_profile", json!({})).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}");
    }
    let persons = world.with_key(&key("person")).tool("agent_profile", json!({})).await.expect(StatusCode::OK);
    assert_eq!(persons["isError"], true, "a person's key is good, and no agent's");
    let profile = world.with_key(&key("scout")).tool("agent_profile", json!({})).await.tool_text();
    assert_eq!((&profile["id"], &profile["status"]), (&json!("scout"), &json!("approved")));
    assert_eq!(profile["grantedPermissions"], json!(["execute:search", "read:pages", "write:tasks"]));
    assert_eq!(profile["capabilities"], json!(["code", "review"]));
    // The key of its second account (D-42, D-44) was the agent's too.
    assert_eq!(world.with_key(&key("scout-twice")).tool("agent_profile", json!({})).await.tool_text()["id"], "scout");
    assert_eq!(world.with_key(&key("helper")).tool("agent_profile", json!({"workspaceId": OTHER})).await.tool_text()["id"], "helper");

    let live: Vec<(String, String)> =
        sqlx::query_as("SELECT id, kind FROM mcp_api_keys WHERE revoked_at IS NULL ORDER BY id").fetch_all(&world.pool).await.unwrap();
    let expected =
        [("helper", "agent"), ("person", "user"), ("scout", "agent"), ("scout-twice", "agent"), ("swarm-live", "swarm"), ("team", "agent")];
    assert_eq!(live, expected.map(|(id, kind)| (id.to_owned(), kind.to_owned())));
    let run: Uuid = one(&world.pool, "SELECT swarm_execution_id FROM mcp_api_keys WHERE id = 'swarm-live'").await;
    assert_eq!(run.to_string(), "90000000-0000-7000-8000-000000000001");
    assert_eq!(one::<String>(&world.pool, "SELECT mcp_api_key_id FROM parallax_agents WHERE id = 'helper'").await, "helper");
    world.end().await;
}

/// D-07: revoking, after the takeover, ends every key that the agent had before.
#[sqlx::test(migrations = false)]
async fn revoking_an_agent_ends_all_its_old_keys(pool: PgPool) {
    let world = world(pool).await;
    world.owner().await.revoke("scout").await.expect(StatusCode::OK);
    for name in ["scout", "scout-twice"] {
        assert_eq!(world.with_key(&key(name)).tool("agent_profile", json!({})).await.status, StatusCode::UNAUTHORIZED, "{name}");
    }
    world.end().await;
}

/// D-60: whatever zone the database is set to.
#[sqlx::test(migrations = false)]
async fn times_of_keys_are_read_as_utc_and_orphans_get_no_key(pool: PgPool) {
    sqlx::raw_sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''Asia/Tokyo''', current_database()); END $$")
        .execute(&pool)
        .await
        .unwrap();
    let options = (*pool.connect_options()).clone();
    pool.close().await;
    let pool = PgPool::connect_with(options).await.unwrap();
    original(&pool).await;
    serve::prepare_database(&pool, None).await.unwrap();
    assert!(
        one::<bool>(
            &pool,
            "SELECT bool_and(created_at = '2026-03-01 10:00:00Z' AND last_used_at = '2026-03-02 11:30:00Z') FROM mcp_api_keys"
        )
        .await
    );
    assert!(!one::<bool>(&pool, "SELECT EXISTS (SELECT FROM mcp_api_keys WHERE id LIKE 'orphan%' OR id = 'system')").await);
}

/// D-04.
#[sqlx::test(migrations = false)]
async fn old_invite_tokens_go_on_admitting_and_only_admins_see_them(pool: PgPool) {
    let world = world(pool).await;
    let owner = world.owner().await;
    let listed = owner.get("/parallax-agents/invites?includeRevoked=true").await.expect(StatusCode::OK);
    let invites: BTreeMap<&str, &Value> =
        listed["data"].as_array().unwrap().iter().map(|invite| (invite["name"].as_str().unwrap(), invite)).collect();
    assert_eq!(invites.len(), 6);
    assert_eq!((&invites["open"]["token"], &invites["unlimited"]["token"]), (&json!(LIVE_TOKENS[0]), &json!(LIVE_TOKENS[1])));
    assert_eq!((&invites["open"]["usesRemaining"], &invites["open"]["usesCount"]), (&json!(3), &json!(1)));
    assert_eq!(invites["open"]["permissions"], json!(["execute:search", "read:pages"]));
    assert_eq!((&invites["overdrawn"]["usesRemaining"], &invites["overdrawn"]["usesCount"]), (&json!(0), &json!(7)));
    assert!(SPENT_TOKENS.iter().all(|token| !listed.to_string().contains(token)), "spent tokens are masked");

    for (number, token) in LIVE_TOKENS.iter().enumerate() {
        world.anonymous().register(token, &format!("fresh-{number}")).await.expect(StatusCode::CREATED);
    }
    for token in SPENT_TOKENS {
        world.anonymous().register(token, "late").await.expect_problem(StatusCode::FORBIDDEN, "INVITE_REFUSED");
    }
    world.end().await;
}

/// D-04: not in our tables, not in what was set aside.
#[sqlx::test(migrations = false)]
async fn plain_tokens_are_nowhere_once_the_service_has_started(pool: PgPool) {
    original(&pool).await;
    // Without the secret nothing can be sealed, so what still admits waits; what admits nobody does not.
    assert_eq!(serve::prepare_database(&pool, None).await.unwrap(), 4);
    for token in LIVE_TOKENS {
        assert_eq!(holding(&pool, token).await, ["raven_original.agent_invites"], "{token}");
    }
    for token in SPENT_TOKENS {
        assert!(holding(&pool, token).await.is_empty(), "{token}");
    }
    let world = World::taken_over(pool, ACME).await;
    for token in LIVE_TOKENS.iter().chain(&SPENT_TOKENS) {
        assert!(holding(&world.pool, token).await.is_empty(), "{token}");
    }
    let sealed: i64 = one(&world.pool, "SELECT count(*) FROM agent_invites WHERE token_enc IS NOT NULL").await;
    assert_eq!(sealed, 4);
    world.end().await;
}

#[sqlx::test(migrations = false)]
async fn sealing_that_was_cut_short_is_done_whole_by_the_next_start(pool: PgPool) {
    original(&pool).await;
    serve::prepare_database(&pool, None).await.unwrap();
    let mut tx = Tx::begin(&pool, &Clock::default()).await.unwrap();
    assert_eq!(adoption::seal_tokens(&mut tx, &Sealer::new(APP_SECRET)).await.unwrap(), 4);
    drop(tx);
    let sealed = "SELECT count(*) FROM agent_invites WHERE token_enc IS NOT NULL";
    assert_eq!(one::<i64>(&pool, sealed).await, 0);
    serve::prepare_database(&pool, Some(APP_SECRET)).await.unwrap();
    assert_eq!(one::<i64>(&pool, sealed).await, 4);
    assert!(holding(&pool, LIVE_TOKENS[0]).await.is_empty());
}

#[sqlx::test(migrations = false)]
async fn two_services_that_start_at_once_take_the_database_over_once(pool: PgPool) {
    original(&pool).await;
    let start = || serve::prepare_database(&pool, Some(APP_SECRET));
    let (first, second) = tokio::join!(start(), start());
    assert_eq!((first.unwrap(), second.unwrap()), (0, 0));
    let world = World::taken_over(pool, ACME).await;
    let listed = world.owner().await.get("/parallax-agents/invites").await.expect(StatusCode::OK).to_string();
    assert!(listed.contains(LIVE_TOKENS[0]) && listed.contains(LIVE_TOKENS[1]), "{listed}");
    world.end().await;
}

/// Both have come to the plain tokens when they go on.
#[sqlx::test(migrations = false)]
async fn two_services_that_seal_at_once_wait_for_each_other(pool: PgPool) {
    original(&pool).await;
    serve::prepare_database(&pool, None).await.unwrap();
    let mut gate = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE raven_original.agent_invites IN ACCESS EXCLUSIVE MODE").execute(&mut *gate).await.unwrap();
    let start = || serve::prepare_database(&pool, Some(APP_SECRET));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let open = async {
        let both = async { while one::<i64>(&pool, waiting).await < 2 {} };
        tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
        gate.rollback().await.unwrap();
    };
    let (first, second, ()) = tokio::join!(start(), start(), open);
    assert_eq!((first.unwrap(), second.unwrap()), (0, 0));
    assert_eq!(one::<i64>(&pool, "SELECT count(*) FROM agent_invites WHERE token_enc IS NOT NULL").await, 4);
}

/// D-24, D-43, D-67.
#[sqlx::test(migrations = false)]
async fn agents_keep_their_state_and_get_ids_that_our_rules_allow(pool: PgPool) {
    let world = world(pool).await;
    let owner = world.owner().await;
    let listed = owner.get("/parallax-agents").await.expect(StatusCode::OK);
    let by_name: BTreeMap<&str, &Value> =
        listed["data"].as_array().unwrap().iter().map(|agent| (agent["name"].as_str().unwrap(), agent)).collect();
    assert_eq!(by_name.len(), 9);
    let statuses: Vec<(&str, &str)> = by_name.iter().map(|(name, agent)| (*name, agent["status"].as_str().unwrap())).collect();
    let expected = [
        ("Denied", "denied"),
        ("Dots", "denied"),
        ("Long", "pending"),
        ("Long too", "pending"),
        ("Named like a route", "pending"),
        ("Rogue", "revoked"),
        ("Scout", "approved"),
        ("Scout in capitals", "pending"),
        ("Team bot", "approved"),
    ];
    assert_eq!(statuses, expected);
    assert_eq!((&by_name["Scout"]["id"], &by_name["Rogue"]["id"]), (&json!("scout"), &json!("rogue")), "what is allowed stays");

    for (name, was) in [("Team bot", "team/bot one"), ("Named like a route", "pending"), ("Dots", ".."), ("Scout in capitals", "Scout")] {
        let id = by_name[name]["id"].as_str().unwrap();
        assert_ne!(id, was);
        assert_eq!(owner.agent(id).await["metadata"]["originalId"], was, "{name}");
    }
    // What hangs on a changed id follows it.
    let team = by_name["Team bot"]["id"].as_str().unwrap();
    let mine = world.with_key(&key("team")).tool("agent_my_assignments", json!({"agentId": team})).await.tool_text();
    assert_eq!((&mine["agentId"], &mine["totalTasks"]), (&json!(team), &json!(1)));
    assert_eq!(world.activities("assigned", Some(team)).await, 1);

    // The admins can go on with each of them.
    for id in [by_name["Named like a route"]["id"].as_str().unwrap(), "rogue"] {
        let granted = json!({"grantedPermissions": ["read:pages"], "grantBeyondRequest": true});
        owner.post(&format!("/parallax-agents/{id}/approve"), granted).await.expect(StatusCode::OK);
    }
    world.with_key(&key("rogue")).tool("agent_profile", json!({})).await.expect(StatusCode::UNAUTHORIZED);
    world.end().await;
}

/// D-67: the original wrote a revocation over the approval.
#[sqlx::test(migrations = false)]
async fn a_revocation_is_told_from_a_denial(pool: PgPool) {
    original(&pool).await;
    serve::prepare_database(&pool, None).await.unwrap();
    let told = "SELECT concat_ws('|', denial_reason, revocation_reason, resolved_at, revoked_at, granted_permissions::text)
                FROM parallax_agents WHERE id = 'rogue'";
    let rogue: String = one(&pool, told).await;
    assert_eq!(rogue, "it deleted pages|2026-03-01 12:00:00+00|2026-03-10 00:00:00+00|{}");
    let denied: String = one(
        &pool,
        "SELECT concat_ws('|', denial_reason, revocation_reason, resolved_at, revoked_at) FROM parallax_agents WHERE id = 'denied-one'",
    )
    .await;
    assert_eq!(denied, "not now|2026-03-06 00:00:00+00");
}

#[sqlx::test(migrations = false)]
async fn every_permission_of_the_catalogue_is_taken_over_and_no_other(pool: PgPool) {
    original(&pool).await;
    let all: Vec<String> = CATALOGUE.iter().map(|permission| permission.id.to_owned()).collect();
    let mut strings = all.clone();
    strings.push("toString".to_owned());
    sqlx::query("UPDATE parallax_agents SET granted_permissions = $1 WHERE id = 'helper'").bind(strings).execute(&pool).await.unwrap();
    serve::prepare_database(&pool, None).await.unwrap();
    let granted: Vec<String> = one(&pool, "SELECT granted_permissions FROM parallax_agents WHERE id = 'helper'").await;
    assert_eq!(granted.iter().collect::<std::collections::BTreeSet<_>>(), all.iter().collect());
    let other: Value = one(&pool, "SELECT metadata -> 'originalPermissions' FROM parallax_agents WHERE id = 'helper'").await;
    assert_eq!(other, json!(["toString"]));
}

/// D-08, D-44.
#[sqlx::test(migrations = false)]
async fn accounts_of_agents_are_no_members_and_stand_for_one_agent_each(pool: PgPool) {
    let world = world(pool).await;
    assert_eq!(one::<i64>(&world.pool, "SELECT count(*) FROM users WHERE id::text LIKE 'b%' AND role <> 'agent'").await, 0);
    assert_eq!(one::<String>(&world.pool, "SELECT name FROM users WHERE agent_id = 'scout'").await, "Scout", "the older one");
    assert_eq!(one::<String>(&world.pool, "SELECT role FROM users WHERE email = 'ada@acme.example'").await, "owner");
    let kept: String =
        one(&world.pool, "SELECT agent_id FROM raven_original.agent_accounts WHERE user_id = 'b0000000-0000-7000-8000-000000000002'").await;
    assert_eq!(kept, "scout", "what was changed is known");
    world.end().await;
}

/// D-46.
#[sqlx::test(migrations = false)]
async fn assignments_say_each_thing_once_and_of_their_own_workspace(pool: PgPool) {
    original(&pool).await;
    serve::prepare_database(&pool, None).await.unwrap();
    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT concat_ws(' ', right(id::text, 1), left(agent_id, 5), assignment_type, role, CASE WHEN unassigned_at IS NULL THEN 'active' ELSE 'ended' END)
         FROM parallax_agent_assignments ORDER BY id",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let expected = [
        "1 scout project lead active",
        "2 scout project member ended",
        "3 scout project member ended",
        "5 team- task member active",
        "6 scout task member active",
        "7 rogue task member ended",
    ];
    assert_eq!(rows, expected);
}

/// D-61.
#[sqlx::test(migrations = false)]
async fn the_audit_trail_is_whole_and_can_be_read(pool: PgPool) {
    let world = world(pool).await;
    let feed = world.owner().await.get("/parallax-agents/activity/workspace").await.expect(StatusCode::OK);
    assert_eq!(feed["data"].as_array().unwrap().len(), 6);
    let of_nobody = one::<String>(&world.pool, "SELECT agent_id FROM parallax_agent_activity WHERE activity_type = 'task_claimed'").await;
    assert!(of_nobody.starts_with("nobody-knows-"), "{of_nobody}");
    assert_eq!(one::<i32>(&world.pool, "SELECT count FROM parallax_agent_activity_daily WHERE agent_id IS NULL").await, 5);
    sqlx::query("DELETE FROM parallax_agents WHERE id = 'rogue'").execute(&world.pool).await.unwrap();
    assert_eq!(world.activities("access_revoked", Some("rogue")).await, 1);
    world.end().await;
}

#[sqlx::test(migrations = false)]
async fn an_agent_has_one_session_that_is_alive_and_a_runtimes_id_stands_for_one(pool: PgPool) {
    let world = world(pool).await;
    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT concat_ws(' ', right(id::text, 1), left(runtime_session_id, 7), status, cols, rows) FROM terminal_sessions ORDER BY id",
    )
    .fetch_all(&world.pool)
    .await
    .unwrap();
    let expected = [
        "1 rt-1 terminated 80 24",
        "2 rt-2 login_required 120 40",
        "3 rt-2#f0 terminated 80 24",
        "4 rt-3 pending 1000 24",
        "5 rt-4 terminated 80 24",
        "6 rt-0 terminated 80 24",
        "7 rt-00 terminated 80 24",
    ];
    assert_eq!(rows, expected);
    let sessions = world.owner().await.get("/terminal/sessions").await.expect(StatusCode::OK);
    assert_eq!(sessions["data"].as_array().unwrap().len(), 2, "{sessions}");
    assert_eq!(
        one::<String>(&world.pool, "SELECT string_agg(log_type, ',' ORDER BY id) FROM terminal_session_logs").await,
        "stdout,system"
    );
    world.end().await;
}

#[sqlx::test(migrations = false)]
async fn a_swarm_status_that_nobody_knows_is_a_fault_that_names_it(pool: PgPool) {
    original(&pool).await;
    serve::prepare_database(&pool, None).await.unwrap();
    let statuses: String = one(&pool, "SELECT string_agg(status, ',' ORDER BY id) FROM swarm_executions").await;
    assert_eq!(statuses, "running,completed,failed");
    assert_eq!(one::<String>(&pool, "SELECT metadata ->> 'originalStatus' FROM swarm_executions WHERE status = 'failed'").await, "timeout");
    assert_eq!(
        one::<String>(&pool, "SELECT metadata ->> 'originalStatus' FROM coding_workspaces WHERE status = 'error'").await,
        "archived"
    );
}

#[sqlx::test(migrations = false)]
async fn rows_of_the_knowledge_base_can_still_be_deleted(pool: PgPool) {
    original(&pool).await;
    serve::prepare_database(&pool, Some(APP_SECRET)).await.unwrap();
    let fits: String =
        one(&pool, "SELECT string_agg(conname, ',') FROM pg_constraint WHERE conrelid = 'research_jobs'::regclass AND contype = 'f'").await;
    assert_eq!(fits, "research_jobs_execution_id_fkey", "it refers to our table; one to an agent's id alone cannot");
    sqlx::query("DELETE FROM swarm_executions").execute(&pool).await.unwrap();
    // Whoever decided about agents, and a whole workspace.
    sqlx::query("DELETE FROM users WHERE email = 'ada@acme.example'").execute(&pool).await.unwrap();
    sqlx::query("DELETE FROM workspaces WHERE id = $1").bind(OTHER.0).execute(&pool).await.unwrap();
    assert_eq!(one::<i64>(&pool, "SELECT count(*) FROM raven_original.parallax_agents WHERE id = 'helper'").await, 0);
    sqlx::raw_sql("DROP SCHEMA raven_original CASCADE").execute(&pool).await.unwrap();
    let world = World::taken_over(pool, ACME).await;
    world.with_key(&key("scout")).tool("agent_profile", json!({})).await.expect(StatusCode::OK);
    world.end().await;
}

#[sqlx::test(migrations = false)]
async fn a_takeover_that_was_cut_short_is_finished_by_the_next_start(pool: PgPool) {
    original(&pool).await;
    MIGRATOR.run_to(20_261_121_000_200, &pool).await.unwrap();
    let contents = adoption::inspect(&pool).await.unwrap();
    assert_eq!((contents.found, contents.tables.len()), (Found::Original, 10));
    let world = World::taken_over(pool, ACME).await;
    world.with_key(&key("scout")).tool("agent_profile", json!({})).await.expect(StatusCode::OK);
    world.end().await;
}

#[sqlx::test(migrations = false)]
async fn earlier_versions_of_the_original_are_taken_over_too(pool: PgPool) {
    original(&pool).await;
    // Before invites, avatars, daily counts and page flags; with statuses as plain text.
    sqlx::raw_sql(
        "DROP TABLE research_jobs, parallax_agent_activity_daily, terminal_session_logs, swarm_executions, coding_workspaces, terminal_sessions;
         ALTER TABLE parallax_agents DROP COLUMN invite_id, DROP COLUMN avatar_url, ALTER COLUMN status DROP DEFAULT, ALTER COLUMN status TYPE varchar;
         DROP TABLE agent_invites;
         ALTER TABLE pages DROP COLUMN agent_accessible;
         ALTER TABLE projects DROP COLUMN agent_live",
    )
    .execute(&pool)
    .await
    .unwrap();
    let world = World::taken_over(pool, ACME).await;
    world.with_key(&key("scout")).tool("agent_profile", json!({})).await.expect(StatusCode::OK);
    world.owner().await.get("/parallax-agents/invites").await.expect(StatusCode::OK);
    world.end().await;
}

#[sqlx::test(migrations = false)]
async fn a_knowledge_base_without_agents_keeps_its_keys(pool: PgPool) {
    original(&pool).await;
    sqlx::raw_sql(
        "DROP TABLE research_jobs, parallax_agent_activity_daily, parallax_agent_activity, parallax_agent_assignments, terminal_session_logs,
                    swarm_executions, coding_workspaces, terminal_sessions, parallax_agents, agent_invites;
         DROP TYPE parallax_agent_status, parallax_assignment_type, parallax_agent_role, terminal_session_status;
         DELETE FROM users WHERE agent_id IS NOT NULL;
         ALTER TABLE users DROP COLUMN agent_id",
    )
    .execute(&pool)
    .await
    .unwrap();
    serve::prepare_database(&pool, None).await.unwrap();
    let live: String = one(&pool, "SELECT string_agg(id, ',' ORDER BY id) FROM mcp_api_keys WHERE revoked_at IS NULL").await;
    assert_eq!(live, "person");
}

#[sqlx::test(migrations = false)]
async fn a_database_of_ours_from_before_takeovers_is_left_as_it_is(pool: PgPool) {
    let without: Vec<_> = MIGRATOR.iter().filter(|m| ![50, 150, 350].contains(&(m.version % 1000))).cloned().collect();
    assert_eq!(without.len() + 3, MIGRATOR.iter().count());
    Migrator::with_migrations(without).run(&pool).await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO workspaces (name) VALUES ('Acme');
         INSERT INTO parallax_agents (workspace_id, id, name) SELECT id, 'scout', 'Scout' FROM workspaces;
         INSERT INTO users (email, agent_id, role, workspace_id) SELECT 'x@agents.internal', 'scout', 'agent', id FROM workspaces",
    )
    .execute(&pool)
    .await
    .unwrap();
    let before = fingerprint(&pool).await;
    let contents = adoption::inspect(&pool).await.unwrap();
    assert_eq!((contents.found, contents.tables.len()), (Found::Ours, 0));
    assert!(adoption::rehearse(&pool).await.unwrap().is_none());
    serve::prepare_database(&pool, Some(APP_SECRET)).await.unwrap();
    let after = fingerprint(&pool).await;
    for table in ["public.workspaces", "public.parallax_agents", "public.users", "definitions"] {
        assert_eq!(after[table], before[table], "{table}");
    }
    assert!(after.keys().all(|table| !table.starts_with("raven_original")), "{after:?}");
}

/// Runs the program on the database behind `pool`; what it wrote to standard output.
async fn run(pool: &PgPool, arguments: &[&str], settings: &[(&str, &str)]) -> String {
    let url = database_url(pool);
    let settings: Vec<(&str, &str)> = settings.iter().copied().chain([("DATABASE_URL", url.as_str())]).collect();
    let output = raven_agents(arguments, &settings).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[sqlx::test(migrations = false)]
async fn a_dry_run_says_what_it_found_and_would_do_and_changes_nothing(pool: PgPool) {
    original(&pool).await;
    let before = fingerprint(&pool).await;
    let text = run(&pool, &["migrate", "--dry-run"], &[]).await;
    for line in [
        "found: a database of Raven Docs with agents of its own",
        "  parallax_agents: 10 rows",
        "would apply 20261121000350 adopt original rows",
        "would copy 12 of 15 rows of mcp_api_keys",
        "  mcp_api_keys: 3 stay in the schema raven_original: its account or its workspace is not there",
        "  mcp_api_keys: 1 revoked: its agent is revoked",
        "would hash 7 invite tokens and encrypt 4 of them",
        "would give 5 accounts of agents the role agent",
        "would change the ids of 6 agents",
        "  \"team/bot one\" becomes \"team-bot-one-",
        "nothing was changed",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert!(!LIVE_TOKENS.iter().any(|token| text.contains(token)), "{text}");
    assert_eq!(fingerprint(&pool).await, before);
}

#[sqlx::test(migrations = false)]
async fn a_rehearsal_gives_up_rather_than_wait_for_a_server_for_long(pool: PgPool) {
    original(&pool).await;
    let mut server = pool.begin().await.unwrap();
    sqlx::query("UPDATE parallax_agents SET name = 'busy'").execute(&mut *server).await.unwrap();
    let refused = adoption::rehearse(&pool).await.unwrap_err().to_string();
    assert!(refused.contains("lock timeout"), "{refused}");
    server.commit().await.unwrap();
    assert!(adoption::rehearse(&pool).await.unwrap().is_some());
}

#[sqlx::test(migrations = false)]
async fn migrate_without_a_secret_says_what_stays_to_be_sealed(pool: PgPool) {
    original(&pool).await;
    let text = run(&pool, &["migrate"], &[]).await;
    assert!(text.contains("applied 20261121000350 adopt original rows"), "{text}");
    assert!(text.contains("4 invite tokens of the original stay in plain text until the first `serve`"), "{text}");
    let text = run(&pool, &["migrate"], &[("APP_SECRET", APP_SECRET)]).await;
    assert_eq!(text, "the schema is up to date\n");
    assert!(holding(&pool, LIVE_TOKENS[0]).await.is_empty());
}

#[sqlx::test(migrations = false)]
async fn doctor_says_whose_database_it_is_and_changes_nothing(pool: PgPool) {
    original(&pool).await;
    let before = fingerprint(&pool).await;
    let port = crate::support::program::free_port().to_string();
    let text = run(&pool, &["doctor"], &[("PORT", &port)]).await;
    assert!(text.contains("ok    schema: a database of Raven Docs with agents of its own; "), "{text}");
    assert!(text.contains("migrations will be applied, which take over 64 rows; `migrate --dry-run` says how"), "{text}");
    assert_eq!(fingerprint(&pool).await, before);
    serve::prepare_database(&pool, Some(APP_SECRET)).await.unwrap();
    let text = run(&pool, &["doctor"], &[("PORT", &port)]).await;
    assert!(text.contains("ok    schema: a database of raven-agents at version "), "{text}");
    assert!(text.contains(", up to date"), "{text}");
}

//! Limits on requests (D-58). What is asked too often is answered 429 before anything asks the
//! database or hashes a password.
//!
//! Most requests are charged for when they come. Where only a wrong secret is suspicious, they are
//! charged for when they were answered 401.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{callers, input};
use crate::{
    app::{App, Quota, RateLimits},
    model::{
        limit::{Budget, Exhausted, Limiter, Proven},
        secret::Secret,
    },
    wire::problem::Problem,
};

/// How many requests are taken at once, how many would be taken now, and in how many seconds all of
/// them will be again (draft-ietf-httpapi-ratelimit-headers-07, its widely read form).
pub(super) const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
pub(super) const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
pub(super) const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Answers without the database, and who asks ends a service that does not answer.
const LIVENESS: &str = "/api/health/live";

/// All budgets of this process but those of keys, which other edges charge, too ([`App`] has them). They are not shared with
/// others, and a restart fills them.
pub(super) struct Limits {
    api_by_address: Limiter,
    login_by_address: Limiter,
    login_by_account: Limiter,
    login_by_account_anywhere: Limiter,
    set_up_by_address: Limiter,
    key_registration_by_address: Limiter,
    admission_by_address: Limiter,
    admission_by_workspace: Limiter,
    refused_by_address: Limiter,
    refused_by_credential: Limiter,
    /// Accounts with an address from which their owner came in: others' failures do not count there.
    known: Proven,
    /// Keys and secrets that were right the last time: others' failures do not count for them.
    proven: Proven,
}

/// What a request is counted as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    SignIn,
    SetUp,
    KeyRegistration,
    AccessRequest,
    Registration,
    /// What only runtimes post.
    Report,
    /// What API keys are for: calls of tools, and streams of events.
    ToolCall,
    Other,
}

/// Who asks, as far as limits care.
struct Asker {
    kind: Kind,
    address: IpAddr,
    /// The API key or webhook secret, right or wrong.
    credential: Option<Secret>,
}

/// Why a request goes no further.
enum Refused {
    Exhausted(Exhausted),
    Problem(Problem),
}

/// Refuses requests beyond their limit, and says in every answer how the caller stands.
pub(super) async fn keep(State((app, limits)): State<(App, Option<Arc<Limits>>)>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let counts = path.starts_with("/api/") && path != LIVENESS;
    let Some(limits) = limits.filter(|_| counts) else { return next.run(request).await };
    let asker = Asker::of(&request, &app);
    match limits.admit(&app, &asker, request).await {
        Ok((request, budget, account)) => {
            let mut response = next.run(request).await;
            limits.learn(&asker, account.as_deref(), response.status());
            tell(&budget, response.headers_mut());
            response
        }
        Err(refused) => refused.into_response(),
    }
}

impl Kind {
    fn of(method: &Method, path: &str) -> Self {
        if path == "/api/events" || path == "/api/mcp" || path.starts_with("/api/mcp/") || path.starts_with("/api/mcp-standard") {
            return Self::ToolCall;
        }
        if method != Method::POST {
            return Self::Other;
        }
        match path {
            "/api/auth/login" => Self::SignIn,
            "/api/auth/setup" => Self::SetUp,
            "/api/api-keys/register" => Self::KeyRegistration,
            "/api/parallax-agents/access-request" => Self::AccessRequest,
            "/api/parallax-agents/register" => Self::Registration,
            "/api/parallax-agents/spawn-callback" | "/api/parallax-agents/runtime/heartbeat" | "/api/terminal/sessions" => Self::Report,
            _ if path.starts_with("/api/terminal/sessions/") && path.ends_with("/status") => Self::Report,
            _ => Self::Other,
        }
    }

    /// Whether somebody who does not know the secret of this would try others.
    fn can_be_guessed(self) -> bool {
        matches!(self, Self::AccessRequest | Self::Report | Self::ToolCall)
    }
}

impl Asker {
    fn of(request: &Request, app: &App) -> Self {
        let headers = request.headers();
        let kind = Kind::of(request.method(), request.uri().path());
        let credential = match kind {
            Kind::ToolCall => input::api_key(headers),
            Kind::AccessRequest | Kind::Report => headers.get(input::WEBHOOK_SECRET_HEADER).and_then(|secret| secret.to_str().ok()),
            Kind::SignIn | Kind::SetUp | Kind::KeyRegistration | Kind::Registration | Kind::Other => None,
        };
        let address = input::subscriber(request.extensions(), headers, &app.settings.trusted_proxies);
        Self { kind, address, credential: credential.map(Secret::presented) }
    }

    fn credential(&self) -> Option<&str> {
        self.credential.as_ref().map(Secret::expose)
    }
}

impl Limits {
    pub(super) fn new(limits: &RateLimits) -> Self {
        let limiter = |quota: Quota| Limiter::new(quota.at_once, quota.per_minute);
        Self {
            api_by_address: limiter(limits.api_by_address),
            login_by_address: limiter(limits.login_by_address),
            login_by_account: limiter(limits.login_by_account),
            login_by_account_anywhere: limiter(limits.login_by_account_anywhere),
            set_up_by_address: limiter(limits.set_up_by_address),
            key_registration_by_address: limiter(limits.key_registration_by_address),
            admission_by_address: limiter(limits.admission_by_address),
            admission_by_workspace: limiter(limits.admission_by_workspace),
            refused_by_address: limiter(limits.refused_by_address),
            refused_by_credential: limiter(limits.refused_by_credential),
            known: Proven::default(),
            proven: Proven::default(),
        }
    }

    /// Takes the request out of every budget that it counts for. Returns it with the budget that is
    /// nearest to its end and, for a sign-in, the account.
    async fn admit(&self, app: &App, asker: &Asker, request: Request) -> Result<(Request, Budget, Option<String>), Refused> {
        let (now, address) = (Instant::now(), asker.address);
        let mut budgets = vec![self.api_by_address.take(address, now)?];
        if asker.kind.can_be_guessed() {
            self.may_guess(asker, now)?;
        }
        match asker.kind {
            Kind::SignIn => {
                budgets.push(self.login_by_address.take(address, now)?);
                let (request, body) = input::buffered(request).await?;
                let account = account(&body, request.headers(), app);
                if let Some(account) = &account {
                    budgets.push(self.login_by_account.take((account, address), now)?);
                    if !self.known.has((account, address)) {
                        budgets.push(self.login_by_account_anywhere.take(account, now)?);
                    }
                }
                return Ok((request, tightest(&budgets), account));
            }
            Kind::AccessRequest => {
                // Strangers do not use up what a workspace has for its own control plane.
                let trusted = callers::webhook_secret(request.extensions(), request.headers(), app) == Some(true);
                budgets.push(self.admission_by_address.take((address, trusted), now)?);
                let (request, body) = input::buffered(request).await?;
                if let Some(workspace) = input::named_workspace(&body, request.headers()) {
                    budgets.push(self.admission_by_workspace.take((workspace, trusted), now)?);
                }
                return Ok((request, tightest(&budgets), None));
            }
            Kind::Registration => {
                budgets.push(self.admission_by_address.take((address, false), now)?);
                let (request, body) = input::buffered(request).await?;
                // An invite is of one workspace, whose admins decide how many there are. To find out
                // which one would cost a query.
                if let Some(token) = input::text_field(&body, "inviteToken") {
                    budgets.push(self.admission_by_workspace.take(token, now)?);
                }
                return Ok((request, tightest(&budgets), None));
            }
            Kind::ToolCall => {
                if let (Some(key), Some(calls)) = (asker.credential(), &app.calls_by_key) {
                    budgets.push(calls.take(key, now)?);
                }
            }
            Kind::SetUp => budgets.push(self.set_up_by_address.take(address, now)?),
            Kind::KeyRegistration => budgets.push(self.key_registration_by_address.take(address, now)?),
            Kind::Report | Kind::Other => {}
        }
        Ok((request, tightest(&budgets), None))
    }

    /// Whether a credential may be tried. One that was right the last time always may.
    fn may_guess(&self, asker: &Asker, now: Instant) -> Result<(), Exhausted> {
        if let Some(credential) = asker.credential() {
            if self.proven.has(credential) {
                return Ok(());
            }
            self.refused_by_credential.look((asker.address, credential), now)?;
        }
        self.refused_by_address.look(asker.address, now)?;
        Ok(())
    }

    /// Takes in what became of a request.
    fn learn(&self, asker: &Asker, account: Option<&str>, status: StatusCode) {
        let now = Instant::now();
        if let Some(account) = account.filter(|_| status.is_success()) {
            self.login_by_account.give_back((account, asker.address), now);
            self.known.add((account, asker.address));
        }
        if !asker.kind.can_be_guessed() {
            return;
        }
        if status == StatusCode::UNAUTHORIZED {
            self.refused_by_address.charge(asker.address, now);
        }
        if let Some(credential) = asker.credential() {
            if status == StatusCode::UNAUTHORIZED {
                self.proven.remove(credential);
                self.refused_by_credential.charge((asker.address, credential), now);
            } else if status.is_success() {
                self.proven.add(credential);
            }
        }
    }
}

impl From<Exhausted> for Refused {
    fn from(exhausted: Exhausted) -> Self {
        Self::Exhausted(exhausted)
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let exhausted = match self {
            Self::Problem(problem) => return problem.into_response(),
            Self::Exhausted(exhausted) => exhausted,
        };
        let seconds = whole_seconds(exhausted.retry_in).max(1);
        let message = format!("too many requests, try again in {seconds} s");
        let mut response = Problem::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message).retry_after(seconds).into_response();
        tell(&exhausted.budget, response.headers_mut());
        response
    }
}

fn tell(budget: &Budget, headers: &mut HeaderMap) {
    headers.insert(LIMIT, budget.limit.into());
    headers.insert(REMAINING, budget.remaining.into());
    headers.insert(RESET, whole_seconds(budget.full_in).into());
}

/// Rounded up: who comes back then is not refused again.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn tightest(budgets: &[Budget]) -> Budget {
    *budgets.iter().min_by_key(|budget| budget.remaining).expect("every request counts for its address")
}

/// The account that a sign-in is for. Where the host name chooses the workspace, it is a part of it.
fn account(body: &[u8], headers: &HeaderMap, app: &App) -> Option<String> {
    let email = input::text_field(body, "email")?.to_lowercase();
    let label = app.settings.cloud.then(|| input::host_label(headers)).flatten();
    Some(format!("{}/{email}", label.unwrap_or_default().to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_as_what_they_are() {
        let kinds = |method: Method, paths: &[&str]| paths.iter().map(|path| Kind::of(&method, path)).collect::<Vec<_>>();
        let reports = ["/api/terminal/sessions", "/api/terminal/sessions/pty-1/status", "/api/parallax-agents/runtime/heartbeat"];
        assert!(kinds(Method::POST, &reports).iter().all(|kind| *kind == Kind::Report));
        assert!(kinds(Method::GET, &reports).iter().all(|kind| *kind == Kind::Other));
        let tools = ["/api/mcp", "/api/mcp/", "/api/mcp-standard/call_tool", "/api/events"];
        for method in [Method::GET, Method::POST, Method::DELETE] {
            assert!(kinds(method, &tools).iter().all(|kind| *kind == Kind::ToolCall));
        }
        assert!(Kind::of(&Method::POST, "/api/api-keys/register") == Kind::KeyRegistration);
        assert!(Kind::of(&Method::POST, "/api/api-keys") == Kind::Other);
    }

    #[test]
    fn times_are_told_in_whole_seconds_rounded_up() {
        for (millis, seconds) in [(0, 0), (1, 1), (1000, 1), (1001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}

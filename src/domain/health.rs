//! Whether what the service needs is there.

use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::time::timeout;

use crate::{
    model::address::is_link_local,
    runtime::{
        RuntimeClient, RuntimeError,
        client::{BadEndpoint, origin_of},
    },
    storage,
};

/// How long a runtime may take to say that it is well.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the database answers.
pub async fn database(pool: &PgPool) -> bool {
    match storage::db::ping(pool).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the database does not answer");
            false
        }
    }
}

/// What a runtime says of itself.
#[derive(Debug)]
pub struct Probed {
    pub latency_ms: u64,
    pub version: Option<String>,
    pub active_agents: Option<u32>,
}

/// Why a runtime does not count as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// It did not say in time that it is well.
    #[error("the runtime does not answer")]
    Silent,
    #[error("the runtime refuses the token")]
    TokenRefused,
}

/// Asks a runtime how it is.
///
/// Errors: `Silent`; `TokenRefused` where it answers, but does nothing for us.
pub async fn probe(runtime: &RuntimeClient) -> Result<Probed, ProbeError> {
    let started = Instant::now();
    let answer = timeout(PROBE_TIMEOUT, runtime.health()).await.map_err(|_| ProbeError::Silent)?;
    let health = match answer {
        Ok(health) if health.healthy => health,
        Err(error) if refuses_token(&error) => return Err(ProbeError::TokenRefused),
        Ok(_) | Err(_) => return Err(ProbeError::Silent),
    };
    let latency_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Probed { latency_ms, version: health.version, active_agents: health.active_agents })
}

/// Whether a runtime answered that it does nothing for whoever has no other token than ours.
#[must_use]
pub fn refuses_token(error: &RuntimeError) -> bool {
    matches!(error, RuntimeError::Refused { status: 401 | 403, .. })
}

/// As [`probe`], of a runtime that we share no token with.
///
/// Errors: the text is no address of a runtime.
pub async fn probe_endpoint(endpoint: &str) -> Result<Result<Probed, ProbeError>, BadEndpoint> {
    Ok(probe(&RuntimeClient::new(endpoint, None)?).await)
}

/// Whether a person may have the service call `endpoint`: it is on the configured runtime's origin or
/// on one that the operator names, and no link-local address, where clouds keep their metadata (D-14).
#[must_use]
pub fn is_allowed(endpoint: &str, configured: Option<&str>, origins: &[String]) -> bool {
    let Some((origin, address)) = origin_of(endpoint) else { return false };
    let mut allowed = configured.into_iter().chain(origins.iter().map(String::as_str)).filter_map(origin_of);
    !address.is_some_and(is_link_local) && allowed.any(|(known, _)| known == origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_origins_that_the_operator_named_may_be_called() {
        let origins = ["https://runtime.example.com".to_owned(), "http://169.254.169.254".to_owned()];
        let allowed = |endpoint: &str| is_allowed(endpoint, Some("http://127.0.0.1:8081"), &origins);
        assert!(allowed("http://127.0.0.1:8081") && allowed("https://runtime.example.com:443/base"));
        for refused in [
            "http://127.0.0.1:8082",
            "https://127.0.0.1:8081",
            "http://runtime.example.com",
            "https://runtime.example.com.evil",
            "https://user@runtime.example.com",
            "http://169.254.169.254/latest/meta-data",
            "http://[::ffff:169.254.169.254]",
            "file:///etc/passwd",
            "",
        ] {
            assert!(!allowed(refused), "{refused}");
        }
    }
}

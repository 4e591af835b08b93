//! Clients of all runtimes that are known: the operator's, and those that workspaces brought.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{net::lookup_host, time::timeout};

use super::{
    RuntimeClient,
    client::{BadEndpoint, base_url},
};
use crate::model::{address::is_link_local, seal::Sealer, secret::Secret};

/// How long a host's name may take to be looked up.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(5);

/// Clients that are kept, with their connections. Beyond it all are forgotten, and made again when needed.
const CLIENTS_MAX: usize = 1024;

/// What tells one link from another: the endpoint, and the hash of the token that is sent there. Two workspaces
/// that name the same endpoint with different tokens do not share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LinkKey {
    pub endpoint: String,
    token_hash: Option<String>,
}

/// Makes clients of runtimes, and keeps them.
pub struct Runtimes {
    environment: Option<(LinkKey, RuntimeClient)>,
    origins: Vec<String>,
    sealer: Sealer,
    clients: Mutex<HashMap<LinkKey, RuntimeClient>>,
}

impl Runtimes {
    /// `environment` is the operator's runtime with its token, if there is one; workspaces may have theirs on its
    /// origin and on `origins`. `sealer` opens their tokens.
    ///
    /// Errors: the operator's endpoint is none.
    pub fn new(environment: Option<(&str, Option<String>)>, origins: Vec<String>, sealer: Sealer) -> Result<Self, BadEndpoint> {
        let environment = match environment {
            Some((endpoint, token)) => {
                let token_hash = token.as_deref().map(|token| Secret::presented(token).hash());
                let client = RuntimeClient::new(endpoint, token)?;
                Some((LinkKey { endpoint: client.endpoint().to_owned(), token_hash }, client))
            }
            None => None,
        };
        Ok(Self { environment, origins, sealer, clients: Mutex::default() })
    }

    /// The operator's runtime.
    #[must_use]
    pub fn environment(&self) -> Option<&RuntimeClient> {
        self.environment.as_ref().map(|(_, client)| client)
    }

    /// As [`Runtimes::environment`], with what its link is known by.
    #[must_use]
    pub fn environment_link(&self) -> Option<(LinkKey, RuntimeClient)> {
        self.environment.clone()
    }

    /// Origins, beside the operator's runtime's, where a workspace may have a runtime of its own (D-14).
    #[must_use]
    pub fn origins(&self) -> &[String] {
        &self.origins
    }

    #[must_use]
    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// The client of a workspace's own runtime, with what its link is known by.
    ///
    /// Errors: the endpoint is none.
    pub fn link(&self, endpoint: &str, token: Option<&Secret>) -> Result<(LinkKey, RuntimeClient), BadEndpoint> {
        let endpoint = canonical(endpoint)?;
        let key = LinkKey { endpoint, token_hash: token.map(Secret::hash) };
        if let Some((known, client)) = &self.environment
            && *known == key
        {
            return Ok((key, client.clone()));
        }
        if let Some(client) = self.lock().get(&key) {
            return Ok((key, client.clone()));
        }
        let client = RuntimeClient::new(&key.endpoint, token.map(|token| token.expose().to_owned()))?;
        let mut clients = self.lock();
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        clients.insert(key.clone(), client.clone());
        Ok((key, client))
    }

    /// Forgets the clients of links that are not among these, and with them their idle connections.
    pub fn keep_only(&self, keys: &[LinkKey]) {
        self.lock().retain(|key, _| keys.contains(key));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LinkKey, RuntimeClient>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An endpoint as rows name it: without query, fragment and a slash at its end.
///
/// Errors: it is none.
pub fn canonical(endpoint: &str) -> Result<String, BadEndpoint> {
    Ok(base_url(endpoint)?.as_str().trim_end_matches('/').to_owned())
}

/// Whether the host's name stands for a link-local address now. One that cannot be looked up does not: what
/// stands behind it later, the operator vouches for, who named the origin.
pub async fn leads_to_link_local(endpoint: &str) -> bool {
    let Some((host, port)) = endpoint.trim().parse::<reqwest::Url>().ok().and_then(|url| {
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some((host, url.port_or_known_default()?))
    }) else {
        return false;
    };
    match timeout(LOOKUP_PATIENCE, lookup_host((host, port))).await {
        Ok(Ok(mut found)) => found.any(|address| is_link_local(address.ip())),
        Ok(Err(_)) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_endpoint_with_another_token_is_another_link() {
        let runtimes = Runtimes::new(Some(("http://host:1/", Some("t".into()))), Vec::new(), Sealer::new("a secret")).unwrap();
        let key = |token: Option<&str>| runtimes.link("http://host:1?x=1#y", token.map(Secret::presented).as_ref()).unwrap().0;
        assert_eq!(key(Some("t")), runtimes.environment_link().unwrap().0);
        assert_ne!(key(Some("t")), key(Some("u")));
        assert_ne!(key(Some("t")), key(None));
        assert_eq!(key(None).endpoint, "http://host:1");
    }

    #[test]
    fn an_endpoint_is_named_as_its_client_names_it() {
        for endpoint in ["http://host:80/base/", "https://HOST", "http://[::1]:8081"] {
            assert_eq!(canonical(endpoint).unwrap(), RuntimeClient::new(endpoint, None).unwrap().endpoint());
        }
        assert!(canonical("ftp://host").is_err());
    }
}

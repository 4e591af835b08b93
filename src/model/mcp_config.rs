//! What makes an MCP client know this service: configuration that is ready to be pasted.
//!
//! The key is never part of it. Clients read it from a variable of their environment, which is the one that
//! spawned agents find theirs in.

use serde_json::json;

/// Variable of the environment in which a client looks for the agent's API key.
pub const KEY_VARIABLE: &str = "MCP_API_KEY";
/// Variable in which a spawned agent finds the address of the streamable door.
pub const URL_VARIABLE: &str = "RAVEN_MCP_URL";
/// Where the streamable door is, behind the service's own address.
pub const PATH: &str = "/api/mcp";
/// The name under which clients list us.
const NAME: &str = "raven-agents";

/// A program that speaks MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    ClaudeCode,
    Codex,
    Gemini,
    Generic,
}

/// Configuration for one client.
#[derive(Clone, Debug)]
pub struct Configuration {
    pub client: Client,
    /// Where the text belongs.
    pub file: &'static str,
    pub text: String,
}

impl Client {
    pub const ALL: [Self; 4] = [Self::ClaudeCode, Self::Codex, Self::Gemini, Self::Generic];

    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Generic => "generic",
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "Claude Code",
            Self::Codex => "Codex",
            Self::Gemini => "Gemini CLI",
            Self::Generic => "Another client",
        }
    }
}

/// Configuration of a client for the service at `app_url`.
#[must_use]
pub fn of(client: Client, app_url: &str) -> Configuration {
    let url = format!("{app_url}{PATH}");
    let servers = |server: serde_json::Value| format!("{:#}\n", json!({"mcpServers": {NAME: server}}));
    let (file, text) = match client {
        Client::ClaudeCode => (
            ".mcp.json in the project",
            servers(json!({"type": "http", "url": url, "headers": {"Authorization": format!("Bearer ${{{KEY_VARIABLE}}}")}})),
        ),
        Client::Codex => {
            ("~/.codex/config.toml", format!("[mcp_servers.{NAME}]\nurl = {url:?}\nbearer_token_env_var = \"{KEY_VARIABLE}\"\n"))
        }
        Client::Gemini => {
            ("~/.gemini/settings.json", servers(json!({"httpUrl": url, "headers": {"Authorization": format!("Bearer ${KEY_VARIABLE}")}})))
        }
        Client::Generic => (
            "wherever the client keeps its MCP servers",
            servers(json!({"type": "streamable-http", "url": url, "headers": {"Authorization": format!("Bearer <{KEY_VARIABLE}>")}})),
        ),
    };
    Configuration { client, file, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configuration_has_the_address_and_where_the_key_comes_from() {
        for client in Client::ALL {
            let text = of(client, "https://agents.example.com").text;
            assert!(text.contains("https://agents.example.com/api/mcp") && text.contains(KEY_VARIABLE), "{}: {text}", client.id());
        }
    }

    /// Each client reads its own names: a field of another one would be passed over.
    #[test]
    fn every_document_is_what_its_client_reads_and_nothing_else() {
        let url = "http://localhost:3000/api/mcp";
        let document = |client| serde_json::from_str::<serde_json::Value>(&of(client, "http://localhost:3000").text).unwrap();
        let wanted = |server| json!({"mcpServers": {"raven-agents": server}});
        let bearer = |key: &str| json!({"Authorization": format!("Bearer {key}")});
        let claude = json!({"type": "http", "url": url, "headers": bearer("${MCP_API_KEY}")});
        assert_eq!(document(Client::ClaudeCode), wanted(claude));
        assert_eq!(document(Client::Gemini), wanted(json!({"httpUrl": url, "headers": bearer("$MCP_API_KEY")})));
        let generic = json!({"type": "streamable-http", "url": url, "headers": bearer("<MCP_API_KEY>")});
        assert_eq!(document(Client::Generic), wanted(generic));
        let codex = "[mcp_servers.raven-agents]\nurl = \"http://localhost:3000/api/mcp\"\nbearer_token_env_var = \"MCP_API_KEY\"\n";
        assert_eq!(of(Client::Codex, "http://localhost:3000").text, codex);
    }
}

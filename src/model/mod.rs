//! Pure types and transitions: no I/O, no clock, no database.

pub mod account;
pub mod activity;
pub mod actor;
pub mod address;
pub mod agent;
pub mod assignment;
pub mod clock;
pub mod comment;
pub mod cursor;
pub mod display_name;
pub mod document;
pub mod event;
pub mod ids;
pub mod invite;
pub mod key;
pub mod leak;
pub mod limit;
pub mod listener;
pub mod login;
pub mod mcp_config;
pub mod memory;
pub mod notification;
pub mod origin;
pub mod page;
pub mod permission;
pub mod policy;
pub mod position;
pub mod project;
pub mod recording;
pub mod run;
pub mod runtime;
pub mod seal;
pub mod secret;
pub mod settings;
pub mod shown;
pub mod space;
pub mod task;
pub mod terminal;
pub mod terminal_control;
pub mod terminal_rights;
pub mod terminal_share;
pub mod token;
pub mod told;
pub mod tool_approval;
pub mod tool_call;
pub mod transcript;
pub mod workspace;

/// Bytes as lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

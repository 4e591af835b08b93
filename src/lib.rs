//! raven-agents: the agent control plane of Raven Docs.
//!
//! Data falls one way: an edge (`http`, `socket`, `mcp`, `workers`) translates and delegates to
//! `domain`, where every rule lives; `domain` speaks to `storage` and `runtime`; `model` is pure.
//! `serve` puts it all together. ARCHITECTURE.md is the map.

pub mod app;
pub mod config;
pub mod database;
pub mod domain;
pub mod http;
pub mod mcp;
pub mod model;
pub mod runtime;
pub mod serve;
pub mod socket;
pub mod storage;
pub mod telemetry;
pub mod up;
pub mod wire;
pub mod workers;

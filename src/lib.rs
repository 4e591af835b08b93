//! raven-agents: the agent control plane of Raven Docs.
//!
//! Data falls one way: an edge (`http`, `socket`, `mcp`, `workers`) translates and delegates to
//! `domain`, where every rule lives; `domain` speaks to `storage` and `runtime`; `model` is pure.
//! `serve` puts it all together. ARCHITECTURE.md is the map.

pub mod domain;
pub mod model;
pub mod runtime;
pub mod storage;

//! Types spoken between the control plane and a runtime, over REST, WebSocket and callbacks.
//!
//! No I/O happens here. Every name, field and default follows the runtime contract; the section
//! is given beside each type. Fields that only our own runtime sends are optional, so that the
//! same types read any other runtime.

mod agent;
mod callback;
mod event;
pub mod keys;
mod login;
mod message;
mod terminal;
mod thread;

pub use agent::{
    AgentHandle, AgentLimits, AgentList, AgentMetrics, AgentStatus, ContextFile, ErrorBody, Health, LogEntries, LogEntry,
    MinimalSpawnRequest, SpawnReply, SpawnRequest, SpawnedAgent, canonical_agent_type, wire_agent_type,
};
pub use callback::{CallbackStatus, Heartbeat, SpawnCallback};
pub use event::{EventFrame, EventName, StreamFrame};
pub use login::{Login, LoginMethod};
pub use message::{AgentMessage, BlockingPrompt, Direction, MessageKind};
pub use terminal::{Control, TERMINAL_PROTOCOL, default_framing};
pub use thread::{ThreadEvent, ThreadEventType, ThreadHandle, ThreadList, ThreadPreparation, ThreadRequest, ThreadStatus};

//! Pure types and transitions: no I/O, no clock, no database.

pub mod activity;
pub mod actor;
pub mod address;
pub mod agent;
pub mod assignment;
pub mod clock;
pub mod event;
pub mod ids;
pub mod invite;
pub mod key;
pub mod limit;
pub mod origin;
pub mod permission;
pub mod policy;
pub mod run;
pub mod seal;
pub mod secret;
pub mod terminal;
pub mod token;
pub mod workspace;

//! What tells whether a program is a runtime that the control plane can work with.
//!
//! [`original`] is a replica of the runtime that the project took over from: it has the original's
//! routes, frames and defects, so that the link can be tried against them over real sockets.

pub mod original;

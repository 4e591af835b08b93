//! What a terminal shows: a model that is fed with a program's output and can be drawn on another terminal.
//!
//! The model knows scrollback, both screens, the cursor and the modes that a viewer's terminal acts upon.
//! It does no I/O and has no clock: whoever feeds it decides when, and how much of a flood is left out.

mod modes;
mod screen;
mod text;

pub use modes::Modes;
pub use screen::{Row, SCROLLBACK_LINES, Screen, Size, View, without_frames};
pub use text::{Decoder, spaced};

//! placeholder
pub(super) fn start(_: &crate::app::App) {}

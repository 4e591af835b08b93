//! Taking over a database of Raven Docs.

//! From a topic to those who get its messages.
//!
//! Invariants: those of `route.rs` and `subscription/`.

pub(super) mod route;
pub(super) mod subscription;

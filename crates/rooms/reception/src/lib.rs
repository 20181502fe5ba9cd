//! Listeners and sessions

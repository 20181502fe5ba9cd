//! Acceptance tests: they drive the real binary

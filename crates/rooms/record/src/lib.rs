//! Event records and their writers

//! Recipient to domain container, binding and agent

//! SMTP and LMTP as state machines, both sides

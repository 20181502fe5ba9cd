//! Operator commands over a socket

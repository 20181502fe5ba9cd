//! TOML to typed, validated, immutable generations

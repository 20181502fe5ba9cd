//! What rooms ask of services: the traits

//! Memory windows, rings and doorbells

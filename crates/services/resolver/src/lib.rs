//! DNS with cache and coalescing

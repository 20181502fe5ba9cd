//! The store: journal, files, memory

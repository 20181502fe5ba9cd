//! Pages that come from tables in the code: written by `cargo xtask docs`, compared by `cargo xtask check`.

use crate::run::root;

/// Each generated page: its path, and the function that makes it.
fn pages() -> Vec<(&'static str, String)> {
    vec![("docs/options.md", config::options_markdown())]
}

/// Writes every generated page.
pub(crate) fn write() -> Result<(), String> {
    for (path, text) in pages() {
        std::fs::write(root().join(path), text).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(())
}

/// Fails if a page in the tree is not what its table says.
pub(crate) fn check() -> Result<(), String> {
    for (path, text) in pages() {
        if std::fs::read_to_string(root().join(path)).unwrap_or_default() != text {
            return Err(format!("{path} is not what the tables say: run `cargo xtask docs`"));
        }
    }
    Ok(())
}

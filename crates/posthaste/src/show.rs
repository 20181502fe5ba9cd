//! `check-config` and `show-config`.

use crate::bouncing::Bouncing;
use crate::failure::Failure;
use crate::{run, shaping_desk};
use std::path::Path;

/// Validates a file; errors have been printed when this fails.
pub(crate) fn check(file: &Path) -> Result<(), Failure> {
    let config = run::load(file)?;
    shaping_desk::load_rules(&config)?;
    Bouncing::load(&config)?;
    let (listeners, domains) = (config.listeners.len(), config.bindings.len());
    println!("{}: valid; {listeners} listeners, {domains} bindings", file.display());
    Ok(())
}

/// Prints what a scope resolves to.
pub(crate) fn show(file: &Path, scope: Option<&str>) -> Result<(), Failure> {
    let config = run::load(file)?;
    let text = config.show_config(scope).map_err(|error| Failure::caused(file.display().to_string(), &error))?;
    print!("{text}");
    Ok(())
}

//! The messages of `check-config`: every `tests/errors/NAME.toml` is refused with exactly `NAME.expected`. Warnings are
//! listed behind the errors. `UPDATE_EXPECTED=1 cargo test -p config` rewrites the files for review.

use std::fs;
use std::path::{Path, PathBuf};

use config::Config;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors")
}

fn messages(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("the case can be read");
    let name = file.file_name().expect("a case has a name").to_string_lossy();
    let lines: Vec<String> = match Config::parse(&name, &text) {
        Ok(config) => config.warnings.iter().map(|warning| format!("warning: {warning}")).collect(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    };
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_message_is_as_expected() {
    let mut files: Vec<PathBuf> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() >= 10, "the cases are gone");
    let mut wrong = Vec::new();
    for file in files {
        let expected_file = file.with_extension("expected");
        let found = messages(&file);
        assert!(!found.is_empty(), "{} is accepted without a word", file.display());
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected_file, &found).unwrap();
        }
        let expected = fs::read_to_string(&expected_file).unwrap_or_default();
        if expected != found {
            wrong.push(format!("{}:\n--- expected\n{expected}--- found\n{found}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

//! The page `docs/options.md`, from the option table. Written and checked by `cargo xtask`.

use std::fmt::Write;

use crate::options::{Change, DefaultValue, OptionRow, Scopes, SectionRows, option_table};

const HEAD: &str = "# Options\n\n\
    Every option of the configuration file, with its default. This page is generated from the option table in\n\
    `crates/mail/config/src/options`; `cargo xtask docs` writes it.\n\n\
    Durations are written \"20m\", \"1d12h\", \"500ms\" (units w d h m s ms) or as a number of seconds; sizes \"50MiB\",\n\
    \"10MB\" or as a number of bytes. A list of one may be written without brackets. Where a default is in italics it\n\
    follows from something else. A changed option takes effect with the next reload unless it says *restart*.\n\n\
    The options of [domain] fall back from the most specific section to the least, each for itself:\n\
    `[binding_group.G.binding.B.domain.\"P\"]`, `[binding.B.domain.\"P\"]`, `[binding_group.G.domain.\"P\"]`,\n\
    `[binding_group.G.binding.B]`, `[binding.B]`, `[binding_group.G]`, `[domain.\"P\"]`, `[domain.\"*\"]`, default.\n\
    In each of them an exact name beats `\"*.suffix\"` (longest first), which beats `\"/regex/\"` (first declared), which\n\
    beats `\"*\"`. `posthaste show-config FILE domain.example.org` shows what comes out.\n";

/// The page.
#[must_use]
pub fn options_markdown() -> String {
    let mut page = HEAD.to_owned();
    for section in option_table() {
        write_section(&mut page, &section);
    }
    page
}

fn write_section(page: &mut String, section: &SectionRows) {
    let _ = writeln!(page, "\n## [{}]\n\n{}\n", section.header, flowing(section.documentation));
    page.push_str("| option | type | default | meaning |\n|---|---|---|---|\n");
    for row in section.rows {
        let _ = writeln!(page, "| `{}` | {} | {} | {} |", row.name, type_of(row), default_of(row), meaning_of(row));
    }
}

/// A documentation comment as one line.
fn flowing(documentation: &str) -> String {
    let lines: Vec<&str> = documentation.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ").replace('|', "\\|")
}

fn type_of(row: &OptionRow) -> String {
    let list = if row.kind.list { "list: " } else { "" };
    if row.kind.words.is_empty() {
        return format!("{list}{}", row.kind.name);
    }
    let words: Vec<String> = row.kind.words.iter().map(|(word, _)| format!("`{word}`")).collect();
    format!("{list}{}", words.join(" "))
}

fn default_of(row: &OptionRow) -> String {
    match row.spec.default {
        DefaultValue::Fixed("") => "none".to_owned(),
        DefaultValue::Fixed(text) => format!("`{text}`"),
        DefaultValue::Derived(text) => format!("*{text}*"),
    }
}

fn meaning_of(row: &OptionRow) -> String {
    let mut text = flowing(row.documentation);
    for (word, meaning) in row.kind.words {
        let _ = write!(text, " `{word}`: {}", flowing(meaning).trim_end_matches('.'));
        text.push('.');
    }
    if let Some((min, max)) = row.spec.range {
        let _ = write!(text, " From {min} to {max}.");
    }
    if !row.spec.scopes.contains(Scopes::DOMAIN) {
        text.push_str(" Stands in [binding.NAME] and [binding_group.NAME] only.");
    }
    if row.spec.change == Change::Restart {
        text.push_str(" *Restart.*");
    }
    if let Some(why) = row.spec.later {
        let _ = write!(text, " Accepted with a warning: {why}.");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_a_line_and_every_line_four_cells() {
        let page = options_markdown();
        for section in option_table() {
            for row in section.rows {
                let start = format!("| `{}` |", row.name);
                assert!(page.lines().any(|line| line.starts_with(&start)), "{}", row.name);
            }
        }
        for line in page.lines().filter(|line| line.starts_with("| `")) {
            assert_eq!(line.replace("\\|", "").matches('|').count(), 5, "{line}");
        }
    }
}

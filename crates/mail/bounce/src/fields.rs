//! Header fields of a message and fields of a report: names and unfolded values (RFC 5322 §2.2). Bounded in octets and in
//! number. Knows no field's meaning.

/// Octets of a section that are read.
const SECTION_MAX: usize = 64 * 1024;
/// Fields that are kept.
const FIELDS_MAX: usize = 1000;

/// The fields of one section, in their order; names are lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads until an empty line or the end. Lines that are no fields are passed over.
    pub(crate) fn read(section: &[u8]) -> Self {
        let section = &section[..section.len().min(SECTION_MAX)];
        let mut fields: Vec<(String, String)> = Vec::new();
        // Whether the last line belongs to the last field, so that a folded line does.
        let mut open = false;
        for line in section.split(|octet| *octet == b'\n') {
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
            if line.starts_with([' ', '\t']) {
                if let (true, Some((_, value))) = (open, fields.last_mut()) {
                    value.push(' ');
                    value.push_str(line.trim());
                }
                continue;
            }
            open = false;
            if let Some((name, value)) = line.split_once(':')
                && fields.len() < FIELDS_MAX
                && is_name(name.trim_end())
            {
                fields.push((name.trim_end().to_ascii_lowercase(), value.trim().to_owned()));
                open = true;
            }
        }
        Self(fields)
    }

    /// The first field of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All fields of this name.
    pub(crate) fn all<'f, 'n>(&'f self, name: &'n str) -> impl Iterator<Item = &'f str> + use<'f, 'n> {
        self.0.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 80 && name.bytes().all(|octet| octet.is_ascii_graphic())
}

/// The sections of a report's text, which empty lines separate (RFC 3464 §2.1).
pub(crate) fn sections(text: &[u8]) -> Vec<Fields> {
    let text = &text[..text.len().min(SECTION_MAX * 4)];
    let mut sections = Vec::new();
    let mut start = 0;
    let mut at = 0;
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        if line.trim_ascii().is_empty() {
            sections.push(Fields::read(&text[start..at]));
            start = at + line.len();
        }
        at += line.len();
    }
    sections.push(Fields::read(&text[start..]));
    sections.retain(|fields| !fields.is_empty());
    sections
}

/// The addresses in a field or a line of text: what stands around an `@`. At most `limit` of them.
pub(crate) fn addresses(text: &str, limit: usize) -> Vec<&str> {
    let outside = |letter: char| letter.is_whitespace() || "<>,;()[]\"'".contains(letter);
    text.split(outside).filter_map(address).take(limit).collect()
}

/// `word` without the marks around it, if it looks like an address.
pub(crate) fn address(word: &str) -> Option<&str> {
    let word = word.trim_matches(|letter: char| "<>,;:()[]\"'.".contains(letter) || letter.is_whitespace());
    let word = word.strip_prefix("mailto:").unwrap_or(word);
    let (local, domain) = word.rsplit_once('@')?;
    let bad = |letter: char| letter.is_whitespace() || letter.is_control() || "<>(),;".contains(letter);
    let sound = !local.is_empty()
        && word.len() <= 320
        && !local.contains(bad)
        && !domain.is_empty()
        && domain.chars().all(|letter| letter.is_alphanumeric() || ".-_[]:".contains(letter));
    sound.then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unfolded() {
        let fields = Fields::read(b"A: b\r\n  c\r\nnot a field\r\n d\r\nE :f\r\nA: second\r\n");
        assert_eq!(fields.get("a"), Some("b c"));
        assert_eq!(fields.get("e"), Some("f"));
        assert_eq!(fields.all("a").count(), 2);
        assert!(!fields.has("d"));
    }

    #[test]
    fn sections_are_separated_by_empty_lines() {
        let sections = sections(b"\n\nA: b\r\n\r\n \r\nC: d\nE: f\n\n");
        assert_eq!(sections.len(), 2);
        assert_eq!(sections[1].get("e"), Some("f"));
    }

    #[test]
    fn addresses_in_running_text() {
        assert_eq!(
            addresses("Joe <joe@example.org>, jim@example.org; x@ @y", 9),
            ["joe@example.org", "jim@example.org"]
        );
        assert_eq!(addresses("a@b c@d", 1), ["a@b"]);
        assert_eq!(address("<joe@example.org>:"), Some("joe@example.org"));
        assert_eq!(address("no"), None);
    }
}

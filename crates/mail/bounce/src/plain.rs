//! The text of a reply as rules see it: lower case, one space between words, addresses reduced to `@`, the status code that
//! multi-line replies repeat at the start of each line left out. Made by the classifier for each reply, on the stack.
//!
//! Only the first [`TEXT_MAX`] octets are looked at, so that the cost of a reply is bounded whatever a peer sends.

/// Octets of a reply's text that are looked at. The longest replies in the field are half of it.
pub const TEXT_MAX: usize = 1024;

/// A text of at most [`TEXT_MAX`] octets in the form that phrases and regular expressions are matched against.
pub(crate) struct Plain {
    octets: [u8; TEXT_MAX],
    len: usize,
}

/// What an octet is to the writer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// Ends a word: blank and control octets.
    Blank,
    /// Left out: `<`, `>` and `"`, which only frame words.
    Frame,
    /// The middle of an address.
    At,
    /// Everything else.
    Letter,
}

const SORTS: [Sort; 256] = {
    let mut sorts = [Sort::Letter; 256];
    let mut octet = 0;
    while octet <= 32 {
        sorts[octet] = Sort::Blank;
        octet += 1;
    }
    sorts[127] = Sort::Blank;
    sorts[b'<' as usize] = Sort::Frame;
    sorts[b'>' as usize] = Sort::Frame;
    sorts[b'"' as usize] = Sort::Frame;
    sorts[b'@' as usize] = Sort::At;
    sorts
};

impl Plain {
    /// Reads `text`; lines are separated by line feeds, their status codes are left out.
    pub(crate) fn new(text: &[u8]) -> Self {
        let mut plain = Self { octets: [0; TEXT_MAX], len: 0 };
        // What is written is never longer than what was read, so the buffer cannot overflow.
        let text = &text[..text.len().min(TEXT_MAX)];
        let mut at = status_len(text);
        let mut blank = true;
        while let Some(&octet) = text.get(at) {
            at += 1;
            match SORTS[octet as usize] {
                Sort::Letter => {
                    plain.put(octet.to_ascii_lowercase());
                    blank = false;
                }
                Sort::Blank => {
                    if !blank {
                        plain.put(b' ');
                        blank = true;
                    }
                    if octet == b'\n' {
                        at += code_len(&text[at..]);
                        at += status_len(&text[at..]);
                    }
                }
                Sort::Frame => {}
                Sort::At => {
                    plain.take_back_local_part();
                    plain.put(b'@');
                    blank = false;
                    at += domain_len(&text[at..]);
                }
            }
        }
        if blank && plain.len > 0 {
            plain.len -= 1;
        }
        plain
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.len]
    }

    fn put(&mut self, octet: u8) {
        if let Some(place) = self.octets.get_mut(self.len) {
            *place = octet;
            self.len += 1;
        }
    }

    /// Removes what may be the local part of an address from the end.
    fn take_back_local_part(&mut self) {
        const LOCAL_PART_MAX: usize = 64;
        let floor = self.len.saturating_sub(LOCAL_PART_MAX);
        while self.len > floor && is_address(self.octets[self.len - 1]) {
            self.len -= 1;
        }
    }
}

/// Whether an octet is likely to stand in an address in running text.
fn is_address(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet >= 0x80 || b"._+-#%&!/~$*".contains(&octet)
}

/// How far the domain goes that `text` begins with.
fn domain_len(text: &[u8]) -> usize {
    let inside = |octet: &u8| octet.is_ascii_alphanumeric() || *octet >= 0x80 || b".-_[]".contains(octet);
    let len = text.iter().take_while(|octet| inside(octet)).count();
    // Full stops behind it belong to the sentence.
    text[..len].iter().rposition(|octet| *octet != b'.').map_or(0, |last| last + 1)
}

/// The length of `550-` or `550 ` at the start of a line that continues a reply.
fn code_len(line: &[u8]) -> usize {
    if line.len() > 3 && crate::said::code_at(line).is_some() { 4 } else { 0 }
}

/// The length of `5.1.1 ` and blanks around it at the start of a line; 0 if there is no status code.
fn status_len(line: &[u8]) -> usize {
    let blanks = |from: usize| line[from..].iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
    let digits = |from: usize| line[from..].iter().take(4).take_while(|octet| octet.is_ascii_digit()).count();
    let start = blanks(0);
    if !matches!(line.get(start), Some(b'2' | b'4' | b'5')) || line.get(start + 1) != Some(&b'.') {
        return 0;
    }
    let subject = digits(start + 2);
    let point = start + 2 + subject;
    if !(1..=3).contains(&subject) || line.get(point) != Some(&b'.') {
        return 0;
    }
    let detail = digits(point + 1);
    let end = point + 1 + detail;
    match line.get(end) {
        _ if !(1..=3).contains(&detail) => 0,
        None => end,
        Some(b' ' | b'\t' | b'\r' | b'\n') => end + blanks(end),
        Some(_) => 0,
    }
}

/// Whether an octet is part of a word, for the edges of phrases.
pub(crate) fn is_word(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        String::from_utf8_lossy(Plain::new(text.as_bytes()).as_bytes()).into_owned()
    }

    #[test]
    fn lines_become_one_and_status_codes_go() {
        assert_eq!(plain("5.1.1 The account\n5.1.1  does NOT exist.\t\r\n"), "the account does not exist.");
        assert_eq!(plain("5.1.1"), "");
        assert_eq!(plain("  \u{0} "), "");
        assert_eq!(plain("5.1.10.2 host"), "5.1.10.2 host");
        assert_eq!(plain("5.7.1234 host"), "5.7.1234 host");
    }

    #[test]
    fn addresses_lose_their_letters() {
        assert_eq!(plain("<spam.trap@full.example.org>: user unknown"), "@: user unknown");
        assert_eq!(plain("no user=joe+x@example.org."), "no user=@.");
        assert_eq!(plain("@@@ @"), "@@@ @");
        assert_eq!(plain("Recipient \"a b\"@c rejected"), "recipient a @ rejected");
    }

    #[test]
    fn long_texts_are_cut() {
        let long = "X".repeat(TEXT_MAX + 1);
        assert_eq!(plain(&long).len(), TEXT_MAX);
        assert_eq!(plain(&"a@b ".repeat(9_999)).len(), TEXT_MAX / 2 - 1);
    }
}

//! What a configuration says of bounces, made ready for use: rules compiled, keys read, addresses known. Made at each check,
//! start and reload; never changed afterwards.

use crate::failure::Failure;
use bounce::{Classifier, Examiner, Finding, Seal};
use config::{Config, ReturnAddresses};
use message::{Address, MessageId, UnixMicros};
use policy::Marks;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Octets of a key file that are read.
const KEY_FILE_MAX: u64 = 4096;
/// Octets of a rule file that are read: one more than a file may have, so that a longer one is told.
const RULE_FILE_MAX: u64 = bounce::FILE_MAX as u64 + 1;

/// See the module.
pub(crate) struct Bouncing {
    pub(crate) classifier: Arc<Classifier>,
    pub(crate) returns: ReturnAddresses,
    seal: Option<Seal>,
    prefix: Box<str>,
    header: Box<str>,
    mark_age: u32,
}

impl Bouncing {
    /// Reads rules and keys. All faults of the rules are printed with their place.
    pub(crate) fn load(config: &Config) -> Result<Arc<Self>, Failure> {
        let options = &config.bounce;
        Ok(Arc::new(Self {
            classifier: Arc::new(classifier(&options.rules)?),
            returns: ReturnAddresses::of(config),
            seal: seal(&options.keys)?,
            prefix: (*options.prefix).into(),
            header: (*options.mark_header).into(),
            mark_age: u32::try_from(options.mark_age.as_secs()).unwrap_or(u32::MAX),
        }))
    }

    /// Whether marks can be made.
    pub(crate) fn has_keys(&self) -> bool {
        self.seal.is_some()
    }

    /// What a message is that came back to `delivered_to`. Takes bounded time, but too long for an event loop.
    pub(crate) fn examine(&self, message: &[u8], delivered_to: &str, now: UnixMicros) -> Finding {
        let now = u32::try_from(now.seconds()).unwrap_or(u32::MAX);
        let examiner = Examiner {
            seal: self.seal.as_ref(),
            header: &self.header,
            marks_since: now.saturating_sub(self.mark_age),
            delivered_to: Some(delivered_to),
            ..Examiner::new(&self.classifier)
        };
        examiner.examine(message)
    }
}

impl Marks for Bouncing {
    fn return_path(&self, domain: &str, id: MessageId, recipient: &Address) -> Option<Address> {
        self.seal.as_ref()?.return_path(&self.prefix, domain, id, recipient).ok()
    }

    fn header(&self, id: MessageId, recipient: &Address) -> String {
        let mark = self.seal.as_ref().map_or(String::new(), |seal| seal.header(id, recipient));
        let mut line = format!("{}:", self.header);
        // Folded, as no line should be longer than 78 characters (RFC 5322 §2.1.1); readers pass over blanks in it.
        for piece in mark.as_bytes().chunks(56) {
            line.push_str(if line.len() == self.header.len() + 1 { " " } else { "\r\n\t" });
            line.push_str(std::str::from_utf8(piece).expect("a mark is ASCII"));
        }
        line.push_str("\r\n");
        line
    }
}

/// The built-in rules, with those of files; their faults are printed.
pub(crate) fn classifier(files: &[PathBuf]) -> Result<Classifier, Failure> {
    let mut texts = Vec::with_capacity(files.len());
    for file in files {
        let octets = read(file, RULE_FILE_MAX)?;
        let text = String::from_utf8(octets)
            .map_err(|error| Failure::caused(format!("{} is no text", file.display()), &error))?;
        texts.push((file.display().to_string(), text));
    }
    let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (&**name, &**text)).collect();
    if texts.is_empty() {
        return Ok(Classifier::new());
    }
    Classifier::with_files(&texts).map_err(|errors| {
        errors.iter().for_each(|error| eprintln!("{error}"));
        Failure::silent()
    })
}

/// Makes and opens marks with the keys of the files; the octets of a file without the line end are its key.
pub(crate) fn seal(files: &[PathBuf]) -> Result<Option<Seal>, Failure> {
    let mut keys = Vec::with_capacity(files.len());
    for file in files {
        let mut key = read(file, KEY_FILE_MAX)?;
        key.truncate(key.trim_ascii_end().len());
        keys.push(key);
    }
    if keys.is_empty() {
        return Ok(None);
    }
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    Seal::new(&keys).map(Some).map_err(|error| Failure::caused("[bounce] keys: cannot use the keys", &error))
}

fn read(file: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    let mut octets = Vec::new();
    std::fs::File::open(file)
        .and_then(|open| open.take(most).read_to_end(&mut octets))
        .map_err(|error| Failure::caused(format!("cannot read {}", file.display()), &error))?;
    Ok(octets)
}

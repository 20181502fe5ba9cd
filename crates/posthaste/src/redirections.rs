//! What an operator decided about the way of mail that waits, so that a restart decides the same.
//!
//! The journal knows what became of a recipient, not which way it goes: a restart routes it anew. So a reroute or rebind is
//! kept as what it was, a filter, a moment and a target, and is applied in its order to every recovered message that was
//! received before. It is written before the first message moves: a crash in between completes the operation.
//! It also holds for what had a connection at that moment and still waits at the next start.
//!
//! The file is `data_dir/redirections.jsonl`: an object a line, written anew as a whole. Rows are kept for [`KEPT`].

use crate::failure::Failure;
use crate::filter::Filter;
use message::{Container, Message, UnixMicros};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// Rows are forgotten when no message can be as old.
const KEPT: Duration = Duration::from_secs(60 * 86_400);
/// Rows at most.
const ROWS_MAX: usize = 1000;

/// Where mail is to go instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Where the configuration says.
    Configured,
    /// Where mail for this domain goes.
    Domain(Arc<str>),
    /// By this binding.
    Binding(Arc<str>),
}

/// A decision of an operator.
#[derive(Clone, Debug)]
pub(crate) struct Redirection {
    /// Messages received later are not meant.
    pub(crate) at: UnixMicros,
    /// Which of the others.
    pub(crate) filter: Filter,
    /// Where to.
    pub(crate) target: Target,
}

/// All of a server.
#[derive(Debug)]
pub(crate) struct Redirections {
    file: PathBuf,
    rows: RwLock<Arc<Vec<Redirection>>>,
    /// Held by who adds, over the writing of the file.
    adding: Mutex<()>,
}

impl Redirections {
    /// Those of the file, if there is one. What cannot be read ends the start: mail would go a way that it must not.
    pub(crate) fn open(file: PathBuf, now: UnixMicros) -> Result<Self, Failure> {
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Failure::caused(format!("cannot read {}", file.display()), &error)),
        };
        let mut rows = vec![];
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let row =
                parse(line).map_err(|wrong| Failure::new(format!("{}:{}: {wrong}", file.display(), number + 1)))?;
            if row.at.after(KEPT) > now {
                rows.push(row);
            }
        }
        Ok(Self { file, rows: RwLock::new(Arc::new(rows)), adding: Mutex::new(()) })
    }

    /// The rows in their order.
    pub(crate) fn rows(&self) -> Arc<Vec<Redirection>> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds one and makes it durable; blocks.
    pub(crate) fn add(&self, redirection: Redirection) -> Result<(), Failure> {
        let _alone = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        // Loops read while this is written.
        let rows = self.rows();
        if redirection.target == Target::Configured && rows.is_empty() {
            return Ok(());
        }
        let mut next: Vec<_> = rows.iter().filter(|row| row.at.after(KEPT) > redirection.at).cloned().collect();
        if next.len() >= ROWS_MAX {
            return Err(Failure::new(format!(
                "{ROWS_MAX} redirections are kept already; make some of them rules of the configuration, and remove {} \
                 while the server is down",
                self.file.display()
            )));
        }
        next.push(redirection);
        self.write(&next).map_err(|error| Failure::caused(format!("cannot write {}", self.file.display()), &error))?;
        *self.rows.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }

    fn write(&self, rows: &[Redirection]) -> std::io::Result<()> {
        let fresh = self.file.with_extension("new");
        let mut file = File::create(&fresh)?;
        for row in rows {
            writeln!(file, "{}", value(row))?;
        }
        file.sync_all()?;
        fs::rename(&fresh, &self.file)?;
        self.file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

impl Redirection {
    /// Whether it means a recipient that waits in a container.
    pub(crate) fn means(
        &self,
        container: &Container,
        message: &Message,
        index: u16,
        head: &[u8],
        tenant: &str,
    ) -> bool {
        let entries = &self.filter.entries;
        message.reception.at <= self.at
            && entries.takes_received(message.reception.at)
            && entries.selector.selects(container)
            && self.filter.means(message, index, head, tenant)
    }

    /// Whether it has to see the beginning of the content of a message of that age.
    pub(crate) fn reads_head(&self, received: UnixMicros) -> bool {
        received <= self.at && self.filter.reads_head()
    }
}

fn value(row: &Redirection) -> Value {
    let (what, to) = match &row.target {
        Target::Configured => ("reroute", None),
        Target::Domain(domain) => ("reroute", Some(domain)),
        Target::Binding(binding) => ("rebind", Some(binding)),
    };
    json!({ "at": row.at.0, "what": what, "to": to.map(|to| &**to), "filter": row.filter.words() })
}

fn parse(line: &str) -> Result<Redirection, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let at = UnixMicros(value["at"].as_u64().ok_or("`at` is no number of microseconds")?);
    let to = value["to"].as_str().map(Arc::from);
    let target = match (value["what"].as_str(), to) {
        (Some("reroute"), None) => Target::Configured,
        (Some("reroute"), Some(domain)) => Target::Domain(domain),
        (Some("rebind"), Some(binding)) => Target::Binding(binding),
        _ => return Err("`what` is reroute or rebind, and a rebind has a `to`".into()),
    };
    let words: Option<Vec<&str>> =
        value["filter"].as_array().and_then(|words| words.iter().map(Value::as_str).collect());
    let (filter, _) = Filter::parse(&words.ok_or("`filter` is no list of words")?, at, &[])?;
    Ok(Redirection { at, filter, target })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decided_is_read_again_until_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("redirections.jsonl");
        let now = UnixMicros::from_seconds(1_700_000_000);
        let redirections = Redirections::open(file.clone(), now).unwrap();
        let row = |words: &[&str], target| {
            let (filter, _) = Filter::parse(words, now, &[]).unwrap();
            Redirection { at: now, filter, target }
        };
        redirections.add(row(&["all"], Target::Configured)).unwrap();
        assert!(redirections.rows().is_empty(), "that is what a restart does anyway");
        redirections.add(row(&["binding=a", "older=1h"], Target::Binding("b".into()))).unwrap();
        redirections.add(row(&["d.test"], Target::Domain("e.test".into()))).unwrap();
        let again = Redirections::open(file.clone(), now).unwrap().rows();
        assert_eq!(again.len(), 2);
        assert_eq!(again[0].target, Target::Binding("b".into()));
        assert_eq!(again[0].filter.entries, redirections.rows()[0].filter.entries);
        assert!(Redirections::open(file.clone(), now.after(KEPT)).unwrap().rows().is_empty());
        fs::write(&file, "{\"at\":1}\n").unwrap();
        let wrong = Redirections::open(file, now).unwrap_err().to_string();
        assert!(wrong.contains("jsonl:1: `what` is"), "{wrong}");
    }
}

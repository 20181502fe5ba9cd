//! Reading rows back: for tools, and to prove that what is written can be read.

/// A row of the main log, by type. Texts are as they were before escaping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcRow {
    /// Seconds since the epoch.
    pub at: u64,
    /// Message id as printed; empty in a heartbeat.
    pub id: String,
    /// Batch id as printed.
    pub batch: String,
    /// Connection id as printed.
    pub connection: String,
    /// `R`, `D`, `T`, `P`, `B`, `F`, `O` or `M`.
    pub kind: String,
    /// What follows the type, in the order of the type's table.
    pub fields: Vec<String>,
}

/// A line is no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowError {
    /// Fewer than five fields.
    Short,
    /// The first field is no number.
    Timestamp,
    /// The fifth field is no known type.
    Kind,
    /// The type's fields are not all there.
    Fields,
}

impl std::fmt::Display for RowError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Short => "fewer than five fields",
            Self::Timestamp => "the timestamp is no number",
            Self::Kind => "unknown type of row",
            Self::Fields => "fields of the type are missing",
        })
    }
}

impl std::error::Error for RowError {}

/// Reads a row of the main log, without its line end.
///
/// # Errors
/// See [`RowError`].
pub fn parse_ec(line: &str) -> Result<EcRow, RowError> {
    parse(line, |kind| match kind {
        "R" => Some(9),
        "D" => Some(7),
        "T" | "P" => Some(9),
        "O" => Some(5),
        "M" => Some(0),
        _ => None,
    })
}

/// Reads a row of the bounce log, without its line end.
///
/// # Errors
/// See [`RowError`].
pub fn parse_bounce(line: &str) -> Result<EcRow, RowError> {
    parse(line, |kind| match kind {
        "B" | "T" => Some(11),
        "M1" => Some(0),
        _ => None,
    })
}

/// Reads a row of a log of complaints, without its line end. Such rows have neither batch nor connection.
///
/// # Errors
/// See [`RowError`].
pub fn parse_feedback(line: &str) -> Result<EcRow, RowError> {
    let mut rest = Some(line);
    let mut prefix = [const { String::new() }; 3];
    for slot in &mut prefix {
        *slot = next(&mut rest).ok_or(RowError::Short)?;
    }
    let [at, id, kind] = prefix;
    let at = at.parse().map_err(|_| RowError::Timestamp)?;
    let count = match kind.as_str() {
        "F" => 7,
        "M" => 0,
        _ => return Err(RowError::Kind),
    };
    let mut fields = Vec::with_capacity(count);
    for _ in 0..count {
        fields.push(next(&mut rest).ok_or(RowError::Fields)?);
    }
    if rest.is_some() {
        return Err(RowError::Fields);
    }
    Ok(EcRow { at, id, batch: String::new(), connection: String::new(), kind, fields })
}

fn parse(line: &str, fields_of: impl Fn(&str) -> Option<usize>) -> Result<EcRow, RowError> {
    let mut rest = Some(line);
    let mut prefix = [const { String::new() }; 5];
    for slot in &mut prefix {
        *slot = next(&mut rest).ok_or(RowError::Short)?;
    }
    let [at, id, batch, connection, kind] = prefix;
    let at = at.parse().map_err(|_| RowError::Timestamp)?;
    let count = fields_of(&kind).ok_or(RowError::Kind)?;
    let mut fields = Vec::with_capacity(count);
    for n in 0..count {
        // The reply text is last and is not escaped: it may hold the separator.
        let free = n + 1 == count && matches!(kind.as_str(), "T" | "P" | "B");
        let field = if free { rest.take().map(str::to_owned) } else { next(&mut rest) };
        fields.push(field.ok_or(RowError::Fields)?);
    }
    if rest.is_some() {
        return Err(RowError::Fields);
    }
    Ok(EcRow { at, id, batch, connection, kind, fields })
}

/// Takes the next field and undoes its escaping.
fn next(rest: &mut Option<&str>) -> Option<String> {
    let text = (*rest)?;
    let mut field = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '@' => {
                *rest = Some(&text[at + 1..]);
                return Some(field);
            }
            '\\' => field.push(letters.next().map_or('\\', |(_, escaped)| escaped)),
            _ => field.push(letter),
        }
    }
    *rest = None;
    Some(field)
}

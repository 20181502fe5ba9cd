//! From a path to a checked table: the order of the checks is the order of trust. Nothing of a file is run before its signature was verified.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};

use crate::file;
use crate::signature::{SignatureError, TrustedKeys};
use crate::table::{Functions, Head, Table, VERSION, text};

/// What every module exports.
const SYMBOL: &str = "fabric_module";
/// Bytes of a scheme at most.
const SCHEME_BYTES_MAX: usize = 32;

/// What a checked table says.
pub(crate) struct Loaded {
    pub(crate) scheme: String,
    pub(crate) name: String,
    pub(crate) capabilities: u32,
    pub(crate) functions: Functions,
}

/// Checks and opens the module at `path`.
pub(crate) fn load(path: &Path, keys: &TrustedKeys) -> Result<Loaded, LoadError> {
    let sealed = file::sealed_copy(path)?;
    let signature = file::signature(path)?;
    let wrong = |error| LoadError::Signature { path: path.to_owned(), error };
    keys.verify(&sealed.bytes, &signature).map_err(wrong)?;
    let name = format!("/proc/self/fd/{}", sealed.file.as_raw_fd());
    // SAFETY: a trusted key signed these bytes, initialisers included, and they cannot change any more (C1).
    let library = unsafe { Library::open(Some(&name), RTLD_NOW | RTLD_LOCAL) };
    let library = library
        .map_err(|error| LoadError::Library { path: path.to_owned(), why: error.to_string().replace(&name, "it") })?;
    // From here on its code may have been run, so it stays, and so does the descriptor: the dynamic linker knows libraries by their path, and would
    // take a later module for this one if it were given the same number.
    std::mem::forget(sealed.file);
    let loaded = check(path, &library);
    std::mem::forget(library);
    loaded
}

fn check(path: &Path, library: &Library) -> Result<Loaded, LoadError> {
    // SAFETY: by C1 a symbol of this name is a table, and its first two words are size and version in every version.
    let head: Result<Symbol<*const Head>, _> = unsafe { library.get(SYMBOL) };
    let Ok(head) = head else { return Err(LoadError::Symbol { path: path.to_owned() }) };
    let at: *const Head = *head;
    if at.is_null() || !at.cast::<Table>().is_aligned() {
        return Err(LoadError::Symbol { path: path.to_owned() });
    }
    // SAFETY: as above; the library stays loaded.
    let head = unsafe { &*at };
    if head.version != VERSION {
        return Err(LoadError::Version { path: path.to_owned(), ours: VERSION, theirs: head.version });
    }
    if head.size as usize != size_of::<Table>() {
        let ours = size_of::<Table>() as u32;
        return Err(LoadError::TableSize { path: path.to_owned(), ours, theirs: head.size });
    }
    // SAFETY: C2: version and size are ours, so by C1 all of it is there.
    let table = unsafe { &*at.cast::<Table>() };
    let functions = table.functions().map_err(|function| LoadError::Function { path: path.to_owned(), function })?;
    // SAFETY: C1, C2.
    let (scheme, name) = unsafe { (text(table.scheme).unwrap_or_default(), text(table.name)) };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if scheme.is_empty() || scheme.len() > SCHEME_BYTES_MAX || !scheme.bytes().all(plain) {
        return Err(LoadError::Scheme { path: path.to_owned(), scheme });
    }
    let name = name.unwrap_or_else(|| scheme.clone());
    Ok(Loaded { scheme, name, capabilities: table.capabilities, functions })
}

/// Why a module is not loaded. Every text names the file.
#[derive(Debug)]
pub enum LoadError {
    /// A file or directory cannot be opened or read.
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a symbolic link.
    SymbolicLink {
        /// Which.
        path: PathBuf,
    },
    /// It is no regular file.
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// It is larger than modules may be.
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// Group or others may write the file, or a directory on the way to it.
    Writable {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file, or a directory on the way to it, belongs to neither root nor the process's user.
    Owner {
        /// Which.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The process's user.
        user: u32,
    },
    /// There is no `.minisig` beside it.
    Unsigned {
        /// Which.
        path: PathBuf,
    },
    /// Its signature does not do.
    Signature {
        /// Which.
        path: PathBuf,
        /// Why.
        error: SignatureError,
    },
    /// There is no memory for a copy of it.
    Memory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The dynamic linker refuses it.
    Library {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It exports no table.
    Symbol {
        /// Which.
        path: PathBuf,
    },
    /// Its table is of another version.
    Version {
        /// Which.
        path: PathBuf,
        /// Spoken here.
        ours: u32,
        /// The module's.
        theirs: u32,
    },
    /// Its table is not as long as its version has it.
    TableSize {
        /// Which.
        path: PathBuf,
        /// Bytes here.
        ours: u32,
        /// Bytes there.
        theirs: u32,
    },
    /// A function is missing.
    Function {
        /// Which file.
        path: PathBuf,
        /// Which function.
        function: &'static str,
    },
    /// Its scheme cannot stand in an address.
    Scheme {
        /// Which file.
        path: PathBuf,
        /// Its scheme.
        scheme: String,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, source } => write!(f, "module {}: {source}", path.display()),
            Self::SymbolicLink { path } => write!(f, "module {}: it is a symbolic link", path.display()),
            Self::NotAFile { path } => write!(f, "module {}: it is no regular file", path.display()),
            Self::TooLarge { path, limit } => write!(f, "module {}: it has more than {limit} bytes", path.display()),
            Self::Writable { path, mode } => {
                write!(f, "module: {} can be written by group or others (mode {mode:04o})", path.display())
            }
            Self::Owner { path, owner, user } => {
                write!(f, "module: {} belongs to user {owner}, neither to root nor to user {user}", path.display())
            }
            Self::Unsigned { path } => {
                write!(f, "module {}: it is not signed, there is no {}.minisig", path.display(), path.display())
            }
            Self::Signature { path, error } => write!(f, "module {}: {error}", path.display()),
            Self::Memory { path, source } => write!(f, "module {}: no copy in memory: {source}", path.display()),
            Self::Library { path, why } => write!(f, "module {}: {why}", path.display()),
            Self::Symbol { path } => write!(f, "module {}: it exports no {SYMBOL}", path.display()),
            Self::Version { path, ours, theirs } => {
                write!(f, "module {}: its table is of version {theirs}, spoken here is {ours}", path.display())
            }
            Self::TableSize { path, ours, theirs } => {
                write!(f, "module {}: its table has {theirs} bytes instead of {ours}", path.display())
            }
            Self::Function { path, function } => write!(f, "module {}: it has no function {function}", path.display()),
            Self::Scheme { path, scheme } => write!(f, "module {}: {scheme:?} is no scheme", path.display()),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open { source, .. } | Self::Memory { source, .. } => Some(source),
            Self::Signature { error, .. } => Some(error),
            _ => None,
        }
    }
}

//! Transports in shared libraries: checked, loaded, and used like those that were linked in.
//!
//! ```text
//!  FILE.so, FILE.so.minisig ─► owner, mode, path ─► sealed copy in memory ─► Ed25519 ─► dlopen of that copy ─► table ─► Module: Provider
//!                                (file)               (file)                (signature)   (load)              (table)
//! ```
//!
//! What a module is and promises stands in `include/fabric_module.h`; `sample/pair.c` is one. An application loads modules with the keys that its
//! configuration trusts, and gives them to its channels in [`fabric::tli::Providers`], where a module overrides what is linked in of its scheme:
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = fabric_modules::TrustedKeys::parse(["RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"])?;
//! let module = fabric_modules::Module::load("/usr/lib/fabric/pair.so".as_ref(), &keys)?;
//! let providers = fabric::tli::Providers::linked().with(module);
//! # Ok(()) }
//! ```
//!
//! **What the signature covers.** The bytes that are loaded, all of them, and nothing else: they are copied into memory that nobody can write any more,
//! verified there, and opened from there. Not one instruction of a module that is refused is run, its initialisers included. Libraries that a
//! module needs are found by the dynamic linker as for any program, and are not covered: link modules statically, or against the system's own.
//!
//! **What it does not do.** A module that was loaded is code of this process, trusted as such: it can do whatever the process can. What it hands out is
//! checked against mistakes (addresses, sizes, headers), not against malice. A module is never unloaded, since nobody can know that no thread,
//! signal handler or thread-local destructor of it is left; loading again and again costs memory each time.
//!
//! Budget: a window costs a call of the table at each end, and no allocation once each window was seen; messages cost nothing here.

mod connector;
mod file;
mod link;
mod load;
mod module;
mod pages;
mod signature;
mod table;

pub use load::LoadError;
pub use module::Module;
pub use signature::{KeyError, SignatureError, TrustedKeys};

//! Whom an adjustment is for. Delivery describes a recipient's way as a [`Subject`]; rules act on one of four scopes of it.

use std::fmt;

/// Longest name of a domain, site, binding or tenant, octets. What is longer is not shaped.
pub const NAME_MAX: usize = 255;

/// The way of a recipient; names in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The domain container's name.
    pub domain: &'a str,
    /// The name of the site that the domain's mail exchangers make up; the domain itself if there is none.
    pub site: &'a str,
    /// The egress identity.
    pub binding: &'a str,
    /// Whose mail it is; empty if nobody's in particular.
    pub tenant: &'a str,
}

/// Which part of a subject a rule acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ScopeKind {
    /// The site, from every binding: `"site"`.
    Site = 0,
    /// The site from one binding: `"binding-site"`.
    BindingSite = 1,
    /// One tenant's mail to the site: `"tenant-site"`.
    TenantSite = 2,
    /// One tenant's mail to everywhere: `"tenant"`.
    Tenant = 3,
}

/// A scope by name; parts that the kind does not have are empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeName {
    /// Which parts it has.
    pub kind: ScopeKind,
    /// The site.
    pub site: Box<str>,
    /// The binding.
    pub binding: Box<str>,
    /// The tenant.
    pub tenant: Box<str>,
}

/// A scope inside a subject, not yet a name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScopeRef<'a> {
    pub(crate) kind: ScopeKind,
    pub(crate) site: &'a str,
    pub(crate) binding: &'a str,
    pub(crate) tenant: &'a str,
}

impl ScopeKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Site, Self::BindingSite, Self::TenantSite, Self::Tenant];

    /// The word in a rule file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::BindingSite => "binding-site",
            Self::TenantSite => "tenant-site",
            Self::Tenant => "tenant",
        }
    }

    /// The kind of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl<'a> Subject<'a> {
    /// Whether all names are short enough to be kept.
    pub(crate) fn is_bounded(&self) -> bool {
        [self.domain, self.site, self.binding, self.tenant].iter().all(|name| name.len() <= NAME_MAX)
    }

    /// That part of the subject; `None` for a tenant's where there is none.
    pub(crate) fn scope(&self, kind: ScopeKind) -> Option<ScopeRef<'a>> {
        let none = ScopeRef { kind, site: "", binding: "", tenant: "" };
        match kind {
            ScopeKind::Site => Some(ScopeRef { site: self.site, ..none }),
            ScopeKind::BindingSite => Some(ScopeRef { site: self.site, binding: self.binding, ..none }),
            ScopeKind::TenantSite | ScopeKind::Tenant if self.tenant.is_empty() => None,
            ScopeKind::TenantSite => Some(ScopeRef { site: self.site, tenant: self.tenant, ..none }),
            ScopeKind::Tenant => Some(ScopeRef { tenant: self.tenant, ..none }),
        }
    }
}

impl ScopeName {
    pub(crate) fn borrowed(&self) -> ScopeRef<'_> {
        ScopeRef { kind: self.kind, site: &self.site, binding: &self.binding, tenant: &self.tenant }
    }
}

impl ScopeRef<'_> {
    pub(crate) fn to_name(self) -> ScopeName {
        ScopeName { kind: self.kind, site: self.site.into(), binding: self.binding.into(), tenant: self.tenant.into() }
    }
}

impl fmt::Display for ScopeName {
    /// `binding-site a gmail.com`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.word())?;
        for part in [&self.binding, &self.tenant, &self.site] {
            if !part.is_empty() {
                write!(f, " {part}")?;
            }
        }
        Ok(())
    }
}

//! The octets of a message as they lie in windows: a short list of slices, never joined into one buffer.

use fabric::Slice;
use smallvec::SmallVec;

/// Octets in order, in reference-counted slices. Cloning shares them.
///
/// The body of a message is kept without dot-stuffing and with CRLF line ends.
#[derive(Clone, Default)]
pub struct Body {
    slices: SmallVec<[Slice; 2]>,
    len: u64,
}

impl Body {
    /// No octets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a slice; one that lies right behind the last in the same window makes that one longer.
    pub fn push(&mut self, slice: Slice) {
        if slice.is_empty() {
            return;
        }
        self.len += slice.len() as u64;
        if let Some(last) = self.slices.last_mut()
            && last.try_join(&slice)
        {
            return;
        }
        self.slices.push(slice);
    }

    /// Number of octets.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slices in order; none is empty.
    pub fn slices(&self) -> &[Slice] {
        &self.slices
    }

    /// Takes the slices out.
    pub fn into_slices(self) -> SmallVec<[Slice; 2]> {
        self.slices
    }

    /// Copies everything into one buffer: for tools and tests, never on a message's way.
    pub fn to_vec(&self) -> Vec<u8> {
        self.slices.iter().flat_map(|slice| slice.iter().copied()).collect()
    }
}

impl From<Slice> for Body {
    fn from(slice: Slice) -> Self {
        let mut body = Self::new();
        body.push(slice);
        body
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} octets in {} slices)", self.len, self.slices.len())
    }
}

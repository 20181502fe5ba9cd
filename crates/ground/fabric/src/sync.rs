//! The one place that atomics, cells and locks come from: the standard library's, or loom's under `cfg(loom)`.
//!
//! All of this crate takes them from here, and so may any crate that wants loom to check it. It never adds behaviour of its own.
//! The cell has loom's interface (`with`, `with_mut`), which in the standard build costs nothing.

#[cfg(loom)]
pub use self::checked::*;
#[cfg(not(loom))]
pub use self::native::*;

/// A value alone on its cache lines (two, because the prefetcher pulls pairs), so that two writers do not slow each other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Padded<T>(pub T);

#[cfg(not(loom))]
mod native {
    pub use std::sync::{Arc, Mutex, atomic};
    pub use std::thread;

    pub use atomic_waker::AtomicWaker;

    /// A cell whose contents are reached by raw pointer; who may do so when is the caller's proof.
    #[derive(Debug, Default)]
    #[repr(transparent)]
    pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// Wraps `value`.
        pub const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        /// Lends a pointer for reading.
        #[inline(always)]
        pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        /// Lends a pointer for writing.
        #[inline(always)]
        pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }

    /// The words of shared memory that publish: in this build the memory itself.
    #[derive(Debug, Clone)]
    pub(crate) struct CommitWords;

    impl CommitWords {
        pub(crate) fn new(_words: usize) -> Self {
            Self
        }

        /// # Safety
        /// `base + at` is a live, aligned word.
        #[inline(always)]
        pub(crate) unsafe fn load(&self, base: std::ptr::NonNull<u8>, _offset: usize, at: usize) -> u64 {
            // SAFETY: the caller's promise; the word is reached by atomic operations alone while another party may reach it.
            unsafe { atomic::AtomicU64::from_ptr(base.as_ptr().add(at).cast()) }.load(atomic::Ordering::Acquire)
        }

        /// # Safety
        /// As `load`, and the caller may write it.
        #[inline(always)]
        pub(crate) unsafe fn store(&self, base: std::ptr::NonNull<u8>, _offset: usize, at: usize, word: u64) {
            // SAFETY: as above.
            unsafe { atomic::AtomicU64::from_ptr(base.as_ptr().add(at).cast()) }.store(word, atomic::Ordering::Release);
        }

        /// # Safety
        /// As `store`, whichever threads of this process write it.
        #[inline(always)]
        pub(crate) unsafe fn exchange(
            &self,
            base: std::ptr::NonNull<u8>,
            _offset: usize,
            at: usize,
            current: u64,
            new: u64,
        ) -> Result<u64, u64> {
            // SAFETY: as above.
            let word = unsafe { atomic::AtomicU64::from_ptr(base.as_ptr().add(at).cast()) };
            word.compare_exchange_weak(current, new, atomic::Ordering::AcqRel, atomic::Ordering::Acquire)
        }
    }

    /// Tells loom which bytes are touched; in this build it is nothing.
    #[derive(Debug)]
    pub(crate) struct ByteWatch;

    impl ByteWatch {
        pub(crate) fn new(_bytes: usize) -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn read(&self, _start: usize, _len: usize) {}

        #[inline(always)]
        pub(crate) fn write(&self, _start: usize, _len: usize) {}
    }
}

#[cfg(loom)]
mod checked {
    use std::task::Waker;

    pub use loom::cell::UnsafeCell;
    pub use loom::sync::{Arc, Mutex, atomic};
    pub use loom::thread;

    /// Loom's model of the waker cell, with the interface of the real one.
    #[derive(Debug, Default)]
    pub struct AtomicWaker(loom::future::AtomicWaker);

    impl AtomicWaker {
        /// A cell without a waker.
        pub fn new() -> Self {
            Self::default()
        }

        /// Keeps `waker` for the next [`wake`](Self::wake).
        pub fn register(&self, waker: &Waker) {
            self.0.register_by_ref(waker);
        }

        /// Wakes the waker kept, if any.
        pub fn wake(&self) {
            self.0.wake();
        }
    }

    /// The words of shared memory that publish: loom's atomics beside the memory, one for each word of it.
    #[derive(Debug, Clone)]
    pub(crate) struct CommitWords(std::sync::Arc<Vec<atomic::AtomicU64>>);

    impl CommitWords {
        pub(crate) fn new(words: usize) -> Self {
            Self(std::sync::Arc::new((0..words).map(|_| atomic::AtomicU64::new(0)).collect()))
        }

        /// # Safety
        /// None in this build.
        pub(crate) unsafe fn load(&self, _base: std::ptr::NonNull<u8>, offset: usize, at: usize) -> u64 {
            self.0[(offset + at) / 8].load(atomic::Ordering::Acquire)
        }

        /// # Safety
        /// None in this build.
        pub(crate) unsafe fn store(&self, _base: std::ptr::NonNull<u8>, offset: usize, at: usize, word: u64) {
            self.0[(offset + at) / 8].store(word, atomic::Ordering::Release);
        }

        /// # Safety
        /// None in this build.
        pub(crate) unsafe fn exchange(
            &self,
            _base: std::ptr::NonNull<u8>,
            offset: usize,
            at: usize,
            current: u64,
            new: u64,
        ) -> Result<u64, u64> {
            let word = &self.0[(offset + at) / 8];
            word.compare_exchange_weak(current, new, atomic::Ordering::AcqRel, atomic::Ordering::Acquire)
        }
    }

    /// One loom cell for each byte of a window: loom fails the test when two touches of a byte, one of them a write, are not ordered.
    #[derive(Debug)]
    pub(crate) struct ByteWatch(Vec<UnsafeCell<()>>);

    impl ByteWatch {
        pub(crate) fn new(bytes: usize) -> Self {
            Self((0..bytes).map(|_| UnsafeCell::new(())).collect())
        }

        pub(crate) fn read(&self, start: usize, len: usize) {
            self.0[start..start + len].iter().for_each(|cell| cell.with(|_| ()));
        }

        pub(crate) fn write(&self, start: usize, len: usize) {
            self.0[start..start + len].iter().for_each(|cell| cell.with_mut(|_| ()));
        }
    }
}

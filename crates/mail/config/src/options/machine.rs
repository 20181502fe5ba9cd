//! Rows of `[engine]`, `[pool.…]`, `[spool]`, `[memory]` and `[resolver]`: what the server does with the machine.

use std::path::PathBuf;
use std::time::Duration;

use super::{default, derived, section};
use crate::value::{Bytes, MemoryAmount, Percent, Store, TcpAddress};

section! {
    /// The event loops that do all network work.
    EngineOptions from EngineStanza {
        /// Event loops; 0 is one per core.
        loops: u32 = default("0").range("0", "1024").restart();
        /// A loop that does not turn for this long is reported with the task that held it.
        stall_warning: Duration = default("20ms").range("1ms", "1h");
    }
}

section! {
    /// A pool of threads for work that blocks. `swap-in`, `swap-out`, `cpu` and `io` always exist; other names make
    /// pools of their own.
    PoolOptions from PoolStanza {
        /// Threads of the pool.
        threads: u32 = default("4").range("1", "1024");
        /// Jobs that may wait. A full pool refuses further jobs, and mail that needs one is deferred.
        backlog: u32 = default("1024").range("1", "16777216");
    }
}

section! {
    /// Where accepted messages are stored.
    SpoolOptions from SpoolStanza {
        /// The kind of store: one log of many messages, two files for each message, or memory only.
        store: Store = default("journal").restart();
        /// The directories of the store. Messages are spread over them, so each should be a disk of its own.
        volumes: Vec<PathBuf> = derived("journal (for the other stores: spool) in data_dir").restart();
        /// Size of one segment of the journal. Segments are written with zeros once and then recycled.
        segment_size: Bytes = default("64MiB").range("1MiB", "2GiB").restart();
        /// Segments that are prepared in advance, so that no message waits for a new file.
        segments_spare: u32 = default("2").range("1", "1024");
        /// How long the outcome of a delivery may wait for its turn in a commit. After a crash, deliveries younger than
        /// this may be repeated.
        outcome_flush: Duration = default("50ms").range("1ms", "10s");
        /// A sealed segment of which less than this part is still needed is rewritten, so that its space comes back.
        compact_below: Percent = default("25%").range("0%", "90%");
        /// How many bytes a second compaction may write to one volume.
        compact_rate: Bytes = default("32MiB").range("64KiB", "100GiB");
    }
}

section! {
    /// What the server does when memory runs short.
    MemoryOptions from MemoryStanza {
        /// What `goal` and `high_water` are parts of; 0 is the machine's memory, or the control group's if smaller.
        limit: Bytes = default("0B");
        /// Above this, caches shrink and bodies of queued messages leave memory.
        goal: MemoryAmount = default("90%");
        /// Above this, new mail is deferred with 451 4.3.1 until memory has come back.
        high_water: MemoryAmount = default("95%");
    }
}

section! {
    /// Questions to the domain name system.
    ResolverOptions from ResolverStanza {
        /// The name servers, in order. A port may be given.
        servers: Vec<TcpAddress> = derived("the system's, from resolv.conf");
        /// How long one name server may take for one answer.
        timeout: Duration = default("3s").range("10ms", "1m");
        /// How often a question is asked before it has failed.
        attempts: u32 = default("3").range("1", "20");
        /// An answer is kept at least this long, whatever its own time to live.
        min_ttl: Duration = default("0s").range("0s", "1h");
        /// An answer is kept at most this long.
        max_ttl: Duration = default("1d").range("1s", "30d");
        /// The answer "no such name" is kept at most this long (RFC 2308 section 5).
        negative_max_ttl: Duration = default("1h").range("1s", "1d");
        /// Answers that the cache may hold; the least used go first.
        cache_entries: u32 = default("100000").range("0", "100000000");
    }
}

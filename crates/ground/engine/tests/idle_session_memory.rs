//! What an idle connection costs in memory: its task in a scope, its stream, its timer.
//!
//! The budget of a whole idle SMTP session is 6 KiB; this is the engine's part of it.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use engine::{ListenOptions, Listener, LoopOptions, Scope, TaskKind, listen, run_here};

/// Bytes that the process holds on its heap.
static HELD: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to `System` unchanged; the counter beside it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises about `pointer` and `layout` are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SESSIONS: usize = 400;
/// Bytes on the heap for each idle session of the engine's own making.
const BUDGET: usize = 1280;

#[test]
fn an_idle_connection_stays_within_its_budget() {
    let each = run_here(LoopOptions::default(), |context| async move {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), &ListenOptions::default()).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Listener::from_tcp(listener).unwrap();
        let generation = Scope::new(&context);
        let mut clients = Vec::with_capacity(SESSIONS);
        let mut before = 0;
        // The first ones pay for what all share: tables that grow once, the runtime's own.
        for n in 0..SESSIONS {
            if n == SESSIONS / 4 {
                before = HELD.load(Relaxed);
            }
            clients.push(std::net::TcpStream::connect(address).unwrap());
            let mut stream = listener.accept().await.unwrap();
            let session = generation.child();
            let reference = session.reference();
            let body = async move {
                let timer = session.context().timers().after(Duration::from_secs(300));
                let mut stopped = session.stopped();
                let mut buffer = [0u8; 32];
                let idle = std::future::poll_fn(|cx| {
                    if std::pin::Pin::new(&mut stopped).poll(cx).is_ready() {
                        return std::task::Poll::Ready(());
                    }
                    stream.poll_read(cx, &mut buffer).map(|_| ())
                });
                let _ = timer.limit(idle).await;
            };
            reference.spawn(TaskKind("session"), body).detach();
            context.yield_now().await;
        }
        let counted = SESSIONS - SESSIONS / 4;
        assert_eq!(generation.live() as usize, SESSIONS);
        let each = (HELD.load(Relaxed) - before) / counted;
        generation.abort();
        generation.ended().await;
        each
    });
    let each = each.unwrap();
    println!("{each} bytes of heap for each idle connection");
    assert!(each <= BUDGET, "{each} bytes for each idle connection");
    assert!(each > 200, "{each} bytes cannot hold a task: the measurement is broken");
}

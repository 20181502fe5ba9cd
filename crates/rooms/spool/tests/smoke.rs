mod support;
use message::Spool;
use support::*;

#[test]
fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    let keys = with_journal(small(dir.path()), |_cx, spool, recovered| async move {
        assert!(recovered.is_empty());
        let mut keys = Vec::new();
        for n in 0..50 {
            keys.push(spool.store(message(n, 1, 4000)).await.unwrap());
        }
        for (n, key) in keys.iter().enumerate() {
            let found = spool.fetch(*key).await.unwrap();
            assert_same(&found, n as u32, 1, 4000);
        }
        keys
    });
    assert_eq!(keys.len(), 50);
    with_journal(small(dir.path()), |_cx, spool, recovered| async move {
        assert_eq!(recovered.len(), 50);
        for m in &recovered {
            let n = m.message.id.0 as u32;
            assert_same(&spool.fetch(m.key).await.unwrap(), n, 1, 4000);
        }
    });
}

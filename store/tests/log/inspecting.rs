//! Stores that are read and copied, also while they are written.
//!
//! Invariants: none.

use std::sync::atomic::{AtomicBool, Ordering};

use store::Record;

use super::{open, options, publish, session, waiting};

#[test]
fn a_store_is_read_without_being_changed() {
    let folder = tempfile::tempdir().unwrap();
    assert!(store::inspect_with(folder.path(), &options()).is_err());
    let (mut log, _) = open(folder.path());
    let mut shard = log.shard(0);
    shard.append(&session(1, "client"));
    publish(&mut shard, 1, 1, 0, b"message");
    shard.submit();
    log.step().unwrap();
    let files = || {
        let entries = std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap);
        let mut files: Vec<_> = entries
            .map(|entry| (entry.path(), std::fs::read(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    };
    let before = files();
    let found = store::inspect_with(folder.path(), &options()).unwrap();
    assert!(before == files());
    assert!(found.recovered.damage.is_none());
    assert_eq!(waiting(&found.recovered, 1), [b"message"]);
    assert!(found.bytes_live > 0 && found.bytes_total >= u64::from(options().segment_size));
    assert!(found.commit_last >= 2);
}

#[test]
fn a_copy_of_a_store_that_is_written_is_a_state_that_was() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    let thread = log.start().unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut shard = thread.shard(0);
        let stop = &stop;
        scope.spawn(move || {
            shard.append(&session(1, "client"));
            for order in 0_u64.. {
                publish(&mut shard, order, 1, order, format!("message {order}").as_bytes());
                if let Some(done) = order.checked_sub(50) {
                    shard.append(&Record::Done {
                        session: 1,
                        order: done,
                    });
                }
                let batch = shard.submit();
                while shard.durable() < batch {
                    std::thread::yield_now();
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let copies = tempfile::tempdir().unwrap();
        for number in 0..5 {
            std::thread::sleep(std::time::Duration::from_millis(100));
            let target = copies.path().join(format!("copy {number}"));
            let copied = store::backup_with(folder.path(), &target, &options()).unwrap();
            assert!(copied.recovered.damage.is_none(), "{:?}", copied.recovered.damage);
            let (_log, recovered) = open(&target);
            assert!(recovered.damage.is_none());
            let session = &recovered.sessions[0];
            let messages = waiting(&recovered, 1);
            assert!(messages.len() <= 51, "{}", messages.len());
            for (reference, message) in session.references.iter().zip(messages) {
                assert_eq!(message, format!("message {}", reference.order).as_bytes());
            }
            assert!(store::backup_with(folder.path(), &target, &options()).is_err());
        }
        stop.store(true, Ordering::Relaxed);
    });
    thread.close().unwrap();
}

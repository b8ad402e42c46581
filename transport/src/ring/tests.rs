//! Tests of the ring with real sockets on 127.0.0.1.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::*;
use crate::socket;

const LISTENER: Token = Token(1);
const PEER: Token = Token(2);

fn ring() -> Ring {
    Ring::new(&RingOptions {
        entries: 8,
        completions: 64,
        buffers: 4,
        buffer_bytes: 64,
    })
    .unwrap()
}

/// Waits until `find` has found what it needs in a completion.
fn until<T>(ring: &mut Ring, mut find: impl FnMut(&mut Ring, Completion) -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        ring.wait(Some(Duration::from_secs(1))).unwrap();
        while let Some(completion) = ring.next() {
            if let Some(found) = find(ring, completion) {
                return found;
            }
        }
    }
    panic!("no such completion in ten seconds");
}

fn connected(ring: &mut Ring) -> (TcpStream, Socket) {
    let listener = socket::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), true).unwrap();
    let client = TcpStream::connect(socket::local_address(listener.as_fd()).unwrap()).unwrap();
    ring.accept(&listener.into(), LISTENER);
    let server = until(ring, |_, completion| match completion {
        Completion::Accepted {
            token: LISTENER,
            socket,
            ..
        } => Some(socket.unwrap()),
        _ => None,
    });
    (client, server)
}

#[test]
fn multishot_receive_goes_on_after_the_buffers_ran_out() {
    let mut ring = ring();
    let (mut client, server) = connected(&mut ring);
    ring.receive_multishot(&server, PEER);
    let sent: Vec<u8> = (0..10_000u32).map(|i| i as u8).collect();
    client.write_all(&sent).unwrap();
    let mut got = Vec::new();
    until(&mut ring, |ring, completion| {
        let again = match completion {
            Completion::Received { buffer, more, .. } => {
                got.extend_from_slice(ring.bytes(&buffer));
                ring.recycle(buffer);
                !more
            }
            Completion::ReceiveEnded {
                cause: ReceiveEnd::NoBuffers,
                ..
            } => true,
            other => panic!("{other:?}"),
        };
        if again {
            ring.receive_multishot(&server, PEER);
        }
        (got.len() == sent.len()).then_some(())
    });
    assert_eq!(got, sent);
}

#[test]
fn more_buffers_are_there_after_they_ran_out() {
    let mut ring = Ring::new(&RingOptions {
        buffers: 128,
        buffer_bytes: 64,
        ..RingOptions::default()
    })
    .unwrap();
    let (mut client, server) = connected(&mut ring);
    let sent = [7; 128 * 64];
    client.write_all(&sent).unwrap();
    // If every buffer that arrives is kept, all of them arrive in the end.
    let mut taken = Vec::new();
    ring.receive_multishot(&server, PEER);
    until(&mut ring, |ring, completion| {
        match completion {
            Completion::Received { buffer, .. } => taken.push(buffer),
            Completion::ReceiveEnded {
                cause: ReceiveEnd::NoBuffers,
                ..
            } => ring.receive_multishot(&server, PEER),
            other => panic!("{other:?}"),
        }
        (taken.len() == 128).then_some(())
    });
    for buffer in taken {
        assert_eq!(ring.bytes(&buffer), [7; 64]);
        ring.recycle(buffer);
    }
}

#[test]
fn end_of_stream_and_cancel_end_a_receive() {
    let mut ring = ring();
    let (client, server) = connected(&mut ring);
    let ended = |_: &mut Ring, completion| match completion {
        Completion::ReceiveEnded { token: PEER, cause } => Some(cause),
        _ => None,
    };
    ring.receive_multishot(&server, PEER);
    ring.cancel(PEER);
    assert!(matches!(until(&mut ring, ended), ReceiveEnd::Cancelled));
    ring.receive(&server, PEER);
    drop(client);
    assert!(matches!(until(&mut ring, ended), ReceiveEnd::EndOfStream));
}

#[test]
fn a_timed_receive_knows_when_its_bytes_came() {
    let mut ring = super::Ring::new(&RingOptions {
        buffer_bytes: 4096,
        ..RingOptions::default()
    })
    .unwrap();
    let (mut client, server) = connected(&mut ring);
    note_arrivals(&server).unwrap();
    ring.receive_multishot_timed(&server, PEER);
    ring.submit().unwrap();
    let received = |ring: &mut Ring| {
        until(ring, |ring, completion| match completion {
            Completion::Received { buffer, .. } => {
                let received = (buffer.arrived_ns(), ring.bytes(&buffer).to_vec());
                ring.recycle(buffer);
                Some(received)
            }
            _ => None,
        })
    };
    // The kernel starts to note arrivals a moment after it was requested.
    let is_noted = (0..1000).any(|_| {
        client.write_all(b"x").unwrap();
        received(&mut ring).0.is_some()
    });
    assert!(is_noted);
    for text in [&b"one"[..], b"another"] {
        client.write_all(text).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        let (arrived_ns, bytes) = received(&mut ring);
        let waited_ns = crate::clock::real_ns() - arrived_ns.unwrap();
        assert_eq!(bytes, text);
        assert!((30_000_000..5_000_000_000).contains(&waited_ns), "{waited_ns}");
    }
    drop(client);
    let cause = until(&mut ring, |_, completion| match completion {
        Completion::ReceiveEnded { cause, .. } => Some(cause),
        _ => None,
    });
    assert!(matches!(cause, ReceiveEnd::EndOfStream), "{cause:?}");
}

#[test]
fn an_owned_send_waits_for_room_and_ends_when_shut_down() {
    let mut ring = ring();
    let (mut client, server) = connected(&mut ring);
    let sent = |_: &mut Ring, completion| match completion {
        Completion::Sent {
            token: PEER,
            bytes,
            result,
        } => Some((bytes, result)),
        _ => None,
    };
    let payload = vec![7u8; 20 << 20];
    ring.send(&server, PEER, payload.clone(), 5..payload.len());
    ring.submit().unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; (20 << 20) - 5];
        client.read_exact(&mut all).unwrap();
        (client, all)
    });
    let (bytes, result) = until(&mut ring, sent);
    result.unwrap();
    assert_eq!(bytes.len(), payload.len());
    let (_client, all) = reader.join().unwrap();
    assert!(all.iter().all(|byte| *byte == 7));

    let all = 0..payload.len();
    ring.send(&server, PEER, payload, all);
    ring.submit().unwrap();
    socket::shut_down(server.as_fd());
    let (_, result) = until(&mut ring, sent);
    assert!(result.is_err(), "a send to a socket that was shut down fails");
}

#[test]
fn wakes_come_from_threads_and_from_other_rings() {
    let mut ring = ring();
    let woken = |_: &mut Ring, completion| matches!(completion, Completion::Woken).then_some(());
    for _ in 0..3 {
        let waker = ring.waker();
        std::thread::spawn(move || waker.wake()).join().unwrap();
        until(&mut ring, woken);
        let handle = ring.handle();
        let other = std::thread::spawn(move || {
            let mut other = super::Ring::new(&RingOptions::default()).unwrap();
            other.wake(&handle, PEER);
            other.submit().unwrap();
        });
        other.join().unwrap();
        until(&mut ring, woken);
    }
}

#[test]
fn a_wake_that_does_not_arrive_is_reported() {
    let mut ring = ring();
    // A descriptor that is not a ring: as if the other ring no longer existed.
    let nobody = RingHandle::of_no_ring(&ring.waker);
    ring.wake(&nobody, PEER);
    let error = until(&mut ring, |_, completion| match completion {
        Completion::NotWoken { token: PEER, error } => Some(error),
        _ => None,
    });
    assert!(error.raw_os_error().is_some(), "{error}");
}

/// The end of a stream uses no buffer: more streams end here than there are buffers.
#[test]
fn ends_of_streams_lose_no_buffers() {
    let mut ring = ring();
    for multishot in [false, true].repeat(6) {
        let (mut client, server) = connected(&mut ring);
        if multishot {
            ring.receive_multishot(&server, PEER);
        } else {
            ring.receive(&server, PEER);
        }
        ring.submit().unwrap();
        if multishot {
            client.write_all(b"last").unwrap();
        }
        drop(client);
        let cause = until(&mut ring, |ring, completion| match completion {
            Completion::Received { buffer, .. } => {
                ring.recycle(buffer);
                None
            }
            Completion::ReceiveEnded { cause, .. } => Some(cause),
            _ => None,
        });
        assert!(matches!(cause, ReceiveEnd::EndOfStream), "{cause:?}");
    }
    let (mut client, server) = connected(&mut ring);
    ring.receive_multishot(&server, PEER);
    // As many bytes as there are buffers, all of them full at once.
    client.write_all(&[1; 4 * 64]).unwrap();
    let mut taken = Vec::new();
    until(&mut ring, |_, completion| {
        if let Completion::Received { buffer, .. } = completion {
            taken.push(buffer);
        }
        (taken.len() == 4).then_some(())
    });
    taken.into_iter().for_each(|buffer| ring.recycle(buffer));
}

#[test]
fn a_wait_ends_when_its_time_is_over() {
    let mut ring = ring();
    let start = Instant::now();
    ring.wait(Some(Duration::from_millis(30))).unwrap();
    ring.wait(Some(Duration::from_millis(30))).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(30) && ring.next().is_none());
}

#[test]
fn connect_reports_refusal() {
    let mut ring = ring();
    let address = {
        let listener = socket::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), true).unwrap();
        socket::local_address(listener.as_fd()).unwrap()
    };
    let stream = socket::stream(address).unwrap();
    ring.connect(&stream, address, PEER);
    let result = until(&mut ring, |_, completion| match completion {
        Completion::Connected { token: PEER, result } => Some(result),
        _ => None,
    });
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_send_cut_short_is_not_continued_on_whoever_gets_its_descriptor() {
    let mut ring = ring();
    let (client, server) = connected(&mut ring);
    ring.send(&server, PEER, vec![7; 20 << 20], 0..20 << 20);
    // Some of it is sent, the rest waits for space.
    ring.wait(Some(Duration::from_millis(50))).unwrap();
    assert!(ring.next().is_none());
    socket::shut_down(server.as_fd());
    drop(server);
    let (mut stranger, _its_server) = connected(&mut ring);
    let result = until(&mut ring, |_, completion| match completion {
        Completion::Sent {
            token: PEER, result, ..
        } => Some(result),
        _ => None,
    });
    assert!(result.is_err());
    ring.wait(Some(Duration::from_millis(50))).unwrap();
    stranger
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let read = stranger.read(&mut [0; 16]);
    assert!(read.is_err(), "nothing of another's bytes: {read:?}");
    drop(client);
}

/// A kernel that accepts nothing: the request waits, and its socket stays open although its owner dropped it, so that
/// the next connection gets another number and none of its bytes.
#[test]
fn no_socket_is_closed_under_a_request_that_waits() {
    for error in [libc::EAGAIN, libc::EBUSY] {
        let mut ring = ring();
        let (mut client, server) = connected(&mut ring);
        let number = server.raw();
        ring.submissions.failure = Some(error);
        ring.send(&server, PEER, b"for the first".to_vec(), 0..13);
        ring.submit().unwrap();
        ring.wait(Some(Duration::from_millis(1))).unwrap();
        assert!(ring.next().is_none());
        drop(server);
        let listener = socket::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), true).unwrap();
        let mut stranger = TcpStream::connect(socket::local_address(listener.as_fd()).unwrap()).unwrap();
        let accepted = rustix::net::accept(&listener).unwrap();
        assert!(number != stranger.as_raw_fd() && number != accepted.as_raw_fd());

        ring.submissions.failure = None;
        let result = until(&mut ring, |_, completion| match completion {
            Completion::Sent { result, .. } => Some(result),
            _ => None,
        });
        result.unwrap();
        let mut received = Vec::new();
        // Reads to the end: the socket was closed as soon as the kernel had the request.
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received, b"for the first");
        stranger.set_nonblocking(true).unwrap();
        assert!(stranger.read(&mut [0; 16]).is_err(), "nothing of another's bytes");
    }
}

/// More requests than the queue has entries while the kernel accepts none: nothing spins, none is lost, their order is
/// kept.
#[test]
fn requests_wait_for_a_kernel_that_takes_none() {
    let mut ring = ring();
    let pairs: Vec<_> = (0..40).map(|_| connected(&mut ring)).collect();
    ring.submissions.failure = Some(libc::EBUSY);
    for (token, (_, server)) in (100..).zip(&pairs) {
        let text = token.to_string().into_bytes();
        let all = 0..text.len();
        ring.send(server, Token(token), text, all);
    }
    ring.wait(None).unwrap();
    assert!(ring.next().is_none());
    ring.submissions.failure = None;
    let mut sent = Vec::new();
    until(&mut ring, |_, completion| {
        if let Completion::Sent { token, result, .. } = completion {
            result.unwrap();
            sent.push(token.0);
        }
        (sent.len() == pairs.len()).then_some(())
    });
    assert!(sent.iter().copied().eq(100..140), "{sent:?}");
    for (token, (mut client, server)) in (100..).zip(pairs) {
        drop(server);
        let mut received = String::new();
        client.read_to_string(&mut received).unwrap();
        assert_eq!(received, token.to_string());
    }
}

#[test]
fn an_error_that_stays_ends_a_wait() {
    let mut ring = ring();
    ring.submissions.failure = Some(libc::EBADF);
    for token in 0..20 {
        ring.cancel(Token(token));
    }
    assert_eq!(ring.wait(None).unwrap_err().raw_os_error(), Some(libc::EBADF));
}

#[test]
#[should_panic(expected = "a receive buffer belongs to the ring that filled it")]
fn a_buffer_of_another_ring_is_refused() {
    let (mut one, mut other) = (ring(), ring());
    let (mut client, server) = connected(&mut one);
    client.write_all(b"bytes").unwrap();
    one.receive(&server, PEER);
    let buffer = until(&mut one, |_, completion| match completion {
        Completion::Received { buffer, .. } => Some(buffer),
        _ => None,
    });
    other.recycle(buffer);
}

/// A handle keeps a descriptor of its ring, so that its number cannot belong to another file later.
#[test]
fn a_ring_that_has_ended_is_woken_in_vain() {
    let (mut ring, gone) = (ring(), ring());
    let handle = gone.handle();
    drop(gone);
    ring.wake(&handle, PEER);
    drop(handle);
    ring.submit().unwrap();
    ring.wait(Some(Duration::from_millis(50))).unwrap();
    assert!(
        !matches!(ring.next(), Some(Completion::Woken)),
        "no ring here was woken"
    );
}

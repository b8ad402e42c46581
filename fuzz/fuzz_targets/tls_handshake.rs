//! A server's handshake and its transition to the records: a client of rustls whose bytes arrive in pieces of any
//! size, some of them damaged. What arrives is what was sent, or nothing.
#![no_main]

use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use rustls::{ClientConfig, ClientConnection, ServerConfig};
use transport::stream::SecureStream;
use transport::tls::{ClientTls, ServerTls, client_config, server_config};

const MESSAGE: &[u8] = b"the first bytes behind the handshake";
const ROUNDS_MAX: usize = 20;

fn configurations() -> &'static (Arc<ServerConfig>, Arc<ClientConfig>) {
    static MADE: OnceLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let client = ClientTls {
            ca: Some(&certificate),
            ..ClientTls::default()
        };
        let server = server_config(&ServerTls::new(&certificate, &key)).unwrap();
        (server, client_config(&client).unwrap())
    })
}

fuzz_target!(|input: (u16, Vec<(u16, u8)>)| {
    let (piece_bytes, damages) = input;
    let (server, client) = configurations();
    let mut client = ClientConnection::new(Arc::clone(client), "localhost".try_into().unwrap()).unwrap();
    let mut server = SecureStream::server(Some(server)).unwrap();
    client.writer().write_all(MESSAGE).unwrap();
    let mut damages = damages.into_iter();
    let (mut plain, mut sent) = (Vec::new(), 0);
    for _ in 0..ROUNDS_MAX {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        if let Some((place, change)) = damages.next()
            && let Some(byte) = wire.get_mut(usize::from(place))
        {
            *byte ^= change;
        }
        sent += wire.len();
        let mut answer = Vec::new();
        for piece in wire.chunks(usize::from(piece_bytes).max(1)) {
            if server.open(piece, &mut plain, &mut answer).is_err() {
                assert!(MESSAGE.starts_with(&plain));
                return;
            }
        }
        if client.read_tls(&mut &answer[..]).is_err() || client.process_new_packets().is_err() {
            return;
        }
        if wire.is_empty() && answer.is_empty() {
            break;
        }
    }
    assert!(sent > 0 && MESSAGE.starts_with(&plain));
});

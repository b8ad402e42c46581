//! Keys of a listener's TLS.
//!
//! Invariants: none.

use std::path::PathBuf;

use transport::tls::{IdentityKind, TlsVersion};

use super::key::{
    Key, Repetition, Scope, Show, Status, Value, file_path, key, of_listener, or, shown_if, with,
};
use crate::config::draft::{Draft, TlsDraft};

pub(super) const KEYS: &[Key] = &[
    of_listener(
        "certfile",
        "The server's certificate chain (PEM). Together with `keyfile` it turns TLS on.",
        file_path(|draft, path| set_path(draft, path, |tls| &mut tls.certificate_chain)),
        Show::Listener(|_, socket| shown_if(socket.tls.as_ref().map(|tls| tls.certificate_chain.display()))),
    ),
    of_listener(
        "keyfile",
        "The private key of that certificate (PEM). If it is encrypted, its passphrase comes from \
        `key_passphrase_file`, the systemd credential `midge-key-passphrase`, the environment variable \
        MIDGE_KEY_PASSPHRASE, or the terminal.",
        file_path(|draft, path| set_path(draft, path, |tls| &mut tls.private_key)),
        Show::Listener(|_, socket| shown_if(socket.tls.as_ref().map(|tls| tls.private_key.display()))),
    ),
    of_listener(
        "key_passphrase_file",
        "A file whose first line is the passphrase of `keyfile`. Not in mosquitto.",
        file_path(|draft, path| set_path(draft, path, |tls| &mut tls.key_passphrase_file)),
        Show::Listener(|_, socket| {
            let path = socket
                .tls
                .as_ref()
                .and_then(|tls| tls.key_passphrase_file.as_ref());
            shown_if(path.map(|path| path.display()))
        }),
    ),
    of_listener(
        "cafile",
        "Certificate authorities that must have issued the clients' certificates (PEM).",
        file_path(|draft, path| set_path(draft, path, |tls| &mut tls.client_ca)),
        Show::Listener(|_, socket| {
            let path = socket.tls.as_ref().and_then(|tls| tls.client_ca.as_ref());
            shown_if(path.map(|path| path.display()))
        }),
    ),
    of_listener(
        "capath",
        "Folder of such files, each named by its hash as `openssl rehash` does it.",
        Value::Path {
            shape: "path",
            is_folder: true,
            set: |draft, path| set_path(draft, path, |tls| &mut tls.client_ca_folder),
        },
        Show::Listener(|_, socket| {
            let path = socket.tls.as_ref().and_then(|tls| tls.client_ca_folder.as_ref());
            shown_if(path.map(|path| path.display()))
        }),
    ),
    of_listener(
        "crlfile",
        "Certificate revocation lists (PEM). Clients whose certificate is revoked are refused, and so are \
        clients whose authority has no current list.",
        file_path(|draft, path| set_path(draft, path, |tls| &mut tls.revocation_list)),
        Show::Listener(|_, socket| {
            let path = socket.tls.as_ref().and_then(|tls| tls.revocation_list.as_ref());
            shown_if(path.map(|path| path.display()))
        }),
    ),
    or(
        "false",
        of_listener(
            "require_certificate",
            "Clients must present a certificate from `cafile` or `capath`. If false, none is requested.",
            Value::Flag(|draft, value| draft.listener().tls.require_client_certificate = value),
            Show::Listener(|_, socket| {
                let here = socket.tls.as_ref().map(|tls| tls.require_client_certificate);
                shown_if(here.or(socket.proxy.map(|proxy| proxy.require_certificate)))
            }),
        ),
    ),
    or(
        "true",
        of_listener(
            "allow_v1_certificates",
            "Client certificates of X.509 version 1 are accepted, with a warning; `openssl x509 -req` \
            before OpenSSL 3.2 makes them. Not in mosquitto.",
            Value::Flag(|draft, value| draft.listener().tls.refuse_version_1 = !value),
            Show::Listener(|_, socket| shown_if(socket.tls.as_ref().map(|tls| tls.accept_version_1))),
        ),
    ),
    or(
        "false",
        of_listener(
            "disable_client_cert_date_checks",
            "Client certificates are accepted before and after their validity period too.",
            Value::Flag(|draft, value| draft.listener().tls.ignore_client_dates = value),
            Show::Listener(|_, socket| shown_if(socket.tls.as_ref().map(|tls| tls.ignore_client_dates))),
        ),
    ),
    or(
        "false",
        of_listener(
            "rustls_records",
            "TLS records after the handshake are sealed and opened by the library rustls. If false, Midge \
            does this itself with the same cipher suites, and a connection needs a third of the memory. Not \
            in mosquitto.",
            Value::Flag(|draft, value| draft.listener().tls.rustls_records = value),
            Show::Listener(|_, socket| shown_if(socket.tls.as_ref().map(|tls| tls.rustls_records))),
        ),
    ),
    or(
        "false",
        of_listener(
            "use_identity_as_username",
            "The common name of the client's certificate is its user name. It may not contain `+`, `#` or \
            `/`. Needs `require_certificate true`.",
            Value::Flag(|draft, value| set_identity(draft, value, IdentityKind::CommonName)),
            Show::Listener(|_, socket| {
                let here = socket
                    .tls
                    .as_ref()
                    .map(|tls| tls.identity == Some(IdentityKind::CommonName));
                shown_if(here.or(socket.proxy.map(|proxy| proxy.identity)))
            }),
        ),
    ),
    or(
        "false",
        of_listener(
            "use_subject_as_username",
            "The subject of the client's certificate is its user name, as `openssl x509 -noout -subject \
            -nameopt RFC2253` prints it. It may not contain `+`, `#` or `/`. Needs `require_certificate \
            true`.",
            Value::Flag(|draft, value| set_identity(draft, value, IdentityKind::Subject)),
            Show::Listener(|_, socket| {
                shown_if(
                    socket
                        .tls
                        .as_ref()
                        .map(|tls| tls.identity == Some(IdentityKind::Subject)),
                )
            }),
        ),
    ),
    or(
        "tlsv1.2",
        with(
            Repetition::Mistake,
            of_listener(
                "tls_version",
                "Lowest version of TLS. `tlsv1` and `tlsv1.1` mean `tlsv1.2`, with a warning.",
                Value::Word {
                    shape: "tlsv1.2 or tlsv1.3",
                    set: set_tls_version,
                },
                Show::Listener(|_, socket| {
                    shown_if(socket.tls.as_ref().map(|tls| match tls.version_min {
                        TlsVersion::V1_2 => "tlsv1.2",
                        TlsVersion::V1_3 => "tlsv1.3",
                    }))
                }),
            ),
        ),
    ),
    of_listener(
        "ciphers",
        "Cipher suites of TLS 1.2, by their OpenSSL names, in order of preference. Only suites with ECDHE \
        and AES-GCM or ChaCha20 are supported; others are ignored with a warning.",
        Value::Text {
            shape: "names with : between them",
            set: |draft, list| set_text(draft, list, |tls| &mut tls.ciphers),
        },
        Show::Listener(|_, socket| shown_if(socket.tls.as_ref().and_then(|tls| tls.ciphers.as_ref()))),
    ),
    of_listener(
        "ciphers_tls1.3",
        "Cipher suites of TLS 1.3, by their OpenSSL names, in order of preference; without it the server \
        prefers TLS_AES_128_GCM_SHA256.",
        Value::Text {
            shape: "names with : between them",
            set: |draft, list| set_text(draft, list, |tls| &mut tls.ciphers_tls13),
        },
        Show::Listener(|_, socket| shown_if(socket.tls.as_ref().and_then(|tls| tls.ciphers_tls13.as_ref()))),
    ),
    key(
        "dhparamfile",
        Scope::Listener,
        "Parameters for classic Diffie-Hellman.",
        Status::Ignored("keys are exchanged over elliptic curves"),
    ),
    or(
        "pem",
        with(
            Repetition::Allowed,
            of_listener(
                "tls_keyform",
                "Format of the private key.",
                Value::Text {
                    shape: "pem",
                    set: |_, form| match form {
                        "pem" => Ok(()),
                        _ => Err("must be pem; OpenSSL engines do not exist in this TLS library".to_owned()),
                    },
                },
                Show::Nothing,
            ),
        ),
    ),
];

fn set_path(
    draft: &mut Draft,
    path: &str,
    field: fn(&mut TlsDraft) -> &mut Option<PathBuf>,
) -> Result<(), String> {
    *field(&mut draft.listener().tls) = Some(PathBuf::from(path));
    Ok(())
}

fn set_text(
    draft: &mut Draft,
    text: &str,
    field: fn(&mut TlsDraft) -> &mut Option<String>,
) -> Result<(), String> {
    *field(&mut draft.listener().tls) = Some(text.to_owned());
    Ok(())
}

fn set_identity(draft: &mut Draft, value: bool, kind: IdentityKind) {
    let kinds = &mut draft.listener().tls.identities;
    kinds.retain(|other| *other != kind);
    if value {
        kinds.push(kind);
    }
}

fn set_tls_version(draft: &mut Draft, text: &str) -> Result<(), String> {
    draft.listener().tls.version_min = Some(match text {
        "tlsv1.3" => TlsVersion::V1_3,
        "tlsv1.2" => TlsVersion::V1_2,
        "tlsv1" | "tlsv1.0" | "tlsv1.1" => {
            draft.warn(&format!(
                "tls_version {text} is not safe any more: TLS 1.2 and 1.3 are served, clients must use one of them"
            ));
            TlsVersion::V1_2
        }
        _ => return Err("must be tlsv1.2 or tlsv1.3".to_owned()),
    });
    Ok(())
}

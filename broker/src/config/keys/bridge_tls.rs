//! Keys of a bridge's TLS.
//!
//! Invariants: none.

use std::path::PathBuf;

use transport::tls::TlsVersion;

use super::bridge::of_bridge;
use super::key::{Key, Scope, Status, Value, file_path, key, or, shown, shown_if};
use crate::bridge_settings::{BridgeSettings, BridgeTls};
use crate::config::draft::Draft;

const PSK: &str = "pre-shared keys for TLS are not supported: use certificates (bridge_cafile, bridge_certfile, \
                   bridge_keyfile)";

pub(super) const KEYS: &[Key] = &[
    of_bridge(
        "bridge_cafile",
        "Certificate authorities that the other broker's certificate must come from (PEM). It turns TLS on.",
        file_path(|draft, path| set_path(draft, path, |tls| &mut tls.ca)),
        |bridge| {
            shown_if(
                tls(bridge)
                    .filter(|tls| !tls.of_system)
                    .and_then(|tls| path(&tls.ca)),
            )
        },
    ),
    of_bridge(
        "bridge_capath",
        "Folder of such files, each named by its hash as `openssl rehash` does. It turns TLS on.",
        Value::Path {
            shape: "path",
            is_folder: true,
            set: |draft, path| set_path(draft, path, |tls| &mut tls.ca_folder),
        },
        |bridge| shown_if(tls(bridge).and_then(|tls| path(&tls.ca_folder))),
    ),
    or(
        "false",
        of_bridge(
            "bridge_tls_use_os_certs",
            "The authorities are those of this system. It turns TLS on.",
            Value::Flag(|draft, value| draft.bridge().tls.of_system = value),
            |bridge| shown_if(tls(bridge).map(|tls| tls.of_system)),
        ),
    ),
    of_bridge(
        "bridge_certfile",
        "The bridge's own certificate chain (PEM), if the other broker asks for one.",
        file_path(|draft, path| {
            draft.bridge().certificate_chain = Some(PathBuf::from(path));
            Ok(())
        }),
        |bridge| shown_if(certificate(bridge).map(|(chain, _)| chain.display())),
    ),
    of_bridge(
        "bridge_keyfile",
        "The private key of that certificate (PEM).",
        file_path(|draft, path| {
            draft.bridge().private_key = Some(PathBuf::from(path));
            Ok(())
        }),
        |bridge| shown_if(certificate(bridge).map(|(_, key)| key.display())),
    ),
    or(
        "false",
        of_bridge(
            "bridge_insecure",
            "The other broker's certificate may be for another name than the one of `address`. Whoever has any \
             certificate of these authorities can pose as the other broker then.",
            Value::Flag(|draft, value| draft.bridge().tls.any_name = value),
            |bridge| shown_if(tls(bridge).map(|tls| tls.any_name)),
        ),
    ),
    of_bridge(
        "bridge_alpn",
        "The application protocol that is asked for in the TLS handshake.",
        Value::Text {
            shape: "protocol name",
            set: |draft, text| {
                if text.len() > usize::from(u8::MAX) {
                    return Err("must have 255 bytes at most".to_owned());
                }
                draft.bridge().tls.alpn = Some(text.to_owned());
                Ok(())
            },
        },
        |bridge| shown_if(tls(bridge).and_then(|tls| tls.alpn.as_ref())),
    ),
    or(
        "both",
        of_bridge(
            "bridge_tls_version",
            "The one version of TLS that is spoken.",
            Value::Word {
                shape: "tlsv1.2 or tlsv1.3",
                set: |draft, word| {
                    draft.bridge().tls.version = Some(match word {
                        "tlsv1.2" => TlsVersion::V1_2,
                        "tlsv1.3" => TlsVersion::V1_3,
                        _ => return Err("must be tlsv1.2 or tlsv1.3".to_owned()),
                    });
                    Ok(())
                },
            },
            |bridge| {
                let word = |version| match version {
                    TlsVersion::V1_2 => "tlsv1.2",
                    TlsVersion::V1_3 => "tlsv1.3",
                };
                shown_if(tls(bridge).and_then(|tls| tls.version).map(word))
            },
        ),
    ),
    of_bridge(
        "bridge_ciphers",
        "Cipher suites of TLS 1.2, as `openssl ciphers` names them.",
        Value::Text {
            shape: "list with colons",
            set: |draft, text| {
                draft.bridge().tls.ciphers = Some(text.to_owned());
                Ok(())
            },
        },
        |bridge| shown_if(tls(bridge).and_then(|tls| tls.ciphers.as_ref())),
    ),
    of_bridge(
        "bridge_ciphers_tls1.3",
        "Cipher suites of TLS 1.3.",
        Value::Text {
            shape: "list with colons",
            set: |draft, text| {
                draft.bridge().tls.ciphers_tls13 = Some(text.to_owned());
                Ok(())
            },
        },
        |bridge| shown_if(tls(bridge).and_then(|tls| tls.ciphers_tls13.as_ref())),
    ),
    or(
        "false",
        of_bridge(
            "bridge_require_ocsp",
            "`true` is an error: this TLS library does not ask authorities whether a certificate is revoked.",
            Value::Word {
                shape: "false",
                set: |_, word| {
                    match word {
                    "false" | "0" => Ok(()),
                    _ => Err(
                        "OCSP is not supported: leave it out, and let the other broker have certificates that \
                         expire soon"
                            .to_owned(),
                    ),
                }
                },
            },
            |_| shown(false),
        ),
    ),
    refused("bridge_identity", "The identity of a pre-shared key."),
    refused("bridge_psk", "A pre-shared key."),
];

const fn refused(name: &'static str, about: &'static str) -> Key {
    key(name, Scope::Bridge, about, Status::Refused(PSK))
}

fn tls(bridge: &BridgeSettings) -> Option<&BridgeTls> {
    bridge.tls.as_ref()
}

fn certificate(bridge: &BridgeSettings) -> Option<&(PathBuf, PathBuf)> {
    tls(bridge)?.certificate.as_ref()
}

fn path(path: &Option<PathBuf>) -> Option<std::path::Display<'_>> {
    path.as_deref().map(std::path::Path::display)
}

fn set_path(
    draft: &mut Draft,
    path: &str,
    field: fn(&mut BridgeTls) -> &mut Option<PathBuf>,
) -> Result<(), String> {
    *field(&mut draft.bridge().tls) = Some(PathBuf::from(path));
    Ok(())
}

//! Keys of JSON Web Tokens.
//!
//! Invariants: none.

use super::key::{Key, Show, Value, either, file_path, or, shown_if};
use crate::auth::token::{KeyLocation, TokenSettings};
use crate::config::configuration::ListenerSocket;
use crate::config::draft::{AccessDraft, Draft, TokenDraft};

pub(super) const KEYS: &[Key] = &[
    either(
        "jwt_keys",
        "Clients may have a JSON Web Token in the password field, whatever their user name. This is the JWKS (RFC \
         7517) with the public keys of the one who signs the tokens: a file, or a URL that begins with `https://` or \
         `http://`. Tokens are signed with RS256, RS384, RS512, ES256, ES384 or EdDSA and have the claim `exp`, with \
         which the connection ends. Without `password_file` clients with another password are refused. While a \
         server cannot be reached, the keys that it gave last hold; before it gave some, nobody gets in by a token.",
        Value::Text {
            shape: "path or URL",
            set: |draft, text| {
                if text.starts_with("http://")
                    && !text.contains("//localhost")
                    && !text.contains("//127.0.0.1")
                {
                    draft.warn(
                        "jwt_keys by http: whoever is on the way can put keys of his own there; fix: use https",
                    );
                }
                draft.token_key("jwt_keys").keys = Some(text.to_owned());
                Ok(())
            },
        },
        Show::Listener(|_, socket| {
            shown_if(of(socket).map(|tokens| match &tokens.keys {
                KeyLocation::File(path) => path.display().to_string(),
                KeyLocation::Url { url, .. } => url.clone(),
            }))
        }),
    ),
    either(
        "jwt_cafile",
        "Certificate authorities for a `jwt_keys` that begins with `https://`. Without it those of the system hold.",
        file_path(|draft, path| {
            let path = draft.path(path);
            draft.token_key("jwt_cafile").ca = Some(path);
            Ok(())
        }),
        Show::Listener(|_, socket| match of(socket).map(|tokens| &tokens.keys) {
            Some(KeyLocation::Url { ca, .. }) => shown_if(ca.as_ref().map(|path| path.display())),
            _ => Vec::new(),
        }),
    ),
    or(
        "sub",
        either(
            "jwt_user_claim",
            "The claim of a token that names the user.",
            Value::Word {
                shape: "the name of a claim",
                set: |draft, claim| {
                    draft.token_key("jwt_user_claim").user_claim = Some(claim.to_owned());
                    Ok(())
                },
            },
            Show::Listener(|_, socket| shown_if(of(socket).map(|tokens| &tokens.user_claim))),
        ),
    ),
    or(
        "acl",
        either(
            "jwt_acl_claim",
            "The claim of a token that says what its client may do, as with EMQX: `{\"pub\": [FILTERS], \"sub\": \
             [FILTERS], \"all\": [FILTERS]}`; `%c` or `${clientid}` stands for the client identifier, `%u` or \
             `${username}` for the user. What it does not name is denied. A token without the claim leaves it to \
             `acl_file`.",
            Value::Word {
                shape: "the name of a claim",
                set: |draft, claim| {
                    draft.token_key("jwt_acl_claim").acl_claim = Some(claim.to_owned());
                    Ok(())
                },
            },
            Show::Listener(|_, socket| shown_if(of(socket).map(|tokens| &tokens.acl_claim))),
        ),
    ),
    either(
        "jwt_issuer",
        "The claim `iss` must be this.",
        Value::Text {
            shape: "text",
            set: |draft, text| {
                draft.token_key("jwt_issuer").issuer = Some(text.to_owned());
                Ok(())
            },
        },
        Show::Listener(|_, socket| shown_if(of(socket).and_then(|tokens| tokens.issuer.as_ref()))),
    ),
    either(
        "jwt_audience",
        "The claim `aud` must be this, or have it in its list.",
        Value::Text {
            shape: "text",
            set: |draft, text| {
                draft.token_key("jwt_audience").audience = Some(text.to_owned());
                Ok(())
            },
        },
        Show::Listener(|_, socket| shown_if(of(socket).and_then(|tokens| tokens.audience.as_ref()))),
    ),
    or(
        "10",
        either(
            "jwt_leeway",
            "Seconds that the clock of the one who signs may differ: a token holds so long after its `exp` and before \
             its `nbf`.",
            Value::Integer {
                ranges: &[(0, 600)],
                set: |draft, seconds| {
                    draft.token_key("jwt_leeway").leeway_s = u32::try_from(seconds).ok();
                },
            },
            Show::Listener(|_, socket| shown_if(of(socket).map(|tokens| tokens.leeway_s))),
        ),
    ),
    or(
        "300",
        either(
            "jwt_refresh",
            "Seconds between two looks at `jwt_keys`. A token of a key that is not there, and SIGHUP, make it look \
             sooner.",
            Value::Integer {
                ranges: &[(5, 86_400)],
                set: |draft, seconds| {
                    draft.token_key("jwt_refresh").refresh_s = u32::try_from(seconds).ok();
                },
            },
            Show::Listener(|_, socket| shown_if(of(socket).map(|tokens| tokens.refresh_s))),
        ),
    ),
];

fn of(socket: &ListenerSocket) -> Option<&TokenSettings> {
    socket.access.tokens.as_ref()
}

impl Draft {
    fn token_key(&mut self, key: &'static str) -> &mut TokenDraft {
        let tokens = &mut self.access().tokens;
        tokens.first_key.get_or_insert(key);
        tokens
    }

    /// The settings for tokens that the keys make, if there are any.
    pub(in crate::config) fn tokens_of(&self, access: &AccessDraft) -> Result<Option<TokenSettings>, String> {
        let tokens = &access.tokens;
        let Some(keys) = &tokens.keys else {
            return match tokens.first_key {
                Some(key) => Err(format!("{key} needs jwt_keys, which is not given")),
                None => Ok(None),
            };
        };
        let is_url = keys.starts_with("https://") || keys.starts_with("http://");
        if !is_url && tokens.ca.is_some() {
            return Err("jwt_cafile is for a jwt_keys that begins with https://: leave it out".to_owned());
        }
        Ok(Some(TokenSettings {
            keys: match is_url {
                true => KeyLocation::Url {
                    url: keys.clone(),
                    ca: tokens.ca.clone(),
                },
                false => KeyLocation::File(self.path(keys)),
            },
            user_claim: tokens.user_claim.clone().unwrap_or_else(|| "sub".to_owned()),
            acl_claim: tokens.acl_claim.clone().unwrap_or_else(|| "acl".to_owned()),
            issuer: tokens.issuer.clone(),
            audience: tokens.audience.clone(),
            leeway_s: tokens.leeway_s.unwrap_or(10),
            refresh_s: tokens.refresh_s.unwrap_or(300),
        }))
    }
}

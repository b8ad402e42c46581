//! What a token says, once its signature is found right.
//!
//! Invariants: nothing of the claims is used before the signature is right. A claim that is there and cannot be read
//! refuses the token: nobody gets more rights by a mistake of the one who signs.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::TokenSettings;
use super::keys::KeySet;
use crate::auth::acl::AclFile;
use crate::time::Timestamp;

/// What a token gives to the client that has it.
#[derive(Clone, Debug)]
pub struct TokenGrant {
    /// Who the client is.
    pub user: Box<str>,
    /// What it may publish and read; `None` leaves that to the listener's rules.
    pub rules: Option<Arc<AclFile>>,
    /// When its connection ends.
    pub ends_at: Timestamp,
}

/// The same user until the same time; that there are rules is compared, and not which.
impl PartialEq for TokenGrant {
    fn eq(&self, other: &Self) -> bool {
        self.user == other.user
            && self.ends_at == other.ends_at
            && self.rules.is_some() == other.rules.is_some()
    }
}

impl Eq for TokenGrant {}

/// Why a token of a key that is not there (yet) is refused.
pub(super) const UNKNOWN_KEY: &str = "no key of jwt_keys is the one that the token was signed with";

/// What a token grants, or why it is refused; `clock` and `now` are the same moment.
pub(super) fn check(
    settings: &TokenSettings,
    keys: &KeySet,
    token: &[u8],
    clock: SystemTime,
    now: Timestamp,
) -> Result<TokenGrant, &'static str> {
    let header = decode_header(token)
        .map_err(|_| "the token has no header of a JWT, or an algorithm that is not accepted")?;
    let candidates = keys.candidates(header.kid.as_deref(), header.alg);
    if candidates.is_empty() {
        return Err(UNKNOWN_KEY);
    }
    let mut validation = Validation::new(header.alg);
    validation.leeway = u64::from(settings.leeway_s);
    validation.validate_nbf = true;
    let mut required = vec!["exp"];
    match &settings.audience {
        Some(audience) => {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        None => validation.validate_aud = false,
    }
    if let Some(issuer) = &settings.issuer {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    validation.set_required_spec_claims(&required);
    let mut refused = "the token's signature is wrong";
    for candidate in candidates {
        match decode::<Map<String, Value>>(token, &candidate.key, &validation) {
            Ok(decoded) => return grant(settings, &decoded.claims, clock, now),
            Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {}
            Err(error) => refused = why(error.kind()),
        }
    }
    Err(refused)
}

fn why(error: &ErrorKind) -> &'static str {
    match error {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet (nbf)",
        ErrorKind::InvalidIssuer => "the token is of another issuer than jwt_issuer",
        ErrorKind::InvalidAudience => "the token is for another audience than jwt_audience",
        ErrorKind::MissingRequiredClaim(_) => {
            "the token lacks a claim: exp, or what jwt_issuer and jwt_audience ask for"
        }
        ErrorKind::InvalidAlgorithm => "the token's algorithm is not that of the key",
        _ => "the token cannot be read",
    }
}

fn grant(
    settings: &TokenSettings,
    claims: &Map<String, Value>,
    clock: SystemTime,
    now: Timestamp,
) -> Result<TokenGrant, &'static str> {
    let user = claims.get(&settings.user_claim).and_then(Value::as_str);
    let user = user
        .filter(|user| {
            !user.is_empty() && user.len() <= usize::from(u16::MAX) && !user.contains(char::is_control)
        })
        .ok_or("the token has no text in the claim that names the user (jwt_user_claim)")?;
    let rules = claims.get(&settings.acl_claim).map(rules).transpose()?;
    let ends_s = claims.get("exp").and_then(Value::as_f64).unwrap_or(0.0).max(0.0) as u64;
    let ends_s = ends_s.saturating_add(u64::from(settings.leeway_s));
    let clock_s = clock
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    Ok(TokenGrant {
        user: user.into(),
        rules: rules.map(Arc::new),
        ends_at: now.plus_s(ends_s.saturating_sub(clock_s)),
    })
}

/// Rules as EMQX has them in tokens: `{"pub": [...], "sub": [...], "all": [...]}` with Topic Filters.
fn rules(claim: &Value) -> Result<AclFile, &'static str> {
    const WRONG: &str =
        "the token's access rules (jwt_acl_claim) are not {\"pub\": [...], \"sub\": [...], \"all\": [...]}";
    let claim = claim.as_object().ok_or(WRONG)?;
    let mut lines = Vec::new();
    for (key, list) in claim {
        let word = match key.as_str() {
            "pub" => "write",
            "sub" => "read",
            "all" => "readwrite",
            _ => return Err(WRONG),
        };
        for filter in list.as_array().ok_or(WRONG)? {
            let filter = filter
                .as_str()
                .filter(|filter| !filter.contains(char::is_control))
                .ok_or(WRONG)?;
            let filter = filter.replace("${clientid}", "%c").replace("${username}", "%u");
            lines.push(format!("pattern {word} {filter}"));
        }
    }
    AclFile::of_lines(&lines)
        .map_err(|_| "the token's access rules (jwt_acl_claim) have a filter that is none")
}

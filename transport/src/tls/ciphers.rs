//! Cipher suites by their OpenSSL names (`ciphers`, `ciphers_tls1.3`).
//!
//! Invariant: a list never allows more than rustls's suites, all of which are forward secret and authenticated. There
//! is a warning for each word that matches none of them.

use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, ProtocolVersion, SupportedCipherSuite};

/// OpenSSL's name of a TLS 1.2 suite, and the words of its cipher strings that also match it.
const TLS12: [(CipherSuite, &str, &[&str]); 6] = [
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        &["aECDSA", "ECDSA", "AES256", "AES", "AESGCM", "SHA384"],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        &["aECDSA", "ECDSA", "AES128", "AES", "AESGCM", "SHA256"],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        &["aECDSA", "ECDSA", "CHACHA20"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES256-GCM-SHA384",
        &["aRSA", "RSA", "AES256", "AES", "AESGCM", "SHA384"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-AES128-GCM-SHA256",
        &["aRSA", "RSA", "AES128", "AES", "AESGCM", "SHA256"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-RSA-CHACHA20-POLY1305",
        &["aRSA", "RSA", "CHACHA20"],
    ),
];
/// Words that match every suite of TLS 1.2 here.
const TLS12_ALL: [&str; 10] = [
    "ALL",
    "DEFAULT",
    "COMPLEMENTOFDEFAULT",
    "HIGH",
    "TLSv1.2",
    "ECDHE",
    "EECDH",
    "kECDHE",
    "kEECDH",
    "FIPS",
];
/// Words for suites that are never supported here; excluding them needs no warning.
const NEVER_HERE: [&str; 33] = [
    "aNULL", "eNULL", "NULL", "LOW", "MEDIUM", "EXPORT", "EXP", "EXPORT40", "EXPORT56", "DES", "3DES", "RC4",
    "RC2", "IDEA", "SEED", "MD5", "SHA", "SHA1", "PSK", "SRP", "DSS", "aDSS", "ADH", "AECDH", "DH", "DHE",
    "EDH", "kDHE", "kRSA", "CAMELLIA", "ARIA", "SSLv3", "AESCCM",
];
const TLS13: [(CipherSuite, &str); 3] = [
    (CipherSuite::TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384"),
    (CipherSuite::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256"),
    (
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        "TLS_CHACHA20_POLY1305_SHA256",
    ),
];

/// Keeps only those suites of the provider that the lists name, in their order, and returns the warnings. A version
/// without a list keeps all of its suites, the cheapest first.
///
/// # Errors
/// A list leaves no suite.
pub(super) fn restrict(
    provider: &mut CryptoProvider,
    tls12: Option<&str>,
    tls13: Option<&str>,
) -> Result<Vec<String>, String> {
    let mut warnings = Vec::new();
    let tls13 = tls13.map(|list| chosen_tls13(list, &mut warnings)).transpose()?;
    let tls12 = tls12.map(|list| chosen_tls12(list, &mut warnings)).transpose()?;
    let all = std::mem::take(&mut provider.cipher_suites);
    let mut suites = pick(&all, ProtocolVersion::TLSv1_3, tls13.as_deref());
    suites.extend(pick(&all, ProtocolVersion::TLSv1_2, tls12.as_deref()));
    provider.cipher_suites = suites;
    Ok(warnings)
}

fn pick(
    all: &[SupportedCipherSuite],
    version: ProtocolVersion,
    chosen: Option<&[CipherSuite]>,
) -> Vec<SupportedCipherSuite> {
    let of_version = || all.iter().filter(|suite| suite.version().version == version);
    match chosen {
        None => {
            let mut suites: Vec<_> = of_version().copied().collect();
            suites.sort_by_key(|suite| !is_cheapest(suite.suite()));
            suites
        }
        Some(chosen) => chosen
            .iter()
            .filter_map(|wanted| of_version().find(|suite| suite.suite() == *wanted).copied())
            .collect(),
    }
}

/// AES-128-GCM with SHA-256: as strong as a key exchange of 128 bits, and the least work for processors with
/// instructions for AES and SHA-256, especially in handshakes.
fn is_cheapest(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}

fn chosen_tls13(list: &str, warnings: &mut Vec<String>) -> Result<Vec<CipherSuite>, String> {
    let mut chosen = Vec::new();
    for word in words(list) {
        match TLS13.iter().find(|(_, name)| *name == word) {
            Some((suite, _)) if chosen.contains(suite) => {}
            Some((suite, _)) => chosen.push(*suite),
            None => warnings.push(format!(
                "ciphers_tls1.3: {} is not supported and is ignored",
                word.escape_default()
            )),
        }
    }
    if chosen.is_empty() {
        let known: Vec<_> = TLS13.iter().map(|(_, name)| *name).collect();
        return Err(format!(
            "ciphers_tls1.3 names no supported suite: use {}",
            known.join(":")
        ));
    }
    Ok(chosen)
}

/// The language of ciphers(1): `!` and `-` exclude, `+` between words means both, a leading `+` and `@` only change
/// the order.
fn chosen_tls12(list: &str, warnings: &mut Vec<String>) -> Result<Vec<CipherSuite>, String> {
    let mut chosen: Vec<CipherSuite> = Vec::new();
    let mut banned: Vec<CipherSuite> = Vec::new();
    for word in words(list) {
        if let Some(removed) = word.strip_prefix(['!', '-']) {
            let Some(removed) = matching(removed) else {
                warnings.push(unknown(word));
                continue;
            };
            chosen.retain(|suite| !removed.contains(suite));
            if word.starts_with('!') {
                banned.extend(removed);
            }
        } else if word.starts_with(['+', '@']) {
            continue;
        } else {
            match matching(word) {
                Some(added) if !added.is_empty() => chosen.extend(added),
                _ => warnings.push(unknown(word)),
            }
        }
    }
    let mut seen = Vec::new();
    chosen.retain(|suite| {
        let is_new = !seen.contains(suite) && !banned.contains(suite);
        seen.push(*suite);
        is_new
    });
    if chosen.is_empty() {
        let known: Vec<_> = TLS12.iter().map(|(_, name, _)| *name).collect();
        return Err(format!(
            "ciphers names no supported suite: use {}",
            known.join(":")
        ));
    }
    Ok(chosen)
}

/// The suites that match all of the words between `+`; `None` if a word is unknown.
fn matching(word: &str) -> Option<Vec<CipherSuite>> {
    let mut found: Vec<CipherSuite> = TLS12.iter().map(|(suite, ..)| *suite).collect();
    for part in word.split('+') {
        let is_known = TLS12_ALL.contains(&part)
            || NEVER_HERE.contains(&part)
            || TLS12
                .iter()
                .any(|(_, name, words)| *name == part || words.contains(&part));
        is_known.then_some(())?;
        if TLS12_ALL.contains(&part) {
            continue;
        }
        let has = |suite: &CipherSuite| {
            TLS12
                .iter()
                .any(|(of, name, words)| of == suite && (*name == part || words.contains(&part)))
        };
        found.retain(has);
    }
    Some(found)
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split([':', ',', ' ', ';']).filter(|word| !word.is_empty())
}

fn unknown(word: &str) -> String {
    format!(
        "ciphers: {} is not supported and is ignored",
        word.escape_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Result<(Vec<&'static str>, usize), String> {
        let mut warnings = Vec::new();
        let chosen = chosen_tls12(list, &mut warnings)?;
        let name = |suite: &CipherSuite| TLS12.iter().find(|(of, ..)| of == suite).unwrap().1;
        Ok((chosen.iter().map(name).collect(), warnings.len()))
    }

    #[test]
    fn names_keep_their_order() {
        let list = "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384";
        assert_eq!(
            names(list).unwrap(),
            (
                vec!["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"],
                0
            )
        );
    }

    #[test]
    fn words_of_openssl() {
        assert_eq!(names("DEFAULT:!aNULL:!MD5:@STRENGTH").unwrap().0.len(), 6);
        assert_eq!(names("HIGH:!AESGCM").unwrap().0.len(), 2);
        assert_eq!(
            names("EECDH+aRSA+AES256").unwrap().0,
            ["ECDHE-RSA-AES256-GCM-SHA384"]
        );
        assert_eq!(
            names("ALL:-CHACHA20:ECDHE-RSA-CHACHA20-POLY1305")
                .unwrap()
                .0
                .len(),
            5
        );
    }

    #[test]
    fn what_is_banned_does_not_come_back() {
        let (chosen, _) = names("!CHACHA20:ALL").unwrap();
        assert!(chosen.iter().all(|name| !name.contains("CHACHA20")), "{chosen:?}");
    }

    #[test]
    fn unknown_and_old_suites_are_warned_about() {
        assert_eq!(
            names("ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA:NONSENSE")
                .unwrap()
                .1,
            2
        );
        assert!(
            names("AES128-SHA:DHE-RSA-AES256-SHA")
                .unwrap_err()
                .contains("ECDHE-RSA")
        );
        assert!(names("").is_err());
    }

    #[test]
    fn the_provider_keeps_what_is_named() {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        let warnings = restrict(
            &mut provider,
            Some("ECDHE-ECDSA-AES128-GCM-SHA256"),
            Some("TLS_AES_128_GCM_SHA256:TLS_AES_128_CCM_SHA256"),
        )
        .unwrap();
        let left: Vec<_> = provider
            .cipher_suites
            .iter()
            .map(SupportedCipherSuite::suite)
            .collect();
        assert_eq!(
            left,
            [
                CipherSuite::TLS13_AES_128_GCM_SHA256,
                CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            ]
        );
        assert_eq!(warnings.len(), 1);
        assert!(restrict(&mut provider, None, Some("x")).is_err());
    }
}

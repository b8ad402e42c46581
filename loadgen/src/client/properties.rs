//! Java properties files with the names of a client's TLS files, for `loadgen pub` and `loadgen sub`.
//!
//! Invariant: an entry that is not understood is reported with file and line, and never guessed. A relative path is
//! resolved against the working directory and then against the folder of the properties file.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use java_properties::{LineContent, PropertiesIter};
use transport::tls::Passphrase;
use zeroize::Zeroizing;

/// The entries of a properties file.
#[derive(Debug, Default)]
pub(super) struct Properties {
    /// The value of `ssl.ca.certificate.path`.
    pub(super) ca: Option<PathBuf>,
    /// The value of `ssl.client.certificate.path`.
    pub(super) certificate: Option<PathBuf>,
    /// The value of `ssl.client.key.path`.
    pub(super) key: Option<PathBuf>,
    /// The value of `ssl.client.key.passphrase`.
    pub(super) key_passphrase: Option<Passphrase>,
    /// The value of `host`.
    pub(super) host: Option<String>,
    /// The value of `port`.
    pub(super) port: Option<u16>,
    /// Warnings for the user: whole sentences with file and line.
    pub(super) warnings: Vec<String>,
}

impl Properties {
    /// Reads a file.
    ///
    /// # Errors
    /// One sentence with the file and, where there is one, the line.
    pub(super) fn read(path: &Path) -> Result<Properties, String> {
        let shown = path.display();
        let unreadable = |error: io::Error| format!("cannot read {shown}: {error}");
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(format!(
                "{shown} is not a properties file: it has more than {BYTES_MAX} bytes"
            ));
        }
        let mut properties = Properties::parse(&bytes, path)?;
        if properties.key_passphrase.is_some() && mode & 0o077 != 0 {
            properties.warnings.push(format!(
                "{shown} contains a passphrase and is readable by others: chmod 600 {shown}"
            ));
        }
        Ok(properties)
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Properties, String> {
        // ISO 8859-1 for java.util.Properties; today UTF-8 is more likely if the bytes are valid UTF-8.
        // Decoded here, because the library's decoder panics on a file that is the beginning of a byte order mark.
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0,
        };
        let mut properties = Properties::default();
        let mut seen: Vec<(String, usize)> = Vec::new();
        for line in PropertiesIter::new_with_encoding(text.as_bytes(), encoding_rs::UTF_8) {
            let line = line.map_err(|error| format!("{}: {error}", place(path, error.line_number())))?;
            let number = line.line_number();
            let LineContent::KVPair(key, value) = line.consume_content() else {
                continue;
            };
            let place = place(path, Some(number));
            if let Some((_, first)) = seen.iter().find(|(known, _)| *known == key) {
                let warning = format!("{place}: {key} is in line {first} too; the last one counts");
                properties.warnings.push(warning);
            }
            properties.set(&key, value, &place, path)?;
            seen.push((key, number));
        }
        Ok(properties)
    }

    fn set(&mut self, key: &str, value: String, place: &str, file: &Path) -> Result<(), String> {
        if !KEYS.contains(&key) {
            self.warnings.push(unknown(key, place));
            return Ok(());
        }
        // Java keeps blanks at the end of a value; they are not intended, except in a secret.
        let trimmed = value.trim_end();
        if trimmed.is_empty() && key != KEY_PASSPHRASE {
            return Err(format!("{place}: {key} has no value"));
        }
        match key {
            CA => self.ca = Some(resolve(trimmed, file)),
            CERTIFICATE => self.certificate = Some(resolve(trimmed, file)),
            KEY => self.key = Some(resolve(trimmed, file)),
            KEY_PASSPHRASE => self.key_passphrase = Some(Passphrase::new(value.into_bytes())),
            HOST => self.host = Some(trimmed.to_owned()),
            _ => {
                let port = trimmed.parse().ok().filter(|port| *port != 0);
                self.port =
                    Some(port.ok_or_else(|| {
                        format!("{place}: port {trimmed:?} must be a number from 1 to 65535")
                    })?);
            }
        }
        Ok(())
    }
}

fn place(file: &Path, line: Option<usize>) -> String {
    match line {
        Some(line) => format!("{}:{line}", file.display()),
        None => file.display().to_string(),
    }
}

fn unknown(key: &str, place: &str) -> String {
    let mut warning = format!(
        "{place}: unknown key {:?} is ignored",
        key.escape_debug().to_string()
    );
    let nearest = KEYS
        .iter()
        .map(|known| (strsim::jaro_winkler(key, known), known))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    if let Some((_, known)) = nearest {
        // Writing to a String cannot fail.
        let _written = write!(warning, ": did you mean {known}?");
    }
    warning
}

/// Resolves a path of the file: from the working directory, or otherwise from the file's folder.
fn resolve(path: &str, file: &Path) -> PathBuf {
    let path = PathBuf::from(path);
    if path.exists() {
        return path;
    }
    let beside = file.parent().unwrap_or(Path::new("")).join(&path);
    if beside.exists() { beside } else { path }
}

const CA: &str = "ssl.ca.certificate.path";
const CERTIFICATE: &str = "ssl.client.certificate.path";
const KEY: &str = "ssl.client.key.path";
const KEY_PASSPHRASE: &str = "ssl.client.key.passphrase";
const HOST: &str = "host";
const PORT: &str = "port";
const KEYS: [&str; 6] = [CA, CERTIFICATE, KEY, KEY_PASSPHRASE, HOST, PORT];

/// Largest size of a properties file in bytes.
const BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Properties, String> {
        Properties::parse(text.as_bytes(), Path::new("a.properties"))
    }

    #[test]
    fn the_syntax_of_java() {
        let properties = parse(
            "# a comment\n! another\nssl.ca.certificate.path = m2mqtt_ca.crt\n\
             ssl.client.certificate.path:publisher.crt\n\
             ssl.client.key.path publisher\\\n  .key\n\
                 ssl.client.key.passphrase=p\\u00e4ss=word\nhost=localhost  \nport = 8883\n",
        )
        .unwrap();
        assert_eq!(properties.ca.as_deref(), Some(Path::new("m2mqtt_ca.crt")));
        assert_eq!(
            properties.certificate.as_deref(),
            Some(Path::new("publisher.crt"))
        );
        assert_eq!(properties.key.as_deref(), Some(Path::new("publisher.key")));
        assert!(properties.key_passphrase.is_some());
        assert_eq!(
            (properties.host.as_deref(), properties.port),
            (Some("localhost"), Some(8883))
        );
        assert!(properties.warnings.is_empty());
    }

    #[test]
    fn what_is_not_known_is_warned_about_with_file_and_line() {
        let properties = parse("\nssl.client.cert.path=a\n\nx=y\nhost=a\nhost=b\n").unwrap();
        let [near, far, twice] = &properties.warnings[..] else {
            panic!("{:?}", properties.warnings);
        };
        assert_eq!(
            near,
            "a.properties:2: unknown key \"ssl.client.cert.path\" is ignored: did you mean ssl.client.certificate.path?"
        );
        assert_eq!(far, "a.properties:4: unknown key \"x\" is ignored");
        assert_eq!(
            twice,
            "a.properties:6: host is in line 5 too; the last one counts"
        );
        assert_eq!(properties.host.as_deref(), Some("b"));
    }

    #[test]
    fn what_is_wrong_is_a_sentence_with_file_and_line() {
        for (text, sentence) in [
            ("port=0", "a.properties:1: port \"0\" must be"),
            ("\nport=x", "a.properties:2: port \"x\" must be"),
            (
                "ssl.client.key.path=",
                "a.properties:1: ssl.client.key.path has no value",
            ),
            ("host=\\uZZZZ", "a.properties:1: "),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with(sentence), "{error}");
        }
        let error = Properties::read(Path::new("/nonexistent/a.properties")).unwrap_err();
        assert!(
            error.contains("/nonexistent/a.properties: No such file"),
            "{error}"
        );
    }

    #[test]
    fn paths_are_looked_for_beside_the_file_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("publisher.properties");
        let text =
            "ssl.ca.certificate.path=ca.crt\nssl.client.key.path=gone.key\nssl.client.key.passphrase=s\n";
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.path().join("ca.crt"), "").unwrap();
        let properties = Properties::read(&file).unwrap();
        assert_eq!(properties.ca, Some(folder.path().join("ca.crt")));
        assert_eq!(properties.key, Some(PathBuf::from("gone.key")));
        assert!(
            properties.warnings[0].contains("chmod 600"),
            "{:?}",
            properties.warnings
        );
        assert!(!format!("{properties:?}").contains("\"s\""));
    }

    #[test]
    fn the_beginning_of_a_byte_order_mark_is_text() {
        for bytes in [&b"\xef"[..], b"\xef\xbb", b"\xfe", b"\xff"] {
            let _read = Properties::parse(bytes, Path::new("a"));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _read = Properties::parse(&bytes, Path::new("a"));
        }

        #[test]
        fn no_text_of_its_own_signs_makes_it_panic(text in "[a-z=: \\\\\n\r#!u0]{0,60}") {
            let _read = parse(&text);
        }
    }
}

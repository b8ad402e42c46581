//! A file of the secrets of TLS connections, in the format of SSLKEYLOGFILE, with which Wireshark reads what was
//! recorded.
//!
//! Invariants: the file is for its owner alone. A line is written whole, by one write.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustls::KeyLog;

/// The file, which grows by a few lines with each handshake.
#[derive(Debug)]
pub struct KeyLogFile(File);

impl KeyLogFile {
    /// Opens the file, and makes it if it is not there.
    ///
    /// # Errors
    /// It cannot be written, or is another user's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(MODE)
            .open(path)?;
        if file.metadata()?.is_file() {
            file.set_permissions(Permissions::from_mode(MODE))?;
        }
        Ok(Self(file))
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        // A full disk must not end a connection.
        let _written = (&self.0).write_all(line.as_bytes());
    }
}

const MODE: u32 = 0o600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_sslkeylogfile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, "before\n").unwrap();
        let file = KeyLogFile::open(&path).unwrap();
        file.log("CLIENT_RANDOM", &[0, 255], &[16]);
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "before\nCLIENT_RANDOM 00ff 10\n"
        );
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

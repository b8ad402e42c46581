//! Password files: each is read completely or refused with line numbers, and its users can be looked up. No password
//! is checked, because hashes are slow by design.
#![no_main]

use std::path::Path;

use broker::auth::password_file::PasswordFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    match PasswordFile::parse(Path::new("passfile"), text) {
        Ok(file) => {
            let lines = text.split(|byte| *byte == b'\n').count();
            assert!(file.len() <= lines, "a line has one user");
            let _somebody_or_not = file.find("user");
            let _challenge_or_none = file.scram_challenge("user");
            let _kept_or_not = file.keeps(&file, "user");
        }
        Err(error) => assert!(error.to_string().contains("passfile"), "{error}"),
    }
});

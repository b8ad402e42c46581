//! Configurations: any text is refused with line numbers, or takes effect; and the configuration in effect, printed
//! and read again, is the same. `include_dir` and host names are left out, because they depend on more than the text.
#![no_main]

use std::io::Write as _;

use broker::args::parse_from;
use broker::config::{Configuration, load};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let looks_beyond = ["include_dir", "listener", "bind_address", "user"];
    let looks = |line: &str| looks_beyond.iter().any(|key| line.trim_start().starts_with(key));
    // Listeners with only a port.
    let is_port = |line: &str| {
        line.strip_prefix("listener ")
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if text.lines().any(|line| looks(line) && !is_port(line)) {
        return;
    }
    let Some(configuration) = read(text) else {
        return;
    };
    let effective = configuration.effective();
    let Some(again) = read(&effective) else {
        panic!("the effective configuration is refused:\n{effective}");
    };
    assert_eq!(again.effective(), effective);
});

/// The configuration of a file with this text.
fn read(text: &str) -> Option<Configuration> {
    let mut file = tempfile::NamedTempFile::new_in("/dev/shm").expect("a file in memory");
    file.write_all(text.as_bytes()).expect("room for it");
    let path = file.path().as_os_str();
    let args = parse_from(["broker".as_ref(), "-c".as_ref(), path]);
    match load(&args) {
        Ok(configuration) => Some(configuration),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

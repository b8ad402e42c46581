//! ACL files: each is read completely or refused with line numbers, and its rules give an answer for any client, user,
//! topic and filter.
//!
//! An allowed filter has a topic that may be read: the filter itself, if it has no wildcard.
#![no_main]

use std::path::Path;

use broker::auth::acl::{AclFile, Identity};
use libfuzzer_sys::fuzz_target;
use mqtt::topic;

fuzz_target!(|input: (&[u8], &str, Option<&str>, Vec<&str>)| {
    let (text, client, user, topics) = input;
    let file = match AclFile::parse(Path::new("aclfile"), text) {
        Ok(file) => file,
        Err(error) => {
            assert!(error.to_string().contains("aclfile"), "{error}");
            return;
        }
    };
    let identity = Identity {
        client_identifier: client.into(),
        user_name: user.map(Into::into),
        ..Identity::default()
    };
    let access = file.access(identity, 1);
    for name in topics {
        let may_read = topic::check_name(name).is_ok() && access.may_read(name);
        let _allowed_or_not = access.may_write(name);
        if topic::check_filter(name).is_ok() {
            let may_subscribe = access.may_subscribe(name);
            let is_name = topic::check_name(name).is_ok() && !name.starts_with("$share/");
            assert!(!is_name || may_subscribe == may_read, "{name:?}");
        }
    }
});

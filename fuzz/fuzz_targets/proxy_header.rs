//! The header of a load balancer: any bytes are read, refused or waited for within the limit, and more bytes after a
//! complete header change nothing.
#![no_main]

use broker::config::ProxyProtocol;
use broker::{limits, proxy_header_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, bool, bool, &[u8], &[u8])| {
    let (is_binary, require_tls, identity, header, behind) = input;
    let wanted = ProxyProtocol {
        version: if is_binary { 2 } else { 1 },
        require_tls,
        require_certificate: identity,
        identity,
    };
    match proxy_header_bytes(header, &wanted) {
        Ok(None) => assert!(header.len() < limits::PROXY_HEADER_BYTES_MAX),
        Ok(Some(length)) => {
            assert!(length <= header.len());
            let more = [header, behind].concat();
            assert_eq!(proxy_header_bytes(&more, &wanted), Ok(Some(length)));
        }
        Err(_) => {}
    }
});

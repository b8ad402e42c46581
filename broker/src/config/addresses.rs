//! Where listeners are: host names are looked up, and two listeners at one place are found.
//!
//! Invariants: none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use super::configuration::{AddressFamily, ListenerSocket};
use super::draft::{ListenerDraft, ProtocolDraft};

/// The addresses that a listener listens on: those of its host, or all.
///
/// # Errors
/// The host has none, or none of the family that is asked for.
pub(super) fn addresses(
    listener: &ListenerDraft,
    port: u16,
    local_only: bool,
) -> Result<Vec<SocketAddr>, String> {
    let loopback = || {
        vec![
            SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
        ]
    };
    let addresses = match &listener.host {
        // Two free ports would not be the same one.
        Some(_) if port == 0 => vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))],
        Some(_) if local_only => loopback(),
        Some(host) => look_up(host, port)?,
        // Whoever reaches it is answered.
        None if listener.protocol == ProtocolDraft::HttpApi => loopback(),
        None => vec![
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        ],
    };
    let addresses: Vec<_> = addresses
        .into_iter()
        .filter(|address| is_of(address, listener.family))
        .collect();
    if addresses.is_empty() {
        return Err("socket_domain leaves no address to listen on".to_owned());
    }
    Ok(addresses)
}

fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = (host, port).to_socket_addrs().map_err(|cause| {
        format!(
            "the address {host} cannot be found ({cause}): name an address or a host name of this machine"
        )
    })?;
    let mut addresses = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

fn is_of(address: &SocketAddr, family: Option<AddressFamily>) -> bool {
    match family {
        None => true,
        Some(AddressFamily::V4) => address.is_ipv4(),
        Some(AddressFamily::V6) => address.is_ipv6(),
    }
}

/// Whether the system would refuse the second of two listeners.
pub(super) fn overlap(one: &ListenerSocket, other: &ListenerSocket) -> bool {
    let is_same = |one: &SocketAddr, other: &SocketAddr| {
        let (one, other) = (one.ip(), other.ip());
        one.is_ipv4() == other.is_ipv4() && (one == other || one.is_unspecified() || other.is_unspecified())
    };
    let mut pairs = one
        .addresses
        .iter()
        .flat_map(|one| other.addresses.iter().map(move |other| (one, other)));
    if one.unix.is_some() || other.unix.is_some() {
        return one.unix.is_some()
            && one.unix.as_ref().map(|unix| &unix.path) == other.unix.as_ref().map(|unix| &unix.path);
    }
    // Port 0 is another one each time.
    one.port == other.port
        && one.port != 0
        && one.interface == other.interface
        && pairs.any(|(one, other)| is_same(one, other))
}

//! Parses the value of `-h`: one host or several, each with or without a port.
//!
//! Invariant: a text with more than one colon is an IPv6 address, unless it is in brackets.

use std::str::FromStr;

/// A host as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostWord {
    /// The host's name or address, without the brackets of an IPv6 address.
    pub(crate) name: String,
    /// The port after the name.
    pub(crate) port: Option<u16>,
}

/// The hosts of `-h`, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostWords(pub(crate) Vec<HostWord>);

impl FromStr for HostWords {
    type Err = String;

    fn from_str(word: &str) -> Result<HostWords, String> {
        let hosts = word.split(',').map(HostWord::from_str);
        Ok(HostWords(hosts.collect::<Result<_, _>>()?))
    }
}

impl FromStr for HostWord {
    type Err = String;

    fn from_str(word: &str) -> Result<HostWord, String> {
        let (name, port) = match word.strip_prefix('[').and_then(|word| word.split_once(']')) {
            Some((address, "")) => (address, None),
            Some((address, behind)) => {
                let port = behind.strip_prefix(':');
                (address, Some(port.ok_or_else(|| not_a_host(word))?))
            }
            None => match word.split_once(':') {
                Some((name, port)) if !port.contains(':') => (name, Some(port)),
                _ => (word, None),
            },
        };
        if name.is_empty() {
            return Err(not_a_host(word));
        }
        let port = port.map(|port| port.parse().ok().filter(|&port| port > 0));
        match port {
            Some(None) => Err(format!("{word:?} has no port from 1 to 65535 after its colon")),
            port => Ok(HostWord {
                name: name.to_owned(),
                port: port.flatten(),
            }),
        }
    }
}

fn not_a_host(word: &str) -> String {
    format!("{word:?} is not a host: write HOST, HOST:PORT or [IPv6]:PORT, several separated by commas")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_ports_of_their_own_or_not() {
        let hosts: HostWords = "a,b:1884,::1,[::1]:5,[fe80::1],10.0.0.1:6".parse().unwrap();
        let hosts: Vec<_> = hosts
            .0
            .iter()
            .map(|host| (host.name.as_str(), host.port))
            .collect();
        assert_eq!(
            hosts,
            [
                ("a", None),
                ("b", Some(1884)),
                ("::1", None),
                ("::1", Some(5)),
                ("fe80::1", None),
                ("10.0.0.1", Some(6))
            ]
        );
    }

    #[test]
    fn what_is_no_host_is_a_sentence() {
        for word in [
            "", "a,", ",a", ":1", "a:", "a:0", "a:65536", "a:x", "[::1]5", "[]:5",
        ] {
            assert!(word.parse::<HostWords>().is_err(), "{word:?}");
        }
    }
}

//! The command line: mosquitto's options, and those of Midge.
//!
//! Invariants: none.

use std::ffi::OsString;
use std::num::NonZeroU16;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::certs::CertsArgs;
use crate::ctl::CtlArgs;
use crate::exit_code::EXIT_INVALID;
use crate::import::ImportArgs;
use crate::limits;
use crate::passwd::PasswdArgs;
use crate::store_command::StoreArgs;

/// The command line of `broker`.
#[derive(Clone, Debug, Default, Parser)]
#[command(
    name = "broker",
    version,
    about = "An MQTT 3.1, 3.1.1 and 5.0 broker.",
    after_help = "Without a configuration file that has a listener, only clients on this machine can connect.",
    args_conflicts_with_subcommands = true
)]
pub struct Args {
    /// Configuration file in the syntax of mosquitto.conf
    #[arg(short = 'c', long = "config-file", value_name = "FILE")]
    pub config_file: Option<PathBuf>,

    /// Port on the loopback addresses, instead of 1883; 0 selects a free one. May be given several times. Ignored if
    /// the configuration file has a listener
    #[arg(short = 'p', long = "port", value_name = "PORT")]
    pub ports: Vec<u16>,

    /// Log everything, whatever the configuration file says
    #[arg(short = 'v', long = "verbose")]
    pub verbose: bool,

    /// Log nothing, whatever the configuration file says, and -v
    #[arg(short = 'q', long = "quiet")]
    pub quiet: bool,

    /// Go to the background once the broker serves clients; under systemd it does not have to
    #[arg(short = 'd', long = "daemon")]
    pub daemon: bool,

    /// Write the secrets of TLS connections to a file, with which Wireshark reads what was recorded (SSLKEYLOGFILE)
    #[arg(long, value_name = "FILE")]
    pub tls_keylog: Option<PathBuf>,

    /// Threads that serve clients, each with its own core [default: the cores this process may use]
    #[arg(long, value_name = "N", value_parser = shards)]
    pub shards: Option<NonZeroU16>,

    /// Check the configuration, print the settings in effect and exit
    #[arg(long)]
    pub test_config: bool,

    /// A task other than serving clients
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program can do besides serving clients.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Make a certificate authority, a server certificate and client certificates, to start with TLS
    Certs(CertsArgs),
    /// Say what comes of each line of a configuration file, such as a mosquitto.conf
    Check(CheckArgs),
    /// Control a running broker over its control socket
    Ctl(CtlArgs),
    /// Convert the persistence file of mosquitto (mosquitto.db) into a store
    Import(ImportArgs),
    /// Create and change password files, in the format of mosquitto_passwd
    Passwd(PasswdArgs),
    /// Inspect, check or copy the folder of a store
    Store(StoreArgs),
}

/// The arguments of `broker check`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "The exit code is 0 if the broker would take all lines, 1 if it would not take one, 3 if a file \
                        cannot be read. `broker -c FILE --test-config` looks at the files that the lines name, too."
)]
pub struct CheckArgs {
    /// Configuration files, each of a broker; what they include is read too
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Print the same as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The command line of this process. Prints help, version or the mistake and exits if there is nothing to run.
pub fn parse_from<I, T>(arguments: I) -> Args
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    try_parse_from(arguments).unwrap_or_else(|error| {
        // A closed standard output must not turn help into a panic; help that is lost on a full disk is a failure.
        let printed = error.print();
        let is_lost = printed.is_err_and(|error| error.kind() != std::io::ErrorKind::BrokenPipe);
        std::process::exit(if error.use_stderr() || is_lost {
            i32::from(EXIT_INVALID)
        } else {
            0
        })
    })
}

/// As [`parse_from`], but returns the mistake as a value.
///
/// # Errors
/// The command line has an unknown option or a wrong value, or asks for help or the version.
pub fn try_parse_from<I, T>(arguments: I) -> Result<Args, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    Args::try_parse_from(arguments)
}

fn shards(text: &str) -> Result<NonZeroU16, String> {
    let number = text.parse::<NonZeroU16>().ok();
    number
        .filter(|number| number.get() <= limits::SHARDS_MAX)
        .ok_or_else(|| format!("must be a number from 1 to {}", limits::SHARDS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        try_parse_from(line.split_whitespace())
    }

    #[test]
    fn options_of_mosquitto() {
        let args = parse("broker -c a.conf -p 1884 -p 1885 -v").unwrap();
        assert_eq!(args.config_file, Some(PathBuf::from("a.conf")));
        assert_eq!(args.ports, [1884, 1885]);
        assert!(args.verbose && !args.test_config);
        let args = parse("broker -d -q --tls-keylog keys").unwrap();
        assert!(args.daemon && args.quiet);
        assert_eq!(args.tls_keylog, Some(PathBuf::from("keys")));
        assert_eq!(
            parse("broker --config-file b --port 1 --verbose").unwrap().ports,
            [1]
        );
    }

    #[test]
    fn options_of_midge() {
        let args = parse("broker --shards 2 --test-config").unwrap();
        assert_eq!(args.shards, NonZeroU16::new(2));
        assert!(args.test_config);
    }

    #[test]
    fn subcommands_stand_alone() {
        let args = parse("broker certs folder --name broker.example --client a --client b").unwrap();
        assert!(matches!(args.command, Some(Command::Certs(_))));
        assert!(parse("broker -c a.conf certs folder").is_err());
        assert!(parse("broker certs").is_err());
        let args = parse("broker store backup from to").unwrap();
        assert!(matches!(args.command, Some(Command::Store(_))));
        assert!(parse("broker store check").is_err());
    }

    #[test]
    fn wrong_options_are_refused() {
        for line in [
            "broker --shards 0",
            "broker --shards 1025",
            "broker -p 65536",
            "broker -p x",
            "broker --unknown",
            "broker file",
        ] {
            assert!(parse(line).unwrap_err().use_stderr(), "{line}");
        }
    }

    #[test]
    fn help_and_version_are_no_errors() {
        for line in ["broker -h", "broker --help", "broker --version"] {
            assert!(!parse(line).unwrap_err().use_stderr(), "{line}");
        }
    }
}

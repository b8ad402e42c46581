//! The fingerprint of the machine: without it a figure cannot be compared.
//!
//! Invariant: what cannot be read is absent, never guessed; nothing that names the owner is taken.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cgroup::CpuGroups;

/// Where a run took place.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the CPU model.
    pub cpu: Option<String>,
    /// Cores that this process may use.
    pub cores: usize,
    /// Release of the kernel.
    pub kernel: Option<String>,
    /// Memory of the machine, KiB.
    pub memory_kib: Option<u64>,
    /// How many threads wanted a CPU on average when it was looked at: of 1, 5 and 15 minutes.
    #[serde(default)]
    pub load_average: Option<String>,
    /// The tightest CPU limit of the control groups of this process: quota and period, µs.
    pub cgroup_cpu: Option<String>,
    /// Soft limit of open descriptors.
    pub descriptors_limit: Option<u64>,
    /// Soft limit of locked memory, bytes.
    pub locked_memory_limit: Option<u64>,
    /// What decides about sockets and ports.
    pub sysctls: Vec<(String, String)>,
}

impl Machine {
    /// Looks at this machine.
    pub fn look() -> Machine {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory =
            field(&meminfo, "MemTotal").and_then(|text| text.trim_end_matches("kB").trim().parse().ok());
        Machine {
            cpu: field(&cpuinfo, "model name").or_else(|| field(&cpuinfo, "CPU part")),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            kernel: line("/proc/sys/kernel/osrelease"),
            memory_kib: memory,
            load_average: line("/proc/loadavg").map(|text| {
                let averages: Vec<&str> = text.split(' ').take(3).collect();
                averages.join(" ")
            }),
            cgroup_cpu: CpuGroups::find()
                .limit()
                .map(|(quota, period)| format!("{quota} {period}")),
            descriptors_limit: getrlimit(Resource::Nofile).current,
            locked_memory_limit: getrlimit(Resource::Memlock).current,
            sysctls: SYSCTLS
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), sysctl(name)?)))
                .collect(),
        }
    }
}

/// Jiffies of all CPUs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    total: u64,
    steal: u64,
}

impl CpuTimes {
    /// Reads the first line of `/proc/stat`; zeros where it cannot be read.
    pub fn now() -> CpuTimes {
        CpuTimes::parse(&fs::read_to_string("/proc/stat").unwrap_or_default()).unwrap_or_default()
    }

    fn parse(stat: &str) -> Option<CpuTimes> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        // user nice system idle iowait irq softirq steal; that of virtual machines is in user already.
        let jiffies: Vec<u64> = line
            .split_whitespace()
            .take(8)
            .map_while(|word| word.parse().ok())
            .collect();
        Some(CpuTimes {
            total: jiffies.iter().sum(),
            steal: *jiffies.get(7)?,
        })
    }

    /// Share of the CPU time since `before` that the hypervisor took, in percent.
    pub fn steal_percent_since(&self, before: &CpuTimes) -> f64 {
        let total = self.total.saturating_sub(before.total);
        if total == 0 {
            0.0
        } else {
            100.0 * self.steal.saturating_sub(before.steal) as f64 / total as f64
        }
    }
}

/// Local ports that one address can open to one address and port.
pub fn local_ports() -> Option<u64> {
    let range = sysctl("net.ipv4.ip_local_port_range")?;
    let mut ends = range
        .split_whitespace()
        .map_while(|word| word.parse::<u64>().ok());
    let (low, high) = (ends.next()?, ends.next()?);
    Some((high + 1).saturating_sub(low))
}

/// SHA-256 of a file in hexadecimal; `None` if it cannot be read.
pub fn sha256_of(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let digest = TLS13_AES_128_GCM_SHA256
        .tls13()?
        .common
        .hash_provider
        .hash(&bytes);
    Some(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

const SYSCTLS: &[&str] = &[
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_congestion_control",
    "kernel.io_uring_disabled",
];

fn sysctl(name: &str) -> Option<String> {
    line(&format!("/proc/sys/{}", name.replace('.', "/")))
}

fn line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The value behind `name :` in a file like `/proc/cpuinfo`.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_the_eighth_number() {
        let before = CpuTimes::parse("cpu  100 0 100 800 0 0 0 0 5 0\ncpu0 1 1 1 1\n").unwrap();
        let after = CpuTimes::parse("cpu  150 0 150 890 0 0 0 10 9 0\n").unwrap();
        assert!((after.steal_percent_since(&before) - 5.0).abs() < 1e-9);
        assert_eq!(CpuTimes::parse("intr 5"), None);
    }

    #[test]
    fn this_machine_has_a_kernel_and_a_descriptor_limit() {
        let machine = Machine::look();
        assert!(machine.kernel.is_some() && machine.cores > 0 && machine.descriptors_limit.is_some());
        assert!(local_ports().is_none_or(|ports| ports > 0));
    }

    #[test]
    fn sha256_is_the_standards() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"abc").unwrap();
        let digest = sha256_of(file.path()).unwrap();
        assert_eq!(
            digest,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(sha256_of(Path::new("/nonexistent")), None);
    }
}

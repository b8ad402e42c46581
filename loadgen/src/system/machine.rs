//! A description of the machine: without it a figure cannot be compared.
//!
//! Invariant: what cannot be read is absent, never guessed; nothing that identifies the owner is included.

use std::fs;
use std::path::{Path, PathBuf};

use procfs::{CpuInfo, CpuTime, Current as _, CurrentSI as _, KernelStats, LoadAverage, Meminfo};
use rustix::process::{Resource, getrlimit};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cgroup::CpuGroups;

/// The machine on which a run took place.
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
    /// Load average of the last 1, 5 and 15 minutes at the time of reading.
    #[serde(default)]
    pub load_average: Option<String>,
    /// The tightest CPU limit of the control groups of this process: quota and period, µs.
    pub cgroup_cpu: Option<String>,
    /// Soft limit of open descriptors.
    pub descriptors_limit: Option<u64>,
    /// Soft limit of locked memory, bytes.
    pub locked_memory_limit: Option<u64>,
    /// The settings that affect sockets and ports.
    pub sysctls: Vec<(String, String)>,
}

impl Machine {
    /// Reads the description of this machine.
    pub fn look() -> Machine {
        Machine {
            cpu: CpuInfo::current().ok().and_then(|cpus| {
                let model = cpus.get_field(0, "model name");
                Some(model.or_else(|| cpus.get_field(0, "CPU part"))?.to_owned())
            }),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            kernel: line("/proc/sys/kernel/osrelease"),
            memory_kib: Meminfo::current().ok().map(|memory| memory.mem_total / 1024),
            load_average: LoadAverage::current()
                .ok()
                .map(|load| format!("{:.2} {:.2} {:.2}", load.one, load.five, load.fifteen)),
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
    /// The times since the machine was started; zeros if they cannot be read.
    pub fn now() -> CpuTimes {
        let read = KernelStats::current().ok();
        read.map_or(CpuTimes::default(), |stats| CpuTimes::of(&stats.total))
    }

    fn of(times: &CpuTime) -> CpuTimes {
        let steal = times.steal.unwrap_or(0);
        // The time of virtual machines is already part of user.
        let some = [times.iowait, times.irq, times.softirq].map(Option::unwrap_or_default);
        let always = [times.user, times.nice, times.system, times.idle, steal];
        CpuTimes {
            total: some.iter().chain(&always).sum(),
            steal,
        }
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

/// Number of local ports for connections from one address to one address and port.
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

/// SHA-256 of the program that a process runs; `None` if it cannot be read. If a process does not allow reading
/// its memory, its executable is not visible either, but the path that it was started with is, if that is absolute.
pub fn sha256_of_process(pid: u32) -> Option<String> {
    let started_with = || {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let program = line.split('\0').next().map(PathBuf::from);
        program.filter(|program| program.is_absolute())
    };
    sha256_of(Path::new(&format!("/proc/{pid}/exe"))).or_else(|| sha256_of(&started_with()?))
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

#[cfg(test)]
mod tests {
    use super::*;
    use procfs::{FromReadSI as _, LocalSystemInfo};

    #[test]
    fn steal_is_a_share_of_the_time_of_all_cpus() {
        let times = |line: &str| {
            let text = format!("{line}\nctxt 1\nbtime 1\nprocesses 1\n");
            let stats = KernelStats::from_read(text.as_bytes(), &LocalSystemInfo).unwrap();
            CpuTimes::of(&stats.total)
        };
        let before = times("cpu  100 0 100 800 0 0 0 0 5 0");
        let after = times("cpu  150 0 150 890 0 0 0 10 9 0");
        assert!((after.steal_percent_since(&before) - 5.0).abs() < 1e-9);
        assert!(CpuTimes::now().total > 0);
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
        let own = sha256_of(&std::env::current_exe().unwrap());
        assert_eq!(sha256_of_process(std::process::id()), own);
    }
}

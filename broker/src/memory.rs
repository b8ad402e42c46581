//! How much memory this process may use: the machine's, or less if a cgroup limits it.
//!
//! Invariants: none.

use std::path::Path;

use crate::settings::UNLIMITED;

/// The default of `memory_limit`: four fifths of the memory that the process may use, or no limit if that is unknown.
pub(crate) fn default_limit_bytes() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| machine_bytes(&text));
    let cgroup = read("/proc/self/cgroup").and_then(|text| cgroup_bytes(&text, Path::new(CGROUPS)));
    let bytes = [machine, cgroup].into_iter().flatten().min();
    bytes.map_or(UNLIMITED, |bytes| bytes / 5 * 4)
}

/// `MemTotal` of `/proc/meminfo` (proc_meminfo(5)).
fn machine_bytes(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The least `memory.max` of the process's cgroup and those above it (cgroups(7), version 2), or the
/// `memory.limit_in_bytes` of version 1.
fn cgroup_bytes(own: &str, root: &Path) -> Option<u64> {
    let limits = own.lines().flat_map(|line| {
        // hierarchy-ID:controllers:path
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next().unwrap_or_default();
        let path = Path::new(fields.next().unwrap_or_default().trim_start_matches('/'));
        let (folder, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|it| it == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return Vec::new(),
        };
        path.ancestors()
            .filter_map(|path| std::fs::read_to_string(folder.join(path).join(file)).ok())
            .filter_map(|text| text.trim().parse().ok())
            .collect()
    });
    limits.min()
}

const CGROUPS: &str = "/sys/fs/cgroup";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_kibibytes() {
        let text = "MemTotal:       24576 kB\nMemFree:  1 kB\n";
        assert_eq!(machine_bytes(text), Some(24 << 20));
        assert_eq!(machine_bytes("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn the_least_of_all_cgroups_counts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("a/b/memory.max", "max\n");
        write("a/memory.max", "1000000\n");
        write("memory/c/memory.limit_in_bytes", "500000\n");
        assert_eq!(cgroup_bytes("0::/a/b\n", folder.path()), Some(1_000_000));
        assert_eq!(
            cgroup_bytes("4:cpu:/x\n5:memory:/c\n0::/\n", folder.path()),
            Some(500_000)
        );
        assert_eq!(cgroup_bytes("0::/\n", folder.path()), None);
    }

    #[test]
    fn here_is_a_limit() {
        let bytes = default_limit_bytes();
        assert!((16 << 20..UNLIMITED).contains(&bytes), "{bytes}");
    }
}

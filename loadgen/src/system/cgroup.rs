//! The CPU limit of the control groups that this process is in, version 1 or 2, and how long it was throttled.
//!
//! Invariants: all parent groups count too, as far as they are visible; a group that is not visible is reported, and
//! is assumed neither to have a limit nor to have none.

use std::fs;
use std::path::{Path, PathBuf};

use procfs::ProcessCGroups;
use procfs::process::{MountInfo, MountInfos, Process};

/// The groups of this process that limit CPU time, the innermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuGroups {
    groups: Vec<PathBuf>,
    /// The path of the innermost group, if the file system does not show it.
    hidden: Option<String>,
}

impl CpuGroups {
    /// Finds the groups of this process.
    pub(crate) fn find() -> CpuGroups {
        let own = Process::myself();
        let memberships = own.as_ref().ok().and_then(|own| own.cgroups().ok());
        let mounts = own.as_ref().ok().and_then(|own| own.mountinfo().ok());
        CpuGroups::locate(
            &memberships.unwrap_or(ProcessCGroups(Vec::new())),
            &mounts.unwrap_or(MountInfos(Vec::new())),
            Path::is_dir,
        )
    }

    fn locate(
        memberships: &ProcessCGroups,
        mounts: &MountInfos,
        exists: impl Fn(&Path) -> bool,
    ) -> CpuGroups {
        let mut found = CpuGroups::default();
        for membership in &memberships.0 {
            let (controllers, path) = (&membership.controllers, membership.pathname.as_str());
            // An empty list may appear as one empty name.
            let is_version_2 = controllers.iter().all(String::is_empty);
            if !is_version_2 && !controllers.iter().any(|controller| controller == "cpu") {
                continue;
            }
            let mount = mounts.iter().find(|mount| is_mount_of(mount, is_version_2));
            let Some((root, point)) = mount.map(|mount| (mount.root.as_str(), &mount.mount_point)) else {
                // Version 2 is in every list, even if it controls nothing.
                if !is_version_2 || path != "/" {
                    found.hidden = Some(path.to_owned());
                }
                continue;
            };
            // Seen from a separate namespace, the path may lie outside of what is mounted.
            let relative = path.strip_prefix(root.trim_end_matches('/')).unwrap_or("/..");
            let folder = point.join(relative.trim_start_matches('/'));
            let is_hidden = relative.starts_with("/..") || !exists(&folder);
            let innermost = if is_hidden { point.clone() } else { folder };
            if is_hidden {
                found.hidden = Some(path.to_owned());
            }
            let above = innermost.ancestors().take_while(|group| group.starts_with(point));
            found.groups.extend(above.map(Path::to_owned));
        }
        found
    }

    /// The tightest limit: quota and period, µs.
    pub(crate) fn limit(&self) -> Option<(u64, u64)> {
        let limits = self.groups.iter().filter_map(|group| limit_of(group));
        limits.min_by(|(one, of_one), (other, of_other)| (one * of_other).cmp(&(other * of_one)))
    }

    /// How long threads of these groups were throttled since the groups were created, ns; `None` if no group
    /// counts it.
    pub(crate) fn throttled_ns(&self) -> Option<u64> {
        let stats = self
            .groups
            .iter()
            .filter_map(|group| line(&group.join("cpu.stat")));
        stats
            .filter_map(|stat| throttled_in(&stat))
            .reduce(|one, other| one + other)
    }

    /// The path of the group whose limit is not visible.
    pub(crate) fn hidden(&self) -> Option<&str> {
        self.hidden.as_deref()
    }
}

/// Whether this is a mount of the CPU controller.
fn is_mount_of(mount: &MountInfo, is_version_2: bool) -> bool {
    match mount.fs_type.as_str() {
        "cgroup2" => is_version_2,
        "cgroup" => !is_version_2 && mount.super_options.contains_key("cpu"),
        _ => false,
    }
}

fn limit_of(group: &Path) -> Option<(u64, u64)> {
    if let Some(max) = line(&group.join("cpu.max")) {
        let (quota, period) = max.split_once(' ')?;
        return Some((quota.parse().ok()?, period.parse().ok()?));
    }
    let read = |name: &str| line(&group.join(name))?.parse().ok();
    Some((read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?))
}

/// Version 2 counts in µs, version 1 in ns.
fn throttled_in(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| match line.split_once(' ')? {
        ("throttled_usec", number) => number.parse::<u64>().ok().map(|us| us.saturating_mul(1_000)),
        ("throttled_time", number) => number.parse().ok(),
        _ => None,
    })
}

fn line(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use procfs::FromRead as _;

    const VERSION_1: &str = "35 25 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n\
                             36 25 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n";
    const VERSION_2: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    fn locate(memberships: &str, mounts: &str, exists: impl Fn(&Path) -> bool) -> CpuGroups {
        let memberships = ProcessCGroups::from_read(memberships.as_bytes()).unwrap();
        let mounts = MountInfos::from_read(mounts.as_bytes()).unwrap();
        CpuGroups::locate(&memberships, &mounts, exists)
    }

    fn groups(found: &CpuGroups) -> Vec<&str> {
        found.groups.iter().filter_map(|group| group.to_str()).collect()
    }

    #[test]
    fn groups_of_both_versions_are_found_with_those_above() {
        let one = locate("4:cpuset:/x\n3:cpu,cpuacct:/a/b\n", VERSION_1, |_| true);
        assert_eq!(
            groups(&one),
            [
                "/sys/fs/cgroup/cpu,cpuacct/a/b",
                "/sys/fs/cgroup/cpu,cpuacct/a",
                "/sys/fs/cgroup/cpu,cpuacct"
            ]
        );
        let two = locate("0::/user.slice\n", VERSION_2, |_| true);
        assert_eq!(groups(&two), ["/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"]);
        assert_eq!((one.hidden(), two.hidden()), (None, None));
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_mount_point() {
        let mounts = VERSION_1.replace("0:30 / ", "0:30 /docker/7f ");
        let found = locate("3:cpu,cpuacct:/docker/7f\n", &mounts, |_| true);
        assert_eq!(groups(&found), ["/sys/fs/cgroup/cpu,cpuacct/"]);
        assert_eq!(found.hidden(), None);
    }

    #[test]
    fn a_closed_path_is_reported() {
        for path in ["/docker/7f", "/../other"] {
            let membership = format!("3:cpu,cpuacct:{path}\n");
            let found = locate(&membership, VERSION_1, |folder| !folder.ends_with("docker/7f"));
            assert_eq!(found.hidden(), Some(path));
            assert_eq!(groups(&found), ["/sys/fs/cgroup/cpu,cpuacct"]);
        }
        let without_mounts = locate("3:cpu,cpuacct:/\n0::/\n", "", |_| true);
        assert_eq!(
            without_mounts.hidden(),
            Some("/"),
            "the controller is mounted nowhere"
        );
        assert_eq!(locate("0::/\n", "", |_| true).hidden(), None);
        assert_eq!(locate("", "", |_| true), CpuGroups::default());
    }

    #[test]
    fn limits_and_throttling_of_both_versions() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let of_folder = || CpuGroups {
            groups: vec![folder.path().to_owned()],
            hidden: None,
        };
        assert_eq!((of_folder().limit(), of_folder().throttled_ns()), (None, None));
        write("cpu.cfs_quota_us", "-1\n");
        write("cpu.cfs_period_us", "100000\n");
        assert_eq!(of_folder().limit(), None, "no limit");
        write("cpu.cfs_quota_us", "10000\n");
        write("cpu.stat", "nr_periods 5\nnr_throttled 4\nthrottled_time 7000\n");
        assert_eq!(of_folder().limit(), Some((10_000, 100_000)));
        assert_eq!(of_folder().throttled_ns(), Some(7_000));
        write("cpu.max", "max 100000\n");
        write("cpu.stat", "usage_usec 9\nthrottled_usec 7\n");
        assert_eq!(
            (of_folder().limit(), of_folder().throttled_ns()),
            (None, Some(7_000))
        );
    }
}

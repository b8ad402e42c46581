//! How much memory the rings of the shards lock, and how many shards with which rings fit into RLIMIT_MEMLOCK.
//!
//! The kernel counts this memory per user and not per process, so a quarter of the limit is left to other programs of
//! the user (the load generator, for example). Kernels before 6.14 count less than is computed here.
//!
//! Invariants: the rings of a plan need no more than the limit of the user as which the broker runs; a plan has at
//! least one shard.

use std::num::NonZeroU16;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use transport::clock;
use transport::ring::RingOptions;

use super::error::ServerError;
use crate::config::Configuration;
use crate::privileges::RunsAs;

/// How many shards run, and with what rings.
#[derive(Clone, Debug)]
pub(super) struct LockedMemoryPlan {
    pub(super) shards: NonZeroU16,
    pub(super) ring: RingOptions,
    /// A warning with advice, if less than requested fits.
    pub(super) warning: Option<String>,
}

/// The plan for the user as which the broker runs.
///
/// # Errors
/// Not even one shard fits.
pub(super) fn plan(configuration: &Configuration) -> Result<LockedMemoryPlan, ServerError> {
    raise_limit();
    let limit = getrlimit(Resource::Memlock).current;
    if let Some(bytes) = limit
        && bytes < GLOMMIO_LIMIT_MIN
    {
        // glommio checks only the limit, for any user.
        return Err(ServerError::LockedMemory {
            bytes,
            needed: GLOMMIO_LIMIT_MIN,
        });
    }
    let runs_as = RunsAs::find(configuration.user.as_ref(), configuration.stays_root);
    let limit = limit.filter(|_| runs_as.user().is_some() || !may_lock_any());
    plan_within(configuration.shards, limit)
}

/// Checks that `memory_limit` leaves something to clients: that nine tenths of it, from where on load is shed, are more
/// than this process takes now, and its shards will.
///
/// # Errors
/// They are not.
pub(super) fn check_memory_limit(plan: &LockedMemoryPlan, limit: u64) -> Result<(), ServerError> {
    let Ok(taken) = clock::process_rss_bytes(std::process::id()) else {
        // Where it cannot be read, it cannot be watched later either.
        return Ok(());
    };
    let needed = taken + u64::from(plan.shards.get()) * shard_bytes(&plan.ring);
    if limit / 10 * 9 > needed {
        return Ok(());
    }
    Err(ServerError::MemoryLimit {
        limit,
        needed,
        shards: plan.shards.get(),
        // In whole MiB, with one for the rest of the start.
        enough: (needed / 9 * 10).div_ceil(1 << 20).saturating_add(1) << 20,
    })
}

fn plan_within(wanted: NonZeroU16, limit: Option<u64>) -> Result<LockedMemoryPlan, ServerError> {
    let full = RingOptions::default();
    let Some(limit) = limit else {
        return Ok(LockedMemoryPlan {
            shards: wanted,
            ring: full,
            warning: None,
        });
    };
    let fits = |ring: &RingOptions, share: u64| u64::from(wanted.get()) * shard_bytes(ring) <= share;
    let mut sizes = std::iter::successors(Some(full), RingOptions::smaller);
    if let Some(ring) = sizes.find(|ring| fits(ring, limit / 4 * 3)) {
        let warning = (ring.entries < full.entries).then(|| {
            format!(
                "Only {} KiB of memory may be locked, so the rings of the {wanted} shards have {} entries instead of \
                 {}, which may cost throughput; fix: {}.",
                limit / 1024,
                ring.entries,
                full.entries,
                advice(wanted)
            )
        });
        return Ok(LockedMemoryPlan {
            shards: wanted,
            ring,
            warning,
        });
    }
    let smallest = RingOptions::smallest();
    let count = u16::try_from(limit / shard_bytes(&smallest)).unwrap_or(u16::MAX);
    let Some(shards) = NonZeroU16::new(count.min(wanted.get())) else {
        return Err(ServerError::LockedMemory {
            bytes: limit,
            needed: shard_bytes(&smallest),
        });
    };
    let what = if shards < wanted {
        format!(
            "{shards} shards run instead of {wanted}, with rings of {} entries",
            smallest.entries
        )
    } else {
        format!(
            "the rings of the {wanted} shards have {} entries instead of {} and leave little memory to \
            other programs of the user",
            smallest.entries, full.entries
        )
    };
    let warning = format!(
        "Only {} KiB of memory may be locked, so {what}; fix: {}.",
        limit / 1024,
        advice(wanted)
    );
    Ok(LockedMemoryPlan {
        shards,
        ring: smallest,
        warning: Some(warning),
    })
}

/// How to raise the limit to what the shards need with full rings.
fn advice(shards: NonZeroU16) -> String {
    let bytes = u64::from(shards.get()) * shard_bytes(&RingOptions::default()) / 3 * 4;
    let mib = bytes.div_ceil(1 << 20);
    format!(
        "as root `ulimit -l {}` before the start, or LimitMEMLOCK={mib}M in the systemd unit, or fewer `--shards`",
        mib * 1024
    )
}

/// The memory that a shard locks: its own ring, and the three rings of its executor with their registered memory.
fn shard_bytes(ring: &RingOptions) -> u64 {
    let executor = RingOptions {
        entries: EXECUTOR_RING_DEPTH,
        completions: 2 * EXECUTOR_RING_DEPTH,
        buffers: 1,
        ..*ring
    };
    ring.locked_bytes() + 3 * (executor.locked_bytes() + EXECUTOR_MEMORY_BYTES as u64)
}

/// Raises the limit as far as possible.
fn raise_limit() {
    let limit = getrlimit(Resource::Memlock);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Only what is allowed is requested, so this fails only if limits are forbidden; the plan uses the resulting
    // limit.
    let _ = setrlimit(Resource::Memlock, raised);
}

/// Whether this process may lock any amount. The capability counts only outside user namespaces: for the kernel, the
/// root of a user namespace is an ordinary user.
fn may_lock_any() -> bool {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    has_lock_capability(&read("/proc/self/status")) && is_machines_own(&read("/proc/self/uid_map"))
}

/// Whether CAP_IPC_LOCK is among the effective capabilities of `/proc/self/status` (capabilities(7)).
fn has_lock_capability(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bits.is_some_and(|bits| bits & (1 << CAP_IPC_LOCK) != 0)
}

/// Whether `/proc/self/uid_map` is that of the initial user namespace (user_namespaces(7)): all users, unchanged.
fn is_machines_own(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The number of the capability (linux/capability.h).
const CAP_IPC_LOCK: u32 = 14;
/// The limit below which glommio does not start.
const GLOMMIO_LIMIT_MIN: u64 = 512 << 10;
/// Entries of glommio's rings: the executor's only task needs almost none.
pub(super) const EXECUTOR_RING_DEPTH: u32 = 16;
/// Registered memory for glommio's own files: the smallest possible.
pub(super) const EXECUTOR_MEMORY_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(count: u16) -> NonZeroU16 {
        NonZeroU16::new(count).unwrap()
    }

    #[test]
    fn sixteen_shards_fit_into_the_usual_limit() {
        let plan = plan_within(shards(16), Some(8 << 20)).unwrap();
        assert_eq!(plan.shards, shards(16));
        assert!(plan.ring.entries >= 256, "{:?}", plan.ring);
        let warning = plan.warning.unwrap();
        assert!(
            warning.contains("8192 KiB") && warning.contains("ulimit -l"),
            "{warning}"
        );
    }

    #[test]
    fn few_shards_and_those_without_a_limit_are_not_touched() {
        for (count, limit) in [(4, Some(8 << 20)), (1024, None), (1024, Some(u64::MAX))] {
            let plan = plan_within(shards(count), limit).unwrap();
            let entries = (plan.shards.get(), plan.ring.entries);
            assert_eq!(entries, (count, RingOptions::default().entries));
            assert_eq!(plan.warning, None);
        }
    }

    #[test]
    fn what_is_planned_fits_whatever_the_limit() {
        for count in [1, 2, 9, 16, 64, 1024] {
            for kib in (512..20_000).step_by(100) {
                let limit = kib * 1024;
                let plan = plan_within(shards(count), Some(limit)).unwrap();
                let bytes = u64::from(plan.shards.get()) * shard_bytes(&plan.ring);
                assert!(bytes <= limit, "{count} shards, {kib} KiB: {plan:?}");
                let less = plan.shards.get() < count || plan.ring.entries < RingOptions::default().entries;
                assert_eq!(less, plan.warning.is_some());
            }
        }
    }

    #[test]
    fn the_advice_is_enough() {
        for count in [1, 9, 16, 64] {
            let advised = advice(shards(count));
            let kib = advised.split("ulimit -l ").nth(1).unwrap();
            let kib: u64 = kib.split('`').next().unwrap().parse().unwrap();
            let plan = plan_within(shards(count), Some(kib * 1024)).unwrap();
            assert_eq!(plan.warning, None, "{advised}");
        }
    }

    #[test]
    fn less_than_one_shard_is_an_error() {
        let error = plan_within(shards(1), Some(100 << 10)).unwrap_err();
        assert!(error.to_string().contains("102400 bytes"), "{error}");
    }

    #[test]
    fn the_capability_counts_outside_of_user_namespaces() {
        assert!(has_lock_capability("Name:\tx\nCapEff:\t000001fffeffffff\n"));
        assert!(!has_lock_capability("CapEff:\t0000000000000000\n"));
        assert!(!has_lock_capability("CapEff:\t000001ffffffbfff\n"));
        assert!(!has_lock_capability(""));
        assert!(is_machines_own("         0          0 4294967295\n"));
        assert!(!is_machines_own("         0       1000          1\n"));
    }
}

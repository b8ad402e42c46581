//! Which CPUs a thread may run on.
//!
//! Invariant: nothing is pinned unless it was requested; a CPU that this process may not use is an error before the
//! run, not a thread that silently runs on another CPU.

use std::fmt;
use std::io;
use std::str::FromStr;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A set of CPUs, ascending, as in `taskset -c`: `0,2-3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus(Vec<usize>);

impl Cpus {
    /// Restricts the calling thread, and the threads and processes that it starts, to these CPUs.
    ///
    /// # Errors
    /// The errors of `sched_setaffinity(2)`.
    pub fn confine_this_thread(&self) -> io::Result<()> {
        let mut set = CpuSet::new();
        self.0.iter().for_each(|&cpu| set.set(cpu));
        Ok(sched_setaffinity(None, &set)?)
    }

    /// The CPU for the thread `index`, in rotation.
    pub fn one(&self, index: usize) -> Cpus {
        Cpus(
            self.0
                .iter()
                .cycle()
                .nth(index % self.0.len().max(1))
                .copied()
                .into_iter()
                .collect(),
        )
    }

    /// The CPUs that this process may use.
    pub fn allowed() -> Cpus {
        let allowed = sched_getaffinity(None);
        let is_allowed = |cpu: &usize| allowed.as_ref().is_ok_and(|allowed| allowed.is_set(*cpu));
        Cpus((0..CpuSet::MAX_CPU).filter(is_allowed).collect())
    }

    /// These CPUs without others; `None` if nothing is left.
    pub fn except(&self, others: &Cpus) -> Option<Cpus> {
        let rest: Vec<usize> = self
            .0
            .iter()
            .copied()
            .filter(|cpu| !others.0.contains(cpu))
            .collect();
        (!rest.is_empty()).then_some(Cpus(rest))
    }

    /// The first `count` of them.
    pub fn first(&self, count: usize) -> Cpus {
        Cpus(self.0.iter().copied().take(count).collect())
    }

    /// The number of CPUs.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The first CPU that this process may not use.
    pub fn first_forbidden(&self) -> Option<usize> {
        let allowed = sched_getaffinity(None).ok()?;
        self.0.iter().copied().find(|&cpu| !allowed.is_set(cpu))
    }
}

impl FromStr for Cpus {
    type Err = String;

    fn from_str(list: &str) -> Result<Cpus, String> {
        let mut cpus = Vec::new();
        for part in list.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |word: &str| {
                word.trim()
                    .parse::<usize>()
                    .map_err(|_| "a list of CPUs like 0,2-3".to_owned())
            };
            let (first, last) = (number(first)?, number(last)?);
            if first > last || last >= CpuSet::MAX_CPU {
                return Err(format!(
                    "a list of CPUs from 0 to {}, ascending, like 0,2-3",
                    CpuSet::MAX_CPU - 1
                ));
            }
            cpus.extend(first..=last);
        }
        cpus.sort_unstable();
        cpus.dedup();
        Ok(Cpus(cpus))
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(usize::to_string).collect();
        formatter.write_str(&words.join(","))
    }
}

impl serde::Serialize for Cpus {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Cpus {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Cpus, D::Error> {
        let list = String::deserialize(deserializer)?;
        list.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (list, shown) in [
            ("0", "0"),
            ("0,2-4", "0,2,3,4"),
            ("3,1,2-3", "1,2,3"),
            ("7-7", "7"),
        ] {
            assert_eq!(list.parse::<Cpus>().unwrap().to_string(), shown);
        }
        for list in ["", "a", "3-1", "1-", "-1", "0,,1", "0-99999999"] {
            assert!(list.parse::<Cpus>().is_err(), "{list:?}");
        }
    }

    #[test]
    fn threads_take_turns() {
        let cpus: Cpus = "4-5,9".parse().unwrap();
        let shown: Vec<String> = (0..4).map(|index| cpus.one(index).to_string()).collect();
        assert_eq!(shown, ["4", "5", "9", "4"]);
    }

    #[test]
    fn a_thread_is_confined_to_a_cpu_that_it_may_use() {
        let allowed = sched_getaffinity(None).unwrap();
        let cpu = (0..CpuSet::MAX_CPU).find(|&cpu| allowed.is_set(cpu)).unwrap();
        let confined = std::thread::spawn(move || {
            let cpus: Cpus = cpu.to_string().parse().unwrap();
            assert_eq!(cpus.first_forbidden(), None);
            cpus.confine_this_thread().unwrap();
            sched_getaffinity(None).unwrap().count()
        });
        assert_eq!(confined.join().unwrap(), 1);
        let nowhere: Cpus = (CpuSet::MAX_CPU - 1).to_string().parse().unwrap();
        assert_eq!(nowhere.first_forbidden(), Some(CpuSet::MAX_CPU - 1));
    }
}

//! Processes and their descendants, as `/proc` shows them.
//!
//! Invariant: a process that ends while it is read is left out.

use transport::clock::process_rss_bytes_about;

/// The process with the most memory among a process and its descendants.
pub(crate) fn largest_below(pid: u32) -> u32 {
    let parents = parents();
    let mut family = vec![pid];
    let mut looked_at = 0;
    while let Some(&parent) = family.get(looked_at) {
        looked_at += 1;
        let children = parents.iter().filter(|(_, its_parent)| *its_parent == parent);
        let children: Vec<u32> = children.map(|(child, _)| *child).collect();
        family.extend(children.into_iter().filter(|child| *child != pid));
    }
    let memory = |pid: &u32| process_rss_bytes_about(*pid).unwrap_or(0);
    family.into_iter().max_by_key(memory).unwrap_or(pid)
}

/// Every process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let processes = procfs::process::all_processes().into_iter().flatten().flatten();
    let stats = processes.filter_map(|process| process.stat().ok());
    let both = |stat: procfs::process::Stat| Some((stat.pid.try_into().ok()?, stat.ppid.try_into().ok()?));
    stats.filter_map(both).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_child_with_more_memory_is_found() {
        // A shell that starts another one, which reads eight megabytes into a variable and then waits.
        let inner = "x=$(head -c 8000000 /dev/zero | tr '\\0' x); read -r line; echo ${#x}";
        let mut shell = Command::new("sh")
            .args(["-c", "sh -c \"$0\"; true", inner])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let began = std::time::Instant::now();
        // For a moment it may be one of the processes that fill the variable.
        let is_child = |found| parents().contains(&(found, shell.id()));
        let mut found = shell.id();
        while !is_child(found) && began.elapsed().as_secs() < 20 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            found = largest_below(shell.id());
        }
        assert!(is_child(found), "{found}");
        drop(shell.stdin.take());
        shell.wait().unwrap();
    }
}

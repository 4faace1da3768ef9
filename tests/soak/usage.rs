//! What a process has used, as the kernel counts it.

use std::time::Duration;

/// Bytes in a KiB.
pub const KIB: u64 = 1024;

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Resident memory now, in bytes.
    pub rss: u64,
    /// Processor time since its start.
    pub cpu: Duration,
}

impl Usage {
    /// Of a process that runs.
    pub fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let rss = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * KIB;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // Behind the name, which may hold anything: utime and stime are the 12th and 13th, in hundredths of a second
        // (USER_HZ, proc_pid_stat(5)).
        let fields: Vec<_> = stat[stat.rfind(')').unwrap() + 1..].split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Self { rss, cpu: Duration::from_millis(ticks * 10) }
    }
}

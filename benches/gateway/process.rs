//! What Linux says about a process: the time it computed, and the memory it holds.

use std::fs;
use std::process::Command;
use std::time::Duration;

/// The time that all threads of a process have computed so far, in its own code and in the kernel for it.
///
/// The scheduler's own count: `/proc/PID/stat` has the same in steps of ten milliseconds.
pub fn cpu_time(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("the process lives");
    let of_thread = |thread: fs::DirEntry| {
        // A thread that ends meanwhile has computed next to nothing.
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(threads.filter_map(|thread| of_thread(thread.ok()?)).sum())
}

/// The memory that a process has in use, in KiB.
pub fn resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says it");
    line.trim().trim_end_matches(" kB").parse().expect("it is a number")
}

/// How many processes wanted a core in the last minute, on average.
pub fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").expect("Linux says it");
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Keeps all threads of a process on one core.
pub fn pin(process: u32, core: usize) {
    let done =
        Command::new("taskset").args(["-a", "-c", "-p", &core.to_string(), &process.to_string()]).output();
    let done = done.expect("PIN needs the program `taskset`");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

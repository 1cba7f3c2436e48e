//! The memory of a process, as the kernel reports it.

/// The most memory of a process that was ever resident, in MiB: `VmHWM` of proc(5). `self` is this
/// process.
pub fn peak_mebibytes(process: &str) -> Option<u64> {
    figure(process, "VmHWM:")
}

/// The memory of a process that is resident, in MiB: `VmRSS` of proc(5). `self` is this process.
pub fn resident_mebibytes(process: &str) -> Option<u64> {
    figure(process, "VmRSS:")
}

fn figure(process: &str, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? / 1_024)
}

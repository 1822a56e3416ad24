//! Paths of proc and sysfs that a container may not read, or not write: moby's lists, the newer entries included.

/// Replaced by nothing. `/proc/interrupts` and the thermal counters leak timing of other processes; powercap leaks power (CVE-2020-8694).
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Bound over themselves read-only.
pub const READ_ONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// [`MASKED_PATHS`] and the `thermal_throttle` directories of the first `cpus` processors.
pub(crate) fn masked(cpus: u32) -> Vec<String> {
    let thermal = (0..cpus).map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle"));
    MASKED_PATHS.iter().map(|path| (*path).to_owned()).chain(thermal).collect()
}

/// [`READ_ONLY_PATHS`], owned.
pub(crate) fn read_only() -> Vec<String> {
    READ_ONLY_PATHS.iter().map(|path| (*path).to_owned()).collect()
}

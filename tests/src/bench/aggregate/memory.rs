//! What a piece of work needs beyond what is there already, as Linux tells it.

use std::fs;

/// Peak resident bytes of this process during `work`, less those before it. Not a number where the system does not tell.
pub(super) fn beyond(work: impl FnOnce()) -> f64 {
    flame_model::release_spare_memory();
    // From here on the peak is that of what comes.
    if fs::write("/proc/self/clear_refs", "5").is_err() {
        return f64::NAN;
    }
    let before = bytes("VmRSS:");
    work();
    bytes("VmHWM:") - before
}

fn bytes(field: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kibibytes.map_or(f64::NAN, |kibibytes| kibibytes * 1024.0)
}

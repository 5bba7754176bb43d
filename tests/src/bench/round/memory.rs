//! Peak memory of processes, as Linux tells it. The peak of a process that has ended nobody tells, so that it is asked for
//! all the time.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(10);

/// Peak resident memory so far in MB; not a number once the process has ended.
pub(super) fn peak(pid: u32) -> f64 {
    number(pid, "VmHWM:").map_or(f64::NAN, |kibibytes| kibibytes * 1024.0 / 1e6)
}

/// A number in `/proc/<pid>/status`.
fn number(pid: u32, field: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let rest = status.lines().find_map(|line| line.strip_prefix(field))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The process that `parent` started last.
fn child(parent: u32) -> Option<u32> {
    let all = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|pid| number(*pid, "PPid:").is_some_and(|of| (of - f64::from(parent)).abs() < 0.5)).max()
}

/// Whose memory to watch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Who {
    /// This process.
    Process(u32),
    /// The one that this process starts.
    ChildOf(u32),
}

/// In MB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peak {
    pub(super) in_rounds: f64,
    pub(super) whole: f64,
}

/// Rises of one process's peak: when, and to how many MB.
type Rises = Vec<(f64, f64)>;

/// Watches processes until it is asked what it saw.
pub(super) struct Watch {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Rises>>,
}

impl Watch {
    pub(super) fn begin(whom: Vec<Who>) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = std::thread::spawn(move || {
            let mut seen = vec![Rises::new(); whom.len()];
            let mut pids = vec![None; whom.len()];
            while !ended.load(Ordering::Relaxed) {
                for ((who, pid), rises) in whom.iter().zip(&mut pids).zip(&mut seen) {
                    look(*who, pid, rises);
                }
                std::thread::sleep(EVERY);
            }
            seen
        });
        Self { end, thread }
    }

    /// Each one's peak in all and until `rounds_ended`, in seconds since 1970.
    pub(super) fn end(self, rounds_ended: f64) -> Vec<Peak> {
        self.end.store(true, Ordering::Relaxed);
        let seen = self.thread.join().expect("nothing ends it early");
        let highest = |rises: &Rises, until: f64| {
            rises.iter().filter(|(at, _)| *at <= until).map(|(_, peak)| *peak).fold(f64::NAN, f64::max)
        };
        let peak = |rises| Peak { in_rounds: highest(rises, rounds_ended), whole: highest(rises, f64::INFINITY) };
        seen.iter().map(peak).collect()
    }
}

fn look(who: Who, pid: &mut Option<u32>, rises: &mut Rises) {
    if pid.is_none() {
        *pid = match who {
            Who::Process(pid) => Some(pid),
            Who::ChildOf(parent) => child(parent),
        };
    }
    let Some(pid) = *pid else { return };
    let (now, peak) = (super::since_1970(), peak(pid));
    if peak.is_finite() && rises.last().is_none_or(|(_, last)| peak > *last) {
        rises.push((now, peak));
    }
}

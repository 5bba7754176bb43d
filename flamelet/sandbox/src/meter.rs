//! Measures a guest's time, and ends it at its next tick when it has had enough.
//!
//! Epochs only interrupt; what is measured is the CPU time of the guest's own thread, which is the guest's and that of the
//! host calls it makes (what channels and aggregation do on other threads is not in it), and wall time. A guest that
//! waits in a host call has no ticks, so that [`Meter::out_of_time`] watches the wall time of rounds and of the task as
//! well.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::limits::{Limits, OverLimit, Times};

/// One task's times. Made on the guest's thread.
#[derive(Debug)]
pub(crate) struct Meter {
    cpu: Times,
    wall: Times,
    began: Instant,
    /// The thread's time when the task began: threads may have had a life before.
    cpu_began: Duration,
    /// Both as nanoseconds since the beginning.
    round_wall: AtomicU64,
    round_cpu: AtomicU64,
    rounds: AtomicU64,
}

/// What the last tick saw of the guest's calls.
#[derive(Debug, Default)]
pub(crate) struct LastCall {
    calls: u64,
    wall: Duration,
    cpu: Duration,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            cpu: limits.cpu,
            wall: limits.wall,
            began: Instant::now(),
            cpu_began: thread_time(),
            round_wall: AtomicU64::new(0),
            round_cpu: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
        }
    }

    /// The host received a new base. To be called on the guest's thread.
    pub(crate) fn begin_round(&self) {
        self.round_wall.store(nanos(self.wall_time()), Ordering::Relaxed);
        self.round_cpu.store(nanos(self.sample()), Ordering::Relaxed);
        self.rounds.fetch_add(1, Ordering::Relaxed);
    }

    /// Looks at the clocks, on the guest's thread; `calls` counts its host calls.
    pub(crate) fn tick(&self, last: &mut LastCall, calls: u64) -> Result<(), OverLimit> {
        let (cpu, wall) = (self.sample(), self.wall_time());
        if calls != last.calls {
            *last = LastCall { calls, wall, cpu };
        }
        let round_cpu = cpu.saturating_sub(duration(&self.round_cpu));
        check("CPU time", cpu.saturating_sub(last.cpu), self.cpu.call, Span::Call)?;
        check("CPU time", round_cpu, self.cpu.round, Span::Round)?;
        check("CPU time", cpu, self.cpu.task, Span::Task)?;
        check("wall time", wall.saturating_sub(last.wall), self.wall.call, Span::Call)?;
        self.check_wall(wall)
    }

    /// Returns once the task or its round is over its wall time, also while the guest waits in a host call.
    pub(crate) async fn out_of_time(&self) -> OverLimit {
        loop {
            let wall = self.wall_time();
            if let Err(over) = self.check_wall(wall) {
                return over;
            }
            let round = duration(&self.round_wall).saturating_add(self.wall.round);
            let left = self.wall.task.min(round).saturating_sub(wall);
            tokio::time::sleep(left.saturating_add(Duration::from_millis(1))).await;
        }
    }

    pub(crate) fn wall_time(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// The thread's time since the task began.
    pub(crate) fn sample(&self) -> Duration {
        thread_time().saturating_sub(self.cpu_began)
    }

    fn check_wall(&self, wall: Duration) -> Result<(), OverLimit> {
        check("wall time", wall.saturating_sub(duration(&self.round_wall)), self.wall.round, Span::Round)?;
        check("wall time", wall, self.wall.task, Span::Task)
    }
}

fn duration(nanos: &AtomicU64) -> Duration {
    Duration::from_nanos(nanos.load(Ordering::Relaxed))
}

#[derive(Debug, Clone, Copy)]
enum Span {
    Call,
    Round,
    Task,
}

fn check(what: &str, used: Duration, limit: Duration, span: Span) -> Result<(), OverLimit> {
    if used <= limit {
        return Ok(());
    }
    let (over, key) = match span {
        Span::Call => ("since its last host call", "call"),
        Span::Round => ("in this round", "round"),
        Span::Task => ("in all", "task"),
    };
    let clock = if what == "wall time" { "wall" } else { "cpu" };
    let job = if (clock, key) == ("wall", "task") { "resources.wallTime in the job, " } else { "" };
    Err(OverLimit(format!(
        "{what}: the guest took {:.2} s {over} and its grant has {:.2} s ({job}limits.{clock}.{key} in policy.toml)",
        used.as_secs_f64(),
        limit.as_secs_f64(),
    )))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// CPU time of the calling thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_hours(1);

    fn limits(cpu: Times, wall: Times) -> Limits {
        Limits { cpu, wall, ..Limits::default() }
    }

    /// Burns some of the thread's time.
    fn burn(meter: &Meter) {
        let before = meter.sample();
        while meter.sample() < before + Duration::from_millis(5) {
            std::hint::black_box((0..1_000_u64).sum::<u64>());
        }
    }

    #[test]
    fn a_host_call_begins_the_call_anew_and_a_base_the_round() {
        let (short, long) = (Duration::from_millis(3), LONG);
        let wall = Times { call: long, round: long, task: long };
        let meter = Meter::new(&limits(Times { call: short, round: long, task: long }, wall));
        let mut last = LastCall::default();
        burn(&meter);
        meter.tick(&mut last, 1).unwrap();
        burn(&meter);
        let over = meter.tick(&mut last, 1).unwrap_err().0;
        assert!(over.contains("limits.cpu.call") && over.contains("CPU time"), "{over}");

        let meter = Meter::new(&limits(Times { call: long, round: short, task: long }, wall));
        burn(&meter);
        meter.begin_round();
        meter.tick(&mut last, 1).unwrap();
        burn(&meter);
        assert!(meter.tick(&mut last, 2).unwrap_err().0.contains("limits.cpu.round"));
    }

    #[tokio::test]
    async fn a_waiting_guest_is_out_of_time_as_well() {
        let long = Times { call: LONG, round: LONG, task: LONG };
        let meter = Meter::new(&limits(long, Times { round: Duration::ZERO, ..long }));
        assert!(meter.out_of_time().await.0.contains("limits.wall.round"));
    }
}

use std::collections::BTreeMap;

use flame_api::{Job, TaskKind, TaskState};
use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A job with one system aggregator (position 0) and `trainers` user trainers.
fn course(trainers: u32) -> Course {
    let id: flame_api::JobId = "1".repeat(24).parse().unwrap();
    let job = Job {
        id: id.clone(),
        name: String::new(),
        owner: flame_api::UserName::default(),
        design: "d".parse().unwrap(),
        schema_version: 1,
        code_version: 1,
        state: JobState::Ready,
        reason: String::new(),
        created_at: at(0),
        started_at: None,
        ended_at: None,
    };
    let task = |position: u32| TaskRecord {
        job: id.clone(),
        position,
        agent: format!("{position:08}{}", "0".repeat(32)).parse().unwrap(),
        role: if position == 0 { "aggregator" } else { "trainer" }.into(),
        index: position.saturating_sub(1),
        seed: 0,
        group_association: BTreeMap::new(),
        channels: Vec::new(),
        kind: if position == 0 { TaskKind::System } else { TaskKind::User },
        state: TaskState::Ready,
        attempt: 0,
        reason: String::new(),
        timestamp: at(0),
        stop: None,
        dataset: None,
        data: None,
        compute: None,
        restarts: 0,
        retry_at: None,
        away_since: None,
        changed: false,
    };
    let record = JobRecord {
        job,
        min_completed: BTreeMap::new(),
        max_run_time: None,
        run_until: None,
        settled: false,
        max_restarts: 0,
        rejoin_timeout: None,
        events: 0,
    };
    Course::new(record, (0..=trainers).map(task).collect())
}

fn started(trainers: u32) -> Course {
    let mut course = course(trainers);
    course.start(at(1)).unwrap();
    course.deploy(at(1)).unwrap();
    course
}

fn run(course: &mut Course, position: u32) -> u32 {
    let attempt = course.grant(position, at(2)).unwrap();
    assert_eq!(course.status(position, attempt, &Said::Running, at(2)).unwrap(), Heard::Accepted);
    attempt
}

fn end(course: &mut Course, position: u32, said: &Said) {
    let attempt = course.task(position).unwrap().attempt;
    assert_eq!(course.status(position, attempt, said, at(3)).unwrap(), Heard::Accepted);
}

fn state(course: &Course, position: u32) -> TaskState {
    course.task(position).unwrap().state
}

#[test]
fn a_job_runs_with_its_first_task_and_completes_with_its_last() {
    let mut course = started(1);
    assert_eq!(course.wanted(0), Wanted::Start);
    run(&mut course, 0);
    assert_eq!(course.job.state(), JobState::Running);
    run(&mut course, 1);
    end(&mut course, 1, &Said::Completed);
    assert_eq!(course.job.state(), JobState::Running);
    end(&mut course, 0, &Said::Completed);
    assert_eq!(course.job.state(), JobState::Completed);
    assert_eq!(course.job.job.ended_at, Some(at(3)));
}

#[test]
fn who_never_joined_is_terminated_and_who_still_runs_gets_grace() {
    let mut course = started(3);
    run(&mut course, 0);
    run(&mut course, 1);
    run(&mut course, 2);
    end(&mut course, 1, &Said::Completed);
    end(&mut course, 0, &Said::Completed);
    assert_eq!((state(&course, 3), course.task(3).unwrap().reason.as_str()), (TaskState::Terminated, "never joined"));
    assert!(matches!(course.wanted(2), Wanted::Stop { grace_seconds: 30, .. }));
    assert_eq!(course.job.state(), JobState::Running);
    assert_eq!(course.next_deadline(), Some(at(33)));
    course.tick(at(32)).unwrap();
    assert_eq!(state(&course, 2), TaskState::Running);
    course.tick(at(33)).unwrap();
    assert_eq!((state(&course, 2), course.job.state()), (TaskState::Terminated, JobState::Completed));
}

#[test]
fn a_task_that_nobody_picked_up_fails_no_job() {
    let mut course = started(2);
    run(&mut course, 0);
    run(&mut course, 1);
    end(&mut course, 1, &Said::Failed("boom".into()));
    assert_eq!(course.job.state(), JobState::Running, "the other trainer may still come");
}

#[test]
fn a_job_fails_when_a_role_is_out_of_reach_and_names_who_failed() {
    let mut course = started(2);
    for position in 0..3 {
        run(&mut course, position);
    }
    end(&mut course, 0, &Said::Failed("out of memory".into()));
    assert_eq!(course.job.state(), JobState::Failed);
    assert_eq!(course.job.job.reason, "role `aggregator`: task 00000000 failed: out of memory");
    assert!(matches!(course.wanted(1), Wanted::Stop { .. }));
    end(&mut course, 1, &Said::Terminated);
    course.tick(at(100)).unwrap();
    assert!(course.all_ended());
    assert_eq!(state(&course, 2), TaskState::Terminated);
    assert_eq!(course.job.state(), JobState::Failed);
}

#[test]
fn more_completed_tasks_may_be_asked_for() {
    let mut course = started(2);
    course.job.min_completed.insert("trainer".into(), 2);
    run(&mut course, 1);
    end(&mut course, 1, &Said::Failed("boom".into()));
    assert_eq!(course.job.state(), JobState::Failed);
    assert!(course.job.job.reason.contains("cannot reach 2 completed tasks"), "{}", course.job.job.reason);
}

#[test]
fn a_stopped_job_ends_when_its_tasks_have_or_grace_is_over() {
    let mut course = started(2);
    run(&mut course, 0);
    run(&mut course, 1);
    course.stop("stopped by a user", at(10)).unwrap();
    assert_eq!((course.job.state(), state(&course, 2)), (JobState::Stopping, TaskState::Terminated));
    end(&mut course, 1, &Said::Terminated);
    assert_eq!(course.job.state(), JobState::Stopping);
    course.tick(at(20)).unwrap();
    assert_eq!((course.job.state(), state(&course, 0)), (JobState::Terminated, TaskState::Terminated));
    assert_eq!(course.job.job.reason, "stopped by a user");
}

#[test]
fn a_job_nobody_joined_stops_at_once() {
    let mut course = started(2);
    course.stop("stopped by a user", at(10)).unwrap();
    assert_eq!(course.job.state(), JobState::Terminated);
}

#[test]
fn run_time_is_counted_from_the_start() {
    let mut course = course(1);
    course.job.max_run_time = Some(60);
    course.start(at(100)).unwrap();
    course.deploy(at(1)).unwrap();
    assert_eq!(course.next_deadline(), Some(at(160)));
    course.tick(at(159)).unwrap();
    assert_eq!(course.job.state(), JobState::Deploying);
    course.tick(at(160)).unwrap();
    assert_eq!(course.job.state(), JobState::Terminated);
    assert_eq!(course.job.job.reason, "its maxRunTime of 60 s was over");
}

#[test]
fn what_a_state_does_not_allow_is_refused_by_name() {
    let mut course = course(1);
    let refused = course.stop("x", at(1)).unwrap_err();
    assert_eq!(refused.code, Code::WrongState);
    assert!(refused.message.contains("is ready"), "{refused}");
    assert!(course.grant(1, at(1)).unwrap_err().hint.contains("flamectl start job"));
    course.start(at(1)).unwrap();
    let refused = course.start(at(1)).unwrap_err();
    assert!(refused.message.contains("is starting") && refused.hint.contains("watch"), "{refused}");
}

#[test]
fn a_lower_attempt_is_fenced_and_a_last_word_may_be_said_twice() {
    let mut course = started(1);
    let old = run(&mut course, 1);
    let new = course.grant(1, at(5)).unwrap();
    assert_eq!((old, new), (1, 2));
    assert_eq!(course.status(1, old, &Said::Completed, at(5)).unwrap(), Heard::Fenced);
    assert_eq!(state(&course, 1), TaskState::Running);
    end(&mut course, 1, &Said::Completed);
    assert_eq!(course.status(1, new, &Said::Completed, at(6)).unwrap(), Heard::Accepted);
    assert_eq!(course.status(1, new, &Said::Running, at(6)).unwrap(), Heard::Fenced);
    assert_eq!(course.status(0, 0, &Said::Running, at(6)).unwrap(), Heard::Fenced, "attempt 0 was never granted");
}

#[test]
fn a_lost_flamelet_fails_its_task_unless_it_was_told_to_stop() {
    let mut course = started(1);
    run(&mut course, 0);
    let mut stopped = course.clone();
    course.lost(0, "the flamelet of this task exited with signal 9", at(4)).unwrap();
    assert!(course.job.job.reason.ends_with("exited with signal 9"), "{}", course.job.job.reason);
    stopped.stop("stopped by a user", at(4)).unwrap();
    stopped.lost(0, "the flamelet of this task exited with status 2", at(5)).unwrap();
    assert_eq!((state(&stopped, 0), stopped.job.state()), (TaskState::Terminated, JobState::Terminated));
}

proptest! {
    /// Whatever happens in whatever order: ended stays ended, a completed job has its minimum, and once all deadlines
    /// are over a job that was stopped or is done has no task left.
    #[test]
    fn any_order_of_events_keeps_the_rules(events in prop::collection::vec((0_u8..10, 0_u32..4), 0..60), restarts in 0_u32..3) {
        let mut course = started(3);
        (course.job.max_restarts, course.job.rejoin_timeout) = (restarts, Some(20));
        let mut now = 10;
        for (event, position) in events {
            let before = course.clone();
            now += 1;
            let attempt = course.task(position).unwrap().attempt;
            let outcome = match event {
                0 => course.grant(position, at(now)).map(drop),
                1 => course.status(position, attempt, &Said::Running, at(now)).map(drop),
                2 => course.status(position, attempt, &Said::Completed, at(now)).map(drop),
                3 => course.status(position, attempt, &Said::Failed("f".into()), at(now)).map(drop),
                4 => course.status(position, attempt, &Said::Terminated, at(now)).map(drop),
                5 => course.lost(position, "gone", at(now)),
                7 => course.away(position, at(now)),
                8 => course.back(position),
                6 if position == 0 => course.stop("stop", at(now)),
                _ => course.tick(at(now)),
            };
            if outcome.is_err() {
                course = before;
                continue;
            }
            for (old, new) in before.tasks.iter().zip(&course.tasks) {
                prop_assert!(!old.state.is_final() || old.state == new.state);
                prop_assert!(new.state == old.state || new.changed);
            }
            prop_assert!(!before.job.state().is_final() || before.job.state() == course.job.state());
            if course.job.state() == JobState::Completed {
                prop_assert!(course.all_ended() && course.has_minimum());
            }
            prop_assert_eq!(course.job.state().is_final(), course.job.job.ended_at.is_some());
        }
        prop_assert!(course.tasks.iter().all(|task| task.restarts <= restarts));
        let _ = course.stop("stop", at(now));
        course.tick(at(now + 1000)).unwrap();
        prop_assert!(course.job.state().is_final() && course.all_ended());
        prop_assert_eq!(course.next_deadline(), None);
    }
}

#[test]
fn a_lost_system_task_waits_longer_each_time_before_it_is_started_again() {
    let mut course = started(1);
    course.job.max_restarts = 2;
    let old = run(&mut course, 0);
    course.lost(0, "signal 9", at(10)).unwrap();
    let task = course.task(0).unwrap();
    assert_eq!((task.state, task.restarts, task.retry_at), (TaskState::Ready, 1, Some(at(11))));
    assert_eq!(course.status(0, old, &Said::Completed, at(10)).unwrap(), Heard::Fenced);
    assert_eq!(course.next_deadline(), Some(at(11)));
    course.tick(at(11)).unwrap();
    assert_eq!((course.task(0).unwrap().retry_at, course.next_deadline()), (None, None));
    course.lost(0, "it could not be placed", at(20)).unwrap();
    assert_eq!(course.task(0).unwrap().retry_at, Some(at(22)));
    course.lost(0, "no room", at(30)).unwrap();
    assert_eq!(course.job.state(), JobState::Failed);
    assert!(course.job.job.reason.ends_with("no room"), "{}", course.job.job.reason);
}

#[test]
fn who_is_away_while_a_task_runs_is_lost_by_its_kinds_rule() {
    let mut course = started(2);
    for position in 0..3 {
        run(&mut course, position);
        course.away(position, at(100)).unwrap();
    }
    assert_eq!(course.next_deadline(), Some(at(160)), "a participant may be away, a flamelet of ours may not");
    course.back(0).unwrap();
    assert_eq!(course.next_deadline(), None);
    course.job.rejoin_timeout = Some(30);
    course.nobody_is_here(at(200)).unwrap();
    assert_eq!(course.next_deadline(), Some(at(230)));
    course.grant(1, at(210)).unwrap();
    course.tick(at(230)).unwrap();
    assert_eq!((state(&course, 1), state(&course, 2)), (TaskState::Running, TaskState::Failed));
    assert_eq!(course.task(2).unwrap().reason, "its agent had no session for 30 s");
    course.tick(at(260)).unwrap();
    assert_eq!(course.job.job.reason, "role `aggregator`: task 00000000 failed: its agent had no session for 60 s");
}

#[test]
fn only_what_has_ended_altogether_is_updated_or_deleted() {
    let mut course = started(1);
    run(&mut course, 0);
    for refused in [course.check_renewable().unwrap_err(), course.check_deletable().unwrap_err()] {
        assert!(refused.message.contains("is running") && refused.hint.contains("stop"), "{refused}");
    }
    end(&mut course, 0, &Said::Failed("boom".into()));
    for refused in [course.check_renewable().unwrap_err(), course.check_deletable().unwrap_err()] {
        assert!(refused.message.contains("last tasks are being ended"), "{refused}");
    }
    course.job.settled = true;
    course.check_renewable().unwrap();
    course.check_deletable().unwrap();
}

//! What agents report: logs, metrics, progress.

use flame_api::{AgentId, AgentReport, Code, JobId, LogRecord, MetricRecord, Page, Problem, TaskKind, Timestamp};

use super::{CellState, Controller, Paging, unknown_job};
use crate::failure::store as store_failed;
use crate::store::records::{ReportCursor, TaskRecord, Telemetry, log_key, metric_key, prefix};
use crate::store::{Batch, Tree, get_record};

/// Log lines that are kept per job: the newest.
const LOG_LINES: u64 = 10_000;

impl Controller {
    /// Stores a report, once. Blocks.
    pub(crate) fn report(&self, agent: &AgentId, report: AgentReport) -> Result<(), Problem> {
        let record = self.agent(agent)?;
        let job = &record.job;
        let cell = self.cell(job)?;
        let mut state = cell.lock();
        self.load(job, &mut state.course)?;
        let mut telemetry = self.load_telemetry(job, &mut state)?;
        let task = state.course.as_ref().and_then(|course| course.task(record.position));
        let task = task.ok_or_else(|| unknown_job(job))?;
        fence(task, report.attempt)?;
        let cursor: Option<ReportCursor> =
            get_record(&*self.store, Tree::Reports, agent.as_str()).map_err(store_failed)?;
        if cursor.is_some_and(|cursor| cursor.attempt == report.attempt && cursor.serial >= report.serial) {
            return Ok(());
        }
        let mut batch = Batch::new();
        let cursor = ReportCursor { attempt: report.attempt, serial: report.serial };
        batch.put_record(Tree::Reports, agent.as_str(), &cursor).map_err(store_failed)?;
        add(&mut batch, &mut telemetry, job, task, report)?;
        batch.put_record(Tree::Reports, job.as_str(), &telemetry).map_err(store_failed)?;
        self.store.commit(batch).map_err(store_failed)?;
        state.telemetry = Some(telemetry);
        drop(state);
        cell.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    pub(super) fn telemetry(&self, job: &JobId) -> Result<Telemetry, Problem> {
        let cell = self.cell(job)?;
        let mut state = cell.lock();
        self.load_telemetry(job, &mut state)
    }

    fn load_telemetry(&self, job: &JobId, state: &mut CellState) -> Result<Telemetry, Problem> {
        if let Some(telemetry) = &state.telemetry {
            return Ok(telemetry.clone());
        }
        let stored = get_record(&*self.store, Tree::Reports, job.as_str()).map_err(store_failed)?;
        let telemetry: Telemetry = stored.unwrap_or_default();
        state.telemetry = Some(telemetry.clone());
        Ok(telemetry)
    }

    /// A page of a job's metrics, by round, then agent. Blocks.
    pub(crate) fn metrics(&self, job: &JobId, paging: &Paging) -> Result<Page<MetricRecord>, Problem> {
        self.job(job)?;
        self.page(Tree::Metrics, &prefix(job), paging, Some)
    }

    /// A page of the log lines that are kept of a job, in the order in which they came. Blocks.
    pub(crate) fn logs(&self, job: &JobId, paging: &Paging) -> Result<Page<LogRecord>, Problem> {
        self.job(job)?;
        self.page(Tree::Logs, &prefix(job), paging, Some)
    }
}

/// Refuses an attempt that is not the task's newest.
pub(super) fn fence(task: &TaskRecord, attempt: u32) -> Result<(), Problem> {
    if attempt != 0 && attempt == task.attempt {
        return Ok(());
    }
    let message = format!("attempt {attempt} of task {} is over: attempt {} holds it", task.agent, task.attempt);
    Err(Problem::new(Code::Fenced, message).hint("another agent with the same key took the task over; end this one"))
}

fn add(
    batch: &mut Batch,
    telemetry: &mut Telemetry,
    job: &JobId,
    task: &TaskRecord,
    report: AgentReport,
) -> Result<(), Problem> {
    for line in report.logs {
        let record = LogRecord {
            agent: task.agent.clone(),
            role: task.role.clone(),
            level: line.level,
            text: line.text,
            timestamp: line.timestamp,
        };
        batch.put_record(Tree::Logs, &log_key(job, telemetry.next_log), &record).map_err(store_failed)?;
        telemetry.next_log += 1;
    }
    while telemetry.next_log - telemetry.first_log > LOG_LINES {
        batch.delete(Tree::Logs, log_key(job, telemetry.first_log));
        telemetry.first_log += 1;
    }
    let is_system = task.kind == TaskKind::System;
    for row in report.metrics {
        let record = MetricRecord {
            agent: task.agent.clone(),
            role: task.role.clone(),
            round: row.round,
            values: row.values,
            timestamp: Timestamp::now(),
        };
        batch.put_record(Tree::Metrics, &metric_key(job, row.round, &task.agent), &record).map_err(store_failed)?;
        let rank = (telemetry.latest_is_system, telemetry.latest.as_ref().map(|latest| latest.round));
        if (is_system, Some(record.round)) >= rank {
            (telemetry.latest, telemetry.latest_is_system) = (Some(record), is_system);
        }
    }
    if let Some(progress) = report.progress
        && telemetry.progress.is_none_or(|known| known.round <= progress.round)
    {
        telemetry.progress = Some(progress);
    }
    Ok(())
}

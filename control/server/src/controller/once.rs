//! Requests that may come again: the answer to a creation is kept with what was created, in the same durable step, so
//! that a client that has not heard it may ask once more and gets the same one.
//!
//! What is kept is bounded by a ring of slots: the oldest answer makes room for a new one.

use std::time::Duration;

use flame_api::{Code, Problem, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Controller;
use crate::crypto;
use crate::failure::{internal, store as store_failed};
use crate::store::records::OnceRecord;
use crate::store::{Batch, Tree, get_record};

/// Answers that are kept.
const SLOTS: u64 = 10_000;
/// How long an answer is given again.
const KEEP: Duration = Duration::from_hours(24);
/// Key of the number of answers that there have been.
const COUNT: &str = "count";

/// An idempotency key, as a request brought it, with what it was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Once {
    /// SHA-256 of who asks, the path and the key, hex.
    key: String,
    /// SHA-256 of the request, hex.
    request: String,
}

impl Once {
    /// `who` asks at `path` for what `body` says.
    pub(crate) fn new(who: &str, path: &str, key: &str, body: &[u8]) -> Self {
        let mut parts = Vec::new();
        for part in [who, path, key] {
            parts.extend_from_slice(&(part.len() as u64).to_be_bytes());
            parts.extend_from_slice(part.as_bytes());
        }
        Self { key: crypto::sha256_hex(&parts), request: crypto::sha256_hex(body) }
    }

    fn answer_key(&self) -> String {
        format!("answer/{}", self.key)
    }
}

fn slot_key(slot: u64) -> String {
    format!("slot/{slot:010}")
}

impl Controller {
    /// The answer that was given to the request before, if so. Under the lock of creations. Blocks.
    pub(super) fn replay<T: DeserializeOwned>(&self, once: Option<&Once>) -> Result<Option<T>, Problem> {
        let Some(once) = once else { return Ok(None) };
        let record: Option<OnceRecord> =
            get_record(&*self.store, Tree::Once, &once.answer_key()).map_err(store_failed)?;
        let Some(record) = record.filter(|record| is_kept(record.at)) else { return Ok(None) };
        if record.request != once.request {
            let message = "this Idempotency-Key was used for another request";
            return Err(Problem::new(Code::Refused, message).hint("use a new key for a new request"));
        }
        serde_json::from_value(record.answer).map(Some).map_err(|error| internal(&error))
    }

    /// Adds the answer to what is committed with it. Under the lock of creations. Blocks.
    pub(super) fn remember<T: Serialize>(
        &self,
        batch: &mut Batch,
        once: Option<&Once>,
        answer: &T,
    ) -> Result<(), Problem> {
        let Some(once) = once else { return Ok(()) };
        let count: u64 = get_record(&*self.store, Tree::Once, COUNT).map_err(store_failed)?.unwrap_or_default();
        let slot = slot_key(count % SLOTS);
        let old: Option<String> = get_record(&*self.store, Tree::Once, &slot).map_err(store_failed)?;
        if let Some(old) = old {
            batch.delete(Tree::Once, old);
        }
        let answer = serde_json::to_value(answer).map_err(|error| internal(&error))?;
        let record = OnceRecord { request: once.request.clone(), answer, at: Timestamp::now() };
        batch.put_record(Tree::Once, &slot, &once.answer_key()).map_err(store_failed)?;
        batch.put_record(Tree::Once, &once.answer_key(), &record).map_err(store_failed)?;
        batch.put_record(Tree::Once, COUNT, &(count + 1)).map_err(store_failed)
    }
}

fn is_kept(at: Timestamp) -> bool {
    at.saturating_add(KEEP).unwrap_or(Timestamp::MAX) > Timestamp::now()
}

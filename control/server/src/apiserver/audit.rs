//! The audit log: who changed what, when and from where. It is only ever added to.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Extension;
use axum::extract::State;
use flame_api::{AuditRecord, Code, Problem, Timestamp, TokenId};
use serde::{Deserialize, Serialize};

use super::Api;
use super::auth::Access;
use super::reply::{Answer, InQuery, Reply};
use crate::failure::{internal, store as store_failed};
use crate::store::records::audit_key;
use crate::store::{Batch, Store, StoreError, Tree, get_record, page_records};

/// Key of the last record's number in [`Tree::Server`].
const LAST: &str = "audit";
/// Records of one answer.
const PAGE: u64 = 1_000;

#[derive(Serialize, Deserialize, Default)]
struct Last {
    last: u64,
}

/// A change that was made.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) who: String,
    pub(crate) token: Option<TokenId>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) what: String,
    pub(crate) made: String,
    pub(crate) status: u16,
}

/// Where changes are written down.
pub(crate) struct Audit {
    store: Arc<dyn Store>,
    last: Mutex<u64>,
}

impl Audit {
    /// Blocks.
    pub(crate) fn open(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let last: Option<Last> = get_record(&*store, Tree::Server, LAST)?;
        Ok(Self { last: Mutex::new(last.unwrap_or_default().last), store })
    }

    /// Durably. Blocks.
    pub(crate) fn note(&self, change: Change) -> Result<(), StoreError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let record = AuditRecord {
            number: *last + 1,
            timestamp: Timestamp::now(),
            who: change.who,
            token: change.token,
            address: change.address.map(|ip| ip.to_canonical().to_string()).unwrap_or_default(),
            what: change.what,
            made: change.made,
            status: change.status,
        };
        let mut batch = Batch::new();
        batch.put_record(Tree::Audit, &audit_key(record.number), &record)?;
        batch.put_record(Tree::Server, LAST, &Last { last: record.number })?;
        self.store.commit_soon(batch)?;
        *last = record.number;
        // Others need not wait for the disk one after the other.
        drop(last);
        self.store.settle()
    }
}

/// Which records.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Number of the last record that is known.
    #[serde(default)]
    after: u64,
    /// Records of the answer: 1,000 at most, and without it.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
}

/// Who changed what: the records after a number, oldest first. For admins.
#[utoipa::path(get, path = "/v1/audit", tag = "server", params(Which),
    responses((status = 200, body = Vec<AuditRecord>)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Extension(access): Extension<Access>,
    InQuery(which): InQuery<Which>,
) -> Answer<Vec<AuditRecord>> {
    access.admin("the audit log")?;
    let limit = which.limit.unwrap_or(PAGE);
    if limit == 0 || limit > PAGE {
        return Err(Problem::new(Code::InvalidRequest, format!("limit is 1 to {PAGE}")).into());
    }
    let limit = usize::try_from(limit).map_err(|error| internal(&error))?;
    let after = audit_key(which.after);
    let read = move |controller: &crate::controller::Controller| {
        let page = page_records(&*controller.store, Tree::Audit, "", after.as_bytes(), limit).map_err(store_failed)?;
        Ok(page.into_iter().map(|(_, record)| record).collect())
    };
    Ok(Reply::ok(api.controller.run(read).await?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn numbers_go_on_where_they_were_when_it_is_opened_again() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let change = |what: &str| Change {
            who: "me".into(),
            token: None,
            address: Some(IpAddr::from([127, 0, 0, 1])),
            what: what.into(),
            made: String::new(),
            status: 200,
        };
        Audit::open(Arc::clone(&store)).unwrap().note(change("one")).unwrap();
        let again = Audit::open(Arc::clone(&store)).unwrap();
        again.note(change("two")).unwrap();
        again.note(change("three")).unwrap();
        let rest = page_records::<AuditRecord>(&*store, Tree::Audit, "", audit_key(1).as_bytes(), 10).unwrap();
        let told: Vec<_> = rest.iter().map(|(_, record)| (record.number, record.what.as_str())).collect();
        assert_eq!(told, [(2, "two"), (3, "three")]);
    }
}

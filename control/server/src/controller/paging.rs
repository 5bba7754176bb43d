//! Lists, a page at a time: in the order of their keys, from where the last page ended.

use flame_api::{Code, Page, Problem};
use serde::de::DeserializeOwned;

use super::Controller;
use crate::failure::store as store_failed;
use crate::store::{Tree, page_records};

/// Items on a page that asks for no number.
const DEFAULT_LIMIT: usize = 100;
/// Most items on a page.
const MAX_LIMIT: usize = 1000;

/// Which page is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Paging {
    /// Key of the last item of the page before; empty: from the beginning.
    after: Vec<u8>,
    limit: usize,
}

impl Paging {
    /// Reads what a request says. The cursor is a key in hex: opaque for others.
    pub(crate) fn new(limit: Option<usize>, cursor: Option<&str>) -> Result<Self, Problem> {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            let message = format!("limit: a page has 1 to {MAX_LIMIT} items, not {limit}");
            return Err(Problem::new(Code::InvalidRequest, message));
        }
        let after = hex::decode(cursor.unwrap_or_default()).map_err(|_| no_cursor())?;
        Ok(Self { after, limit })
    }

    /// A page of a list that is in memory. `key`: what the store would have the item under.
    pub(crate) fn of<T, U>(
        &self,
        items: impl Iterator<Item = T>,
        prefix: &str,
        key: impl Fn(&T) -> String,
        view: impl Fn(T) -> U,
    ) -> Result<Page<U>, Problem> {
        self.check(prefix)?;
        let mut page = Page { items: Vec::new(), next: None };
        let mut last = String::new();
        for item in items.skip_while(|item| !self.after.is_empty() && key(item).as_bytes() <= self.after.as_slice()) {
            if page.items.len() == self.limit {
                page.next = Some(hex::encode(&last));
                break;
            }
            last = key(&item);
            page.items.push(view(item));
        }
        Ok(page)
    }

    fn check(&self, prefix: &str) -> Result<(), Problem> {
        if self.after.is_empty() || self.after.starts_with(prefix.as_bytes()) { Ok(()) } else { Err(no_cursor()) }
    }
}

fn no_cursor() -> Problem {
    Problem::new(Code::InvalidRequest, "cursor: it is not one that this list gave")
        .hint("begin without a cursor, and go on with the `next` of each page")
}

impl Controller {
    /// A page of what is stored below `prefix`; `view` leaves out what is not to be shown. Blocks.
    pub(super) fn page<T: DeserializeOwned, U>(
        &self,
        tree: Tree,
        prefix: &str,
        paging: &Paging,
        view: impl Fn(T) -> Option<U>,
    ) -> Result<Page<U>, Problem> {
        self.keyed_page(tree, prefix, paging, |_, record| view(record))
    }

    /// The same where the view needs the key.
    pub(super) fn keyed_page<T: DeserializeOwned, U>(
        &self,
        tree: Tree,
        prefix: &str,
        paging: &Paging,
        view: impl Fn(&str, T) -> Option<U>,
    ) -> Result<Page<U>, Problem> {
        paging.check(prefix)?;
        let (mut items, mut after) = (Vec::new(), paging.after.clone());
        loop {
            // One more than is wanted tells whether there is a next page.
            let wanted = paging.limit + 1;
            let read = page_records(&*self.store, tree, prefix, &after, wanted).map_err(store_failed)?;
            let is_last = read.len() < wanted;
            for (key, record) in read {
                if items.len() == paging.limit {
                    return Ok(Page { items, next: Some(hex::encode(after)) });
                }
                items.extend(view(&String::from_utf8_lossy(&key), record));
                after = key;
            }
            if is_last {
                return Ok(Page { items, next: None });
            }
        }
    }
}

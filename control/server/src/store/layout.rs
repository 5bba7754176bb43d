//! How keys are laid out, and how an older layout becomes today's. Fields that were added have defaults; what a default
//! cannot give is a step here.

use serde::{Deserialize, Serialize};

use super::{Batch, Store, StoreError, Tree, damaged, get_record};
use crate::store::records::IDENTITY;

/// Key of the layout's number in [`Tree::Server`].
const LAYOUT_KEY: &str = "layout";
/// Layout 1 had no owners; 2 has them in the keys of designs and their revisions.
const LAYOUT: u32 = 2;
/// The owner of what had none.
const FIRST_OWNER: &str = "admin";

#[derive(Serialize, Deserialize)]
struct Layout {
    layout: u32,
}

/// Brings a store of an earlier version to today's layout, in one step. Says from which one; none where there was nothing
/// to do.
pub fn migrate(store: &dyn Store) -> Result<Option<u32>, StoreError> {
    let known: Option<Layout> = get_record(store, Tree::Server, LAYOUT_KEY)?;
    let found = match known {
        Some(known) => known.layout,
        // The first version wrote none, and its identity first of all.
        None if store.get(Tree::Server, IDENTITY.as_bytes())?.is_some() => 1,
        None => LAYOUT,
    };
    if found > LAYOUT {
        let (tree, key) = (Tree::Server.name(), LAYOUT_KEY.to_owned());
        return Err(StoreError::TooNew { tree, key, found, known: LAYOUT });
    }
    let mut batch = Batch::new();
    if found < 2 {
        name_owners(store, &mut batch)?;
    }
    batch.put_record(Tree::Server, LAYOUT_KEY, &Layout { layout: LAYOUT })?;
    store.commit(batch)?;
    Ok((found < LAYOUT).then_some(found))
}

/// `design` becomes `owner/design`, and `design/version` likewise. The records' own field has a default.
fn name_owners(store: &dyn Store, batch: &mut Batch) -> Result<(), StoreError> {
    for tree in [Tree::Designs, Tree::Schemas, Tree::Code] {
        for (key, value) in store.scan(tree, b"")? {
            let text = std::str::from_utf8(&key).map_err(|error| damaged(tree, &key, &error))?;
            batch.put(tree, format!("{FIRST_OWNER}/{text}"), value);
            batch.delete(tree, key);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use flame_api::{Design, UserName};

    use super::*;
    use crate::store::MemoryStore;
    use crate::store::records::{DesignName, SchemaRecord, revision_key};

    /// As the first version wrote them.
    fn of_the_first_version() -> MemoryStore {
        let store = MemoryStore::default();
        let put = |tree, key: &str, record: &str| {
            store.put(tree, key.as_bytes(), format!("{{\"version\":1,\"record\":{record}}}").into_bytes()).unwrap();
        };
        put(Tree::Server, "identity", r#"{"admin_token": "00", "broker_password": "p"}"#);
        put(Tree::Designs, "mnist", r#"{"id": "mnist", "description": "d", "createdAt": "2026-11-20T00:00:00Z"}"#);
        let schema =
            r#"{"version": 3, "file": "s.json", "text": "{}", "roles": [], "created_at": "2026-11-20T00:00:00Z"}"#;
        put(Tree::Schemas, "mnist/0000000003", schema);
        store
    }

    #[test]
    fn a_store_of_the_first_version_gets_owners_once() {
        let store = of_the_first_version();
        assert_eq!(migrate(&store).unwrap(), Some(1));
        let name = DesignName::new(UserName::default(), "mnist".parse().unwrap());
        let record: Design = get_record(&store, Tree::Designs, name.as_str()).unwrap().unwrap();
        assert_eq!((&record.owner, record.description.as_str()), (name.owner(), "d"));
        let schema: SchemaRecord = get_record(&store, Tree::Schemas, &revision_key(&name, 3)).unwrap().unwrap();
        assert_eq!(schema.file, "s.json");
        assert_eq!(migrate(&store).unwrap(), None);
        assert_eq!(store.scan(Tree::Designs, b"").unwrap().len(), 1);
    }

    #[test]
    fn a_new_store_has_todays_layout_and_a_later_one_is_refused() {
        let store = MemoryStore::default();
        assert_eq!(migrate(&store).unwrap(), None);
        store.put(Tree::Server, b"layout", br#"{"version":1,"record":{"layout":9}}"#.to_vec()).unwrap();
        let refused = migrate(&store).unwrap_err().to_string();
        assert!(refused.contains("version 9") && refused.contains("newer server"), "{refused}");
    }
}

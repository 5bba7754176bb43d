//! Small documents that describe one thing, such as a data set: JSON or YAML files, checked before they are sent.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::{Failure, files};

/// Reads a document. `what` it is, such as `dataset file`, and its `fields` are for messages.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, what: &str, fields: &str) -> Result<T, Failure> {
    let text = files::read_text(path, what)?;
    serde_saphyr::from_str(&text).map_err(|error| {
        let place = match error.location() {
            Some(at) if at.line() > 0 => format!("{}:{}:{}", path.display(), at.line(), at.column()),
            _ => path.display().to_string(),
        };
        // Only the first line of the parser's message, without the place: the rest quotes the file, which may hold a key.
        let said = error.without_snippet().to_string();
        let said = said.lines().next().unwrap_or_default().split(" at line ").next().unwrap_or_default().to_owned();
        Failure::input(format!("{place}: {}", said.trim_end_matches(':')), format!("a {what} has {fields}"))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use flame_api::CreateDataset;

    use super::*;

    #[test]
    fn mistakes_are_named_at_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.yaml");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            read::<CreateDataset>(&path, "dataset file", "url and realm")
        };
        assert_eq!(read("url: file:///d\nrealm: default\n").unwrap().realm, "default");
        assert_eq!(
            read(r#"{"url": "file:///d", "realm": "default", "dataFormat": "idx"}"#).unwrap().data_format,
            "idx"
        );
        let unknown = read("url: file:///d\nrealm: default\nrelm: x\n").unwrap_err().to_string();
        assert!(unknown.contains("d.yaml:3:1: ") && unknown.contains("relm"), "{unknown}");
        let missing = read("realm: default\n").unwrap_err().to_string();
        assert!(missing.contains("url"), "{missing}");
    }
}

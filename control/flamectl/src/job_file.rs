//! A job file on this machine with the files that it names, and the mistakes in them.

use std::path::{Path, PathBuf};

use flame_tag::{JobSpec, Problems};

use crate::{Failure, files};

/// Fields by which a job file of the later generation names others.
const PATHS: [&str; 2] = ["dataSpecPath", "modelSpecPath"];

/// A job file as text.
#[derive(Debug)]
pub(crate) struct JobFile {
    path: PathBuf,
    /// As the user named it.
    pub(crate) name: String,
    pub(crate) text: String,
}

impl JobFile {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = files::read_text(path, "job file")?;
        Ok(Self { path: path.to_owned(), name: path.to_string_lossy().into_owned(), text })
    }

    /// Whether parts of the job may lie in other files.
    fn refers_to_others(&self) -> bool {
        PATHS.iter().any(|field| self.text.contains(field))
    }

    /// What the server gets: the file as it is, so that what is said about a line of it is right; or, where parts of it
    /// lie in files that the server cannot read, the whole job in one text.
    pub(crate) fn whole(&self) -> Result<String, Failure> {
        if !self.refers_to_others() {
            return Ok(self.text.clone());
        }
        let spec = JobSpec::parse(&self.text, &self.name, &self.loader()).map_err(|problems| mistakes(&problems))?;
        Ok(serde_json::to_string_pretty(&spec).map_err(std::io::Error::from)?)
    }

    /// A file that lies in the job file's folder, or is named from there.
    pub(crate) fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// Reads what the job file names, from beside it.
    pub(crate) fn loader(&self) -> impl Fn(&str) -> Result<String, String> + '_ {
        |path| files::read_text(&self.beside(path), "file").map_err(|failure| failure.message())
    }
}

/// All mistakes of local files in one failure: the only one by itself, several as a list.
pub(crate) fn mistakes(problems: &Problems) -> Failure {
    match problems.0.as_slice() {
        [only] => {
            let mut problem = only.clone();
            let hint = std::mem::take(&mut problem.hint);
            Failure::input(problem.to_string(), hint)
        }
        several => {
            let lines: Vec<String> = several.iter().map(|problem| format!("\n  - {problem}")).collect();
            Failure::input(format!("{} mistakes:{}", several.len(), lines.concat()), "mend them where they stand")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn parsed(job: &Path, text: &str) -> Result<JobSpec, Failure> {
        fs::write(job, text).unwrap();
        let file = JobFile::read(job).unwrap();
        assert!(file.refers_to_others());
        JobSpec::parse(&file.text, &file.name, &file.loader()).map_err(|problems| mistakes(&problems))
    }

    #[test]
    fn specs_are_read_from_beside_the_job_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("data.json"), r#"{"fromUser": {"default": 2}}"#).unwrap();
        fs::write(folder.path().join("model.yaml"), "optimizer:\n  sort: fedavg\n").unwrap();
        let text =
            r#"{"designId": "d", "backend": "mqtt", "dataSpecPath": "data.json", "modelSpecPath": "model.yaml"}"#;
        let spec = parsed(&folder.path().join("job.json"), text).unwrap();
        assert_eq!(spec.data_spec.from_user["default"], 2);
        assert_eq!(spec.optimizer.unwrap().sort, "fedavg");
    }

    #[test]
    fn mistakes_name_the_file_and_the_field() {
        let folder = tempfile::tempdir().unwrap();
        let job = folder.path().join("job.json");
        fs::write(folder.path().join("list.json"), "[1]").unwrap();
        fs::write(folder.path().join("broken.json"), "{\n \"a\": }}").unwrap();
        let refused = |fields: &str| {
            let text = format!(r#"{{"designId": "d", "backend": "mqtt", {fields}}}"#);
            parsed(&job, &text).unwrap_err().to_string()
        };
        let absent = refused(r#""dataSpecPath": "nope.json""#);
        assert!(absent.contains("job.json:1:54: dataSpecPath: nope.json cannot be read: the file"), "{absent}");
        assert!(absent.ends_with("nope.json does not exist"), "{absent}");
        assert!(refused(r#""dataSpecPath": 3"#).contains("dataSpecPath: expected a text, found a number"));
        assert!(refused(r#""dataSpecPath": "list.json", "dataSpec": {}"#).contains("are both given"));
        assert!(refused(r#""modelSpecPath": "list.json""#).contains("list.json:1:1: expected an object, found a list"));
        let broken = refused(r#""modelSpecPath": "broken.json""#);
        assert!(broken.contains("broken.json:2:"), "{broken}");
    }
}

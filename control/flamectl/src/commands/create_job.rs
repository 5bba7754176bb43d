//! `flamectl create job FILE`: sends the file as it is, but for the specs that it names by path.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};

use crate::{Context, Failure, files};

/// Fields that name a file relative to the job file, the field that takes its content, and what the file is.
const PATHS: [(&str, &str, &str); 2] =
    [("dataSpecPath", "dataSpec", "data spec"), ("modelSpecPath", "modelSpec", "model spec")];

/// Arguments of `create job`.
#[derive(Debug, Clone, Args)]
pub struct CreateJobArgs {
    /// Job file, JSON or YAML. Files that it names as dataSpecPath or modelSpecPath are looked for beside it
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

pub(crate) async fn run(args: CreateJobArgs, context: &mut Context) -> Result<(), Failure> {
    let text = inline_specs(&args.file, files::read_text(&args.file, "job file")?)?;
    let job = context.client.create_job(&args.file.to_string_lossy(), text).await?;
    context.printer.line(format_args!("New job created successfully\n\tID: {}\n\tstate: {}", job.id, job.state))?;
    Ok(())
}

/// Puts the content of referenced specs in the place of their paths. A file without such paths stays as it is, so that
/// what the server says about a line of it is right.
fn inline_specs(file: &Path, text: String) -> Result<String, Failure> {
    if !PATHS.iter().any(|(reference, ..)| text.contains(reference)) {
        return Ok(text);
    }
    let mut job = parse(file, "job file", &text)?;
    for (reference, field, what) in PATHS {
        let Some(path) = job.shift_remove(reference) else { continue };
        let place = || format!("the job file {}, field `{reference}`", file.display());
        let Value::String(path) = path else {
            return Err(Failure::input(
                format!("{}: the value is not a path", place()),
                format!("write \"{reference}\": \"FILE\", relative to the job file"),
            ));
        };
        if job.contains_key(field) {
            return Err(Failure::input(
                format!("{}: `{field}` is given as well", place()),
                format!("keep one of `{field}` and `{reference}`"),
            ));
        }
        let path = file.parent().unwrap_or(Path::new("")).join(path);
        let text = files::read_text(&path, what).map_err(|failure| {
            Failure::input(format!("{}: {}", place(), failure.message()), "paths are relative to the job file")
        })?;
        job.insert(field.to_owned(), Value::Object(parse(&path, what, &text)?));
    }
    serde_json::to_string_pretty(&job).map_err(|error| Failure::input(error.to_string(), ""))
}

fn parse(file: &Path, what: &str, text: &str) -> Result<Map<String, Value>, Failure> {
    // JSON first where it looks like it: its own parser says better what is wrong, and takes tabs.
    let parsed = if text.trim_start().starts_with(['{', '[']) {
        serde_json::from_str::<Value>(text).map_err(|error| error.to_string())
    } else {
        serde_saphyr::from_str::<Value>(text).map_err(|error| error.without_snippet().to_string())
    };
    match parsed {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Failure::input(
            format!("the {what} {} does not hold fields", file.display()),
            format!("a {what} is a JSON object, or YAML of `name: value` lines"),
        )),
        Err(error) => Err(Failure::input(
            format!("the {what} {} is neither JSON nor YAML: {error}", file.display()),
            "mend the line that is named",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn specs_are_inlined_from_beside_the_job_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("data.json"), r#"{"fromUser": {"default": 2}}"#).unwrap();
        fs::write(folder.path().join("model.yaml"), "optimizer:\n  sort: fedavg\n").unwrap();
        let text = r#"{"designId": "d", "dataSpecPath": "data.json", "modelSpecPath": "model.yaml", "maxRunTime": 9}"#;
        let inlined = inline_specs(&folder.path().join("job.json"), text.into()).unwrap();
        let expected = serde_json::json!({
            "designId": "d", "maxRunTime": 9,
            "dataSpec": {"fromUser": {"default": 2}}, "modelSpec": {"optimizer": {"sort": "fedavg"}},
        });
        assert_eq!(serde_json::from_str::<Value>(&inlined).unwrap(), expected);
    }

    #[test]
    fn a_job_file_without_paths_is_sent_as_it_is() {
        let text = "designId: d # a comment\n";
        assert_eq!(inline_specs(Path::new("job.yaml"), text.into()).unwrap(), text);
    }

    #[test]
    fn mistakes_name_the_file_and_the_field() {
        let folder = tempfile::tempdir().unwrap();
        let job = folder.path().join("job.json");
        fs::write(folder.path().join("list.json"), "[1]").unwrap();
        fs::write(folder.path().join("broken.json"), "{\n \"a\": }").unwrap();
        let refused = |text: &str| inline_specs(&job, text.into()).unwrap_err().to_string();
        let absent = refused(r#"{"dataSpecPath": "nope.json"}"#);
        assert!(absent.contains("job.json, field `dataSpecPath`: the data spec"), "{absent}");
        assert!(absent.ends_with("nope.json does not exist"), "{absent}");
        assert!(refused(r#"{"dataSpecPath": 3}"#).ends_with("the value is not a path"));
        assert!(refused(r#"{"dataSpecPath": "list.json", "dataSpec": {}}"#).contains("`dataSpec` is given as well"));
        assert!(refused(r#"{"modelSpecPath": "list.json"}"#).ends_with("list.json does not hold fields"));
        let broken = refused(r#"{"modelSpecPath": "broken.json"}"#);
        assert!(broken.contains("broken.json") && broken.contains("line 2"), "{broken}");
    }
}

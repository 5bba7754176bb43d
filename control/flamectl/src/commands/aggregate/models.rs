//! Models in and out of files. A file is read once, into storage of which the model's tensors are views.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flame_aggregate::AggregateError;
use flame_model::safetensors::{self, MAX_HEADER_BYTES};
use flame_model::{Model, SharedBuffer, SharedBufferMut};

use super::given::NamedFile;
use crate::files::{self, Staged};
use crate::{Failure, text};

/// Why an update was not folded in.
#[derive(Debug)]
pub(super) struct Unread {
    /// Stable, for programs.
    pub(super) code: &'static str,
    pub(super) reason: String,
    /// Whether the round cannot go on without it.
    pub(super) fatal: bool,
}

impl From<AggregateError> for Unread {
    fn from(error: AggregateError) -> Self {
        let (code, fatal) = match &error {
            AggregateError::ShapeMismatch { .. } => ("shape-mismatch", false),
            AggregateError::NotFinite { .. } => ("not-finite", false),
            AggregateError::Memory(_) => ("memory", true),
            _ => ("invalid-argument", false),
        };
        Self { code, reason: error.to_string(), fatal }
    }
}

/// Reads a model whose size nothing is known of.
pub(super) fn read(path: &Path, what: &str) -> Result<Model, Failure> {
    parse(path, what, &load(path, what, open(path, what)?)?)
}

/// Reads a model that should have the layout of `like`. One that is far larger is refused without reading it.
pub(super) fn read_like(path: &Path, what: &str, like: &Model) -> Result<Result<Model, Unread>, Failure> {
    let opened = open(path, what)?;
    let most = like.byte_size().saturating_add(8 + MAX_HEADER_BYTES);
    if opened.1 > most {
        let reason = format!(
            "the file has {}, and a model in the layout of the base has {} of numbers",
            text::size(opened.1),
            text::size(like.byte_size())
        );
        return Ok(Err(Unread { code: "shape-mismatch", reason, fatal: false }));
    }
    parse(path, what, &load(path, what, opened)?).map(Ok)
}

/// Reads second models, each under its name.
pub(super) fn read_named(files: &[NamedFile], what: &str) -> Result<Vec<(String, Model)>, Failure> {
    files.iter().map(|file| Ok((file.name.clone(), read(&file.path, what)?))).collect()
}

/// A file and its size.
fn open(path: &Path, what: &str) -> Result<(File, u64), Failure> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (about, file) = opened.map_err(|error| unreadable(path, what, &error))?;
    if !about.is_file() {
        let kind = if about.is_dir() { "a directory" } else { "no regular file" };
        return Err(Failure::input(format!("the {what} {} is {kind}", shown(path)), "name a safetensors file"));
    }
    Ok((file, about.len()))
}

fn load(path: &Path, what: &str, (mut file, size): (File, u64)) -> Result<SharedBuffer, Failure> {
    let bytes = usize::try_from(size).unwrap_or(usize::MAX);
    let mut buffer = SharedBufferMut::for_overwrite(bytes)
        .map_err(|error| Failure::input(format!("the {what} {}: {error}", shown(path)), "is this the right file?"))?;
    file.read_exact(buffer.as_mut_bytes()).map_err(|error| unreadable(path, what, &error))?;
    Ok(buffer.freeze())
}

fn parse(path: &Path, what: &str, file: &SharedBuffer) -> Result<Model, Failure> {
    let (model, _) = safetensors::from_buffer(file).map_err(|error| {
        Failure::input(format!("the {what} {}: {error}", shown(path)), not_safetensors(file.as_bytes()))
    })?;
    Ok(model)
}

/// What to do about a file that is none of ours, by its first bytes.
fn not_safetensors(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "it is empty: was it saved?",
        [b'P', b'K', ..] | [0x80, ..] => {
            "is it a PyTorch file? Convert it: safetensors.torch.save_file(torch.load(FILE), OUT)"
        }
        [0x93, b'N', b'U', b'M', ..] => "is it a NumPy file? Convert it: safetensors.numpy.save_file({...}, OUT)",
        _ => "was it cut off, or is this another file? Nothing was written",
    }
}

fn unreadable(path: &Path, what: &str, error: &io::Error) -> Failure {
    Failure::input(format!("cannot read the {what} {}: {error}", shown(path)), "nothing was written")
}

fn shown(path: &Path) -> String {
    text::safe(&path.display().to_string())
}

/// Writes a model beside its place.
pub(super) fn stage(path: &Path, model: &Model) -> Result<Staged, Failure> {
    files::stage(path, |file| write(file, model, &BTreeMap::new()))
}

/// Writes a model and metadata, without a copy of the numbers.
pub(super) fn write(file: &mut dyn Write, model: &Model, metadata: &BTreeMap<String, String>) -> io::Result<()> {
    let mut written = Ok(());
    safetensors::write_parts(model, metadata, |part| {
        if written.is_ok() {
            written = file.write_all(part);
        }
    });
    written
}

/// What identifies a model's names, shapes, dtypes and values.
pub(super) fn digest(model: &Model) -> String {
    safetensors::sha256(model)
}

/// Where a second model goes that comes with `output`: `w.safetensors` and `control` give `w.control.safetensors`.
pub(super) fn beside(output: &Path, name: &str) -> PathBuf {
    let extension = output.extension().map(|extension| extension.to_string_lossy().into_owned());
    let mut file = output.file_stem().unwrap_or_default().to_os_string();
    file.push(format!(".{name}.{}", extension.as_deref().unwrap_or("safetensors")));
    output.with_file_name(file)
}

/// Reads a file of the state.
pub(super) fn read_with_metadata(path: &Path) -> Result<(Model, BTreeMap<String, String>), String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let buffer = load(path, "state", (file, size)).map_err(|failure| failure.message())?;
    safetensors::from_buffer(&buffer).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_models_are_named_after_the_output() {
        let beside = |output: &str| beside(Path::new(output), "control").to_str().unwrap().to_owned();
        assert_eq!(beside("a/w.safetensors"), "a/w.control.safetensors");
        assert_eq!(beside("w"), "w.control.safetensors");
        assert_eq!(beside("w.1.st"), "w.1.control.st");
    }
}

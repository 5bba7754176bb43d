//! Components that the tests run, built once for a test executable.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::root;

const TARGET: &str = "wasm32-wasip2";

/// The MNIST example's component.
pub fn mnist() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            build(&root().join("examples/mnist-wasm"), &["--lib"]);
            root().join(target_folder()).join(TARGET).join("release/mnist.wasm")
        })
        .clone()
}

/// A guest of `tests/guests` by its package's name.
pub fn guest(name: &str) -> PathBuf {
    static BUILT: OnceLock<Mutex<HashMap<String, PathBuf>>> = OnceLock::new();
    let mut built = BUILT.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = built.get(name) {
        return path.clone();
    }
    let folder = root().join("tests/guests");
    build(&folder, &["-p", name]);
    let file = format!("{}.wasm", name.replace('-', "_"));
    let path = folder.join("target").join(TARGET).join("release").join(file);
    assert!(path.is_file(), "{} was not built", path.display());
    built.insert(name.to_owned(), path.clone());
    path
}

/// A component of `tests/guests/attacks` by its file's name; all of them are built at once.
pub fn attack(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let folder = root().join("tests/guests");
        build(&folder, &["-p", "attacks", "--examples"]);
        folder.join("target").join(TARGET).join("release/examples")
    });
    folder.join(format!("{name}.wasm"))
}

/// A python3 with these modules, or None with a printed reason.
pub fn python(modules: &str) -> Option<Command> {
    let check = Command::new("python3").args(["-c", &format!("import {modules}")]).output();
    if check.is_ok_and(|output| output.status.success()) {
        Some(Command::new("python3"))
    } else {
        eprintln!("skipped: there is no python3 with {modules}");
        None
    }
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from)
}

fn build(folder: &std::path::Path, args: &[&str]) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--release", "--target", TARGET]).args(args).current_dir(folder);
    if folder.ends_with("guests") {
        command.env_remove("CARGO_TARGET_DIR");
    }
    let status = command.status().expect("cargo runs");
    assert!(status.success(), "{} does not build; is the target there? rustup target add {TARGET}", folder.display());
}

//! Components that are refused before anything of them runs, and a cache of compiled code that somebody tampers with.

use std::fmt::Write as _;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::time::{Duration, Instant};

use flame_sandbox::{Limits, Sandbox, SandboxConfig, Times};

use crate::stage::Terms;
use crate::suite::Suite;
use crate::text::{self, component, leb, with_roles, worker};

pub(crate) async fn attacks(suite: &Suite) {
    for (name, bytes, words) in [
        ("forbidden import", forbidden(), vec!["wasi:sockets/tcp@0.2.0", "no network"]),
        ("unknown interface", other_interface(), vec!["flame:worker/secrets@0.1.0"]),
        ("65 MiB", padded(65 << 20), vec!["67108864"]),
        ("gigantic function", worker(&format!("{} i32.const 0", "nop ".repeat(2 << 20)), ""), vec!["a function has"]),
        ("200,000 functions", worker("i32.const 0", &"(func)".repeat(200_000)), vec!["100000 are the most"]),
        ("wide functions", wide(), vec!["locals"]),
        ("deeply nested", nested(5_000), vec!["exceeds limit of 1000"]),
        ("many modules", component(&"(core module)".repeat(2_000), ""), vec!["exceeds limit of 1000"]),
        ("no run", component("", ""), vec!["does not export run"]),
        ("run of another type", other_run(), vec!["run has another type"]),
        ("run that is no function", run_instance(), vec!["is no function"]),
        ("no role", no_role(), vec!["names no role"]),
        ("another role", with_roles(without_roles(), b"aggregator"), vec!["does not serve the role `trainer`"]),
        (
            "role names that move a terminal",
            with_roles(without_roles(), b"trainer\n\x1b[2J\n../../x"),
            vec!["role name", "\\u{1b}"],
        ),
        ("a megabyte of role names", with_roles(without_roles(), &b"trainer\n".repeat(1 << 17)), vec!["flame:roles"]),
        ("cut off", cut(), vec!["not valid"]),
        ("lying section", lying(), vec!["not valid"]),
        ("64-bit memory", worker("i32.const 0", "(memory i64 1)"), vec!["not valid"]),
        ("shared memory", worker("i32.const 0", "(memory 1 1 shared)"), vec!["not valid"]),
        ("core module", wat::parse_str("(module)").unwrap(), vec!["core module"]),
        ("text", b"(component)".to_vec(), vec!["text"]),
        ("precompiled", b"\x7fELF\x02\x01\x01".to_vec(), vec!["precompiled"]),
        ("nothing", Vec::new(), vec!["empty"]),
    ] {
        let began = Instant::now();
        let refused = suite.refused(&bytes);
        let took = began.elapsed();
        let Err(reason) = refused else {
            suite.expect(false, name, "it is not refused");
            continue;
        };
        eprintln!("{name} ({:.1} s): {:.300}", took.as_secs_f64(), reason);
        for words in words {
            suite.expect(words.split('|').any(|word| reason.contains(word)), name, format!("no `{words}` in {reason}"));
        }
        suite.expect(reason.len() < 20_000 && !reason.contains('\u{1b}'), name, "the reason is not fit to read");
        suite.expect(took < Duration::from_secs(30), name, format!("it took {took:?} to refuse"));
    }
    admitted(suite).await;
    cache(suite);
}

/// What is no harm before it runs, and is ended when it does.
async fn admitted(suite: &Suite) {
    let short = Duration::from_millis(200);
    let cpu = Times { call: short, ..Limits::default().cpu };
    let terms = || Terms { limits: Limits { cpu, ..Limits::default() }, ..Terms::default() };
    match suite.refused(&text::start_loop()) {
        Ok(prepared) => {
            let (_, outcome) = suite.runs("start loop", prepared, terms()).await;
            suite.has_failed("start loop", &outcome, &["limits.cpu.call"]);
        }
        Err(reason) => suite.expect(false, "start loop", reason),
    }
    // A type that the world does not have is noticed when it is linked or called, and never believed.
    for (name, bytes) in [("another failure", other_failure()), ("many exports", exports())] {
        match suite.refused(&bytes) {
            Ok(prepared) => {
                let (_, outcome) = suite.runs(name, prepared, terms()).await;
                eprintln!("{name}: {outcome:?}");
            }
            Err(reason) => {
                eprintln!("{name}: {reason:.300}");
                suite.expect(name == "another failure", name, reason);
                suite.honest_job(name).await;
            }
        }
    }
}

fn forbidden() -> Vec<u8> {
    component("(import \"wasi:sockets/tcp@0.2.0\" (instance))", "")
}

fn other_interface() -> Vec<u8> {
    component("(import \"flame:worker/secrets@0.1.0\" (instance))", "")
}

fn padded(size: usize) -> Vec<u8> {
    let mut bytes = worker("i32.const 0", "");
    let mut section = vec![3];
    section.extend_from_slice(b"pad");
    section.resize(size, 0);
    bytes.push(0);
    leb(&mut bytes, section.len());
    bytes.extend(section);
    bytes
}

fn wide() -> Vec<u8> {
    let locals = format!("(func (local{}))", " i64".repeat(45_000));
    worker("i32.const 0", &locals.repeat(100))
}

/// Components within each other, written by hand: a parser of text would not go as deep.
fn nested(levels: usize) -> Vec<u8> {
    let mut inner = b"\0asm\x0d\0\x01\0".to_vec();
    for _ in 0..levels {
        let mut outer = b"\0asm\x0d\0\x01\0\x04".to_vec();
        leb(&mut outer, inner.len());
        outer.extend(inner);
        inner = outer;
    }
    inner
}

fn other_run() -> Vec<u8> {
    let text = r#"
        (core module $m (func (export "run") (param i32)))
        (core instance $i (instantiate $m))
        (func $run (param "a" u32) (canon lift (core func $i "run")))
        (export "run" (func $run))"#;
    component(text, "")
}

fn run_instance() -> Vec<u8> {
    component("(instance $nothing) (export \"run\" (instance $nothing))", "")
}

fn without_roles() -> Vec<u8> {
    let bytes = worker("i32.const 0", "");
    let section = b"flame:roles".len() + 1 + b"trainer".len();
    bytes[..bytes.len() - section - 2].to_vec()
}

fn no_role() -> Vec<u8> {
    without_roles()
}

fn cut() -> Vec<u8> {
    let bytes = worker("i32.const 0", "");
    bytes[..bytes.len() / 2].to_vec()
}

/// A custom section that says it has four thousand million bytes.
fn lying() -> Vec<u8> {
    let mut bytes = worker("i32.const 0", "");
    bytes.push(0);
    leb(&mut bytes, u32::MAX as usize);
    bytes
}

fn other_failure() -> Vec<u8> {
    let text = r#"
        (core module $m (func (export "run") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (export "run" (func $run))"#;
    component(text, "")
}

fn exports() -> Vec<u8> {
    let mut more = String::new();
    for at in 0..5_000 {
        let _ = write!(more, "(export \"e{at}\" (func $nothing))");
    }
    worker("i32.const 0", &format!("(func $nothing) {more}"))
}

/// What somebody puts into the folder of compiled code is not run; a folder that is a link is refused.
fn cache(suite: &Suite) {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("cache");
    let config = SandboxConfig { cache: Some(folder.clone()), ..SandboxConfig::default() };
    let bytes = worker("i32.const 0", "");
    let sandbox = Sandbox::new(&config).unwrap();
    let prepared = sandbox.prepare(&bytes, "trainer").unwrap();
    let mode = std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777;
    suite.expect(mode == 0o700, "cache", format!("the folder has mode {mode:o}"));
    let entry = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    drop(sandbox);

    // Under another engine's name it is not looked at; under the right one, what is no compiled code is thrown away.
    let foreign = folder.join(format!("{}-0000000000000000.cwasm", prepared.sha256()));
    std::fs::write(&foreign, b"\x7fELF poison").unwrap();
    std::fs::write(&entry, b"\x7fELF poison").unwrap();
    let compiled = Sandbox::new(&config).unwrap().prepare(&bytes, "trainer");
    suite.expect(compiled.is_ok(), "cache", "what is no code keeps a task from running");
    suite.expect(std::fs::read(&foreign).unwrap().ends_with(b"poison"), "cache", "another engine's file was touched");
    suite.expect(!std::fs::read(&entry).unwrap().ends_with(b"poison"), "cache", "the broken file is still there");

    // A link in the place of an entry, and a link in the place of the folder.
    let elsewhere = home.path().join("elsewhere.cwasm");
    std::fs::rename(&entry, &elsewhere).unwrap();
    symlink(&elsewhere, &entry).unwrap();
    let compiled = Sandbox::new(&config).unwrap().prepare(&bytes, "trainer");
    suite.expect(compiled.is_ok(), "cache", "a link keeps a task from running");
    suite.expect(!entry.symlink_metadata().unwrap().is_symlink(), "cache", "the link is still there");
    let link = home.path().join("link");
    symlink(&folder, &link).unwrap();
    let refused = Sandbox::new(&SandboxConfig { cache: Some(link), ..SandboxConfig::default() }).map(drop);
    suite.expect(refused.is_err_and(|error| error.to_string().contains("link")), "cache", "a linked folder is taken");

    // Only root can give a folder away.
    let foreign = home.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    if chown(&foreign, Some(65_534), None).is_ok() {
        let refused = Sandbox::new(&SandboxConfig { cache: Some(foreign), ..SandboxConfig::default() }).map(drop);
        let told = refused.is_err_and(|error| error.to_string().contains("another user's"));
        suite.expect(told, "cache", "another user's folder is taken");
    }
}

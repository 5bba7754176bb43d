//! Who turns a component into machine code.
//!
//! A compiler is a large program that is fed by a stranger here. In a process of its own it has limits that the system
//! keeps (memory, processor time), a fault of it ends that process alone, and what it took is given back when it ends: a
//! process that trains for days holds no compiler's heap.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

use wasmtime::Engine;

use crate::engine::Settings;

/// Most that a compiled component has: twenty times the code that is admitted.
const MAX_COMPILED: u64 = 640 << 20;
/// Most that is heard of a compiler's complaint.
const MAX_COMPLAINT: u64 = 8 << 10;
/// Address space of a compiling process.
#[cfg(unix)]
const MAX_MEMORY: u64 = 6 << 30;
/// Processor time of a compiling process, in seconds, over all its threads.
#[cfg(unix)]
const MAX_SECONDS: u64 = 120;

/// Where components are compiled.
#[derive(Debug, Clone, Default)]
pub enum Compiler {
    /// In a thread of this process: for tests, and for programs that cannot start themselves again.
    #[default]
    Thread,
    /// In a process of its own.
    Process {
        /// A program that calls [`compile_if_asked`].
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<OsString>,
    },
}

/// The argument by which [`Compiler::this_program`] asks.
const ASKED: &str = "compile-component";

/// For the first line of `main` in a program that uses [`Compiler::this_program`]: compiles, where the program was started
/// for that, and gives the exit status.
pub fn compile_if_asked() -> Option<ExitCode> {
    std::env::args_os().nth(1).is_some_and(|argument| argument == ASKED).then(compile_stdin)
}

impl Compiler {
    /// This very program, started again; its `main` has to call [`compile_if_asked`] first.
    pub fn this_program() -> Self {
        // On Linux the program that runs, also when its file has been replaced meanwhile.
        let running = PathBuf::from("/proc/self/exe");
        let program = if running.exists() { Some(running) } else { std::env::current_exe().ok() };
        match program {
            Some(program) => Self::Process { program, arguments: vec![ASKED.into()] },
            None => Self::Thread,
        }
    }

    /// The compiled form of an admitted component.
    pub(crate) fn compile(&self, engine: &Engine, settings: Settings, component: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Thread => engine
                .precompile_component(component)
                .map_err(|error| format!("the component does not compile: {error:#}")),
            Self::Process { program, arguments } => {
                let mut command = Command::new(program);
                command.args(arguments).env_clear();
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                let child =
                    command.spawn().map_err(|error| format!("no process to compile the component in: {error}"))?;
                converse(child, settings, component)
            }
        }
    }
}

/// Hands the component over and takes what comes back.
fn converse(mut child: Child, settings: Settings, component: &[u8]) -> Result<Vec<u8>, String> {
    let fault = |error: std::io::Error| format!("the process that compiles the component was lost: {error}");
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err("the process that compiles the component has no pipes".to_owned());
    };
    // It reads everything before it says anything. If it ended early, its complaint says more than the broken pipe.
    let handed = stdin.write_all(&[settings.to_byte()]).and_then(|()| stdin.write_all(component));
    drop(stdin);
    let mut compiled = Vec::new();
    let read = stdout.take(MAX_COMPILED + 1).read_to_end(&mut compiled);
    let mut complaint = String::new();
    let _ = stderr.take(MAX_COMPLAINT).read_to_string(&mut complaint);
    if compiled.len() as u64 > MAX_COMPILED {
        // It may be writing still; one that has ended already needs no end.
        let _ = child.kill();
    }
    let status = child.wait().map_err(fault)?;
    if compiled.len() as u64 > MAX_COMPILED {
        return Err(format!("the component has more than {MAX_COMPILED} bytes once compiled"));
    }
    if !status.success() {
        let said = complaint.trim();
        return Err(match said {
            "" => format!("the component does not compile: its compiler was ended ({status}), by a limit or a fault"),
            said => crate::printable(said),
        });
    }
    handed.map_err(fault)?;
    read.map_err(fault)?;
    Ok(compiled)
}

/// What the other process does: one byte of settings and a component from standard input, the compiled form to standard
/// output, a complaint to standard error with exit status 1. It limits itself before it reads a byte.
fn compile_stdin() -> ExitCode {
    match limit_this_process().and_then(|()| compile_one()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            eprintln!("{complaint}");
            ExitCode::FAILURE
        }
    }
}

fn compile_one() -> Result<(), String> {
    let fault = |error: std::io::Error| format!("the compiler's pipes failed: {error}");
    let mut input = Vec::new();
    std::io::stdin().lock().read_to_end(&mut input).map_err(fault)?;
    let (settings, component) =
        input.split_first().ok_or("the compiler was given nothing: it is started by the sandbox, not by hand")?;
    let settings = Settings::from_byte(*settings).ok_or("the compiler was given settings that it does not know")?;
    let engine = settings.engine().map_err(|error| format!("the compiler does not start: {error:#}"))?;
    let compiled = Compiler::Thread.compile(&engine, settings, component)?;
    std::io::stdout().lock().write_all(&compiled).map_err(fault)
}

#[cfg(unix)]
fn limit_this_process() -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    for (resource, most) in [(Resource::As, MAX_MEMORY), (Resource::Cpu, MAX_SECONDS), (Resource::Core, 0)] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
            .map_err(|error| format!("the compiler cannot limit itself: {error}"))?;
    }
    #[cfg(target_os = "linux")]
    // Nobody waits for it once its parent is gone.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| format!("the compiler cannot tie itself to its parent: {error}"))?;
    Ok(())
}

#[cfg(not(unix))]
fn limit_this_process() -> Result<(), String> {
    Ok(())
}

#[cfg(all(test, unix))]
#[expect(clippy::unwrap_used, reason = "a test ends where its assumption does")]
mod tests {
    use super::*;

    fn shell(script: &str) -> Compiler {
        Compiler::Process { program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] }
    }

    fn compile(compiler: &Compiler) -> Result<Vec<u8>, String> {
        let settings = Settings::default();
        compiler.compile(&settings.engine().unwrap(), settings, &vec![7; 1 << 20])
    }

    #[test]
    fn a_compiler_that_is_killed_fails_the_component_alone() {
        let refused = compile(&shell("kill -9 $$")).unwrap_err();
        assert!(refused.contains("does not compile") && refused.contains('9'), "{refused}");
    }

    #[test]
    fn what_the_compiler_complains_of_is_told() {
        let refused = compile(&shell("cat >/dev/null; echo 'too many\x07 tables' >&2; exit 1")).unwrap_err();
        assert!(refused.contains("too many") && !refused.contains('\x07'), "{refused}");
    }

    #[test]
    fn more_than_any_component_compiles_to_is_not_taken() {
        let refused = compile(&shell("cat >/dev/null; cat /dev/zero")).unwrap_err();
        assert!(refused.contains("once compiled"), "{refused}");
    }

    #[test]
    fn a_program_that_is_not_there_is_said() {
        let none = Compiler::Process { program: "/nonexistent/compiler".into(), arguments: Vec::new() };
        assert!(compile(&none).unwrap_err().contains("no process"));
    }
}

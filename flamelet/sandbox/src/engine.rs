//! The wasmtime engine, its ticker, and how bytes become a component that can run.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine};

use crate::bindings::WorkerPre;
use crate::cache::CompiledCache;
use crate::host;
use crate::state::HostState;

/// How often a running guest is asked to yield. A guest notices its end within about two ticks.
const TICK: Duration = Duration::from_millis(10);
/// Components kept ready in memory; a flamelet runs few at a time.
const MAX_IN_MEMORY: usize = 16;

/// Where a sandbox keeps things.
#[derive(Debug, Clone, Default)]
pub struct SandboxConfig {
    /// Folder for compiled components, private to the agent. None: nothing is kept on disk.
    pub cache: Option<PathBuf>,
}

/// Why a component cannot run here.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// It is no worker component, or wants what is never granted.
    #[error("{0}")]
    Refused(String),
    /// The engine or the cache folder did not come up.
    #[error("the sandbox cannot start: {0}")]
    Engine(String),
}

/// Compiles and runs components. One for a process; share it by `Arc`.
pub struct Sandbox {
    pub(crate) engine: Engine,
    linker: Linker<HostState>,
    cache: Option<CompiledCache>,
    ready: Mutex<HashMap<String, Prepared>>,
}

/// A component that passed admission, compiled and linked.
#[derive(Clone)]
pub struct Prepared {
    pub(crate) pre: WorkerPre<HostState>,
    sha256: Arc<str>,
}

impl Prepared {
    /// SHA-256 of the component, hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prepared({})", self.sha256)
    }
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sandbox")
    }
}

impl Sandbox {
    /// An engine with its ticker thread, which ends when the sandbox does.
    pub fn new(config: &SandboxConfig) -> Result<Self, SandboxError> {
        let fault = |error: wasmtime::Error| SandboxError::Engine(format!("{error:#}"));
        let mut settings = Config::new();
        settings.wasm_component_model(true);
        settings.epoch_interruption(true);
        // Its results differ between machines, and nobody asked for it.
        settings.wasm_relaxed_simd(false);
        let engine = Engine::new(&settings).map_err(fault)?;
        let linker = host::linker(&engine).map_err(fault)?;
        let cache = match &config.cache {
            Some(folder) => Some(
                CompiledCache::open(folder, &engine)
                    .map_err(|error| SandboxError::Engine(format!("cache folder {}: {error}", folder.display())))?,
            ),
            None => None,
        };
        let weak = engine.weak();
        std::thread::Builder::new()
            .name("epoch-ticker".into())
            .spawn(move || {
                while let Some(engine) = weak.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    std::thread::sleep(TICK);
                }
            })
            .map_err(|error| SandboxError::Engine(error.to_string()))?;
        Ok(Self { engine, linker, cache, ready: Mutex::default() })
    }

    /// Admits, compiles (or takes from the cache) and links a component. Blocks for the time of a compilation, about
    /// 0.1 s for a small one: call it where blocking is allowed.
    pub fn prepare(&self, component: &[u8], role: &str) -> Result<Prepared, SandboxError> {
        let inspection = flame_bundle::inspect(component).map_err(|error| SandboxError::Refused(error.to_string()))?;
        let mut refusals = inspection.refusals;
        if !inspection.roles.iter().any(|known| known == role) {
            refusals.push(format!("it does not serve the role `{role}` (it serves: {})", inspection.roles.join(", ")));
        }
        if !refusals.is_empty() {
            return Err(SandboxError::Refused(format!("the component is refused: {}", refusals.join("; "))));
        }
        let sha256: Arc<str> = inspection.sha256.into();
        // Held while compiling, so that tasks of one component that start together compile it once.
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = ready.get(&*sha256) {
            return Ok(found.clone());
        }
        let compiled = self.compiled(component, &sha256)?;
        let refused = |error: wasmtime::Error| SandboxError::Refused(format!("the component does not link: {error:#}"));
        let pre = self.linker.instantiate_pre(&compiled).map_err(refused)?;
        let prepared = Prepared { pre: WorkerPre::new(pre).map_err(refused)?, sha256: Arc::clone(&sha256) };
        if ready.len() >= MAX_IN_MEMORY {
            ready.clear();
        }
        ready.insert(sha256.to_string(), prepared.clone());
        Ok(prepared)
    }

    fn compiled(&self, component: &[u8], sha256: &str) -> Result<Component, SandboxError> {
        if let Some(found) = self.cache.as_ref().and_then(|cache| cache.load(&self.engine, sha256)) {
            return Ok(found);
        }
        let started = std::time::Instant::now();
        let compiled = Component::new(&self.engine, component)
            .map_err(|error| SandboxError::Refused(format!("the component does not compile: {error:#}")))?;
        tracing::debug!(sha256, elapsed = ?started.elapsed(), "compiled a component");
        if let Some(cache) = &self.cache {
            cache.store(&compiled, sha256);
        }
        Ok(compiled)
    }
}

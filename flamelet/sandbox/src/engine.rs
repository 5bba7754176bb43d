//! The wasmtime engine, its ticker, and how bytes become a component that can run.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine};

use crate::admission;
use crate::bindings::WorkerPre;
use crate::cache::CompiledCache;
use crate::compiler::Compiler;
use crate::host;
use crate::ready::Ready;
use crate::state::HostState;

/// How often a running guest is asked to yield. A guest notices its end within about two ticks.
const TICK: Duration = Duration::from_millis(10);
/// How long a task waits for its component to be compiled.
const COMPILE_WITHIN: Duration = Duration::from_mins(1);

/// Where a sandbox keeps things.
#[derive(Debug, Clone, Default)]
pub struct SandboxConfig {
    /// Folder for compiled components, private to the agent. None: nothing is kept on disk.
    pub cache: Option<PathBuf>,
    /// Who compiles them.
    pub compiler: Compiler,
    /// Compiles guests without the checks that end them: for measuring what these cost, and for nothing else.
    #[doc(hidden)]
    pub unmetered: bool,
    /// Instances live in slots of a pool reserved at the start, instead of memory mapped for each: for measuring both.
    #[cfg(feature = "pooling")]
    #[doc(hidden)]
    pub pooled: bool,
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
    config: SandboxConfig,
    /// For ordinary tasks, and for deterministic ones once there is any.
    plants: [OnceLock<Arc<Plant>>; 2],
    ready: Arc<Ready>,
}

/// What decides what code an engine makes, and runs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Settings {
    /// Results are the same to the bit on every machine.
    deterministic: bool,
    /// Guests are not asked to yield.
    unmetered: bool,
}

impl Settings {
    /// For another process of the same program.
    pub(crate) fn to_byte(self) -> u8 {
        u8::from(self.deterministic) | (u8::from(self.unmetered) << 1)
    }

    /// What [`Settings::to_byte`] gave.
    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0..4 => Some(Self { deterministic: byte & 1 != 0, unmetered: byte & 2 != 0 }),
            _ => None,
        }
    }

    fn config(self) -> Config {
        let mut config = Config::new();
        config.wasm_component_model(true);
        config.epoch_interruption(!self.unmetered);
        // Its results differ between machines, and nobody asked for it.
        config.wasm_relaxed_simd(false);
        // The bits of a NaN are the machine's otherwise; it costs some time in loops over floats.
        config.cranelift_nan_canonicalization(self.deterministic);
        config
    }

    /// An engine that compiles alone.
    pub(crate) fn engine(self) -> wasmtime::Result<Engine> {
        Engine::new(&self.config())
    }
}

/// An engine with all that belongs to its configuration.
struct Plant {
    settings: Settings,
    engine: Engine,
    linker: Linker<HostState>,
    compiler: Compiler,
    cache: Option<CompiledCache>,
}

/// A component that passed admission, compiled and linked.
#[derive(Clone)]
pub struct Prepared {
    pub(crate) pre: WorkerPre<HostState>,
    sha256: Arc<str>,
    pub(crate) deterministic: bool,
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
        let sandbox = Self { config: config.clone(), plants: Default::default(), ready: Arc::default() };
        sandbox.plant(false)?;
        Ok(sandbox)
    }

    /// Admits, compiles (or takes from the cache) and links a component for a task that is not deterministic. Blocks for the
    /// time of a compilation, about 0.1 s for a small one, 60 s at the most: call it where blocking is allowed.
    pub fn prepare(&self, component: &[u8], role: &str) -> Result<Prepared, SandboxError> {
        self.prepare_as(component, role, false)
    }

    /// As [`Sandbox::prepare`], for a task whose [`TaskSpec::deterministic`](crate::TaskSpec) is the same: deterministic
    /// code is compiled by an engine of its own, which gives every NaN the same bits.
    pub fn prepare_as(&self, component: &[u8], role: &str, deterministic: bool) -> Result<Prepared, SandboxError> {
        let inspection = flame_bundle::inspect(component).map_err(|error| SandboxError::Refused(error.to_string()))?;
        let mut refusals = inspection.refusals;
        if !inspection.roles.iter().any(|known| known == role) {
            refusals.push(format!("it does not serve the role `{role}` (it serves: {})", inspection.roles.join(", ")));
        }
        refusals.extend(admission::refusal(component));
        if !refusals.is_empty() {
            return Err(SandboxError::Refused(format!("the component is refused: {}", refusals.join("; "))));
        }
        let plant = self.plant(deterministic)?;
        let sha256: Arc<str> = inspection.sha256.into();
        let key = (Arc::clone(&sha256), deterministic);
        let component = component.to_vec();
        let make = move || plant.make(&component, sha256, deterministic);
        self.ready.get_or_make(&key, COMPILE_WITHIN, make).map_err(SandboxError::Refused)
    }

    fn plant(&self, deterministic: bool) -> Result<Arc<Plant>, SandboxError> {
        let [ordinary, exact] = &self.plants;
        let place = if deterministic { exact } else { ordinary };
        if let Some(plant) = place.get() {
            return Ok(Arc::clone(plant));
        }
        let plant = Arc::new(Plant::new(&self.config, deterministic)?);
        // Another may have been quicker; then this one goes, and its ticker with it.
        Ok(Arc::clone(place.get_or_init(|| plant)))
    }
}

impl Plant {
    fn new(config: &SandboxConfig, deterministic: bool) -> Result<Self, SandboxError> {
        let fault = |error: wasmtime::Error| SandboxError::Engine(format!("{error:#}"));
        let settings = Settings { deterministic, unmetered: config.unmetered };
        #[cfg_attr(not(feature = "pooling"), expect(unused_mut, reason = "it is changed for pools alone"))]
        let mut setup = settings.config();
        #[cfg(feature = "pooling")]
        if config.pooled {
            setup.allocation_strategy(pool());
        }
        let engine = Engine::new(&setup).map_err(fault)?;
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
        Ok(Self { settings, engine, linker, compiler: config.compiler.clone(), cache })
    }

    fn make(&self, component: &[u8], sha256: Arc<str>, deterministic: bool) -> Result<Prepared, String> {
        let compiled = self.compiled(component, &sha256)?;
        let refused = |error: wasmtime::Error| format!("the component does not link: {error:#}");
        let pre = self.linker.instantiate_pre(&compiled).map_err(refused)?;
        Ok(Prepared { pre: WorkerPre::new(pre).map_err(refused)?, sha256, deterministic })
    }

    fn compiled(&self, component: &[u8], sha256: &str) -> Result<Component, String> {
        if let Some(found) = self.cache.as_ref().and_then(|cache| cache.load(&self.engine, sha256)) {
            return Ok(found);
        }
        let started = std::time::Instant::now();
        let compiled = self.compiler.compile(&self.engine, self.settings, component)?;
        tracing::debug!(sha256, elapsed = ?started.elapsed(), "compiled a component");
        if let Some(cache) = &self.cache {
            cache.store(&compiled, sha256);
        }
        #[expect(unsafe_code, reason = "the bytes are what our own compiler made a moment ago")]
        // SAFETY: they come from `Compiler::compile` alone; wasmtime checks version and configuration itself.
        let loaded = unsafe { Component::deserialize(&self.engine, &compiled) };
        loaded.map_err(|error| format!("the component does not load: {error:#}"))
    }
}

/// Slots for as many tasks as a flamelet has at most, each with a whole 32-bit memory: what is reserved is address space.
#[cfg(feature = "pooling")]
fn pool() -> wasmtime::PoolingAllocationConfig {
    const TASKS: u32 = 16;
    const PARTS: u32 = 8;
    let mut pool = wasmtime::PoolingAllocationConfig::new();
    pool.total_component_instances(TASKS)
        .total_core_instances(TASKS * PARTS)
        .total_memories(TASKS * PARTS)
        .total_tables(TASKS * PARTS)
        .total_stacks(TASKS)
        .max_memory_size(1 << 32)
        .table_elements(100_000)
        .max_core_instance_size(16 << 20)
        .max_component_instance_size(16 << 20)
        .linear_memory_keep_resident(1 << 20);
    pool
}

//! What the host keeps for one running guest.

#![expect(unreachable_pub, reason = "the generated bindings re-export the handles")]

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flame_channel::{Channel, Received};
use flame_model::{EndId, Model, Tensor};
use indexmap::IndexMap;
use tokio_util::sync::CancellationToken;
use wasmtime::component::{Resource, ResourceTable, ResourceTableError};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::appetite::Appetite;
use crate::charge::{Charge, Quota};
use crate::checkpoint::Checkpoint;
use crate::error::HostError;
use crate::gate::{Gate, keeps_bases};
use crate::limits::StoreLimiter;
use crate::meter::Meter;
use crate::rate::Rate;
use crate::stdio::GuestLog;
use crate::{Dataset, TaskSpec, Usage};

/// Received messages that a guest may still name as the base of an update.
const REMEMBERED_BASES: usize = 256;
/// Messages with models, for each channel, whose models the host holds for filters and norms. A trainer works from the
/// newest; one more lets an update be finished after its successor came. They share storage with what the guest received
/// and stay charged to its tensor bytes until newer ones take their place.
pub(crate) const HELD_BASES: usize = 2;

/// A tensor with the bytes that it holds of the task's quota.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) tensor: Tensor,
    charge: Arc<Charge>,
}

/// A guest's tensor: its own, or one inside a model, which the model's handle sees as well.
#[derive(Debug, Clone)]
pub struct TensorHandle(Arc<Mutex<Slot>>);

/// A guest's model: names in order, each with a slot that handles from `get` share.
#[derive(Debug, Default)]
pub struct ModelHandle {
    pub(crate) slots: IndexMap<String, TensorHandle>,
    /// Pays for names and slots, which are the host's memory as well.
    about: Vec<Arc<Charge>>,
}

/// Bytes of a slot of a model beside the name and the numbers, roughly.
const SLOT_BYTES: u64 = 256;

/// A channel that the guest joined.
#[derive(Debug, Clone)]
pub struct ChannelHandle {
    pub(crate) channel: Channel,
    /// Position in the task's list of channels.
    pub(crate) spec: usize,
}

/// A rule with its state, and what pays for them.
#[derive(Debug)]
pub struct AggregatorHandle {
    pub(crate) aggregator: flame_aggregate::Aggregator,
    /// What its options mean for the memory of a round.
    pub(crate) appetite: Appetite,
    /// For the round that is open: its sums, and what it holds of the guest's models, whose own handles may go.
    pub(crate) round: Vec<Arc<Charge>>,
    /// For the second models that the last round began with, which a rule may keep until the next.
    pub(crate) given: Vec<Arc<Charge>>,
    /// For what the rule keeps across rounds.
    pub(crate) state: Option<Arc<Charge>>,
    /// Which one the task made, from 0.
    pub(crate) number: usize,
}

/// A data set that the guest opened.
#[derive(Debug, Clone)]
pub struct DatasetHandle(pub(crate) Arc<Dataset>);

/// A message that this task's host received: what an update may be based on.
#[derive(Debug, Clone)]
pub(crate) struct ReceivedBase {
    pub(crate) handle: u64,
    pub(crate) sender: EndId,
    pub(crate) message: u64,
    pub(crate) round: u64,
    /// Position of its channel in the task's list.
    channel: usize,
    /// What it brought, as long as it is held.
    pub(crate) models: Vec<(String, Model)>,
    /// Pays for them.
    charge: Option<Arc<Charge>>,
}

impl ReceivedBase {
    /// A held model by its name.
    pub(crate) fn model(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|(known, _)| known == name).map(|(_, model)| model)
    }
}

/// The joined channels' stop switches: cancelling one wakes whoever waits on the channel, also a guest inside a host call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Joined(Arc<Mutex<Vec<CancellationToken>>>);

impl Joined {
    pub(crate) fn add(&self, channel: &Channel) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(channel.stop_token());
    }

    pub(crate) fn stop(&self) {
        for token in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            token.cancel();
        }
    }
}

/// Everything that belongs to one guest, on its own thread.
pub(crate) struct HostState {
    pub(crate) spec: Arc<TaskSpec>,
    pub(crate) table: ResourceTable,
    pub(crate) wasi: WasiCtx,
    pub(crate) limiter: StoreLimiter,
    pub(crate) quota: Arc<Quota>,
    pub(crate) log: Arc<GuestLog>,
    pub(crate) channels: HashMap<usize, Channel>,
    pub(crate) joined: Joined,
    pub(crate) bases: VecDeque<ReceivedBase>,
    pub(crate) next_message: u64,
    pub(crate) gate: Gate,
    /// Bytes of models published as results.
    pub(crate) published: u64,
    /// What an earlier run of the task kept, once somebody asked.
    pub(crate) resumed: Option<Checkpoint>,
    /// Aggregators made so far.
    pub(crate) aggregators: usize,
    pub(crate) meter: Arc<Meter>,
    /// Host calls so far.
    pub(crate) calls: u64,
    /// Live handles to resources of `flame:worker`, now and at the most.
    handles: usize,
    peak_handles: usize,
    pub(crate) metrics_rate: Rate,
    pub(crate) metrics_refused: u64,
    /// Bytes out of and into the channels when metrics were recorded last, as they travelled and as they were otherwise.
    pub(crate) reported_bytes: [u64; 4],
}

impl HostState {
    /// A guest with nothing yet.
    pub(crate) fn new(spec: &Arc<TaskSpec>, log: &Arc<GuestLog>, wasi: WasiCtx, meter: &Arc<Meter>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(spec.limits.handles);
        Self {
            spec: Arc::clone(spec),
            table,
            wasi,
            limiter: StoreLimiter::new(&spec.limits),
            quota: Quota::new(spec.limits.tensor_bytes),
            log: Arc::clone(log),
            channels: HashMap::new(),
            joined: Joined::default(),
            bases: VecDeque::new(),
            next_message: 0,
            gate: Gate::default(),
            published: 0,
            resumed: None,
            aggregators: 0,
            meter: Arc::clone(meter),
            calls: 0,
            handles: 0,
            peak_handles: 0,
            metrics_rate: Rate::new(spec.limits.metrics_per_second),
            metrics_refused: 0,
            reported_bytes: [0; 4],
        }
    }

    /// Lets the guest name a received message as a base, under an id that is unique in this task. One with models begins a
    /// round, and its models are held where filters need them.
    pub(crate) fn remember(&mut self, channel: usize, received: &Received, charge: &Arc<Charge>) -> u64 {
        self.next_message += 1;
        if self.bases.len() == REMEMBERED_BASES {
            self.bases.pop_front();
        }
        let message = &received.message;
        let is_base = !message.models.is_empty();
        let held = is_base && keeps_bases(&self.spec);
        self.bases.push_back(ReceivedBase {
            handle: self.next_message,
            sender: received.sender.clone(),
            message: received.id,
            round: message.round,
            channel,
            models: if held { message.models.clone() } else { Vec::new() },
            charge: held.then(|| Arc::clone(charge)),
        });
        let mine = self.bases.iter_mut().rev().filter(|base| base.channel == channel && !base.models.is_empty());
        // For the auditor's norms alone the newest is enough.
        let held = if self.spec.egress.filters.change_models() { HELD_BASES } else { 1 };
        for old in mine.skip(held) {
            old.models.clear();
            old.charge = None;
        }
        if is_base {
            self.meter.begin_round();
            self.gate
                .begin_round(|handle| self.bases.iter().any(|base| base.handle == handle && !base.models.is_empty()));
        }
        self.next_message
    }

    /// Puts a tensor that was made just now under the quota and hands it to the guest.
    pub(crate) fn own(&self, tensor: Tensor) -> Result<TensorHandle, HostError> {
        let charge = self.quota.charge(tensor.byte_len() as u64)?;
        Ok(TensorHandle::new(Slot { tensor, charge }))
    }

    /// Puts a model's tensors under the quota and hands it to the guest.
    pub(crate) fn own_model(&self, model: Model) -> Result<ModelHandle, HostError> {
        let mut handle = ModelHandle::default();
        for (name, tensor) in model {
            handle.insert(&self.quota, name, self.own(tensor)?)?;
        }
        Ok(handle)
    }
}

impl HostState {
    /// Gives the guest a handle.
    pub(crate) fn push<T: Send + 'static>(&mut self, entry: T) -> Result<Resource<T>, HostError> {
        let handle = self.table.push(entry).map_err(|error| match error {
            ResourceTableError::Full => HostError::limit(format!(
                "handles: the guest holds as many as its grant has, which is {}; drop those no longer needed \
                 (limits.handles in policy.toml)",
                self.spec.limits.handles
            )),
            other => other.into(),
        })?;
        self.handles += 1;
        self.peak_handles = self.peak_handles.max(self.handles);
        Ok(handle)
    }

    /// Takes a handle back.
    pub(crate) fn delete<T: Send + 'static>(&mut self, handle: Resource<T>) -> Result<T, ResourceTableError> {
        let entry = self.table.delete(handle)?;
        self.handles = self.handles.saturating_sub(1);
        Ok(entry)
    }

    /// The guest asks the host for something: every getter of the linker passes here.
    pub(crate) fn called(&mut self) -> &mut Self {
        self.calls = self.calls.wrapping_add(1);
        self
    }

    /// What the task has used.
    pub(crate) fn usage(&self) -> Usage {
        let left = self.gate.total();
        Usage {
            memory: self.limiter.memory(),
            table_elements: self.limiter.table_elements(),
            tensor_bytes: self.quota.peak(),
            handles: self.peak_handles,
            cpu: self.meter.sample(),
            wall: self.meter.wall_time(),
            rounds: self.meter.rounds(),
            weights_out: left.weights,
            metrics_out: left.metrics,
            body_out: left.body,
            artifact_bytes: self.published,
            log_lines_dropped: self.log.lost(),
            metrics_refused: self.metrics_refused,
        }
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl TensorHandle {
    fn new(slot: Slot) -> Self {
        Self(Arc::new(Mutex::new(slot)))
    }

    /// One guest runs on one thread: the lock is never contended, and a poisoned one is of a task that is over.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another handle with a slot of its own; the storage is shared until one of them writes.
    pub(crate) fn fork(&self) -> Self {
        Self::new(self.lock().clone())
    }

    /// The tensor as it is now; the storage is shared until somebody writes.
    pub(crate) fn snapshot(&self) -> Tensor {
        self.lock().tensor.clone()
    }

    /// Lets `write` change the tensor. A copy that the write makes necessary is paid for before it is made.
    pub(crate) fn write<T>(
        &self,
        quota: &Arc<Quota>,
        write: impl FnOnce(&mut Tensor) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let mut slot = self.lock();
        slot.make_own(quota)?;
        write(&mut slot.tensor)
    }
}

impl Slot {
    fn make_own(&mut self, quota: &Arc<Quota>) -> Result<(), HostError> {
        if self.tensor.is_shared() {
            self.charge = quota.charge(self.tensor.byte_len() as u64)?;
        }
        Ok(())
    }
}

impl ModelHandle {
    /// A model whose storage is paid for by one charge, as that of a received message is.
    pub(crate) fn paid_by(model: Model, charge: &Arc<Charge>) -> Self {
        let slot = |(name, tensor)| (name, TensorHandle::new(Slot { tensor, charge: Arc::clone(charge) }));
        Self { slots: model.into_iter().map(slot).collect(), about: Vec::new() }
    }

    /// What pays for its numbers.
    pub(crate) fn charges(&self) -> Vec<Arc<Charge>> {
        self.slots.values().map(|slot| Arc::clone(&slot.lock().charge)).collect()
    }

    /// Puts a slot under a name, and pays for it where the name is new.
    pub(crate) fn insert(&mut self, quota: &Arc<Quota>, name: String, slot: TensorHandle) -> Result<(), HostError> {
        if !self.slots.contains_key(&name) {
            self.about.push(quota.charge(SLOT_BYTES + name.len() as u64)?);
        }
        self.slots.insert(name, slot);
        Ok(())
    }

    /// The model as it is now; storage is shared until somebody writes.
    pub(crate) fn snapshot(&self) -> Model {
        let mut model = Model::new();
        for (name, slot) in &self.slots {
            model.insert(name.clone(), slot.snapshot());
        }
        model
    }

    /// Another model with slots of its own; the storage is shared.
    pub(crate) fn fork(&self, quota: &Arc<Quota>) -> Result<Self, HostError> {
        let bytes = self.slots.keys().map(|name| SLOT_BYTES + name.len() as u64).sum();
        let about = vec![quota.charge(bytes)?];
        let slots = self.slots.iter().map(|(name, slot)| (name.clone(), slot.fork())).collect();
        Ok(Self { slots, about })
    }

    /// Lets `write` change the whole model in place. On an error it is as it was, as far as `write` left it so.
    pub(crate) fn write<T>(
        &self,
        quota: &Arc<Quota>,
        write: impl FnOnce(&mut Model) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let mut slots: Vec<_> = self.slots.values().map(TensorHandle::lock).collect();
        for slot in &mut slots {
            slot.make_own(quota)?;
        }
        // Moved out and back, because a second handle to the storage would make every write a copy.
        let mut model = Model::new();
        let mut hollow = Vec::with_capacity(slots.len());
        for (name, slot) in self.slots.keys().zip(&mut slots) {
            let empty = Tensor::zeros(&[0], slot.tensor.dtype())?;
            model.insert(name.clone(), std::mem::replace(&mut slot.tensor, empty));
            hollow.push(slot);
        }
        let result = write(&mut model);
        for (slot, (_, tensor)) in hollow.into_iter().zip(model) {
            slot.tensor = tensor;
        }
        result
    }
}

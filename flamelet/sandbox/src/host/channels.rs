//! `flame:worker/channels`: the links that the schema gives to this role.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use flame_channel::{Channel, ChannelError, Event, Receipt, Received};
use flame_model::{EndId, Form, Message, Metric};
use wasmtime::component::Resource;

use crate::Route;
use crate::bindings::flame::worker::channels::{self, Host, HostChannel, HostReceipt};
use crate::bindings::flame::worker::types;
use crate::error::HostError;
use crate::gate::{self, Cleared, Leaving};
use crate::state::{ChannelHandle, HostState, ModelHandle};

/// Longest wait that a guest may ask for in one call; it can ask again.
const MAX_WAIT: Duration = Duration::from_hours(24);
/// Longest kind of a message, in bytes.
const MAX_KIND: usize = 128;
/// Longest name of a model in a message, in bytes: as a tensor's.
const MAX_NAME: usize = 1_024;

type Models = Vec<(String, Resource<ModelHandle>)>;

pub(super) fn form(form: types::Form) -> Form {
    match form {
        types::Form::State => Form::State,
        types::Form::Full => Form::Full,
        types::Form::Delta => Form::Delta,
        types::Form::PartialSum => Form::PartialSum,
    }
}

fn guest_form(form: Form) -> types::Form {
    match form {
        Form::State => types::Form::State,
        Form::Full => types::Form::Full,
        Form::Delta => types::Form::Delta,
        Form::PartialSum => types::Form::PartialSum,
    }
}

pub(super) fn metrics(metrics: Vec<types::Metric>) -> Vec<Metric> {
    metrics.into_iter().map(|metric| Metric { name: metric.name, value: metric.value }).collect()
}

pub(super) fn guest_metrics(metrics: Vec<Metric>) -> Vec<types::Metric> {
    metrics.into_iter().map(|metric| types::Metric { name: metric.name, value: metric.value }).collect()
}

fn wait(within: u64) -> Duration {
    Duration::from_millis(within).min(MAX_WAIT)
}

/// Looks without waiting: even a timer of no time takes until the runtime's next tick, a millisecond or two, and the round
/// loop looks once in every round.
async fn at_once<T>(next: impl Future<Output = Result<T, ChannelError>>) -> Result<T, ChannelError> {
    let mut next = pin!(next);
    poll_fn(|context| match next.as_mut().poll(context) {
        Poll::Ready(found) => Poll::Ready(found),
        Poll::Pending => Poll::Ready(Err(ChannelError::Timeout)),
    })
    .await
}

fn end(text: &str) -> Result<EndId, HostError> {
    EndId::new(text)
        .map_err(|_| HostError::not_found(format!("`{}` is no end: an end has 40 hex digits", crate::text::name(text))))
}

fn ends(texts: &[String]) -> Result<Vec<EndId>, HostError> {
    texts.iter().map(|text| end(text)).collect()
}

fn texts(ends: &[EndId]) -> Vec<String> {
    ends.iter().map(ToString::to_string).collect()
}

impl HostState {
    fn channel(&self, handle: &Resource<ChannelHandle>) -> Result<Channel, HostError> {
        Ok(self.table.get(handle)?.channel.clone())
    }

    async fn join_at(&mut self, position: usize) -> Result<Resource<ChannelHandle>, HostError> {
        let spec = self.spec.channels.get(position).cloned();
        let spec = spec.ok_or_else(|| HostError::not_found("no such channel"))?;
        if let Some(allowed) = &self.spec.egress.channels
            && !allowed.contains(&spec.config.name)
        {
            return Err(HostError::not_permitted(format!(
                "the channel `{}` may not be joined (egress.channels in policy.toml has: {})",
                spec.config.name,
                allowed.join(", ")
            )));
        }
        let channel = if let Some(joined) = self.channels.get(&position) {
            joined.clone()
        } else {
            let mut config = spec.config;
            let queued = &mut config.limits.max_queued_messages;
            *queued = (*queued).min(self.spec.limits.queued_messages);
            Channel::join(config, spec.transport).await?
        };
        self.joined.add(&channel);
        if self.spec.stop.is_cancelled() {
            channel.stop();
        }
        self.channels.insert(position, channel.clone());
        self.push(ChannelHandle { channel, spec: position })
    }

    /// What the guest sends, with what the host knows of it and after what the policy does to it; and what is to be booked
    /// once it has left.
    fn message(
        &mut self,
        handle: &Resource<ChannelHandle>,
        to: Option<&[EndId]>,
        outgoing: channels::Outgoing,
        models: &Models,
    ) -> Result<(Message, Cleared), HostError> {
        if outgoing.kind.len() > MAX_KIND {
            return Err(HostError::invalid(format!("a message's kind has at most {MAX_KIND} bytes")));
        }
        let spec = Arc::clone(&self.spec);
        if let Some(kinds) = &spec.egress.kinds
            && !kinds.contains(&outgoing.kind)
        {
            return Err(HostError::not_permitted(format!(
                "no message of the kind `{}` may leave (egress.kinds in policy.toml has: {})",
                crate::printable(&outgoing.kind),
                kinds.join(", ")
            )));
        }
        if let Some((name, _)) = models.iter().find(|(name, _)| name.len() > MAX_NAME) {
            return Err(HostError::invalid(format!("a model's name has at most {MAX_NAME} bytes, not {}", name.len())));
        }
        let base = outgoing.base.map(|handle| self.base_ref(handle)).transpose()?;
        let metrics = metrics(outgoing.metrics);
        let models = models
            .iter()
            .map(|(name, model)| Ok((name.clone(), self.table.get(model)?.snapshot())))
            .collect::<Result<Vec<_>, HostError>>()?;
        let bytes = gate::message_bytes(&outgoing.kind, &models, &metrics, &outgoing.body);
        let mut cleared = self.clear(Leaving {
            form: form(outgoing.form),
            base: outgoing.base,
            samples: outgoing.samples,
            models,
            body: &outgoing.body,
            bytes,
        })?;
        let channel = self.channel(handle)?;
        let route = Route::Channel(channel.name(), to);
        self.record(&cleared, route, &outgoing.kind, outgoing.round, || {
            gate::digest(&cleared.models, &metrics, &outgoing.body)
        })?;
        let message = Message {
            kind: outgoing.kind,
            round: outgoing.round,
            form: form(outgoing.form),
            base,
            models: std::mem::take(&mut cleared.models),
            samples: cleared.samples,
            metrics,
            body: outgoing.body.into(),
        };
        Ok((message, cleared))
    }

    /// A message that found no room: the only wait of `send` is for the outbox.
    fn unsent(&self, error: ChannelError) -> HostError {
        match error {
            ChannelError::Timeout => HostError::limit(format!(
                "queued messages: the outbox is full of messages that their receivers have not taken, and the grant has \
                 room for {} of them (limits.queued-messages in policy.toml)",
                self.spec.limits.queued_messages
            )),
            other => other.into(),
        }
    }

    fn receive(&mut self, on: &Resource<ChannelHandle>, received: Received) -> Result<channels::Message, HostError> {
        // Its tensors are views into one buffer, which lives as long as any of them.
        let charge = self.quota.charge_received(received.raw_bytes, received.lease.clone())?;
        let handle = self.remember(self.table.get(on)?.spec, &received, &charge);
        let Received { sender, message, .. } = received;
        let mut models = Vec::with_capacity(message.models.len());
        for (name, model) in message.models {
            let model = ModelHandle::paid_by(model, &charge);
            models.push((name, self.push(model)?));
        }
        Ok(channels::Message {
            id: handle,
            sender: sender.to_string(),
            kind: message.kind,
            round: message.round,
            form: guest_form(message.form),
            base: message.base.map(|base| channels::BaseRef {
                sender: base.sender.to_string(),
                message: base.message,
                round: base.round,
            }),
            models,
            samples: message.samples,
            metrics: guest_metrics(message.metrics),
            body: message.body.to_vec(),
        })
    }
}

impl Host for HostState {
    async fn next(
        &mut self,
        handles: Vec<Resource<ChannelHandle>>,
        within: u64,
    ) -> Result<(u32, channels::Event), HostError> {
        let joined = handles.iter().map(|handle| self.channel(handle)).collect::<Result<Vec<_>, _>>()?;
        let joined: Vec<&Channel> = joined.iter().collect();
        let next = flame_channel::next(&joined, wait(within));
        let (position, event) = if within == 0 { at_once(next).await? } else { next.await? };
        let event = match event {
            Event::Message(received) => {
                let on = handles.get(position).ok_or_else(|| HostError::invalid("no such channel"))?;
                channels::Event::Message(self.receive(on, received)?)
            }
            Event::Joined(end) => channels::Event::Joined(end.to_string()),
            Event::Left(end) => channels::Event::Left(end.to_string()),
        };
        Ok((u32::try_from(position).unwrap_or(u32::MAX), event))
    }
}

impl HostReceipt for HostState {
    async fn id(&mut self, receipt: Resource<Receipt>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&receipt)?.id())
    }

    async fn wait(&mut self, receipt: Resource<Receipt>, within: u64) -> Result<(), HostError> {
        Ok(self.table.get(&receipt)?.wait(wait(within)).await?)
    }

    async fn pending(&mut self, receipt: Resource<Receipt>) -> wasmtime::Result<Vec<String>> {
        Ok(texts(&self.table.get(&receipt)?.pending()))
    }

    async fn cancel(&mut self, receipt: Resource<Receipt>) -> wasmtime::Result<()> {
        self.table.get(&receipt)?.cancel();
        Ok(())
    }

    async fn drop(&mut self, receipt: Resource<Receipt>) -> wasmtime::Result<()> {
        self.delete(receipt)?;
        Ok(())
    }
}

impl HostChannel for HostState {
    async fn join(&mut self, name: String) -> Result<Resource<ChannelHandle>, HostError> {
        match self.spec.channels.iter().position(|spec| spec.config.name == name) {
            Some(position) => self.join_at(position).await,
            None => Err(HostError::not_found(format!(
                "the schema gives the role `{}` no channel `{}` (it has: {})",
                self.spec.role,
                crate::text::name(&name),
                self.spec.channels.iter().map(|spec| spec.config.name.as_str()).collect::<Vec<_>>().join(", ")
            ))),
        }
    }

    async fn by_tag(&mut self, tag: String) -> Result<Resource<ChannelHandle>, HostError> {
        match self.spec.channels.iter().position(|spec| spec.func_tags.contains(&tag)) {
            Some(position) => self.join_at(position).await,
            None => Err(HostError::not_found(format!(
                "no channel carries the function tag `{}` for the role `{}`",
                crate::text::name(&tag),
                self.spec.role
            ))),
        }
    }

    async fn name(&mut self, handle: Resource<ChannelHandle>) -> wasmtime::Result<String> {
        Ok(self.table.get(&handle)?.channel.name().to_owned())
    }

    async fn group(&mut self, handle: Resource<ChannelHandle>) -> wasmtime::Result<String> {
        Ok(self.table.get(&handle)?.channel.group().to_owned())
    }

    async fn me(&mut self, handle: Resource<ChannelHandle>) -> wasmtime::Result<channels::Peer> {
        let peer = self.table.get(&handle)?.channel.me();
        Ok(channels::Peer { id: peer.id.to_string(), role: peer.role.clone(), index: peer.index, present: true })
    }

    async fn roster(&mut self, handle: Resource<ChannelHandle>) -> wasmtime::Result<Vec<channels::Peer>> {
        let roster = self.table.get(&handle)?.channel.roster_presence();
        let peer = |(peer, present): (flame_channel::Peer, bool)| channels::Peer {
            id: peer.id.to_string(),
            role: peer.role,
            index: peer.index,
            present,
        };
        Ok(roster.into_iter().map(peer).collect())
    }

    async fn quorum(&mut self, handle: Resource<ChannelHandle>) -> wasmtime::Result<channels::Quorum> {
        let handle = self.table.get(&handle)?;
        let me = handle.channel.me().clone();
        let roster = handle.channel.roster_presence();
        let others =
            |same: bool| roster.iter().filter(|(peer, _)| (peer.role == me.role) == same && peer.id != me.id).count();
        // On a self-loop there is no other role: everybody else counts.
        let all = match others(false) {
            0 => others(true),
            count => count,
        };
        let all = u32::try_from(all).unwrap_or(u32::MAX);
        let spec = self.spec.channels.get(handle.spec);
        Ok(channels::Quorum {
            minimum: spec.and_then(|spec| spec.min_participants).unwrap_or(all).min(all),
            join_within: spec.map_or(0, |spec| u64::try_from(spec.join_timeout.as_millis()).unwrap_or(u64::MAX)),
        })
    }

    async fn ends(&mut self, handle: Resource<ChannelHandle>) -> Result<Vec<String>, HostError> {
        Ok(texts(&self.channel(&handle)?.ends()))
    }

    async fn await_ends(
        &mut self,
        handle: Resource<ChannelHandle>,
        minimum: u32,
        within: u64,
    ) -> Result<Vec<String>, HostError> {
        Ok(texts(&self.channel(&handle)?.await_ends(minimum, wait(within)).await?))
    }

    async fn send(
        &mut self,
        handle: Resource<ChannelHandle>,
        to: Vec<String>,
        message: channels::Outgoing,
        models: Models,
    ) -> Result<Resource<Receipt>, HostError> {
        let to = ends(&to)?;
        let (message, cleared) = self.message(&handle, Some(&to), message, &models)?;
        let receipt = self.channel(&handle)?.send(&to, message).await.map_err(|error| self.unsent(error))?;
        self.gate.book(cleared);
        self.push(receipt)
    }

    async fn broadcast(
        &mut self,
        handle: Resource<ChannelHandle>,
        message: channels::Outgoing,
        models: Models,
    ) -> Result<Resource<Receipt>, HostError> {
        let (message, cleared) = self.message(&handle, None, message, &models)?;
        let receipt = self.channel(&handle)?.broadcast(message).await.map_err(|error| self.unsent(error))?;
        self.gate.book(cleared);
        self.push(receipt)
    }

    async fn recv(
        &mut self,
        handle: Resource<ChannelHandle>,
        source: String,
        within: u64,
    ) -> Result<channels::Message, HostError> {
        let received = self.channel(&handle)?.recv(&end(&source)?, wait(within)).await?;
        self.receive(&handle, received)
    }

    async fn recv_fifo(
        &mut self,
        handle: Resource<ChannelHandle>,
        sources: Vec<String>,
        within: u64,
    ) -> Result<channels::Message, HostError> {
        let received = self.channel(&handle)?.recv_fifo(&ends(&sources)?, wait(within)).await?;
        self.receive(&handle, received)
    }

    async fn peek(&mut self, handle: Resource<ChannelHandle>, source: String) -> Result<Option<String>, HostError> {
        Ok(self.channel(&handle)?.peek(&end(&source)?)?)
    }

    async fn leave(&mut self, handle: Resource<ChannelHandle>) -> Result<(), HostError> {
        Ok(self.channel(&handle)?.leave().await?)
    }

    async fn drop(&mut self, handle: Resource<ChannelHandle>) -> wasmtime::Result<()> {
        self.delete(handle)?;
        Ok(())
    }
}

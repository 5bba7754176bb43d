//! Channels: the links between roles that the job's schema draws. Addresses, topics and keys stay in the host.

use std::time::Duration;

use crate::bindings::flame::worker::channels as host;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::tensor::Model;

pub use crate::bindings::flame::worker::channels::{BaseRef, Peer};
pub use crate::bindings::flame::worker::types::Form;

/// A worker's identity on its channels: the 40 hex digits of its agent id.
pub type EndId = String;

/// Whom a round waits for, as the job says (`minParticipants`, `joinTimeout`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// Ends that a round needs; all of the other role's where the job names no number.
    pub minimum: u32,
    /// How long to wait for ends that are away.
    pub join_within: Duration,
}

/// What arrived. `id`, `sender` and `base` are the hosts' word; the rest is the sending worker's.
#[derive(Debug)]
pub struct Message {
    /// The message's number; an update computed from it names it as its base.
    pub id: u64,
    /// Who sent it.
    pub sender: EndId,
    /// What it is for, such as "weights", "update", "end-of-training".
    pub kind: String,
    /// The round that it belongs to.
    pub round: u64,
    /// What the numbers in its models are.
    pub form: Form,
    /// The message that its models were computed from.
    pub base: Option<BaseRef>,
    /// Models by name: "model", and others that a rule needs, such as "control".
    pub models: Vec<(String, Model)>,
    /// Samples behind the models; the aggregation weight. 0 abstains.
    pub samples: u64,
    /// Scalar measurements.
    pub metrics: Metrics,
    /// Small control data, opaque to the host.
    pub body: Vec<u8>,
}

impl Message {
    /// The model called `name`.
    pub fn model(&self, name: &str) -> Result<&Model> {
        self.models.iter().find(|(n, _)| n == name).map(|(_, model)| model).ok_or_else(|| self.lacks(name))
    }

    /// Takes the model called `name` out of the message.
    pub fn take_model(&mut self, name: &str) -> Result<Model> {
        let at = self.models.iter().position(|(n, _)| n == name).ok_or_else(|| self.lacks(name))?;
        Ok(self.models.swap_remove(at).1)
    }

    /// The models that are not called `name`: a rule's second models.
    pub fn extras(&self, name: &str) -> Vec<(&str, &Model)> {
        self.models.iter().filter(|(n, _)| n != name).map(|(n, model)| (n.as_str(), model)).collect()
    }

    fn lacks(&self, name: &str) -> Error {
        Error::NotFound(format!("message \"{}\" of round {} carries no model \"{name}\"", self.kind, self.round))
    }
}

impl From<host::Message> for Message {
    fn from(m: host::Message) -> Self {
        Self {
            id: m.id,
            sender: m.sender,
            kind: m.kind,
            round: m.round,
            form: m.form,
            base: m.base,
            models: m.models.into_iter().map(|(name, model)| (name, Model(model))).collect(),
            samples: m.samples,
            metrics: m.metrics.into(),
            body: m.body,
        }
    }
}

/// What a worker chooses of a message, built up by its methods; the models are only borrowed.
///
/// ```no_run
/// # use flame_sdk::{Channel, Form, Model, Outgoing, Result};
/// # fn f(channel: &Channel, model: &Model) -> Result<()> {
/// channel.broadcast(&Outgoing::new("weights", 3).model("model", model))?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Outgoing<'a> {
    head: host::Outgoing,
    models: Vec<(String, &'a host::Model)>,
}

impl<'a> Outgoing<'a> {
    /// A message of `kind` in `round`, of form [`Form::State`], with neither models nor body.
    pub fn new(kind: &str, round: u64) -> Self {
        Self {
            head: host::Outgoing {
                kind: kind.to_owned(),
                round,
                form: Form::State,
                base: None,
                samples: 0,
                metrics: Vec::new(),
                body: Vec::new(),
            },
            models: Vec::new(),
        }
    }

    /// Says what the numbers in the models are.
    #[must_use]
    pub fn form(mut self, form: Form) -> Self {
        self.head.form = form;
        self
    }

    /// Says which received message the models were computed from.
    #[must_use]
    pub fn base(mut self, message: u64) -> Self {
        self.head.base = Some(message);
        self
    }

    /// Says how many samples stand behind the models.
    #[must_use]
    pub fn samples(mut self, samples: u64) -> Self {
        self.head.samples = samples;
        self
    }

    /// Adds measurements.
    #[must_use]
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.head.metrics.extend(metrics.to_host());
        self
    }

    /// Sets the body: small control data, opaque to the host and subject to a grant of its own.
    #[must_use]
    pub fn body(mut self, body: Vec<u8>) -> Self {
        self.head.body = body;
        self
    }

    /// Adds a model under `name`. The host takes a snapshot when the message is sent.
    #[must_use]
    pub fn model(mut self, name: &str, model: &'a Model) -> Self {
        self.models.push((name.to_owned(), &model.0));
        self
    }
}

/// A message on its way.
#[derive(Debug)]
pub struct Receipt(host::Receipt);

impl Receipt {
    /// The message's number.
    pub fn id(&self) -> u64 {
        self.0.id()
    }

    /// Waits until the hosts of all addressed ends have the whole message; [`Error::Timeout`] leaves it on its way.
    pub fn wait(&self, within: Duration) -> Result<()> {
        Ok(self.0.wait(millis(within))?)
    }

    /// Ends whose hosts do not have it yet.
    pub fn pending(&self) -> Vec<EndId> {
        self.0.pending()
    }

    /// Stops delivering to ends that do not have it yet.
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

/// Something that happened on a channel.
#[derive(Debug)]
pub enum Event {
    /// A message arrived.
    Message(Message),
    /// An end came, or came back.
    Joined(EndId),
    /// An end went or died.
    Left(EndId),
}

impl From<host::Event> for Event {
    fn from(event: host::Event) -> Self {
        match event {
            host::Event::Message(message) => Self::Message(message.into()),
            host::Event::Joined(end) => Self::Joined(end),
            host::Event::Left(end) => Self::Left(end),
        }
    }
}

/// One channel, in the group that the job gave this task.
#[derive(Debug)]
pub struct Channel(host::Channel);

impl Channel {
    /// Takes part in the channel that the schema gives this role under `name`.
    pub fn join(name: &str) -> Result<Self> {
        Ok(Self(host::Channel::join(name)?))
    }

    /// Takes part in the channel that carries the schema's function tag `tag` for this role.
    pub fn by_tag(tag: &str) -> Result<Self> {
        Ok(Self(host::Channel::by_tag(tag)?))
    }

    /// The channel of the first of `tags` that the schema knows, or else the only channel of this role.
    pub fn by_tags_or_only(tags: &[&str]) -> Result<Self> {
        for tag in tags {
            match Self::by_tag(tag) {
                Err(Error::NotFound(_)) => {}
                other => return other,
            }
        }
        let names = crate::bindings::flame::worker::job::channels();
        match names.as_slice() {
            [only] => Self::join(only),
            _ => Err(Error::NotFound(format!(
                "a channel for this role's loop: none has a function tag of {tags:?}, and the role has {} channels \
                 {names:?}; name the tag under funcTags in the schema",
                names.len()
            ))),
        }
    }

    /// Its name in the schema.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// The group in which this task takes part.
    pub fn group(&self) -> String {
        self.0.group()
    }

    /// This task as the others see it.
    pub fn me(&self) -> Peer {
        self.0.me()
    }

    /// Everybody that the job expects in this group, by role and index: the order for rings and for deterministic folds.
    pub fn roster(&self) -> Vec<Peer> {
        self.0.roster()
    }

    /// The ends that this task talks to, whether they are here or not, in roster order: those of the other role, on a self-loop all but this one.
    pub fn others(&self) -> Vec<EndId> {
        let me = self.me();
        let roster = self.roster();
        let self_loop = roster.iter().all(|peer| peer.role == me.role);
        roster.into_iter().filter(|p| if self_loop { p.id != me.id } else { p.role != me.role }).map(|p| p.id).collect()
    }

    /// Whom a round waits for.
    pub fn quorum(&self) -> Quorum {
        let host::Quorum { minimum, join_within } = self.0.quorum();
        Quorum { minimum, join_within: Duration::from_millis(join_within) }
    }

    /// The ends that are here now, in roster order.
    pub fn ends(&self) -> Result<Vec<EndId>> {
        Ok(self.0.ends()?)
    }

    /// Waits until at least `minimum` ends are here.
    pub fn await_ends(&self, minimum: u32, within: Duration) -> Result<Vec<EndId>> {
        Ok(self.0.await_ends(minimum, millis(within))?)
    }

    /// Queues a message for the ends named: one upload however many they are. An end that is away gets it when it is back.
    pub fn send(&self, to: &[EndId], message: &Outgoing<'_>) -> Result<Receipt> {
        Ok(Receipt(self.0.send(to, &message.head, &message.models)?))
    }

    /// Queues a message for all ends of the group, those that join later in the round included.
    pub fn broadcast(&self, message: &Outgoing<'_>) -> Result<Receipt> {
        Ok(Receipt(self.0.broadcast(&message.head, &message.models)?))
    }

    /// The next message of `source`; [`Error::Closed`] if it left.
    pub fn recv(&self, source: &str, within: Duration) -> Result<Message> {
        Ok(self.0.recv(source, millis(within))?.into())
    }

    /// The next message of any of `sources`, first come, first served; none named means any end.
    pub fn recv_fifo(&self, sources: &[EndId], within: Duration) -> Result<Message> {
        Ok(self.0.recv_fifo(sources, millis(within))?.into())
    }

    /// The kind of the next message of `source`, which stays queued.
    pub fn peek(&self, source: &str) -> Result<Option<String>> {
        Ok(self.0.peek(source)?)
    }

    /// The next event of this channel.
    pub fn next(&self, within: Duration) -> Result<Event> {
        next(&[self], within).map(|(_, event)| event)
    }

    /// Says goodbye.
    pub fn leave(&self) -> Result<()> {
        Ok(self.0.leave()?)
    }
}

/// The next event of any of several channels, with the position of its channel in `channels`.
pub fn next(channels: &[&Channel], within: Duration) -> Result<(usize, Event)> {
    let handles: Vec<&host::Channel> = channels.iter().map(|channel| &channel.0).collect();
    let (at, event) = host::next(&handles, millis(within))?;
    Ok((at as usize, event.into()))
}

fn millis(within: Duration) -> u64 {
    u64::try_from(within.as_millis()).unwrap_or(u64::MAX)
}

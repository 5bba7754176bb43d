//! Where ends can be dialled: who knows it, and what is known.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use flame_model::EndId;
use tokio::sync::watch;

use crate::error::ChannelError;

/// Where an end is, as far as anybody knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Place {
    /// It is not here, or nobody has said.
    #[default]
    Unknown,
    /// It is here and does not listen: it has to dial.
    Hidden,
    /// It listens at `host:port`.
    At(String),
}

/// Finds ends. In a flamelet the control plane's notifier is behind it.
///
/// An address is a hint and no proof: whoever answers there has to show that it has the pair's secret.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// Tells the others where this end listens; `None`: it does not. Returns once the places of the others that are
    /// known now can be seen by [`Resolver::watch`].
    async fn announce(&self, address: Option<&str>) -> Result<(), ChannelError>;

    /// The place of an end, now and whenever it changes.
    fn watch(&self, end: &EndId) -> watch::Receiver<Place>;
}

/// Places by end, for who implements a [`Resolver`]. Bounded by the ends that are watched or told of: a roster.
#[derive(Debug, Default)]
pub struct Directory {
    places: Mutex<HashMap<EndId, watch::Sender<Place>>>,
}

impl Directory {
    fn places(&self) -> MutexGuard<'_, HashMap<EndId, watch::Sender<Place>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An end is there from now on. Watchers hear of changes only.
    pub fn put(&self, end: &EndId, place: Place) {
        let mut places = self.places();
        places.entry(end.clone()).or_default().send_if_modified(|known| {
            let changed = *known != place;
            *known = place;
            changed
        });
    }

    /// Forgets the places of all ends but those that `keep` wants.
    pub fn forget(&self, keep: impl Fn(&EndId) -> bool) {
        for (end, place) in self.places().iter() {
            if !keep(end) {
                place.send_if_modified(|known| std::mem::take(known) != Place::Unknown);
            }
        }
    }

    /// See [`Resolver::watch`].
    pub fn watch(&self, end: &EndId) -> watch::Receiver<Place> {
        self.places().entry(end.clone()).or_default().subscribe()
    }
}

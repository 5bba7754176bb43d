//! Updates that are kept until a round ends: handles to their storage, never copies.

use std::cmp::Ordering;

use flame_model::{Form, Model};

use crate::Contribution;
use crate::rule::Update;

/// An update that outlives its `add`.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    model: Model,
    about: Contribution,
    base: Option<Model>,
    extra: Vec<(String, Model)>,
    shrink: f64,
    pub(crate) weight: f64,
}

impl Held {
    pub(crate) fn of(update: &Update<'_>) -> Self {
        Self {
            model: update.model.clone(),
            about: update.about.clone(),
            base: update.base.cloned(),
            extra: update.extra.to_vec(),
            shrink: update.shrink,
            weight: update.weight,
        }
    }

    pub(crate) fn update<'a>(&'a self, round_base: &'a Model) -> Update<'a> {
        Update {
            model: &self.model,
            about: &self.about,
            base: self.base.as_ref(),
            round_base,
            extra: &self.extra,
            shrink: self.shrink,
            weight: self.weight,
        }
    }

    pub(crate) fn source(&self) -> &str {
        &self.about.source
    }

    pub(crate) fn byte_size(&self) -> u64 {
        let own_base = self.base.as_ref().map_or(0, Model::byte_size);
        self.model.byte_size().saturating_add(own_base)
    }

    fn bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.model.iter().map(|(_, tensor)| tensor.bytes())
    }

    /// An order that does not depend on that of arrival: by source, and where one source sent several, by what they say.
    fn canonical(&self, other: &Self) -> Ordering {
        let key = |held: &Self| (held.about.staleness, held.about.samples, held.about.form == Form::Delta);
        self.source()
            .cmp(other.source())
            .then_with(|| key(self).cmp(&key(other)))
            .then_with(|| self.bytes().cmp(other.bytes()))
    }
}

/// Sorts them so that the order of arrival is forgotten.
pub(crate) fn in_canonical_order(mut held: Vec<Held>) -> Vec<Held> {
    held.sort_by(Held::canonical);
    held
}

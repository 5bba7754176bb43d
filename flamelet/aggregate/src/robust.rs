//! What the robust rules are made of, for whoever wants to look behind a result.

use flame_model::{Element, Form, Model, Tensor, with_element};

use crate::columns::{nearest_to, order};
use crate::distances::Distances;
use crate::parallel::Threads;
use crate::rule::Update;
use crate::{AggregateError, Contribution};

/// ‖xᵢ − xⱼ‖² of all pairs of models of one layout, in `f64`: row i, column j.
pub fn squared_distances(models: &[Model]) -> Result<Vec<Vec<f64>>, AggregateError> {
    let distances = distances(models)?;
    Ok((0..models.len()).map(|i| distances.row(i).to_vec()).collect())
}

/// Krum's score of each model with `malicious` assumed malicious ones: Σ of the squared distances to its K − f − 2 (at least 1)
/// nearest others (Blanchard et al. 2017).
pub fn krum_scores(models: &[Model], malicious: usize) -> Result<Vec<f64>, AggregateError> {
    let alive: Vec<usize> = (0..models.len()).collect();
    Ok(distances(models)?.scores(&alive, malicious))
}

/// Per coordinate the mean of the `count` values nearest to that of a reference, as Bulyan takes it with the median for one
/// (El Mhamdi et al. 2018). Refused where there are fewer models, or none is asked for.
pub fn mean_of_nearest(reference: &Model, models: &[Model], count: usize) -> Result<Model, AggregateError> {
    if count == 0 || count > models.len() {
        return Err(AggregateError::InvalidArgument(format!(
            "the mean of the {count} nearest of {} models: it takes from 1 to all of them",
            models.len()
        )));
    }
    for model in models {
        reference.same_layout(model).map_err(|error| AggregateError::layout("a model", error))?;
    }
    let mut result = Model::new();
    for (at, (name, reference)) in reference.iter().enumerate() {
        let tensors: Vec<&Tensor> =
            models.iter().filter_map(|model| model.iter().nth(at)).map(|(_, tensor)| tensor).collect();
        result.insert(name, with_element!(reference.dtype(), T => nearest::<T>(reference, &tensors, count))?);
    }
    Ok(result)
}

fn nearest<T: Element>(reference: &Tensor, tensors: &[&Tensor], count: usize) -> Result<Tensor, AggregateError> {
    let columns: Vec<&[T]> = tensors.iter().map(|tensor| tensor.as_slice::<T>().unwrap_or_default()).collect();
    let mut result = Vec::with_capacity(reference.len());
    for (i, centre) in reference.as_slice::<T>().unwrap_or_default().iter().enumerate() {
        let mut column: Vec<f64> = columns.iter().filter_map(|column| column.get(i)).map(|x| x.to_f64()).collect();
        column.sort_unstable_by(order);
        let near = nearest_to(&column, centre.to_f64(), count);
        #[expect(clippy::cast_precision_loss, reason = "a number of models")]
        result.push(T::from_f64(near.iter().sum::<f64>() / near.len() as f64));
    }
    Tensor::from_elements(reference.shape(), &result).map_err(AggregateError::Memory)
}

fn distances(models: &[Model]) -> Result<Distances, AggregateError> {
    let Some(first) = models.first() else { return Ok(Distances::of(&[], Threads(1))) };
    for model in models {
        first.same_layout(model).map_err(|error| AggregateError::layout("a model", error))?;
    }
    let about = Contribution { source: String::new(), form: Form::Full, samples: 1, staleness: 0, metrics: Vec::new() };
    let update =
        |model| Update { model, about: &about, base: None, round_base: first, extra: &[], shrink: 1.0, weight: 1.0 };
    let updates: Vec<_> = models.iter().map(update).collect();
    Ok(Distances::of(&updates, Threads::default()))
}

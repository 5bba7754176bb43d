//! The smallest federated problem: each trainer pulls the model towards its own number, by gradient steps in the host, with the client's
//! part of the rule that hyperparameter "client" names. What comes out can be computed by hand.

use flame_sdk::client::{FedDynClient, FedProxClient, ScaffoldClient, CONTROL};
use flame_sdk::{Aggregator, Context, Error, Model, Result, Round, Trainer, Update};

const PARAMETERS: usize = 4;

fn constant(value: f32) -> Result<Model> {
    let mut model = Model::new();
    model.set_f32("w", &[PARAMETERS as u64], &[value; PARAMETERS])?;
    Ok(model)
}

/// The client's part of a rule.
enum Client {
    Plain,
    Prox(FedProxClient),
    Scaffold(ScaffoldClient),
    Dyn(FedDynClient),
}

struct Puller {
    target: Model,
    rate: f64,
    steps: u64,
    client: Client,
}

impl Trainer for Puller {
    fn load(ctx: &Context) -> Result<Self> {
        let client = match ctx.hyper_or("client", String::new())?.as_str() {
            "" => Client::Plain,
            "fedprox" => Client::Prox(FedProxClient::of_job(ctx)?),
            "scaffold" => Client::Scaffold(ScaffoldClient::new()),
            "feddyn" => Client::Dyn(FedDynClient::of_job(ctx, 0.01)?),
            other => return Err(Error::worker(format!("no client {other}"))),
        };
        let (rate, steps) = (ctx.hyper("rate")?, ctx.hyper("steps")?);
        Ok(Self { target: constant(ctx.hyper("target")?)?, rate, steps, client })
    }

    fn train(&mut self, ctx: &Round<'_>, model: &mut Model) -> Result<Update> {
        let received = model.duplicate()?;
        let control = ctx.extra(CONTROL);
        for _ in 0..self.steps {
            // The gradient of ½‖w − target‖².
            let mut gradient = model.difference(&self.target)?;
            gradient.scale(-self.rate)?;
            model.axpy(1.0, &gradient)?;
            match &self.client {
                Client::Plain => {}
                Client::Prox(client) => client.step(model, &received, self.rate)?,
                Client::Scaffold(client) => client.step(model, control, self.rate)?,
                Client::Dyn(client) => client.step(model, &received, self.rate)?,
            }
        }
        let update = Update::new(1);
        match &mut self.client {
            Client::Scaffold(client) => {
                let change = client.finish(&received, model, control, self.steps, self.rate)?;
                Ok(update.extra(CONTROL, change))
            }
            Client::Dyn(client) => {
                client.finish(&received, model)?;
                Ok(update)
            }
            Client::Plain | Client::Prox(_) => Ok(update),
        }
    }
}

struct Middle;

impl Aggregator for Middle {
    fn load(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    fn initial_model(&mut self, _: &Context) -> Result<Model> {
        constant(0.0)
    }
}

flame_sdk::worker! { trainer: Puller, aggregator: Middle }

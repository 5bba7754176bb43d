//! Calls functions of one of the host's families at random, with random arguments: `family`, `dice` and `calls` are
//! hyperparameters. Whatever the host answers, it goes on.

use std::time::Duration;

use flame_sdk::{
    Aggregation, Channel, Context, Contribution, Dataset, Dtype, Error, Form, Message, Metrics, Model, OptionValue,
    Outgoing, Receipt, Result, Tensor, telemetry,
};

/// Things of each kind that are kept; more than the host's limit of handles in all.
const KEPT: usize = 60;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound.max(1) as u64) as usize
    }

    /// Mostly small, sometimes at the end of a range.
    fn number(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX - self.roll() % 3,
            2 => 1 << self.below(64),
            3 => self.roll(),
            _ => self.roll() % 20,
        }
    }

    fn float(&mut self) -> f64 {
        match self.below(8) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => f64::from_bits(self.roll()),
            3 => -0.0,
            4 => f64::MIN_POSITIVE / 2.0,
            _ => self.below(100) as f64 / 10.0 - 5.0,
        }
    }

    fn text(&mut self) -> String {
        let known = [
            "w",
            "b",
            "model",
            "data",
            "rows",
            "param",
            "other",
            "update",
            "done",
            "",
            "fetch",
            "loss",
            "fedavg",
            "fedavgm",
            "fedadam",
            "fedbuff",
            "fedyogi",
            "scaffold",
            "fedprox",
            "fedasync",
            "momentum",
            "lr",
            "../x",
            "\0",
            "\u{1b}[2J",
        ];
        match self.below(10) {
            0 => known[self.below(known.len())].repeat(1 + self.below(2_000)),
            1 => (0..self.below(40)).filter_map(|_| char::from_u32(self.below(0x11_0000) as u32)).collect(),
            _ => known[self.below(known.len())].to_owned(),
        }
    }

    fn shape(&mut self) -> Vec<u64> {
        (0..self.below(5)).map(|_| if self.below(6) == 0 { self.number() } else { self.roll() % 8 }).collect()
    }

    fn dtype(&mut self) -> Dtype {
        use Dtype::{Bfloat16, Float16, Float32, Float64, Int32, Int64, Uint8};
        [Float32, Float64, Float16, Bfloat16, Int64, Int32, Uint8, Float32, Float32][self.below(9)]
    }

    fn form(&mut self) -> Form {
        [Form::State, Form::Full, Form::Delta, Form::PartialSum][self.below(4)]
    }

    fn metrics(&mut self) -> Metrics {
        let mut metrics = Metrics::new();
        for _ in 0..self.below(5) {
            metrics.set(&self.text(), self.float());
        }
        metrics
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = if self.below(20) == 0 { self.below(200_000) } else { self.below(100) };
        vec![self.roll() as u8; len]
    }

    /// A position in a list that has at least one element.
    fn of<'a, T>(&mut self, list: &'a mut [T]) -> Option<&'a mut T> {
        let at = self.below(list.len());
        list.get_mut(at)
    }
}

/// All that it holds.
struct World {
    dice: Dice,
    ctx: Context,
    tensors: Vec<Tensor>,
    models: Vec<Model>,
    channels: Vec<Channel>,
    messages: Vec<Message>,
    receipts: Vec<Receipt>,
    data: Vec<Dataset>,
    rules: Vec<Aggregation>,
}

fn keep<T>(list: &mut Vec<T>, dice: &mut Dice, thing: Result<T>) -> Result<()> {
    let thing = thing?;
    if list.len() < KEPT {
        list.push(thing);
    } else {
        let at = dice.below(list.len());
        list[at] = thing;
    }
    Ok(())
}

impl World {
    fn tensors(&mut self) -> Result<()> {
        let Self { dice, tensors, models, .. } = self;
        let (offset, count) = (dice.number(), dice.number());
        let other = dice.of(models).map(|model| model.duplicate()).transpose()?;
        let tensor = dice.of(tensors).map(|tensor| tensor.duplicate()).transpose()?;
        match (dice.below(22), tensor, other) {
            (0, ..) => {
                let zeros = Tensor::zeros(&dice.shape(), dice.dtype());
                keep(tensors, dice, zeros)
            }
            (1, ..) => {
                let data = vec![dice.float() as f32; dice.below(64)];
                let shape = if dice.below(2) == 0 { vec![data.len() as u64] } else { dice.shape() };
                keep(tensors, dice, Tensor::from_f32(&shape, &data))
            }
            (2, ..) => {
                let (shape, dtype, bytes) = (dice.shape(), dice.dtype(), dice.bytes());
                keep(tensors, dice, Tensor::from_bytes(&shape, dtype, &bytes))
            }
            (3, Some(tensor), _) => tensor.read_f32(offset, count).map(drop),
            (4, Some(tensor), _) => tensor.read_bytes(offset, count).map(drop),
            (5, Some(tensor), _) => tensor.write_f32(offset, &vec![dice.float() as f32; dice.below(20)]),
            (6, Some(tensor), _) => tensor.write_bytes(offset, &dice.bytes()),
            (7, Some(tensor), _) => {
                let _ = (tensor.shape(), tensor.dtype());
                keep(tensors, dice, Ok(tensor))
            }
            (8, ..) => keep(models, dice, Ok(Model::new())),
            (9 | 10, Some(tensor), _) => {
                let name = dice.text();
                dice.of(models).map_or(Ok(()), |model| model.set(&name, &tensor))
            }
            (11, _, Some(model)) => {
                let names = model.names();
                let name = if names.is_empty() { dice.text() } else { names[dice.below(names.len())].clone() };
                keep(tensors, dice, model.get(&name))
            }
            (12, _, Some(model)) => keep(models, dice, Ok(model)),
            (13, _, Some(other)) => {
                let alpha = dice.float();
                dice.of(models).map_or(Ok(()), |model| model.axpy(alpha, &other))
            }
            (14, ..) => {
                let alpha = dice.float();
                dice.of(models).map_or(Ok(()), |model| model.scale(alpha))
            }
            (15, _, Some(model)) => {
                let difference = dice.of(models).map(|other| model.difference(other));
                difference.map_or(Ok(()), |difference| keep(models, dice, difference))
            }
            (16, _, Some(model)) => keep(models, dice, model.slice(offset, count)),
            (17, _, Some(part)) => {
                let (alpha, beta) = (dice.float(), dice.float());
                dice.of(models).map_or(Ok(()), |model| model.axpby_slice(offset, alpha, &part, beta))
            }
            (18, _, Some(model)) => {
                let _ =
                    (model.norm_l2(), model.all_finite(), model.byte_size(), model.parameter_count(), model.names());
                Ok(())
            }
            (19, ..) => {
                let at = dice.below(tensors.len());
                tensors.truncate(at);
                Ok(())
            }
            (20, ..) => {
                let at = dice.below(models.len());
                models.truncate(at);
                Ok(())
            }
            _ => keep(tensors, dice, Tensor::from_f32(&[4], &[1.0; 4])),
        }
    }

    fn channels(&mut self) -> Result<()> {
        let within = Duration::from_millis(self.dice.roll() % 3);
        let Self { dice, channels, messages, receipts, models, .. } = self;
        if dice.below(4) == 0 || channels.is_empty() {
            let name = if dice.below(2) == 0 { "param".to_owned() } else { dice.text() };
            return match dice.below(8) {
                0 => keep(channels, dice, Channel::by_tag(&name)),
                1 => {
                    let at = dice.below(channels.len());
                    channels.truncate(at);
                    Ok(())
                }
                _ => keep(channels, dice, Channel::join(&name)),
            };
        }
        let model = dice.of(models).map(|model| model.duplicate()).transpose()?.unwrap_or_else(Model::new);
        let base = dice.of(messages).map_or_else(|| dice_number(&model), |message| message.id);
        let end = messages.first().map(|message| message.sender.clone());
        let (form, metrics, body) = (dice.form(), dice.metrics(), dice.bytes());
        let kind = dice.text();
        let mut outgoing =
            Outgoing::new(&kind, dice.number()).form(form).samples(dice.number()).metrics(&metrics).body(body);
        if dice.below(2) == 0 {
            outgoing = outgoing.base(if dice.below(4) == 0 { dice.number() } else { base });
        }
        let name = dice.text();
        if dice.below(2) == 0 {
            outgoing = outgoing.model(if dice.below(2) == 0 { "model" } else { &name }, &model);
        }
        let ends: Vec<String> = match (dice.below(4), end) {
            (0, _) | (_, None) => (0..dice.below(3)).map(|_| dice.text()).collect(),
            (_, Some(end)) => vec![end],
        };
        let what = dice.below(14);
        let many = dice.below(3);
        let minimum = dice.number() as u32;
        let Some(channel) = dice.of(channels) else { return Ok(()) };
        match what {
            0 | 1 => {
                let sent = channel.send(&ends, &outgoing);
                keep(receipts, dice, sent)
            }
            2 => {
                let sent = channel.broadcast(&outgoing);
                keep(receipts, dice, sent)
            }
            3 | 4 => {
                let received = channel.recv_fifo(if many == 0 { &ends } else { &[] }, within);
                keep(messages, dice, received)
            }
            5 => {
                let received = channel.recv(ends.first().map_or("", String::as_str), within);
                keep(messages, dice, received)
            }
            6 => channel.peek(ends.first().map_or("", String::as_str)).map(drop),
            7 => channel.await_ends(minimum, within).map(drop),
            8 => {
                let _ = (channel.name(), channel.group(), channel.me(), channel.roster(), channel.quorum());
                channel.ends().map(drop)
            }
            9 => {
                let all: Vec<&Channel> = channels.iter().cycle().take(many * 10).collect();
                flame_sdk::next(&all, within).map(drop)
            }
            10 if minimum % 5 == 0 => channel.leave(),
            11 => dice.of(receipts).map_or(Ok(()), |receipt| {
                let _ = (receipt.id(), receipt.pending());
                receipt.cancel();
                receipt.wait(within)
            }),
            12 => {
                receipts.clear();
                Ok(())
            }
            _ => {
                let taken = messages.iter_mut().find_map(|message| message.take_model("model").ok());
                taken.map_or(Ok(()), |model| keep(models, dice, Ok(model)))
            }
        }
    }

    fn aggregation(&mut self) -> Result<()> {
        let Self { dice, rules, models, .. } = self;
        let model = dice.of(models).map(|model| model.duplicate()).transpose()?.unwrap_or_else(Model::new);
        let other = dice.of(models).map(|model| model.duplicate()).transpose()?;
        let name = dice.text();
        let extra = [(name.as_str(), &model)];
        let extra = if dice.below(4) == 0 { &extra[..] } else { &[] };
        let about = Contribution {
            source: dice.text(),
            form: dice.form(),
            samples: dice.number(),
            staleness: dice.number(),
            metrics: dice.metrics(),
        };
        match dice.below(8) {
            0 => {
                let value = match dice.below(3) {
                    0 => OptionValue::Number(dice.float()),
                    1 => OptionValue::Text(dice.text()),
                    _ => OptionValue::Flag(dice.below(2) == 0),
                };
                let (rule, option) = (dice.text(), dice.text());
                let options = [(option.as_str(), value)];
                let made = Aggregation::create(&rule, if dice.below(2) == 0 { &options } else { &[] });
                keep(rules, dice, made)
            }
            1 => keep(rules, dice, Aggregation::from_job()),
            2 | 3 => dice.of(rules).map_or(Ok(()), |rule| rule.begin(&model, extra)),
            4 | 5 => dice.of(rules).map_or(Ok(()), |rule| rule.add(&model, &about, other.as_ref(), extra)),
            6 => {
                let outcome = dice.of(rules).map(Aggregation::finish);
                outcome.map_or(Ok(()), |outcome| keep(models, dice, outcome.map(|outcome| outcome.model)))
            }
            _ => self.tensors(),
        }
    }

    fn datasets(&mut self) -> Result<()> {
        let Self { dice, data, tensors, .. } = self;
        let array = if dice.below(4) == 0 { dice.text() } else { "rows".to_owned() };
        let (offset, count) = (dice.number(), dice.number());
        match dice.below(6) {
            0 => {
                let name = if dice.below(2) == 0 { "data".to_owned() } else { dice.text() };
                keep(data, dice, Dataset::open(&name))
            }
            1 | 2 => {
                let rows = dice.of(data).map(|data| data.rows(&array, offset, count));
                rows.map_or(Ok(()), |rows| keep(tensors, dice, rows))
            }
            3 | 4 => {
                let most = if dice.below(3) == 0 { u64::MAX } else { 5 };
                let indices: Vec<u64> = (0..dice.below(9)).map(|_| dice.number() % most).collect();
                let (Some(data), Some(target)) = (dice.of(data), dice.of(tensors)) else { return self.tensors() };
                data.gather_into(&array, &indices, target)
            }
            _ => {
                if let Some(data) = dice.of(data) {
                    let _ = (data.len(), data.arrays(), Dataset::names());
                }
                self.tensors()
            }
        }
    }

    fn job(&mut self) -> Result<()> {
        let Self { dice, ctx, models, .. } = self;
        match dice.below(6) {
            0 => {
                let (name, model) = (dice.text(), dice.of(models));
                model.map_or(Ok(()), |model| ctx.publish_model(&name, model))
            }
            1 => ctx.record_metrics(dice.number(), &dice.metrics()),
            2 => {
                let _ = (ctx.task_id(), ctx.channels(), ctx.attempt(), ctx.seed());
                ctx.hyper::<String>(&dice.text()).map(drop)
            }
            3 => ctx.evaluation_data().map(drop),
            4 => ctx.base_model().map(drop),
            _ => self.tensors(),
        }
    }

    fn telemetry(&mut self) -> Result<()> {
        let dice = &mut self.dice;
        match dice.below(4) {
            0 => telemetry::progress(dice.number(), dice.number()),
            1 => print!("{}", dice.text()),
            2 => eprintln!("{}", dice.text()),
            _ => flame_sdk::debug!("{}", dice.text()),
        }
        Ok(())
    }
}

/// A base that nobody received.
fn dice_number(model: &Model) -> u64 {
    model.parameter_count()
}

fn run(ctx: &Context) -> Result<()> {
    let family: String = ctx.hyper("family")?;
    let calls: u32 = ctx.hyper("calls")?;
    let mut world = World {
        dice: Dice(ctx.hyper("dice")?),
        ctx: Context::from_host(),
        tensors: Vec::new(),
        models: vec![attacks::constant(1.0, 8)?, attacks::constant(2.0, 8)?],
        channels: Vec::new(),
        messages: Vec::new(),
        receipts: Vec::new(),
        data: Vec::new(),
        rules: Vec::new(),
    };
    for _ in 0..calls {
        let went = match family.as_str() {
            "tensors" => world.tensors(),
            "channels" => world.channels(),
            "aggregation" => world.aggregation(),
            "datasets" => world.datasets(),
            "job" => world.job(),
            "telemetry" => world.telemetry(),
            other => return Err(Error::worker(format!("no such family: {other}"))),
        };
        match went {
            Err(Error::Internal(fault)) => return Err(Error::worker(format!("a fault of the host: {fault}"))),
            Err(Error::Stopped) => return Ok(()),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

flame_sdk::worker! { trainer => run }

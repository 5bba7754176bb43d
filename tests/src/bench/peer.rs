//! One end in a process of its own: it obeys lines on its input and answers each with a line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::{bare, ours};

/// What one end is told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PeerArgs {
    /// `ours` or `bare`.
    #[arg(long)]
    pub(crate) kind: String,
    /// The broker's URL.
    #[arg(long)]
    pub(crate) broker: String,
    /// Names the group of processes.
    #[arg(long)]
    pub(crate) job: String,
    /// End 0 sends, the others answer.
    #[arg(long)]
    pub(crate) me: u32,
    /// Ends in all.
    #[arg(long)]
    pub(crate) count: u32,
}

/// What end 0 does next; the answer is the seconds that it took, or for round trips each one's.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// One message of so many bytes to all the others.
    Send(usize),
    /// So many small messages to all the others.
    Small(u32),
    /// So many small messages to end 1, each answered before the next.
    Trips(u32),
}

impl Order {
    fn line(self) -> String {
        match self {
            Self::Send(bytes) => format!("send {bytes}"),
            Self::Small(count) => format!("small {count}"),
            Self::Trips(count) => format!("trips {count}"),
        }
    }

    pub(crate) fn read(line: &str) -> Option<Self> {
        let (what, number) = line.trim().split_once(' ')?;
        match what {
            "send" => Some(Self::Send(number.parse().ok()?)),
            "small" => Some(Self::Small(number.parse().ok()?)),
            "trips" => Some(Self::Trips(number.parse().ok()?)),
            _ => None,
        }
    }
}

/// All ends of one kind on one broker.
pub(crate) struct Peers {
    children: Vec<Child>,
    sender: (ChildStdin, BufReader<ChildStdout>),
    _others: Vec<BufReader<ChildStdout>>,
}

impl Drop for Peers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Peers {
    /// Starts `others` ends and the sender, and waits until it sees them.
    pub(crate) fn start(kind: &str, broker: &str, others: u32) -> Self {
        let job = format!("{kind}{}x{others}", std::process::id());
        let start = |me: u32| {
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command.args(["peer", "--kind", kind, "--broker", broker, "--job", &job]);
            command.args(["--me", &me.to_string(), "--count", &(others + 1).to_string()]);
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("an end");
            let input = child.stdin.take().expect("its input");
            let mut output = BufReader::new(child.stdout.take().expect("its output"));
            let mut ready = String::new();
            output.read_line(&mut ready).expect("its readiness");
            assert_eq!(ready.trim(), "ready", "end {me} of {kind} did not start");
            (child, input, output)
        };
        let mut children = Vec::new();
        let mut outputs = Vec::new();
        for me in 1..=others {
            let (child, _, output) = start(me);
            children.push(child);
            outputs.push(output);
        }
        let (child, input, output) = start(0);
        children.push(child);
        Self { children, sender: (input, output), _others: outputs }
    }

    /// Has the sender do it; seconds, or one figure for each round trip.
    pub(crate) fn order(&mut self, order: Order) -> Vec<f64> {
        let (input, output) = &mut self.sender;
        writeln!(input, "{}", order.line()).expect("the sender listens");
        input.flush().expect("the sender listens");
        let mut line = String::new();
        output.read_line(&mut line).expect("the sender answers");
        line.split_whitespace().filter_map(|number| number.parse().ok()).collect()
    }
}

/// The process of one end.
pub(crate) async fn run(args: PeerArgs) {
    match args.kind.as_str() {
        "ours" => ours::run(args).await,
        _ => bare::run(args).await,
    }
}

/// Obeys orders until the input ends. `ready` is told first.
pub(crate) async fn obey(mut act: impl AsyncFnMut(Order) -> Vec<f64>) {
    println!("ready");
    let (orders, mut next) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { return };
            if orders.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = next.recv().await {
        let order = Order::read(&line).expect("an order");
        let numbers: Vec<String> = act(order).await.iter().map(|number| format!("{number:.9}")).collect();
        println!("{}", numbers.join(" "));
        let _ = std::io::stdout().flush();
    }
}

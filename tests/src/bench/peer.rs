//! One end in a process of its own: it obeys lines on its input and answers each with a line.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::str::FromStr;

use super::{bare, ours, round};

/// What one end is told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PeerArgs {
    /// `ours`, `bare` or `bare-round`.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// One message of so many bytes to end 1.
    Unicast(usize),
    /// One message of so many bytes to all the others.
    Broadcast(usize),
    /// So many small messages to end 1.
    Small(u32),
    /// So many small messages to end 1, each answered before the next.
    Trips(u32),
}

impl Order {
    fn line(self) -> String {
        match self {
            Self::Unicast(bytes) => format!("unicast {bytes}"),
            Self::Broadcast(bytes) => format!("broadcast {bytes}"),
            Self::Small(count) => format!("small {count}"),
            Self::Trips(count) => format!("trips {count}"),
        }
    }

    fn read(line: &str) -> Option<Self> {
        fn number<T: FromStr>(text: &str) -> Option<T> {
            text.parse().ok()
        }
        let (what, of) = line.trim().split_once(' ')?;
        match what {
            "unicast" => number(of).map(Self::Unicast),
            "broadcast" => number(of).map(Self::Broadcast),
            "small" => number(of).map(Self::Small),
            "trips" => number(of).map(Self::Trips),
            _ => None,
        }
    }
}

struct Peer {
    child: Child,
    // Its end is the peer's end.
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// All ends of one kind on one broker. Dropping it ends them.
pub(crate) struct Peers {
    kind: String,
    sender: Peer,
    others: Vec<Peer>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
            Peer { child, input, output }
        };
        let others = (1..=others).map(start).collect();
        Self { kind: kind.to_owned(), sender: start(0), others }
    }

    /// Has the sender do it; seconds, or one figure for each round trip.
    pub(crate) fn order(&mut self, order: Order) -> Vec<f64> {
        let Peer { input, output, .. } = &mut self.sender;
        writeln!(input, "{}", order.line()).expect("the sender listens");
        input.flush().expect("the sender listens");
        let mut line = String::new();
        output.read_line(&mut line).expect("the sender answers");
        let figures: Vec<f64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        assert!(!figures.is_empty(), "the sender of {} ended at {order:?}", self.kind);
        figures
    }

    /// The sender's process.
    pub(crate) fn sender(&self) -> u32 {
        self.sender.child.id()
    }

    /// The receivers' processes.
    pub(crate) fn receivers(&self) -> impl Iterator<Item = u32> {
        self.others.iter().map(|peer| peer.child.id())
    }
}

/// The process of one end.
pub(crate) async fn run(args: PeerArgs) {
    match args.kind.as_str() {
        "ours" => ours::run(args).await,
        "bare-round" => round::bare_end(args).await,
        _ => bare::run(args).await,
    }
}

/// Ends this process with its parent, which holds the other end of its input. For processes that take no orders.
pub(crate) fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_written() {
        for order in [Order::Unicast(1), Order::Broadcast(100), Order::Small(10), Order::Trips(7)] {
            assert_eq!(Order::read(&order.line()), Some(order));
        }
        assert_eq!(Order::read("dance 3"), None);
    }
}

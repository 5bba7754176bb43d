//! Requests at a steady rate, and what the disk itself takes.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use flame_api::Secret;
use tokio::task::JoinSet;

/// Sends `rate` requests a second, whether answers have come or not. Seconds from when each was due to the end of its
/// answer: a server that stalls does not make its own times look better.
pub(super) async fn requests(base: &str, path: &str, token: &Secret, rate: u32, span: Duration) -> Vec<f64> {
    let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build().expect("a client");
    let url = format!("{base}{path}");
    let gap = Duration::from_secs(1) / rate;
    let count = u32::try_from(span.as_secs()).expect("not that long") * rate;
    let begin = Instant::now() + Duration::from_millis(100);
    let mut asked = JoinSet::new();
    for n in 0..count {
        let due = begin + gap * n;
        tokio::time::sleep_until(due.into()).await;
        let request = http.get(&url).bearer_auth(token.expose());
        asked.spawn(async move {
            let answer = request.send().await.expect("the server answers");
            assert!(answer.status().is_success(), "{}", answer.status());
            answer.bytes().await.expect("a whole answer");
            due.elapsed().as_secs_f64()
        });
    }
    asked.join_all().await
}

/// Seconds to write that many bytes into a file and have them on disk: the least that durable storage takes.
pub(super) fn write_durably(folder: &Path, bytes: u64) -> f64 {
    let began = Instant::now();
    let mut file = tempfile::NamedTempFile::new_in(folder).expect("a file");
    file.write_all(&vec![7; usize::try_from(bytes).expect("not that many")]).expect("the disk has room");
    file.as_file().sync_all().expect("the disk works");
    began.elapsed().as_secs_f64()
}

//! Server-sent events as a stream of values.

use futures::{Stream, StreamExt};
use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;

use super::{Client, ClientError, root_cause};

/// Longest line of a stream that is believed.
const MAX_EVENT: usize = 1 << 20;

impl Client {
    /// The values of a stream, until the server ends it.
    pub(super) async fn events<T: DeserializeOwned + Send + 'static>(
        &self,
        request: RequestBuilder,
    ) -> Result<impl Stream<Item = Result<T, ClientError>> + Unpin + Send + use<T>, ClientError> {
        let response = self.send(request).await?;
        let (url, base) = (response.url().to_string(), self.base.clone());
        let lines = EventLines { buffer: Vec::new(), url, base };
        let state = (Box::pin(response.bytes_stream()), lines);
        Ok(Box::pin(futures::stream::unfold(state, |(mut body, mut lines)| async move {
            loop {
                match lines.next() {
                    Some(item) => return Some((item, (body, lines))),
                    None => match body.next().await? {
                        Ok(bytes) => lines.buffer.extend_from_slice(&bytes),
                        Err(error) => {
                            let reason = root_cause(&error);
                            let error = ClientError::Unreachable { url: lines.base.clone(), reason };
                            return Some((Err(error), (body, lines)));
                        }
                    },
                }
            }
        })))
    }
}

/// Takes `data:` lines out of a server-sent event stream.
struct EventLines {
    buffer: Vec<u8>,
    url: String,
    base: String,
}

impl EventLines {
    fn next<T: DeserializeOwned>(&mut self) -> Option<Result<T, ClientError>> {
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            if let Some(data) = line.strip_prefix(b"data:") {
                return Some(serde_json::from_slice(data).map_err(|error| self.protocol(error.to_string())));
            }
        }
        if self.buffer.len() > MAX_EVENT {
            self.buffer.clear();
            return Some(Err(self.protocol("an event of more than 1 MiB".into())));
        }
        None
    }

    fn protocol(&self, reason: String) -> ClientError {
        ClientError::Protocol { url: self.url.clone(), reason }
    }
}

//! Everything that the store has, of one moment, for a backup while the server runs.

use std::fs::File;
use std::io::{BufWriter, Write};

use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::Api;
use super::auth::Access;
use super::reply::{Failure, file};
use crate::failure::internal;
use crate::store::export;

/// Everything that the store has, of one moment, in the export format of `flame-control db`. For admins.
#[utoipa::path(get, path = "/v1/backup", tag = "server",
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
pub(crate) async fn backup(State(api): State<Api>, Extension(access): Extension<Access>) -> Result<Response, Failure> {
    access.admin("a backup")?;
    // A file first: whoever reads slowly must not hold up writers. It goes away with the folder at the latest.
    let path = api.controller.artifacts.scratch();
    let to = path.clone();
    let written = api.controller.run(move |controller| {
        let write = || -> Result<(), crate::store::DumpError> {
            let mut out = BufWriter::new(File::create(&to)?);
            export(&*controller.store, &mut out)?;
            Ok(out.flush()?)
        };
        write().map_err(|error| internal(&error))
    });
    let answer = match written.await {
        Ok(()) => file(&path).await,
        Err(problem) => Err(problem.into()),
    };
    // Who has it open keeps it until it is read.
    if let Err(error) = tokio::fs::remove_file(&path).await {
        tracing::warn!("{}: {error}", path.display());
    }
    answer
}

//! Tokens, the audit log and backups.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::Method;

use super::{Client, ClientError, root_cause};
use crate::{AuditRecord, CreateToken, Token, TokenCreated, TokenId};

impl Client {
    /// Makes a bearer token; the answer is the only one that has it.
    pub async fn create_token(&self, token: &CreateToken) -> Result<TokenCreated, ClientError> {
        self.json(self.request(Method::POST, "/v1/tokens").json(token)).await
    }

    /// Bearer tokens, oldest first: all for an admin, a user's own for a user.
    pub async fn tokens(&self) -> Result<Vec<Token>, ClientError> {
        self.json(self.request(Method::GET, "/v1/tokens")).await
    }

    /// Revokes a bearer token.
    pub async fn revoke_token(&self, token: &TokenId) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, &format!("/v1/tokens/{token}"))).await.map(drop)
    }

    /// What was changed by whom, oldest first: at most `limit` records (1,000 at most) after number `after`.
    pub async fn audit(&self, after: u64, limit: u64) -> Result<Vec<AuditRecord>, ClientError> {
        self.json(self.request(Method::GET, "/v1/audit").query(&[("after", after), ("limit", limit)])).await
    }

    /// Everything that the server's store has, of one moment, in the export format of `flame-control db`.
    pub async fn backup(&self) -> Result<impl Stream<Item = Result<Bytes, ClientError>> + Send + use<>, ClientError> {
        let url = format!("{}/v1/backup", self.base);
        let response = self.send(self.request(Method::GET, "/v1/backup")).await?;
        let torn = move |error: reqwest::Error| ClientError::Protocol { url: url.clone(), reason: root_cause(&error) };
        Ok(response.bytes_stream().map(move |bytes| bytes.map_err(&torn)))
    }
}

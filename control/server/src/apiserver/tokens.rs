//! Bearer tokens: made, listed, revoked. Only their hashes are kept; a token is shown once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use flame_api::{Code, CreateToken, Problem, Role, Secret, Timestamp, Token, TokenCreated, TokenId, UserName};

use super::auth::Access;
use super::reply::{Answer, Failure, InPath, Reply, read_json};
use super::{Api, MAX_TEXT};
use crate::crypto;
use crate::failure::{not_found, store as store_failed};
use crate::store::records::TokenRecord;
use crate::store::{Batch, Store, StoreError, Tree, scan_records};

/// Longest description, in characters.
const MAX_DESCRIPTION: usize = 200;
/// Tokens that there may be at once.
const MAX_TOKENS: usize = 100_000;

/// Every token that there is, by its hash: looked up so, the time of a comparison tells nothing of a token.
pub(crate) struct Tokens {
    store: Arc<dyn Store>,
    by_hash: RwLock<HashMap<[u8; 32], Token>>,
    /// Held while the store is written to, so that nobody who reads has to wait for a disk.
    changing: Mutex<()>,
}

impl Tokens {
    /// Reads them. Blocks.
    pub(crate) fn load(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let records: Vec<TokenRecord> = scan_records(&*store, Tree::Tokens, "")?;
        let entry = |record: TokenRecord| {
            let mut hash = [0; 32];
            // A hash that is none opens nothing.
            hex::decode_to_slice(&record.sha256, &mut hash).ok()?;
            Some((hash, record.info))
        };
        let by_hash = RwLock::new(records.into_iter().filter_map(entry).collect());
        Ok(Self { store, by_hash, changing: Mutex::default() })
    }

    /// Whose it is, if it is one and holds still.
    pub(crate) fn find(&self, hash: &[u8; 32], now: Timestamp) -> Option<Token> {
        let all = self.read();
        all.get(hash).filter(|token| token.expires_at.is_none_or(|end| end > now)).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<[u8; 32], Token>> {
        self.by_hash.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<[u8; 32], Token>> {
        self.by_hash.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self, of: Option<&UserName>) -> Vec<Token> {
        let mut list: Vec<Token> =
            self.read().values().filter(|token| of.is_none_or(|user| token.user == *user)).cloned().collect();
        list.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        list
    }

    /// Blocks.
    fn create(&self, create: CreateToken, now: Timestamp) -> Result<TokenCreated, Problem> {
        let secret = Secret::new(format!("flame_{}", crypto::random_secret()?.expose()));
        let hash = crypto::sha256(secret.expose().as_bytes());
        let id = hex::encode(crypto::random::<6>()?);
        let id: TokenId = id.parse().map_err(|error: flame_api::IdError| crate::failure::internal(&error))?;
        let end = |seconds| now.saturating_add(Duration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
        let info = Token {
            id,
            user: create.user,
            role: create.role,
            description: create.description,
            created_at: now,
            expires_at: create.expires_in.map(end),
        };
        let record = TokenRecord { info: info.clone(), sha256: hex::encode(hash) };
        let mut batch = Batch::new();
        batch.put_record(Tree::Tokens, info.id.as_str(), &record).map_err(store_failed)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have ended are of no use to anybody.
        let has_ended = |token: &Token| token.expires_at.is_some_and(|end| end <= now);
        let ended: Vec<TokenId> = self.read().values().filter(|token| has_ended(token)).map(|t| t.id.clone()).collect();
        for id in &ended {
            batch.delete(Tree::Tokens, id.as_str());
        }
        if self.read().len() - ended.len() >= MAX_TOKENS {
            let message = format!("there are {MAX_TOKENS} tokens already");
            return Err(Problem::new(Code::Refused, message).hint("revoke those that nobody uses"));
        }
        self.store.commit(batch).map_err(store_failed)?;
        let mut all = self.write();
        all.retain(|_, token| !has_ended(token));
        all.insert(hash, info.clone());
        Ok(TokenCreated { info, token: secret })
    }

    /// Blocks.
    fn revoke(&self, id: &TokenId, of: Option<&UserName>) -> Result<(), Problem> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |token: &Token| token.id == *id && of.is_none_or(|user| token.user == *user);
        let hash = self.read().iter().find(|(_, token)| is_it(token)).map(|(hash, _)| *hash);
        let Some(hash) = hash else {
            return Err(not_found(format!("token {id} not found"), "`flamectl get tokens` lists them"));
        };
        self.store.delete(Tree::Tokens, id.as_str().as_bytes()).map_err(store_failed)?;
        self.write().remove(&hash);
        Ok(())
    }
}

/// Makes a bearer token. The answer is the only place where it stands.
#[utoipa::path(post, path = "/v1/tokens", tag = "server", request_body = CreateToken,
    responses((status = 201, body = TokenCreated)))]
pub(crate) async fn create(
    State(api): State<Api>,
    Extension(access): Extension<Access>,
    body: Body,
) -> Answer<TokenCreated> {
    let create: CreateToken = read_json(body, MAX_TEXT).await?;
    if create.role == Role::Agent {
        let problem = Problem::new(Code::InvalidRequest, "tokens of agents come with their sessions and are not made");
        return Err(problem.hint("use the role user or admin").into());
    }
    if create.description.chars().count() > MAX_DESCRIPTION || create.description.chars().any(char::is_control) {
        let message = format!("a description has at most {MAX_DESCRIPTION} characters, and no control characters");
        return Err(Problem::new(Code::InvalidRequest, message).into());
    }
    if create.expires_in == Some(0) {
        return Err(Problem::new(Code::InvalidRequest, "expiresIn is 0, so that the token would have ended").into());
    }
    if !access.is_admin() && (create.role == Role::Admin || create.user != access.user) {
        let problem = Problem::new(Code::Forbidden, "a user makes tokens of the role user for themselves alone");
        return Err(problem.hint("an admin makes others").into());
    }
    let made = api.controller.run({
        let tokens = Arc::clone(&api.tokens);
        move |_| tokens.create(create, Timestamp::now())
    });
    Ok(Reply::created(made.await?))
}

/// Bearer tokens, oldest first: all for an admin, a user's own for a user.
#[utoipa::path(get, path = "/v1/tokens", tag = "server", responses((status = 200, body = Vec<Token>)))]
pub(crate) async fn list(State(api): State<Api>, Extension(access): Extension<Access>) -> Answer<Vec<Token>> {
    Ok(Reply::ok(api.tokens.list(access.sees())))
}

/// Revokes a bearer token: it does not hold any more.
#[utoipa::path(delete, path = "/v1/tokens/{token}", tag = "server", params(("token" = TokenId, Path)),
    responses((status = 204)))]
pub(crate) async fn revoke(
    State(api): State<Api>,
    Extension(access): Extension<Access>,
    InPath(token): InPath<TokenId>,
) -> Result<StatusCode, Failure> {
    let tokens = Arc::clone(&api.tokens);
    api.controller.run(move |_| tokens.revoke(&token, access.sees())).await?;
    Ok(StatusCode::NO_CONTENT)
}

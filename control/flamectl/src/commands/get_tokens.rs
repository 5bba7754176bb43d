//! `flamectl get tokens`

use super::ListArgs;
use crate::table::table;
use crate::{Context, Failure, text};

pub(crate) async fn run(args: ListArgs, context: &mut Context) -> Result<(), Failure> {
    let tokens = args.first(context.client.tokens().await?);
    if context.printer.value(args.output.output, &tokens)? {
        return Ok(());
    }
    if tokens.is_empty() {
        context.printer.note("no tokens yet but the server's own; make one with `flamectl create token --user NAME`");
        return Ok(());
    }
    let rows = tokens.into_iter().map(|token| {
        let expires = token.expires_at.map_or_else(|| "never".to_owned(), text::time);
        let (id, user) = (token.id.to_string(), token.user.to_string());
        [id, user, token.role.to_string(), token.description, text::time(token.created_at), expires]
    });
    context.printer.line(table(&["TOKEN ID", "USER", "ROLE", "DESCRIPTION", "CREATED AT", "EXPIRES AT"], rows))?;
    Ok(())
}

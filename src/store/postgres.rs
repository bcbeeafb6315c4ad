//! Opening PostgreSQL.

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgPool};

use super::OpenOptions;
use super::error::StoreError;

/// Connections of one instance where nobody says how many.
const CONNECTIONS_DEFAULT: u32 = 10;
/// Longest silence inside a transaction: an instance that froze there must not keep the others' rows locked.
const IDLE_IN_TRANSACTION_MS: u128 = 5_000;

/// Opens the pool without connecting: no database at start is a normal state.
pub(super) fn open(url: &str, options: &OpenOptions) -> Result<PgPool, StoreError> {
    let connect: PgConnectOptions =
        url.parse().map_err(|e: sqlx::Error| StoreError::Address(e.to_string()))?;
    let connect = connect.application_name("huidu").disable_statement_logging();
    let longest = options.deadlines.read.max(options.deadlines.write);
    // The server gives up a little after the client did, so that an abandoned statement ends too.
    let statement_ms = longest.as_millis() + 2_000;
    Ok(PgPoolOptions::new()
        .max_connections(if options.connections == 0 { CONNECTIONS_DEFAULT } else { options.connections })
        .acquire_timeout(longest)
        .after_connect(move |connection, _| Box::pin(prepare(connection, statement_ms)))
        .connect_lazy_with(connect))
}

async fn prepare(connection: &mut PgConnection, statement_ms: u128) -> Result<(), sqlx::Error> {
    sqlx::query(
        "SELECT set_config('statement_timeout', $1, false),
                set_config('idle_in_transaction_session_timeout', $2, false),
                set_config('synchronous_commit', 'on', false)",
    )
    .bind(statement_ms.to_string())
    .bind(IDLE_IN_TRANSACTION_MS.to_string())
    .execute(connection)
    .await
    .map(drop)
}

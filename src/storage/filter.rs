//! Runs statements whose shape depends on the caller; everything else uses checked queries.

use sea_query::{PostgresQueryBuilder, SelectStatement};
use sea_query_sqlx::SqlxBinder as _;
use sqlx::{AssertSqlSafe, FromRow, postgres::PgRow};

use super::{Conn, StorageError};

/// Rows that one list answers with at the most.
pub(super) const LIST_ROWS_MAX: u64 = 500;

/// Fetches the rows of a built statement. Its values are bound, never spliced in.
pub(super) async fn fetch_all<Row>(conn: &mut Conn, statement: &SelectStatement) -> Result<Vec<Row>, StorageError>
where
    Row: for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    let (sql, values) = statement.build_sqlx(PostgresQueryBuilder);
    Ok(sqlx::query_as_with(AssertSqlSafe(sql), values).fetch_all(conn).await?)
}

//! How many refresh tokens are kept in `SQLite`.

use sqlx::SqliteConnection;

use super::Failure;
use crate::domain::clock::UnixTime;
use crate::store::tokens::{MAX_FAMILIES, MAX_USED, RefreshToken};

/// What it says of the owner is, word for word, what the index `refresh_tokens_by_owner` says.
pub(super) const DELETE_OLD_FAMILIES: &str = "DELETE FROM refresh_tokens WHERE family_id IN
         (SELECT family_id FROM refresh_tokens
          WHERE client_id = ?1 AND used_at IS NULL AND expires_at > ?2
              AND CASE WHEN json_valid(token_grant) THEN json_extract(token_grant, '$.owner') END
                  IS json_extract(?3, '$.owner')
              AND json_extract(token_grant, '$.owner_issuer') IS json_extract(?3, '$.owner_issuer')
          ORDER BY rowid DESC LIMIT -1 OFFSET ?4)";

/// Deletes the families of a token's client and owner that are too many. A family has one token
/// that is not used yet: the later it was made, the later the family was used.
pub(super) async fn delete_old_families(
    connection: &mut SqliteConnection,
    token: &RefreshToken,
    now: UnixTime,
) -> Result<(), Failure> {
    sqlx::query(DELETE_OLD_FAMILIES)
        .bind(&token.client_id)
        .bind(now.0)
        .bind(token.grant.to_string())
        .bind(MAX_FAMILIES)
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets the used tokens of a family that are too many and whose access tokens need not be
/// revoked any more.
pub(super) async fn forget_used(
    connection: &mut SqliteConnection,
    family_id: &str,
    proven: UnixTime,
) -> Result<(), Failure> {
    let delete = "DELETE FROM refresh_tokens WHERE rowid IN
                      (SELECT rowid FROM refresh_tokens WHERE family_id = ?1 AND used_at IS NOT NULL
                       ORDER BY rowid DESC LIMIT -1 OFFSET ?3)
                  AND access_expires_at <= ?2";
    sqlx::query(delete)
        .bind(family_id)
        .bind(proven.0)
        .bind(MAX_USED)
        .execute(connection)
        .await?;
    Ok(())
}

//! The signing keys: rotated on demand.

use serde_json::{Map, Value};

use super::ManagementError;
use crate::issuer::registration::Members;
use crate::issuer::{Issuer, KeyView, RotateError, RotateNow};

impl Issuer {
    /// Rotates the signing keys as a request says: `now`, `withdraw`. Gives them as they are then.
    ///
    /// # Errors
    /// When a member is wrong, a configured key signs, or no key can be made or kept.
    pub async fn rotate_keys_as_asked(
        &self,
        body: &Map<String, Value>,
    ) -> Result<Vec<KeyView>, ManagementError> {
        let mut members = Members::new(body, &["now", "withdraw"]);
        let how = RotateNow {
            now: members.flag("now"),
            withdraw: members.flag("withdraw"),
        };
        members.end().map_err(ManagementError::Invalid)?;
        self.rotate_keys(how).await.map_err(|error| match error {
            RotateError::OwnKey => ManagementError::Conflict(
                "the signing key is configured (`privateKeyFile`): put another one into its place",
            ),
            RotateError::Store(_) | RotateError::Keys(_) => ManagementError::Unavailable,
        })
    }
}

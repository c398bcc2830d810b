//! The signing keys: rotated on demand.

use serde_json::{Map, Value};

use super::{ClientAdmin, ManagementError};
use crate::issuer::registration::Members;
use crate::issuer::{KeyView, RotateError, RotateNow};

impl ClientAdmin {
    /// Rotates the signing keys as a request says: `now`, `withdraw`. Gives them as they are then.
    ///
    /// # Errors
    /// When a member is wrong, a configured key signs, or no key can be made or kept.
    pub async fn rotate_keys(
        &self,
        body: &Map<String, Value>,
    ) -> Result<Vec<KeyView>, ManagementError> {
        let mut members = Members::new(body, &["now", "withdraw"]);
        let how = RotateNow {
            now: members.flag("now"),
            withdraw: members.flag("withdraw"),
        };
        members.end().map_err(ManagementError::Invalid)?;
        let rotated = self.keys.rotate(how, self.clock.now()).await;
        rotated.map_err(|error| match error {
            RotateError::OwnKey => ManagementError::Conflict(
                "the signing key is configured (`privateKeyFile`): replace that file",
            ),
            RotateError::Store(_) | RotateError::Keys(_) => ManagementError::Unavailable,
        })
    }
}

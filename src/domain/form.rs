//! The form of a text: types that parse themselves say with this why they cannot.

/// Why a text does not have its form. It is a constant, because the text itself may be a secret in
/// the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongForm(pub &'static str);

/// Turns a condition into a result.
///
/// # Errors
/// `otherwise`, if the condition is false.
pub fn require(condition: bool, otherwise: &'static str) -> Result<(), WrongForm> {
    if condition {
        Ok(())
    } else {
        Err(WrongForm(otherwise))
    }
}

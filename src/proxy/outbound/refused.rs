//! A request that an outbound listener refuses.

use crate::domain::reason::Reason;
use crate::proxy::fault::Fault;

/// A request that is not forwarded.
#[derive(Debug)]
pub(in crate::proxy) struct Refused {
    pub(super) fault: Fault,
    /// Replaces the fault's description in the response.
    pub(super) text: Option<&'static str>,
}

impl<F: Into<Fault>> From<F> for Refused {
    fn from(fault: F) -> Self {
        Self {
            fault: fault.into(),
            text: None,
        }
    }
}

impl Refused {
    pub(super) fn because(reason: Reason, text: &'static str) -> Self {
        Self {
            fault: reason.into(),
            text: Some(text),
        }
    }
}

//! The early end of a gRPC call.

use h2::Reason as Code;

use super::Broken;
use crate::proxy::grpc::Call;
use crate::proxy::upstream::{EndedBy, UpstreamError};

/// A service that resets a call after its deadline ends it because of the deadline.
pub(super) fn explain(call: Option<&Call>, broken: Broken) -> Broken {
    match broken {
        Broken::Upstream(UpstreamError::Http2(EndedBy::Stream, ..))
            if call.is_some_and(Call::is_late) =>
        {
            Broken::Upstream(UpstreamError::ReadTimeout)
        }
        broken => broken,
    }
}

/// The code that resets the call at its client: gRPC gives some codes a meaning.
///
/// Not `REFUSED_STREAM`: the client would send the call again, although its response has begun.
pub(super) fn reset_code(broken: &Broken) -> Code {
    match broken {
        Broken::Upstream(UpstreamError::ReadTimeout) => Code::CANCEL,
        Broken::Upstream(UpstreamError::Http2(
            EndedBy::Stream,
            code @ (Code::CANCEL | Code::ENHANCE_YOUR_CALM | Code::INADEQUATE_SECURITY),
            _,
        )) => *code,
        _ => Code::INTERNAL_ERROR,
    }
}

//! Answers the CORS preflights of a listener with `cors` (Fetch standard, "CORS-preflight
//! request").

use futures_util::FutureExt;
use http::{HeaderMap, Method, header};
use pingora::http::RequestHeader;

use super::Inbound;
use crate::domain::reason::Reason;
use crate::proxy::access::Access;
use crate::proxy::client::Client;
use crate::proxy::connection::{ClientError, Framing};
use crate::proxy::relay::{Decision, settle_connection};
use crate::proxy::response_fields::FieldsOfRequest;
use crate::verifier::Refusal;

impl Inbound {
    /// Answers a request if it is a preflight and the listener answers preflights itself.
    pub(super) async fn preflight(
        &self,
        client: &mut Client<'_>,
        request: &RequestHeader,
        fields: &FieldsOfRequest,
        access: &mut Access,
    ) -> Option<Decision> {
        if !fields.has_cors() || !is_preflight(&request.method, &request.headers) {
            return None;
        }
        let answered = match fields.preflight(&request.headers) {
            Some(mut response) => {
                access.allow(Reason::Preflight);
                answer(client, &mut response).boxed().await
            }
            None => {
                client.set_response_fields(fields.clone());
                let refusal = Refusal::new(Reason::CrossSite);
                self.refuse(client, request, refusal, access).boxed().await
            }
        };
        Some(answered.into())
    }
}

fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

async fn answer(
    client: &mut Client<'_>,
    response: &mut pingora::http::ResponseHeader,
) -> Result<(), ClientError> {
    settle_connection(client);
    client.write_head(response, Framing::None);
    client.flush().await
}

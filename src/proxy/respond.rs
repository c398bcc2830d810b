//! Writes the sidecar's own responses.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};

use super::answer::{Answer, EXPOSED};
use super::client::Client;
use super::connection::{ClientError, Framing};
use super::grpc;
use super::relay::settle_connection;
use crate::domain::error_form::rpc_code;

impl Answer<'_> {
    /// Writes the response to a request. The connection stays open unless the end of the request is
    /// unknown or distant.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn write(
        mut self,
        client: &mut Client<'_>,
        request: &RequestHeader,
    ) -> Result<(), ClientError> {
        self.form = client.error_forms().of_target(request.raw_path());
        if self.ends_connection() {
            client.end_after_response();
        }
        settle_connection(client);
        // gRPC is defined over HTTP/2 only, where every client reads trailers. Its 200 for refusals
        // would open a WebSocket.
        let reads_trailers = client.version() == Version::HTTP_2
            && grpc::is_grpc(&request.headers)
            && !client.error_forms().is_always_http()
            && !client.is_connect();
        if reads_trailers {
            let media_type = grpc::media_type_of_answer(&request.headers);
            let mut answer = self.grpc_head(media_type).map_err(unwritable)?;
            client.write_head(&mut answer, Framing::None);
            return client.flush().await;
        }
        let body = self.body();
        let mut answer =
            ResponseHeader::build_no_case(self.status(), Some(9)).map_err(unwritable)?;
        for (name, value) in self.headers(&body) {
            answer.append_header(name, value).map_err(unwritable)?;
        }
        if let Some(origin) = request
            .headers
            .get(header::ORIGIN)
            .filter(|_| self.for_pages)
        {
            for (name, value) in for_page(origin) {
                answer.insert_header(name, value).map_err(unwritable)?;
            }
        }
        if *client.method() == Method::HEAD {
            client.write_head(&mut answer, Framing::None);
        } else {
            client.write_head(&mut answer, Framing::Length);
            client.write_body(body);
            client.end_body(None);
        }
        client.flush().await
    }
}

impl Answer<'_> {
    /// A response of trailers only, with the fields that the response to another request has.
    fn grpc_head(&self, media_type: HeaderValue) -> pingora::Result<ResponseHeader> {
        let mut answer = ResponseHeader::build(StatusCode::OK, Some(8))?;
        answer.insert_header(header::CONTENT_TYPE, media_type)?;
        let code = HeaderValue::from(u16::from(rpc_code(self.status())));
        answer.insert_header(grpc::STATUS, code)?;
        answer.insert_header(grpc::MESSAGE, grpc::message(self.description()))?;
        for (name, value) in self.headers(&Bytes::new()) {
            let is_of_body = matches!(
                name,
                header::CONTENT_TYPE | header::CONTENT_LENGTH | header::X_CONTENT_TYPE_OPTIONS
            );
            if !is_of_body {
                answer.append_header(name, value)?;
            }
        }
        Ok(answer)
    }
}

/// The fields that let a page of this origin read a response (CORS, Fetch standard).
fn for_page(origin: &HeaderValue) -> [(HeaderName, HeaderValue); 4] {
    [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()),
        // The response is the same for every caller, so it reveals nothing to a page that sends
        // cookies.
        (
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        ),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED),
        (header::VARY, HeaderValue::from_static("Origin")),
    ]
}

/// Pingora's heads hold more fields than a response of the sidecar has.
fn unwritable(_: Box<pingora::Error>) -> ClientError {
    ClientError::Gone
}

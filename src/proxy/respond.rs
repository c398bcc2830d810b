//! Writes the sidecar's own responses.

use http::header;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::answer::{Answer, EXPOSED};
use super::head;

impl Answer<'_> {
    /// Writes the response. The connection stays open unless the end of the request is unknown or
    /// distant.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn write(mut self, session: &mut Session) -> pingora::Result<()> {
        if let Some(connection) = head::connection(session) {
            self.form = connection
                .error_forms()
                .of_target(session.req_header().raw_path());
        }
        if self.ends_connection() {
            session.set_keepalive(None);
        }
        head::settle_connection(session);
        let body = self.body();
        let mut answer = ResponseHeader::build(self.status(), Some(9))?;
        for (name, value) in self.headers(&body) {
            answer.insert_header(name, value)?;
        }
        if let Some(origin) = session
            .req_header()
            .headers
            .get(header::ORIGIN)
            .filter(|_| self.for_pages)
        {
            answer.insert_header(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone())?;
            // The response is the same for every caller, so it reveals nothing to a page that sends
            // cookies.
            answer.insert_header(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true")?;
            answer.insert_header(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED)?;
            answer.insert_header(header::VARY, "Origin")?;
        }
        head::announce_keep_alive(session, &mut answer)?;
        let without_body = session.req_header().method == http::Method::HEAD;
        session
            .write_response_header(Box::new(answer), without_body)
            .await?;
        if !without_body {
            session.write_response_body(Some(body), true).await?;
        }
        Ok(())
    }
}

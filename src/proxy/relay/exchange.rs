//! One request, from its head to its log line.

mod switched;

use std::sync::Arc;

use futures_util::FutureExt;
use http::{HeaderName, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};

use super::lasting::Lasting;
use super::messages::Messages;
use super::pump::Pump;
use super::unread::{discard_body, settle_connection};
use super::upgrade::Asked;
use super::upload::{Upload, WINDOW};
use super::{Answered, Broken, Decision, Policy, Repeat, Waits, calls, request, response, upgrade};
use crate::domain::reason::Reason;
use crate::proxy::access::{Access, Logged};
use crate::proxy::answer::Answer;
use crate::proxy::client::Client;
use crate::proxy::connection::ClientError;
use crate::proxy::deadlines::Wait;
use crate::proxy::grpc::{self, Call};
use crate::proxy::headers::Added;
use crate::proxy::upstream::{Pool, RequestBody, Tries, UpstreamConnection, UpstreamError};

/// Most interim responses of one request. An upstream that sends more of them would never end it.
const MOST_INTERIM: usize = 100;

/// Serves one request. The connection says afterwards whether it can carry another one.
pub(super) async fn serve<P: Policy>(
    policy: &P,
    client: &mut Client<'_>,
    head: RequestHeader,
    pool: &Arc<Pool>,
) {
    let mut exchange = Exchange {
        policy,
        state: policy.begin(),
        access: Access::begin(),
        uri: head.uri.clone(),
        head: Some(head),
        tries: Tries::default(),
        is_answered: false,
        upgrade: None,
        call: None,
    };
    let result = exchange.run(client, pool).await;
    // The deadlines of the exchange must not end the response to its failure.
    client.deadlines().stop_all();
    if let Err(broken) = result {
        exchange.fail(client, broken).boxed().await;
    }
    exchange.end(client);
    // Frees the slot and the service of the request before the rest of its body is read.
    drop(exchange);
    if client.keeps_alive() && !client.is_body_done() {
        discard_body(client).boxed().await;
    }
}

struct Exchange<'p, P: Policy> {
    policy: &'p P,
    state: P::State,
    access: Access,
    uri: http::Uri,
    /// The head, until it is sent to an upstream.
    head: Option<RequestHeader>,
    tries: Tries,
    /// Whether a response of the current attempt has begun.
    is_answered: bool,
    /// The protocol that the current attempt asks for.
    upgrade: Option<Asked>,
    /// Set for a gRPC call.
    call: Option<Call>,
}

/// The result of an attempt.
enum Outcome {
    /// The client has the response.
    Sent,
    /// The request is sent again.
    Repeat,
    /// The connections carry another protocol.
    Switched,
}

impl<P: Policy> Exchange<'_, P> {
    async fn run(&mut self, client: &mut Client<'_>, pool: &Arc<Pool>) -> Result<(), Broken> {
        let (state, access) = (&mut self.state, &mut self.access);
        let Some(head) = &self.head else {
            return Err(Reason::Internal.into());
        };
        access.identify(&head.headers);
        self.call = Call::read(&head.headers);
        match self.policy.decide(client, head, state, access).await {
            Decision::Forward => {}
            Decision::Answered => return Ok(()),
            Decision::Tunnel(response) => {
                return self.open_tunnel(client, pool, *response).boxed().await;
            }
            Decision::Failed(fault) => return Err(fault.into()),
        }
        let keeps = match self.policy.repeats() {
            Repeat::Never => false,
            Repeat::Idempotent => client.method().is_idempotent(),
            Repeat::IdempotentWithoutBody => true,
        };
        let policy = self.policy;
        let permits = |name: &HeaderName| policy.permits_trailer(name);
        let mut upload = Upload::new(client, keeps, &permits);
        while !self.attempt(client, pool, &mut upload).await? {
            upload.restart();
            client.deadlines().stop_all();
        }
        Ok(())
    }

    /// Sends the request once. Returns whether it is over, as opposed to be sent again.
    async fn attempt(
        &mut self,
        client: &mut Client<'_>,
        pool: &Arc<Pool>,
        upload: &mut Upload<'_>,
    ) -> Result<bool, Broken> {
        self.access.upstream_begins();
        self.is_answered = false;
        if let Some(head) = &self.head
            && let Some(asked) = upgrade::asked(head, client)
            && self.policy.upgrades(asked.protocol(), &self.state)
        {
            self.tries.ask_for_websocket();
        }
        let mut upstream = tokio::select! {
            biased;
            connected = self.policy.connect(pool, &mut self.tries, &mut self.state) => connected?,
            () = client.departed() => return Err(ClientError::Gone.into()),
        };
        if upstream.is_http2() {
            upload.keep_all();
        }
        self.send_head(client, &mut upstream, upload)?;
        if let Some(end) = self.call.as_ref().and_then(Call::end) {
            client.deadlines().start_at(Wait::Call, end);
        }
        match self.answer(client, &mut upstream, upload).await {
            Ok(Outcome::Repeat) => Ok(false),
            Ok(Outcome::Switched) => {
                self.tunnel(client, upstream).boxed().await?;
                Ok(true)
            }
            Ok(Outcome::Sent) => {
                if upload.is_ended && upload.failed.is_none() {
                    upstream.release(pool);
                }
                Ok(true)
            }
            Err(Broken::Upstream(error)) if self.repeats(client, &upstream, upload, &error) => {
                if !error.is_unprocessed() {
                    self.tries.require_new_connection();
                }
                Ok(false)
            }
            Err(broken) => Err(broken),
        }
    }

    fn send_head(
        &mut self,
        client: &Client<'_>,
        upstream: &mut UpstreamConnection,
        upload: &mut Upload<'_>,
    ) -> Result<(), Broken> {
        // A repeated request is made from the received bytes again.
        let mut head = match self.head.take() {
            Some(head) => head,
            None => client.received_head()?,
        };
        let to = upstream.address();
        let (state, access) = (&mut self.state, &self.access);
        let asked = upgrade::asked(&head, client);
        self.upgrade = asked.filter(|it| self.policy.upgrades(it.protocol(), state));
        let body = client.request_body();
        let has_trailers = match body {
            RequestBody::None => false,
            RequestBody::Length(_) => upstream.is_http2(),
            RequestBody::Chunked => true,
        };
        if has_trailers {
            upload.announce(&head.headers);
        }
        request::prepare(&mut head, client)?;
        let mut added = Added::default();
        self.policy
            .forward(&mut head, &mut added, state, to, access)?;
        let mut framed = request::frame(&mut head, body);
        if has_trailers {
            framed = framed.and_then(|()| request::announce(&mut head, upload.announced()));
        }
        if let Some(asked) = &self.upgrade {
            framed = framed.and_then(|()| upgrade::ask(&mut head, asked));
        }
        framed.map_err(|_| Broken::from(Reason::Internal))?;
        upstream
            .begin(&head, added.fields(), body)
            .map_err(Broken::Upstream)
    }

    /// Passes on the request's body and the response.
    async fn answer(
        &mut self,
        client: &mut Client<'_>,
        upstream: &mut UpstreamConnection,
        upload: &mut Upload<'_>,
    ) -> Result<Outcome, Broken> {
        let policy = self.policy;
        let mut response = self.final_head(client, upstream, upload).await?;
        let mut waits = self.waits();
        if grpc::is_stream(&response.headers) {
            waits.read = None;
        }
        let switches = response.status == StatusCode::SWITCHING_PROTOCOLS;
        if client.is_connect() && response.status.is_success() {
            // In HTTP/2 the client would take it for a WebSocket.
            return Err(Broken::Upstream(UpstreamError::Unswitched));
        }
        // The last permitted attempt is not used for a repetition.
        let again = !switches && upload.can_be_sent_again(client) && self.tries.may_try();
        let (state, access) = (&mut self.state, &mut self.access);
        let answered = policy.answered(client, &response, again, state, access);
        if answered.await? == Answered::Repeat {
            return Ok(Outcome::Repeat);
        }
        if switches {
            return self.switch(client, response);
        }
        settle_connection(client);
        let is_complete = upstream.is_answer_complete();
        let framing = response::settle(&mut response, client, is_complete)?;
        access.upstream_answered();
        policy.respond(&mut response, state)?;
        client.write_head(&mut response, framing);
        drop(response);
        let state = &*state;
        let begin = |request| policy.stream_ends(state, request).boxed();
        let mut pump = Pump {
            client,
            upstream,
            upload,
            waits,
            lasting: Lasting::Brief(&begin),
            messages: self.call.as_ref().map(|_| Messages::default()),
        };
        let call = self.call.as_ref();
        let sent = pump
            .until_end(&mut |bytes| policy.check_body(bytes, state, access))
            .await
            .map_err(|broken| calls::explain(call, broken));
        if let (Err(broken), Some(_)) = (&sent, call) {
            pump.end_call(broken).boxed().await;
        }
        sent.map(|()| Outcome::Sent)
    }

    /// How long the upstream may pause before the head of its response, and later.
    fn waits(&self) -> Waits {
        let mut waits = self.policy.waits(&self.state);
        // A call may have nothing to say. The client's own deadline ends it.
        waits.read = waits.read.filter(|_| self.call.is_none());
        waits
    }

    /// The head of the response. Interim ones before it are passed on.
    async fn final_head(
        &mut self,
        client: &mut Client<'_>,
        upstream: &mut UpstreamConnection,
        upload: &mut Upload<'_>,
    ) -> Result<ResponseHeader, Broken> {
        let policy = self.policy;
        let waits = self.waits();
        let (state, access) = (&self.state, &mut self.access);
        let begin = |request| policy.stream_ends(state, request).boxed();
        for _ in 0..MOST_INTERIM {
            let mut pump = Pump {
                client,
                upstream,
                upload,
                waits,
                // Another request may take long until its response, for example an upload.
                lasting: if self.call.is_some() {
                    Lasting::Brief(&begin)
                } else {
                    Lasting::Never
                },
                messages: None,
            };
            let head = pump
                .until_head(&mut |bytes| policy.check_body(bytes, state, access))
                .await;
            drop(pump);
            let mut head = head.map_err(|broken| calls::explain(self.call.as_ref(), broken))?;
            self.is_answered = true;
            if !head.status.is_informational() {
                return Ok(head);
            }
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                let asked = self.upgrade.as_ref();
                let agreed = asked.filter(|asked| upgrade::agrees(&head, asked));
                return match agreed.filter(|_| upstream.is_request_complete()) {
                    Some(asked) if upgrade::is_proven(&head, asked) => Ok(head),
                    Some(_) => Err(Broken::Upstream(UpstreamError::WebSocket)),
                    // No request asked for it, and the following bytes are not HTTP.
                    None => Err(Broken::Upstream(UpstreamError::Upgrade)),
                };
            }
            // RFC 9110 §15.2: an HTTP/1.0 client would take an interim response for the final one.
            if client.version() != Version::HTTP_10 {
                response::settle(&mut head, client, false)?;
                policy.respond(&mut head, state)?;
                client.write_interim(&head);
                // A client that reads nothing must not let them pile up.
                if client.unsent() > WINDOW {
                    client.flush().await?;
                }
            }
        }
        Err(Broken::Upstream(UpstreamError::Interim))
    }

    /// Whether the request is sent again: because the upstream guarantees that it has processed
    /// nothing of it, or because an idle connection broke before a byte of the response.
    fn repeats(
        &self,
        client: &Client<'_>,
        upstream: &UpstreamConnection,
        upload: &Upload<'_>,
        error: &UpstreamError,
    ) -> bool {
        let may_be_sent_twice = match self.policy.repeats() {
            Repeat::Never => false,
            Repeat::Idempotent => client.method().is_idempotent(),
            Repeat::IdempotentWithoutBody => client.method().is_idempotent() && upload.is_empty,
        };
        let is_swallowed = upstream.is_reused() && may_be_sent_twice && error.has_swallowed();
        (is_swallowed || error.is_unprocessed())
            && !self.is_answered
            && upload.can_restart()
            && self.tries.may_try()
    }

    /// Answers a request that failed, unless its response has begun or its client is gone.
    async fn fail(&mut self, client: &mut Client<'_>, broken: Broken) {
        let fault = match broken {
            Broken::Client(error) => error.into(),
            Broken::Fault(fault) => fault,
            Broken::Upstream(error) => {
                let (tries, state) = (&self.tries, &self.state);
                let better = self.policy.broke(&error, self.is_answered, tries, state);
                better.await.unwrap_or_else(|| error.fault())
            }
        };
        self.access.refuse(&fault);
        client.end_after_response();
        let is_gone = matches!(fault.reason, Reason::ClientGone | Reason::ClientStalled);
        if is_gone || client.status().is_some() {
            return;
        }
        let own = self.policy.own_answers(&self.state);
        let answer = Answer::to_fault(&fault, own.realm).for_pages(own.for_pages);
        let received;
        let head = match &self.head {
            Some(head) => head,
            None => match client.received_head() {
                Ok(head) => {
                    received = head;
                    &received
                }
                Err(_) => return,
            },
        };
        // The write fails when the client has disconnected; nothing is left to do then.
        let _ = answer.write(client, head).await;
    }

    fn end(&mut self, client: &Client<'_>) {
        let own = self.policy.own_answers(&self.state);
        self.access.end(
            own.metrics,
            &Logged {
                client,
                path: self.uri.path(),
            },
        );
    }
}

//! The service behind the sidecar.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::test::service_server::Service;

type Answer<T> = Result<Response<T>, Status>;
type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// Tells when a call ends that has no end of its own.
#[derive(Clone, Default)]
pub struct TestService {
    pub abandoned: Arc<Notify>,
}

struct Abandoned(Arc<Notify>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tonic::async_trait]
impl Service for TestService {
    async fn echo(&self, request: Request<Bytes>) -> Answer<Bytes> {
        Ok(Response::new(request.into_inner()))
    }

    async fn secret(&self, request: Request<Bytes>) -> Answer<Bytes> {
        let subject = request.metadata().get("x-m2m-subject");
        let subject = subject.map(|it| Bytes::copy_from_slice(it.as_bytes()));
        Ok(Response::new(subject.unwrap_or_default()))
    }

    async fn closed(&self, _: Request<Bytes>) -> Answer<Bytes> {
        Ok(Response::new(Bytes::new()))
    }

    async fn fail(&self, _: Request<Bytes>) -> Answer<Bytes> {
        let details = Bytes::from_static(&[0, 1, 255]);
        let mut status =
            Status::with_details(Code::FailedPrecondition, "no: 100 % \u{e9}", details);
        let detail = "of the service".parse().expect("ASCII");
        status.metadata_mut().insert("x-detail", detail);
        Err(status)
    }

    async fn hang(&self, _: Request<Bytes>) -> Answer<Bytes> {
        let _abandoned = Abandoned(self.abandoned.clone());
        std::future::pending().await
    }

    type CountStream = Messages;

    async fn count(&self, request: Request<Bytes>) -> Answer<Messages> {
        let numbers = 0..request.into_inner()[0];
        let messages = numbers.map(|number| Ok(Bytes::copy_from_slice(&[number])));
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }

    type WatchStream = Messages;

    async fn watch(&self, _: Request<Bytes>) -> Answer<Messages> {
        let abandoned = Abandoned(self.abandoned.clone());
        let begun = tokio_stream::once(Ok(Bytes::from_static(b"begun")));
        let rest = tokio_stream::pending().map(move |message| {
            let _abandoned = &abandoned;
            message
        });
        Ok(Response::new(Box::pin(begun.chain(rest))))
    }

    async fn sum(&self, request: Request<Streaming<Bytes>>) -> Answer<Bytes> {
        let (mut messages, mut sum) = (request.into_inner(), Vec::new());
        while let Some(message) = messages.message().await? {
            sum.extend(message);
        }
        Ok(Response::new(sum.into()))
    }

    type MeetStream = Messages;

    async fn meet(&self, request: Request<Streaming<Bytes>>) -> Answer<Messages> {
        let replies = request.into_inner().map(|message| {
            let mut message = Vec::from(message?);
            message.reverse();
            Ok(message.into())
        });
        Ok(Response::new(Box::pin(replies)))
    }
}

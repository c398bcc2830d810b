//! The `Date` of responses that have none (RFC 9110 §6.6.1).

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::Instant;

use crate::domain::clock::{Clock, SystemClock};

const NAME: &str = "Date: ";

/// The field and the end of its second.
type Written = (Bytes, Instant);

thread_local! {
    static LAST: RefCell<Option<Written>> = const { RefCell::new(None) };
}

/// The value of the field.
pub(in crate::proxy) fn value() -> Option<HeaderValue> {
    let field = field();
    let value = field.get(NAME.len()..field.len().saturating_sub(2))?;
    HeaderValue::from_maybe_shared(field.slice_ref(value)).ok()
}

/// The field with its line end. Each thread formats it once a second.
pub(super) fn field() -> Bytes {
    let now = Instant::now();
    LAST.with_borrow_mut(|last| match last {
        Some((field, until)) if now < *until => field.clone(),
        _ => {
            let date = httpdate::fmt_http_date(wall_clock());
            let field = Bytes::from(format!("{NAME}{date}\r\n"));
            *last = Some((field.clone(), now + Duration::from_secs(1)));
            field
        }
    })
}

fn wall_clock() -> SystemTime {
    let seconds = u64::try_from(SystemClock.now().0).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

//! The fields of the HTTP/1.1 tables as fields of HTTP/2: none passes for one of the sidecar's.

use super::{Arena, End, MALFORMED};
use crate::hostile::fields::FIELDS;
use crate::support::http2::{WHOLE, headers};

/// Fields of a connection, which HTTP/2 forbids.
const OF_A_CONNECTION: [&str; 4] = ["connection", "keep-alive", "proxy-connection", "upgrade"];

#[tokio::test(flavor = "multi_thread")]
async fn no_field_of_a_client_passes_for_one_of_ours() {
    let mut arena = Arena::new().await;
    for (name, lines, expected) in FIELDS {
        let lines: Vec<_> = lines
            .split("\r\n")
            .filter(|line| !line.is_empty())
            .collect();
        let has_forms_of_lines = lines.iter().any(|line| {
            line.starts_with([' ', '\t', '{']) || line.contains(" :") || line.contains("\t:")
        });
        if has_forms_of_lines {
            // Folding and white space before the colon: HTTP/2 has no lines.
            continue;
        }
        let fields: Vec<_> = lines
            .iter()
            .map(|line| {
                let (name, value) = line.split_once(": ").expect("a field");
                (name.to_lowercase(), value.to_owned())
            })
            .collect();
        let is_forbidden = |(name, _): &(String, String)| OF_A_CONNECTION.contains(&&name[..]);
        let expected = match expected[0] {
            _ if fields.iter().any(is_forbidden) => MALFORMED,
            (status, reason) => End::Answer(status, reason),
        };
        let make = |around: &super::Around<'_>| {
            let path = around.path.replace("/public/", "/devices/");
            let token = format!("Bearer {}", around.token);
            let mut all = crate::support::http2::pseudo("GET", &path).to_vec();
            all.push(("authorization", &token));
            all.extend(fields.iter().map(|(name, value)| (&name[..], &value[..])));
            headers(WHOLE, 1, &all)
        };
        arena.run(name, make, expected).await;
    }
    for request in arena.finish().await.recorder.requests() {
        if request.target.starts_with("/devices/") {
            assert_eq!(request.all("x-m2m-subject"), ["tester"], "{}", request.head);
        }
    }
}

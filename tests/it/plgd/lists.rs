//! Lists of the tokens API as plgd's own client reads them, which makes a new JSON decoder for each
//! entry of the same body and loses what the decoder before has read beyond its entry.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{OWNER, TOKENS, World, assert_status, claims, database, ids, jti};
use crate::support::client::{request_bytes, send_raw};
use crate::support::{WAIT_LIMIT, now};

/// Rows of owner `3`, in this order; every third has large claims.
async fn insert_rows(world: &World, count: usize) -> Vec<String> {
    let mut database = database(&world.sidecar).await;
    let mut ids = Vec::new();
    for number in 0..count {
        // Not in the order of the alphabet, and many in one second.
        let id = format!("{:02}-{number}", 97 - number % 89);
        let claims =
            (number % 3 == 2).then(|| json!({ "a": "x".repeat(number % 7 * 1500) }).to_string());
        let insert =
            "INSERT INTO tokens (jti, client_id, owner, subject, scope, audience, issued_at, \
             original_claims)
             VALUES (?1, 'serviceClient', '3', '3', '', '[]', ?2, ?3)";
        let issued_at = i64::try_from(number / 40).unwrap();
        let insert = sqlx::query(insert).bind(&id).bind(issued_at).bind(claims);
        insert.execute(&mut database).await.unwrap();
        ids.push(id);
    }
    ids
}

/// All bytes of an answer whose connection ends, and where each read of them ended.
async fn read_all(world: &World, request: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let mut stream = TcpStream::connect(world.sidecar.address("issuer"))
        .await
        .unwrap();
    stream.write_all(request).await.unwrap();
    let (mut bytes, mut ends) = (Vec::with_capacity(4 << 20), Vec::new());
    let reading = async {
        while stream.read_buf(&mut bytes).await.unwrap() > 0 {
            ends.push(bytes.len());
        }
    };
    tokio::time::timeout(WAIT_LIMIT, reading)
        .await
        .expect("the answer ends");
    (bytes, ends)
}

fn head_of(bytes: &[u8]) -> (String, usize) {
    let end = bytes
        .windows(4)
        .position(|it| it == b"\r\n\r\n")
        .expect("a head")
        + 4;
    (
        String::from_utf8(bytes[..end].to_vec())
            .unwrap()
            .to_ascii_lowercase(),
        end,
    )
}

/// The chunks of a body that begins at `at`, and where each ends.
fn chunks(bytes: &[u8], mut at: usize) -> Vec<(&[u8], usize)> {
    let mut chunks = Vec::new();
    loop {
        let line = bytes[at..]
            .windows(2)
            .position(|it| it == b"\r\n")
            .expect("a size");
        let size =
            usize::from_str_radix(std::str::from_utf8(&bytes[at..at + line]).unwrap(), 16).unwrap();
        let begin = at + line + 2;
        if size == 0 {
            return chunks;
        }
        at = begin + size + 2;
        chunks.push((&bytes[begin..begin + size], at));
    }
}

/// Decodes as plgd does: one decoder per entry, whose reads are those of Go's `json.Decoder` and
/// take all that they ask for, but with `ends_chunks` stop where a chunk ends. A decoder loses
/// what it has read beyond its entry.
fn decoded_with_losses(chunks: &[&[u8]], ends_chunks: bool) -> Result<Vec<Value>, String> {
    let body = chunks.concat();
    let (mut entries, mut at) = (Vec::new(), 0);
    loop {
        let (mut buffer, mut capacity) = (Vec::new(), 0);
        let entry = loop {
            if capacity - buffer.len() < 512 {
                capacity = 2 * capacity + 512;
            }
            let mut end = body.len().min(at + capacity - buffer.len());
            let mut chunk_end = 0;
            for chunk in chunks.iter().filter(|_| ends_chunks) {
                chunk_end += chunk.len();
                if chunk_end > at {
                    end = end.min(chunk_end);
                    break;
                }
            }
            if at == body.len() {
                return if buffer.trim_ascii().is_empty() {
                    Ok(entries)
                } else {
                    Err("cut off".to_owned())
                };
            }
            buffer.extend_from_slice(&body[at..end]);
            at = end;
            match serde_json::Deserializer::from_slice(&buffer)
                .into_iter::<Value>()
                .next()
            {
                Some(Ok(value)) => break value,
                Some(Err(error)) if !error.is_eof() => return Err(error.to_string()),
                _ => {}
            }
        };
        entries.push(entry["result"].clone());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_entry_is_a_chunk_and_a_write_of_its_own_the_oldest_first() {
    let world = World::start().await;
    let expected = insert_rows(&world, 130).await;
    for accept in ["application/protojson", "*/*"] {
        let user = world.user("3");
        let headers = [
            ("Authorization", user.as_str()),
            ("Accept", accept),
            ("Connection", "close"),
        ];
        let address = world.sidecar.address("issuer");
        let (bytes, ends) = read_all(
            &world,
            &request_bytes("GET", address, TOKENS, &headers, b""),
        )
        .await;
        let (head, begin) = head_of(&bytes);
        assert!(
            head.contains("transfer-encoding: chunked") && head.contains("x-accel-buffering: no"),
            "{head}"
        );
        let chunks = chunks(&bytes, begin);
        let listed: Vec<Value> = chunks
            .iter()
            .map(|(chunk, _)| {
                assert!(
                    chunk.ends_with(b"}\n")
                        && chunk.iter().filter(|byte| **byte == b'\n').count() == 1
                );
                serde_json::from_slice::<Value>(chunk).expect("one entry")["result"].clone()
            })
            .collect();
        let listed_ids: Vec<&str> = listed
            .iter()
            .map(|entry| entry["id"].as_str().unwrap())
            .collect();
        assert_eq!(listed_ids, expected);
        // The bytes of one write arrive together: no read ends inside a chunk.
        for end in ends
            .iter()
            .filter(|end| (begin + 1..chunks.last().unwrap().1).contains(*end))
        {
            assert!(
                chunks.iter().any(|(_, of_chunk)| of_chunk == end),
                "a read ends inside an entry, at {end}"
            );
        }
        let bodies: Vec<&[u8]> = chunks.iter().map(|(chunk, _)| *chunk).collect();
        for ends_chunks in [true, false] {
            assert_eq!(decoded_with_losses(&bodies, ends_chunks).unwrap(), listed);
        }
    }
}

/// The model of plgd's decoder finds fault with what other servers may send.
#[test]
fn two_entries_in_one_read_break_plgds_decoder() {
    let entry: &[u8] = br#"{"result":{"id":"1"}}"#;
    assert!(
        decoded_with_losses(&[entry, b"\n", entry], true).is_ok_and(|entries| entries.len() == 2)
    );
    assert!(
        decoded_with_losses(&[entry, b"\n", entry], false).is_ok_and(|entries| entries.len() == 1)
    );
    let long = json!({ "result": { "id": "x".repeat(400) } }).to_string();
    decoded_with_losses(&[long.as_bytes(), long.as_bytes()], false).unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_gets_a_list_without_chunks_and_needs_no_host() {
    let world = World::start().await;
    let expected = insert_rows(&world, 5).await;
    let user = world.user("3");
    for more in [
        "",
        "Connection: keep-alive\r\n",
        "Host: issuer.test\r\nConnection: close\r\n",
    ] {
        let request = format!("GET {TOKENS} HTTP/1.0\r\nAuthorization: {user}\r\n{more}\r\n");
        let (bytes, _) = read_all(&world, request.as_bytes()).await;
        let (head, begin) = head_of(&bytes);
        assert!(
            head.starts_with("http/1.1 200 ") && head.contains("connection: close"),
            "{head}"
        );
        assert!(
            !head.contains("transfer-encoding") && !head.contains("keep-alive"),
            "{head}"
        );
        let body = String::from_utf8(bytes[begin..].to_vec()).unwrap();
        let listed: Vec<Value> = body
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let listed: Vec<&str> = listed
            .iter()
            .map(|entry| entry["result"]["id"].as_str().unwrap())
            .collect();
        assert_eq!(listed, expected);
    }
    // Other answers have a length, and the connection may carry another request.
    let token = "POST /m2m-oauth-server/oauth/token HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(
        send_raw(world.sidecar.address("issuer"), token)
            .await
            .status,
        400
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_entries_leave_the_list_at_once_and_can_still_be_deleted() {
    let world = World::start().await;
    let soon = (now() + 20).to_string();
    let short = jti(&world
        .issue("dayClient", &[("audience", "x"), ("expiration", &soon)])
        .await);
    let dead = jti(&world
        .issue("dayClient", &[("audience", "x"), ("expiration", &soon)])
        .await);
    let endless = jti(&world.issue("serviceClient", &[]).await);
    let user = world.user("1");
    world
        .tokens("DELETE", &user, &format!("idFilter={dead}"), &[], b"")
        .await;
    assert_eq!(world.list(&user, "includeBlacklisted=true").await.len(), 3);
    world.clock.forward(Duration::from_secs(21));
    for query in ["", "includeBlacklisted=true"] {
        assert_eq!(
            ids(&world.list(&user, query).await),
            [endless.as_str()],
            "{query}"
        );
    }
    let query = format!("idFilter={short}&idFilter={dead}&includeBlacklisted=true");
    assert_eq!(world.list(&user, &query).await.len(), 0);
    let answer = world
        .tokens("DELETE", &user, &format!("idFilter={short}"), &[], b"")
        .await;
    assert_eq!(
        answer.json(),
        json!({"blacklistedCount": "0", "deletedCount": "1"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_m2m_token_is_no_bearer_from_the_second_of_its_end() {
    let world = World::start().await;
    let soon = (now() + 20).to_string();
    let token = world
        .issue("dayClient", &[("audience", "x"), ("expiration", &soon)])
        .await;
    let bearer = format!("Bearer {token}");
    assert_eq!(ids(&world.list(&bearer, "").await), [jti(&token)]);
    world.clock.forward(Duration::from_secs(21));
    assert_status(&world.tokens("GET", &bearer, "", &[], b"").await, 401, 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_of_empty_values_lists_nothing() {
    let world = World::start().await;
    let token = world.issue("serviceClient", &[]).await;
    for bearer in [world.user("1"), format!("Bearer {token}")] {
        assert_eq!(world.list(&bearer, "").await.len(), 1);
        assert_eq!(world.list(&bearer, "idFilter=").await.len(), 0);
        assert_eq!(
            world
                .list(&bearer, &format!("idFilter=&idFilter={}", jti(&token)))
                .await
                .len(),
            1
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn include_blacklisted_is_a_boolean_of_go() {
    let world = World::start().await;
    let dead = jti(&world.issue("serviceClient", &[]).await);
    let user = world.user("1");
    world
        .tokens("DELETE", &user, &format!("idFilter={dead}"), &[], b"")
        .await;
    for (values, count) in [
        (["1", "t", "T", "TRUE", "true", "True"], 1),
        (["0", "f", "F", "FALSE", "false", "False"], 0),
    ] {
        for value in values {
            for name in ["includeBlacklisted", "include_blacklisted"] {
                assert_eq!(
                    world.list(&user, &format!("{name}={value}")).await.len(),
                    count,
                    "{value}"
                );
            }
        }
    }
    for wrong in [
        "includeBlacklisted=",
        "includeBlacklisted",
        "includeBlacklisted=yes",
        "includeBlacklisted=tRue",
    ] {
        assert_status(&world.tokens("GET", &user, wrong, &[], b"").await, 400, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blacklisted_bearer_is_401_but_reads_its_own_entry() {
    let world = World::start().await;
    let (token, other) = (
        world.issue("serviceClient", &[]).await,
        world.issue("serviceClient", &[]).await,
    );
    let (bearer, own, other) = (format!("Bearer {token}"), jti(&token), jti(&other));
    world
        .tokens(
            "DELETE",
            &world.user("1"),
            &format!("idFilter={own}"),
            &[],
            b"",
        )
        .await;
    for query in [
        String::new(),
        format!("idFilter={own}"),
        format!("idFilter={own}&includeBlacklisted=false"),
        format!("idFilter={other}"),
        format!("idFilter={other}&includeBlacklisted=true"),
        "idFilter=&includeBlacklisted=true".to_owned(),
    ] {
        assert_status(
            &world.tokens("GET", &bearer, &query, &[], b"").await,
            401,
            16,
        );
    }
    for query in [
        "includeBlacklisted=true".to_owned(),
        format!("idFilter={own}&includeBlacklisted=1"),
        format!("idFilter={own}&idFilter={other}&includeBlacklisted=true"),
    ] {
        let entries = world.list(&bearer, &query).await;
        assert_eq!(
            (ids(&entries), &entries[0]["blacklisted"]["flag"]),
            (vec![own.as_str()], &json!(true))
        );
    }
    for ended in [own.as_str(), &other] {
        let answer = world
            .tokens("DELETE", &bearer, &format!("idFilter={ended}"), &[], b"")
            .await;
        assert_status(&answer, 401, 16);
    }
    assert_eq!(
        ids(&world.list(&world.user("1"), "").await),
        [other.as_str()]
    );
}

/// plgd's services take an entry that is not blacklisted for a sign that the token is good.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_bearer_whose_entry_says_nothing_of_it_is_401() {
    let world = World::start().await;
    let token = world.issue("serviceClient", &[]).await;
    let (bearer, own) = (format!("Bearer {token}"), jti(&token));
    world
        .tokens(
            "DELETE",
            &world.user("1"),
            &format!("idFilter={own}"),
            &[],
            b"",
        )
        .await;
    let query = format!("idFilter={own}&includeBlacklisted=true");
    let mut database = database(&world.sidecar).await;
    for change in ["UPDATE tokens SET revoked_at = NULL", "DELETE FROM tokens"] {
        sqlx::query(change).execute(&mut database).await.unwrap();
        assert_status(
            &world.tokens("GET", &bearer, &query, &[], b"").await,
            401,
            16,
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_m2m_token_ends_itself_and_no_other() {
    let world = World::start().await;
    let (token, other) = (
        world.issue("serviceClient", &[]).await,
        world.issue("serviceClient", &[]).await,
    );
    let (bearer, own, other) = (format!("Bearer {token}"), jti(&token), jti(&other));
    for query in [
        format!("idFilter={other}"),
        format!("idFilter={own}&idFilter={other}"),
    ] {
        assert_status(
            &world.tokens("DELETE", &bearer, &query, &[], b"").await,
            403,
            7,
        );
    }
    assert_status(&world.tokens("DELETE", &bearer, "", &[], b"").await, 400, 3);
    assert_eq!(world.answer_to(&token).await, (200, "-".to_owned()));
    let mark = crate::support::logs::mark();
    let body = json!({ "idFilter": [own] }).to_string();
    let answer = world
        .tokens(
            "DELETE",
            &bearer,
            &format!("id_filter={own}"),
            &[],
            body.as_bytes(),
        )
        .await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"blacklistedCount": "1", "deletedCount": "0"}))
    );
    let lines = crate::support::logs::lines_since(
        mark,
        &["audit", "outcome=\"revoked\"", &own, "token by itself"],
    );
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(world.answer_to(&token).await, (401, "revoked".to_owned()));
    assert_eq!(claims(&token)[OWNER], "1");
    assert_eq!(
        ids(&world.list(&world.user("1"), "").await),
        [other.as_str()]
    );
}

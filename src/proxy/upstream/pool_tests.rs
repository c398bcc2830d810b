use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

const IDLE: Duration = Duration::from_secs(60);

fn key(settings: u128) -> PoolKey {
    let address = "10.0.0.1:80".parse().unwrap();
    PoolKey { address, settings }
}

/// Puts a new connection into the pool. Returns the upstream's end of it.
fn put(pool: &Pool, settings: u128, idle: Duration) -> DuplexStream {
    let (near, far) = tokio::io::duplex(64);
    let connection = UpstreamConnection::http1(Box::new(near), key(settings), idle);
    connection.release(pool);
    far
}

async fn is_closed(far: &mut DuplexStream) -> bool {
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::ZERO, far.read(&mut byte)).await;
    matches!(read, Ok(Ok(0)))
}

#[tokio::test]
async fn a_connection_is_for_its_key_and_the_newest_comes_first() {
    let pool = Pool::new(9);
    let mut old = put(&pool, 1, IDLE);
    let _other = put(&pool, 2, IDLE);
    let mut new = put(&pool, 1, IDLE);
    assert!(pool.take(&key(3)).is_none());
    let elsewhere = PoolKey {
        address: "10.0.0.2:80".parse().unwrap(),
        settings: 1,
    };
    assert!(pool.take(&elsewhere).is_none());
    let taken = pool.take(&key(1)).unwrap();
    assert!(taken.is_reused());
    assert_eq!(taken.address(), key(1).address);
    drop(taken);
    assert!(is_closed(&mut new).await && !is_closed(&mut old).await);
    drop(pool.take(&key(1)).unwrap());
    assert!(is_closed(&mut old).await);
    assert!(pool.take(&key(1)).is_none());
    assert_eq!(pool.len(), 1);
}

#[tokio::test]
async fn the_longest_idle_connection_makes_room() {
    let pool = Pool::new(2);
    let mut ends = Vec::new();
    for settings in 0..4 {
        ends.push(put(&pool, settings, IDLE));
    }
    assert_eq!(pool.len(), 2);
    for (settings, end) in ends.iter_mut().enumerate() {
        assert_eq!(is_closed(end).await, settings < 2, "{settings}");
    }
    let none = Pool::new(0);
    let mut end = put(&none, 1, IDLE);
    assert!(is_closed(&mut end).await && none.len() == 0);
}

#[tokio::test]
async fn ended_connections_and_those_with_stray_bytes_are_not_given() {
    let pool = Pool::new(9);
    let mut good = put(&pool, 1, IDLE);
    drop(put(&pool, 1, IDLE));
    let mut stray = put(&pool, 1, IDLE);
    stray.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
    let taken = pool.take(&key(1)).unwrap();
    assert_eq!(pool.len(), 0);
    assert!(is_closed(&mut stray).await);
    assert!(!is_closed(&mut good).await);
    drop(taken);
    assert!(is_closed(&mut good).await);
}

#[tokio::test]
async fn an_end_over_a_socket_is_seen_when_the_connection_is_taken() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pool = Pool::new(9);
    for end in [Some(&b""[..]), Some(b"x"), None] {
        let near = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let near = pingora::protocols::l4::stream::Stream::from(near);
        UpstreamConnection::http1(Box::new(near), key(1), IDLE).release(&pool);
        match end {
            Some(b"") => drop(far),
            Some(bytes) => far.write_all(bytes).await.unwrap(),
            None => {
                assert!(pool.take(&key(1)).is_some());
                continue;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(pool.take(&key(1)).is_none(), "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_expires_after_its_idle_time_and_at_its_age() {
    let pool = Pool::new(9);
    let _far = put(&pool, 1, Duration::from_secs(4));
    tokio::time::advance(Duration::from_millis(3900)).await;
    let connection = pool.take(&key(1)).unwrap();
    connection.release(&pool);
    tokio::time::advance(Duration::from_millis(4001)).await;
    assert!(pool.take(&key(1)).is_none(), "expired");
    let (near, _far) = tokio::io::duplex(64);
    let old = UpstreamConnection::http1(Box::new(near), key(1), IDLE);
    tokio::time::advance(Duration::from_secs(3601)).await;
    old.release(&pool);
    assert_eq!(pool.len(), 0, "too old");
}

#[tokio::test(start_paused = true)]
async fn the_task_closes_ended_and_expired_connections_and_ends_with_the_pool() {
    let pool = Arc::new(Pool::new(9));
    let task = tokio::spawn(pool.clone().run());
    tokio::time::sleep(Duration::from_secs(10)).await;
    drop(put(&pool, 1, IDLE));
    let mut expired = put(&pool, 2, Duration::from_millis(500));
    let mut good = put(&pool, 3, IDLE);
    tokio::time::sleep(2 * LOOK_EVERY).await;
    assert_eq!(pool.len(), 1);
    assert!(is_closed(&mut expired).await && !is_closed(&mut good).await);
    tokio::time::sleep(IDLE).await;
    assert_eq!(pool.len(), 0);
    // It wakes again after it was empty.
    drop(put(&pool, 1, IDLE));
    tokio::time::sleep(2 * LOOK_EVERY).await;
    assert_eq!(pool.len(), 0);
    let mut open = put(&pool, 1, IDLE);
    pool.close();
    assert!(is_closed(&mut open).await);
    let mut late = put(&pool, 1, IDLE);
    assert!(is_closed(&mut late).await && pool.len() == 0);
    task.await.unwrap();
}

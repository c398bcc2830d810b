//! The choice of the connection to dismiss: single cases, and random steps against a model.

use std::net::Ipv4Addr;
use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use std::cmp::Reverse;

use super::*;

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn seats(total: usize, per_address: usize) -> Arc<Admission> {
    Arc::new(Admission::new(Capacity {
        total,
        per_address,
        proxies: Vec::new(),
    }))
}

/// A connection that ends as soon as it is dismissed.
async fn hold(seat: Admitted, ended: Arc<AtomicUsize>) {
    std::future::poll_fn(|cx| match seat.is_dismissed(cx.waker()) {
        true => std::task::Poll::Ready(()),
        false => std::task::Poll::Pending,
    })
    .await;
    ended.fetch_add(1, Ordering::Relaxed);
}

#[tokio::test(start_paused = true)]
async fn the_longest_idle_connection_gives_way_and_a_busy_one_never_does() {
    let (seats, ended) = (seats(3, 3), Arc::new(AtomicUsize::new(0)));
    let busy = seats.admit(ip(1), || ()).await.unwrap();
    assert!(busy.advance(AWAITING_HEAD, HEAD_BEGUN) && busy.advance(HEAD_BEGUN, HEAD_READ));
    let idle = seats.admit(ip(1), || ()).await.unwrap();
    let kept = seats.admit(ip(1), || ()).await.unwrap();
    let task = tokio::spawn(hold(idle, ended.clone()));
    tokio::time::advance(GRACE).await;
    let mut dismissed = 0;
    let _new = seats.admit(ip(1), || dismissed += 1).await.unwrap();
    task.await.unwrap();
    assert_eq!((dismissed, seats.open()), (1, 3));
    assert_eq!(kept.phase(), AWAITING_HEAD);
    assert_eq!(busy.phase(), HEAD_READ);
    // Idle again, and therefore listed again although it was busy at the check.
    busy.becomes_idle(AWAITING_HEAD);
    tokio::time::advance(GRACE).await;
    let kept = tokio::spawn(hold(kept, ended.clone()));
    let _new = seats.admit(ip(1), || ()).await.unwrap();
    kept.await.unwrap();
    let busy = tokio::spawn(hold(busy, ended.clone()));
    tokio::time::advance(GRACE).await;
    let _new = tokio::join!(seats.admit(ip(1), || ()), seats.admit(ip(1), || ()));
    busy.await.unwrap();
    assert_eq!(seats.open(), 3);
}

#[tokio::test(start_paused = true)]
async fn where_none_is_idle_a_new_connection_is_refused_at_once() {
    let seats = seats(2, 2);
    let mut held = Vec::new();
    for _ in 0..2 {
        let seat = seats.admit(ip(1), || ()).await.unwrap();
        seat.phase.store(HEAD_READ, Ordering::SeqCst);
        held.push(seat);
    }
    let began = Instant::now();
    assert_eq!(seats.admit(ip(2), || ()).await.unwrap_err(), Full::Listener);
    assert_eq!(seats.admit(ip(1), || ()).await.unwrap_err(), Full::Address);
    assert_eq!(began.elapsed(), Duration::ZERO);
    held.pop();
    seats.admit(ip(2), || ()).await.unwrap();
}

/// Its request may be in transit: a flood of new connections must not end it before that arrives.
#[tokio::test(start_paused = true)]
async fn a_new_connection_is_kept_for_a_short_grace() {
    for (total, grace) in [(64, GRACE), (200, GRACE), (16, GRACE / 4), (1, GRACE / 64)] {
        let (seats, ended) = (seats(total, total), Arc::new(AtomicUsize::new(0)));
        for _ in 0..total {
            let seat = seats.admit(ip(1), || ()).await.unwrap();
            tokio::spawn(hold(seat, ended.clone()));
        }
        let began = Instant::now();
        seats.admit(ip(1), || ()).await.unwrap();
        assert_eq!(ended.load(Ordering::Relaxed), 1);
        let waited = began.elapsed();
        assert!(
            (grace..grace + Duration::from_millis(2)).contains(&waited),
            "{total}: {waited:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_dismissed_connection_is_bounded() {
    let seats = seats(1, 1);
    let _stuck = seats.admit(ip(1), || ()).await.unwrap();
    tokio::time::advance(GRACE).await;
    let mut dismissed = 0;
    let refused = seats.admit(ip(2), || dismissed += 1).await;
    assert_eq!((refused.unwrap_err(), dismissed), (Full::Listener, 1));
}

#[tokio::test(start_paused = true)]
async fn the_network_of_an_ipv6_client_has_one_share() {
    let seats = seats(10, 1);
    let _one = seats
        .admit("2001:db8::1".parse().unwrap(), || ())
        .await
        .unwrap();
    _one.phase.store(HEAD_READ, Ordering::SeqCst);
    let other = seats.admit("2001:db8::2".parse().unwrap(), || ()).await;
    assert_eq!(other.unwrap_err(), Full::Address);
    let mapped = seats
        .admit("::ffff:192.0.2.1".parse().unwrap(), || ())
        .await
        .unwrap();
    mapped.phase.store(HEAD_READ, Ordering::SeqCst);
    assert_eq!(seats.admit(ip(1), || ()).await.unwrap_err(), Full::Address);
}

/// A step of the random test.
#[derive(Clone, Copy, Debug)]
enum Step {
    Come(u8),
    Work(usize),
    Rest(usize),
    Go(usize),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..4_u8).prop_map(Step::Come),
        2 => (0..8_usize).prop_map(Step::Work),
        2 => (0..8_usize).prop_map(Step::Rest),
        1 => (0..8_usize).prop_map(Step::Go),
        1 => Just(Step::Wait),
    ]
}

proptest! {
    /// Compares with a model that examines every connection: the choice, and the counters.
    #[test]
    fn the_dismissed_connection_is_the_one_of_the_model(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let seats = seats(5, 5);
            let mut held: Vec<Admitted> = Vec::new();
            for step in steps {
                tokio::time::advance(Duration::from_millis(1)).await;
                match step {
                    Step::Come(from) => come(&seats, &mut held, ip(from)),
                    Step::Work(at) => {
                        if let Some(seat) = held.get(at) {
                            seat.phase.store(HEAD_READ, Ordering::SeqCst);
                        }
                    }
                    Step::Rest(at) => {
                        if let Some(seat) = held.get(at).filter(|seat| seat.phase() == HEAD_READ) {
                            seat.becomes_idle(AWAITING_HEAD);
                        }
                    }
                    Step::Go(at) => drop((at < held.len()).then(|| held.remove(at))),
                    Step::Wait => tokio::time::advance(GRACE).await,
                }
                prop_assert_eq!(seats.open(), held.len());
            }
            held.clear();
            let open = seats.lock();
            prop_assert!(open.addresses.is_empty() && open.ranked.is_empty());
            Ok(())
        })?;
    }
}

fn come(seats: &Arc<Admission>, held: &mut Vec<Admitted>, from: IpAddr) {
    let count = |ip: IpAddr| held.iter().filter(|seat| seat.address == ip).count();
    let own = count(from);
    let idle = held.iter().filter(|seat| is_idle(seat.phase()));
    // The address with the most connections, the new one's own among equals, none with fewer; the
    // longest idle one of it.
    let expected = idle
        .filter(|seat| count(seat.address) >= own)
        .min_by_key(|seat| {
            let (many, since) = (count(seat.address), seat.since.load(Ordering::SeqCst));
            (
                Reverse(many),
                seat.address != from && many == own,
                since,
                seat.id,
            )
        })
        .map(|seat| seat.id);
    match seats.attempt(from, from, None) {
        Attempt::Seated(seat) => held.push(Admitted {
            admission: seats.clone(),
            seat,
        }),
        Attempt::Dismissed(seat) => {
            assert_eq!(Some(seat.id), expected);
            held.retain(|it| it.seat.id != seat.id);
        }
        Attempt::NotBefore(_) => {
            let found = held.iter().find(|it| Some(it.seat.id) == expected).unwrap();
            assert!(seats.now() < found.since.load(Ordering::SeqCst) + 21_000);
        }
        Attempt::Full(_) => assert_eq!(expected, None),
        Attempt::StillLeaving => unreachable!(),
    }
}

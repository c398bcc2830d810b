//! Tests of `value`.

use super::*;

#[test]
fn durations_are_gos_and_days() {
    for (text, expected) in [
        ("0", Duration::ZERO),
        ("0s", Duration::ZERO),
        ("30s", Duration::from_secs(30)),
        ("1h30m", Duration::from_secs(5400)),
        ("250ms", Duration::from_millis(250)),
        ("1.5h", Duration::from_secs(5400)),
        (".5s", Duration::from_millis(500)),
        ("1.s", Duration::from_secs(1)),
        ("30d", Duration::from_secs(30 * 86_400)),
        ("1d12h", Duration::from_secs(36 * 3600)),
        ("5us", Duration::from_micros(5)),
        ("5µs", Duration::from_micros(5)),
        ("7ns", Duration::from_nanos(7)),
        ("0s0s1s", Duration::from_secs(1)),
    ] {
        assert_eq!(text.parse(), Ok(GoDuration(expected)), "{text}");
    }
    for text in [
        "",
        "s",
        "30",
        "-1s",
        "+1s",
        "1h 30m",
        "1w",
        "1.2.3s",
        ".s",
        "1e3s",
        "9999999999999999999s",
        "300000d",
    ] {
        assert!(text.parse::<GoDuration>().is_err(), "{text}");
    }
}

#[test]
fn durations_print_as_they_are_read() {
    for text in ["0s", "30s", "1h30m", "250ms", "24h", "1h1m1s1ms1us1ns"] {
        assert_eq!(text.parse::<GoDuration>().unwrap().to_string(), text);
    }
}

#[test]
fn sizes_are_binary() {
    for (text, expected) in [
        ("0", 0),
        ("17", 17),
        ("17B", 17),
        ("64KiB", 65_536),
        ("1MiB", 1 << 20),
        ("2GiB", 2 << 30),
    ] {
        assert_eq!(text.parse(), Ok(Size(expected)), "{text}");
    }
    for text in [
        "",
        "KiB",
        "64kb",
        "64KB",
        "64 KiB",
        "-1",
        "1.5MiB",
        "99999999999999999999",
        "99999999999999GiB",
    ] {
        assert!(text.parse::<Size>().is_err(), "{text}");
    }
}

#[test]
fn percentages_need_their_sign() {
    assert_eq!("75%".parse(), Ok(Percent(0.75)));
    assert_eq!("12.5%".parse(), Ok(Percent(0.125)));
    for text in [
        "75", "%", "0.75", "-5%", "1e2%", "..%", "NaN%", "inf%", "75 %",
    ] {
        assert!(text.parse::<Percent>().is_err(), "{text}");
    }
}

#[test]
fn stores_are_sqlite() {
    let file = |path: &str| Ok(StoreUrl(store::Config::SqliteFile(path.into())));
    assert_eq!(
        "sqlite::memory:".parse(),
        Ok(StoreUrl(store::Config::SqliteMemory))
    );
    assert_eq!("sqlite:./data/m2m.db".parse(), file("./data/m2m.db"));
    assert_eq!("sqlite:///var/m2m.db".parse(), file("/var/m2m.db"));
    for text in [
        "",
        "sqlite:",
        "sqlite://",
        "./data/m2m.db",
        "mysql://x",
        "sqlite:x?mode=rw",
    ] {
        assert!(text.parse::<StoreUrl>().is_err(), "{text}");
    }
}

#[test]
fn times_are_rfc_3339() {
    assert_eq!("1970-01-01T00:00:10Z".parse(), Ok(Timestamp(UnixTime(10))));
    assert_eq!(
        "2027-01-01T01:00:00+01:00".parse(),
        Ok(Timestamp(UnixTime(1_798_761_600)))
    );
    for text in [
        "",
        "2027-01-01",
        "2027-01-01 00:00",
        "2027-01-01T00:00:00",
        "2027-13-01T00:00:00Z",
        "1798761600",
    ] {
        assert!(text.parse::<Timestamp>().is_err(), "{text}");
    }
}

use super::*;
use crate::domain::secret::ExposeSecret;

fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    file
}

#[test]
fn one_line_end_behind_a_secret_is_not_part_of_it() {
    for (content, expected) in [
        ("s", "s"),
        ("s\n", "s"),
        ("s\r\n", "s"),
        (" s ", " s "),
        ("s\t\n", "s\t"),
        ("s\u{feff}\n", "s\u{feff}"),
    ] {
        let file = file(content.as_bytes());
        for read in [read_secret, read_secret_stream] {
            assert_eq!(
                read(file.path()).unwrap().expose_secret(),
                expected,
                "{content:?}"
            );
        }
    }
}

#[test]
fn a_file_that_cannot_be_a_secret_is_refused_with_its_reason() {
    for (content, words) in [
        (&b"s\n\n"[..], "more than one line"),
        (b"s\r\n\r\n", "more than one line"),
        (b"s\r", "more than one line"),
        (b"a\nb\n", "more than one line"),
        (b"a\rb", "more than one line"),
        (b"\ns", "more than one line"),
        (b"\xef\xbb\xbfs\n", "byte order mark"),
        (b"\xff\xfes\0", "UTF-16"),
        (b"\xfe\xff\0s", "UTF-16"),
        (b"s\0", "NUL"),
        (b"a\0b\n", "NUL"),
        (b"s\xe4\n", "UTF-8"),
        (b"\n", "is empty"),
        (b"", "is empty"),
    ] {
        let error = read_secret(file(content).path()).unwrap_err().to_string();
        assert!(error.contains(words), "{content:?}: {error}");
    }
}

#[test]
fn a_secret_of_several_lines_is_taken_as_it_is() {
    let pem = "-----BEGIN X-----\r\nAA==\r\n-----END X-----\r\n\r\n";
    assert_eq!(
        read_secret_lines(file(pem.as_bytes()).path())
            .unwrap()
            .expose_secret(),
        pem
    );
    for content in [&b"\xef\xbb\xbf-----BEGIN"[..], b"a\0", b"", b"\xff\xfea\0"] {
        assert!(
            read_secret_lines(file(content).path()).is_err(),
            "{content:?}"
        );
    }
}

#[test]
fn empty_huge_binary_and_missing_secrets_are_refused() {
    assert!(matches!(
        read_secret(file(b"").path()),
        Err(ReadError::Empty)
    ));
    assert!(matches!(
        read_secret(file(b"\r\n").path()),
        Err(ReadError::Empty)
    ));
    assert!(matches!(
        read_secret(file(b"\xff").path()),
        Err(ReadError::NotText)
    ));
    assert!(read_secret(file(&vec![b'x'; 65_536]).path()).is_ok());
    assert!(matches!(
        read_secret(file(&vec![b'x'; 65_537]).path()),
        Err(ReadError::TooLarge(_))
    ));
    assert!(matches!(
        read_secret(Path::new("/nonexistent/x")),
        Err(ReadError::Unreadable(_))
    ));
    assert!(matches!(
        read_secret(Path::new("/")),
        Err(ReadError::NotOrdinary)
    ));
}

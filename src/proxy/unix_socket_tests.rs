use super::*;

fn at(path: PathBuf) -> UnixSocket {
    UnixSocket {
        allowed_users: Vec::new(),
        path,
        mode: None,
        user: None,
        group: None,
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_file_has_its_mode_and_goes_with_its_listener() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let (file, _listener) = listen(&at(path.clone())).unwrap();
    assert_eq!(mode(&path), MODE);
    let stricter = UnixSocket {
        mode: Some(0o600),
        ..at(path.clone())
    };
    permit(&path, &stricter).unwrap();
    assert_eq!(mode(&path), 0o600);
    drop(file);
    assert!(!path.exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_left_file_is_replaced_and_a_live_socket_or_another_file_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let (file, listener) = listen(&at(path.clone())).unwrap();
    let in_use = listen(&at(path.clone())).unwrap_err();
    assert_eq!(in_use.kind(), io::ErrorKind::AddrInUse);
    // The process ends without removing its file.
    std::mem::forget(file);
    drop(listener);
    let (file, _listener) = listen(&at(path.clone())).unwrap();
    // A successor that replaces the file keeps its own.
    fs::remove_file(&path).unwrap();
    let (_successor, _other) = listen(&at(path.clone())).unwrap();
    drop(file);
    assert!(path.exists());
    let text = dir.path().join("text");
    fs::write(&text, "kept").unwrap();
    let refused = listen(&at(text.clone())).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(fs::read_to_string(text).unwrap(), "kept");
}

#[test]
fn an_unknown_owner_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let socket = UnixSocket {
        user: Some("no-such-user-here".to_owned()),
        ..at(path)
    };
    let error = listen(&socket).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

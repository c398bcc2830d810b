use super::*;

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kept");
    replace(&file, b"content").unwrap();
    (dir, file)
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn refused(file: &Path) -> String {
    read(file, 100).unwrap_err().to_string()
}

#[test]
fn a_file_of_ours_is_read_even_if_others_may_read_it() {
    let (dir, file) = place();
    for (of_dir, of_file) in [(0o700, 0o600), (0o755, 0o644), (0o500, 0o400)] {
        chmod(&file, of_file);
        chmod(dir.path(), of_dir);
        assert_eq!(&**read(&file, 7).unwrap().unwrap(), b"content");
    }
    chmod(dir.path(), 0o700);
    assert!(read(&dir.path().join("none"), 7).unwrap().is_none());
    assert!(read(&dir.path().join("no/dir"), 7).unwrap().is_none());
}

#[test]
fn a_file_that_others_may_write_is_refused_with_the_command_that_mends_it() {
    let (dir, file) = place();
    for mode in [0o620, 0o602, 0o666, 0o777] {
        chmod(&file, mode);
        let said = refused(&file);
        assert!(
            said.contains(&format!("`chmod go-w {}`", file.display())),
            "{said}"
        );
    }
    chmod(&file, 0o600);
    for mode in [0o770, 0o702, 0o777, 0o1777, 0o2777] {
        chmod(dir.path(), mode);
        let said = refused(&file);
        assert!(
            said.contains(&format!("`chmod go-w {}`", dir.path().display())),
            "{mode:o} {said}"
        );
    }
}

#[test]
fn a_volume_of_kubernetes_that_its_own_group_may_write_is_believed() {
    let (dir, file) = place();
    chmod(dir.path(), 0o2770);
    chmod(&file, 0o660);
    assert!(read(&file, 100).unwrap().is_some());
    chmod(&file, 0o666);
    assert!(refused(&file).contains("mode 0666"));
    chmod(&file, 0o660);
    let another = Trusted {
        groups: Vec::new(),
        ..Trusted::ourselves()
    };
    assert!(
        another
            .read(&file, 100)
            .unwrap_err()
            .to_string()
            .contains("mode 2770")
    );
}

#[test]
fn a_file_of_another_user_is_refused() {
    let (dir, file) = place();
    let another = Trusted {
        user: 4_000_000,
        groups: Vec::new(),
    };
    if geteuid().is_root() {
        fchown(File::open(&file).unwrap(), Some(4_000_001), None).unwrap();
        assert!(refused(&file).contains("`chown 0 "));
        fchown(File::open(dir.path()).unwrap(), Some(4_000_000), None).unwrap();
        fchown(File::open(&file).unwrap(), Some(0), None).unwrap();
        assert!(
            another.read(&file, 100).unwrap().is_some(),
            "root may write any file"
        );
        assert!(
            refused(&file).contains("belongs to user 4000000"),
            "the directory"
        );
        assert!(
            Trusted::owner_of(dir.path())
                .unwrap()
                .read(&file, 100)
                .is_ok()
        );
    } else {
        let said = another.read(&file, 100).unwrap_err().to_string();
        assert!(said.contains("`chown 4000000 "), "{said}");
    }
}

#[test]
fn links_pipes_sockets_directories_and_large_files_are_refused_and_nothing_waits() {
    let (dir, file) = place();
    let at = |name: &str| dir.path().join(name);
    std::os::unix::fs::symlink(&file, at("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("loose")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    for (name, words) in [
        ("link", "is a link"),
        ("loose", "is a link"),
        ("pipe", "is not an ordinary file"),
        ("socket", "is not an ordinary file"),
        ("directory", "is not an ordinary file"),
    ] {
        let said = refused(&at(name));
        assert!(said.contains(words), "{name}: {said}");
    }
    assert!(
        read(&file, 6)
            .unwrap_err()
            .to_string()
            .contains("larger than 6 bytes")
    );
}

#[test]
fn the_target_of_a_linked_directory_is_checked() {
    let (dir, file) = place();
    let outer = tempfile::tempdir().unwrap();
    let link = outer.path().join("state");
    std::os::unix::fs::symlink(dir.path(), &link).unwrap();
    assert!(read(&link.join("kept"), 100).unwrap().is_some());
    chmod(dir.path(), 0o777);
    assert!(read(&link.join("kept"), 100).is_err());
    assert!(
        Trusted::ourselves()
            .directory(&file)
            .unwrap_err()
            .to_string()
            .contains("is not a directory")
    );
}

#[test]
fn a_command_is_fit_for_a_shell() {
    assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    assert_eq!(quoted(Path::new("./data/x-1.json")), "./data/x-1.json");
}

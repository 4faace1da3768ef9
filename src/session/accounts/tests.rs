//! Account files of every shape, good and bad; what is told never holds what they hold.

use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

fn agent() -> AgentId {
    AgentId::try_from(1001).expect("an agent")
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, contents) in files {
        let path = dir.path().join(name);
        fs::write(&path, contents).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("a mode");
    }
    dir
}

fn read_one(files: &[(&str, &str)]) -> Result<Account, Error> {
    read(folder(files).path(), agent(), SignIn::Platform)
}

fn password(files: &[(&str, &str)]) -> String {
    read_one(files).expect("an account").password.expose_secret().to_owned()
}

#[test]
fn the_password_stands_in_the_file_or_in_one_beside_it() {
    assert_eq!(password(&[("1001.yaml", "password: hunter2")]), "hunter2");
    assert_eq!(password(&[("1001.yaml", "password: \"\"")]), "", "empty, but said so");
    assert_eq!(password(&[("1001.yaml", "password: \"0123\"")]), "0123");
    for (contents, read) in
        [("hunter2", "hunter2"), ("hunter2\n", "hunter2"), ("hunter2\r\n", "hunter2"), (" h ", " h ")]
    {
        assert_eq!(password(&[("1001.yaml", "password_file: p"), ("p", contents)]), read);
    }
}

#[test]
fn the_other_keys_are_read() {
    let account =
        read_one(&[("1001.yaml", "password: a\nphone_number: \"+4988001\"\ntakeover: true")]).expect("an account");
    assert_eq!(account.phone_number.as_deref(), Some("+4988001"));
    assert!(account.takeover);
    assert!(!read_one(&[("1001.yaml", "password: a")]).expect("an account").takeover, "only where it is said");
}

/// Each line: the account file, the password file, and a part of what is told.
const BAD: [(&str, &str, &str); 20] = [
    ("", "", "password or password_file is missing"),
    ("password:", "", "password or password_file is missing"),
    ("phone_number: \"1\"", "", "password or password_file is missing"),
    ("password: hunter2\npassword_file: p", "hunter2", "exclude each other"),
    ("password: hunter2\nhunter2: a", "", "2: not an account"),
    ("password: hunter2\npassword: hunter2", "", "not an account"),
    ("password: [hunter2]", "", "not an account"),
    ("hunter2", "", "not an account"),
    ("password: hunter2\ntakeover: hunter2", "", "2: not an account"),
    ("password: hunter2\ntakeover: 1", "", "2: not an account"),
    ("password: {hunter2", "", "not an account"),
    ("password: hunter2-hunter2-hunter2-hunter2-hunter2", "", "longer than 32 characters"),
    ("password: \"hunter2\\n\"", "", "control character"),
    ("password: hunter2\nphone_number: \"hunter2\"", "", "phone_number"),
    ("password: hunter2\nphone_number: \"\"", "", "phone_number"),
    ("password: hunter2\nphone_number: \"1234567890123456789012345\"", "", "phone_number"),
    ("password_file: p", "", "the file is empty"),
    ("password_file: p", "\n", "the file is empty"),
    ("password_file: p", "hunter2\n\n", "control character"),
    ("password_file: missing", "hunter2", "missing cannot be read"),
];

#[test]
fn r17_a_bad_account_is_told_without_what_it_holds() {
    for (account, file, told) in BAD {
        let error = read_one(&[("1001.yaml", account), ("p", file)]).expect_err(account);
        assert!(error.to_string().contains(told), "{account:?}: {error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        let problems = check(folder(&[("1001.yaml", account), ("p", file)]).path(), SignIn::Platform);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].severity, Severity::Error);
        assert!(problems[0].what.contains(told) && !problems[0].what.contains("hunter2"), "{problems:?}");
    }
    let shown = format!("{:?}", read_one(&[("1001.yaml", "password: hunter2")]));
    assert!(shown.contains("Account") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn files_that_are_too_long_or_no_files_are_refused() {
    let long = format!("password: a # {}", "x".repeat(16 * 1024));
    assert!(read_one(&[("1001.yaml", &long)]).expect_err("too long").to_string().contains("longer than 16 KiB"));
    let dir = folder(&[]);
    fs::create_dir(dir.path().join("1001.yaml")).expect("a folder");
    let error = read(dir.path(), agent(), SignIn::Platform).expect_err("a folder");
    assert!(error.to_string().contains("not a file"), "{error}");
    fs::write(dir.path().join("1002.yaml"), [b'p', 0xff]).expect("a file");
    let error = read(dir.path(), AgentId::try_from(1002).expect("an agent"), SignIn::Platform).expect_err("no text");
    assert!(error.to_string().contains("not UTF-8"), "{error}");
}

#[test]
fn an_account_that_is_not_there_is_missing() {
    assert!(matches!(read_one(&[("1002.yaml", "password: a")]), Err(Error::Missing(_))));
    let nowhere = read(Path::new("/nonexistent"), agent(), SignIn::Platform);
    // A mount that has gone says nothing about one agent.
    assert!(matches!(nowhere, Err(Error::Unreadable { path, .. }) if path == Path::new("/nonexistent")));
}

#[test]
fn the_full_sign_in_needs_a_phone_number() {
    let dir = folder(&[("1001.yaml", "password: a")]);
    let error = read(dir.path(), agent(), SignIn::Full).expect_err("no phone number");
    assert!(error.to_string().contains("phone_number is missing"), "{error}");
    assert_eq!(check(dir.path(), SignIn::Full).len(), 1);
    assert_eq!(check(dir.path(), SignIn::Platform), []);
}

#[test]
fn the_fingerprint_moves_with_either_file() {
    let fingerprint = |files: &[(&str, &str)]| read_one(files).expect("an account").fingerprint;
    let first = fingerprint(&[("1001.yaml", "password_file: p"), ("p", "a")]);
    assert_eq!(first, fingerprint(&[("1001.yaml", "password_file: p"), ("p", "a")]));
    assert_ne!(first, fingerprint(&[("1001.yaml", "password_file: p"), ("p", "b")]));
    assert_ne!(first, fingerprint(&[("1001.yaml", "password_file: p\n"), ("p", "a")]));
    assert_eq!(format!("{first:?}"), "Fingerprint(REDACTED)");
}

#[test]
fn a_secret_mount_works_as_it_is() {
    let dir = folder(&[]);
    let data = dir.path().join("..2026_11_22");
    fs::create_dir(&data).expect("a folder");
    fs::write(data.join("1001.yaml"), "password_file: 1001.password").expect("a file");
    fs::write(data.join("1001.password"), "hunter2\n").expect("a file");
    for name in ["1001.yaml", "1001.password"] {
        fs::set_permissions(data.join(name), fs::Permissions::from_mode(0o600)).expect("a mode");
        symlink(Path::new("..data").join(name), dir.path().join(name)).expect("a link");
    }
    symlink("..2026_11_22", dir.path().join("..data")).expect("a link");
    let account = read(dir.path(), agent(), SignIn::Platform).expect("an account");
    assert_eq!(account.password.expose_secret(), "hunter2");
    assert_eq!(check(dir.path(), SignIn::Platform), []);
}

#[test]
fn check_tells_all_problems_by_path() {
    let dir = folder(&[
        ("1001.yaml", "password: a"),
        ("1002.yaml", "password_file: 1002.password"),
        ("1002.password", "a"),
        ("1003.yaml", "password: a\ntakeover: true"),
        ("1004.yaml", "passwort: a"),
        ("1006.yaml", "password: a\ntakeover: true\nphone_number: \"88001001\""),
        ("099.yaml", "password: a"),
        (".1005.yaml", "nonsense"),
        ("README", "nonsense"),
    ]);
    for name in ["1001.yaml", "1002.password"] {
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o644)).expect("a mode");
    }
    let told: Vec<_> = check(dir.path(), SignIn::Platform)
        .into_iter()
        .map(|problem| {
            let name = problem.path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            (name, problem.severity, problem.what.split([',', ':', ';']).next().unwrap_or_default().to_owned())
        })
        .collect();
    let expected = [
        ("099.yaml", Severity::Warning, "is left out"),
        ("1001.yaml", Severity::Warning, "everybody on this machine can read it"),
        ("1002.password", Severity::Warning, "everybody on this machine can read it"),
        ("1003.yaml", Severity::Warning, "takeover is on"),
        ("1003.yaml", Severity::Warning, "takeover without phone_number"),
        ("1004.yaml", Severity::Error, "line 1"),
        ("1006.yaml", Severity::Warning, "takeover is on"),
    ];
    assert_eq!(told, expected.map(|(name, severity, what)| (name.to_owned(), severity, what.to_owned())));
    let none = check(folder(&[]).path(), SignIn::Platform);
    assert!(none.len() == 1 && none[0].severity == Severity::Warning, "{none:?}");
    let gone = check(Path::new("/nonexistent"), SignIn::Platform);
    assert!(gone.len() == 1 && gone[0].severity == Severity::Error, "{gone:?}");
}

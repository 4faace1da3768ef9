//! Builds and runs the verifier that is written in Go. `ci/tests` installs what it needs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where Debian's golang-golang-x-mod-dev puts Go's packages.
const PACKAGES: &str = "/usr/share/gocode";

/// Runs it. Returns whether all holds, and what it says.
pub(crate) fn verify(dir: &Path) -> (bool, String) {
    let output = Command::new(program()).arg(dir).output().expect("the verifier runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || text.starts_with("WRONG "), "{text}");
    (output.status.success(), text)
}

/// Builds it once for all tests of this process; Go's cache makes the next one quick.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tlog/verify.go");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let program = folder.join("verify-log");
        let mut go = Command::new("go");
        go.args(["build", "-o"]).arg(&program).arg(source).current_dir(folder);
        // No module and no network: the packages are those of the system.
        go.env("GO111MODULE", "off").env("GOPATH", PACKAGES).env("GOPROXY", "off").env("GOFLAGS", "");
        go.env("GOCACHE", folder.join("go-cache")).env("CGO_ENABLED", "0");
        let output = go.output().expect("Go (Debian: golang-go and golang-golang-x-mod-dev) is installed");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "Go with {PACKAGES}/src/golang.org/x/mod is needed: {told}");
        program
    })
}

//! The command line as a person types it.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::*;

pub(super) fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cli").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).expect("the golden file is written");
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, wanted, "differs from {}; UPDATE_GOLDEN=1 writes it anew", path.display());
}

/// The help of a command and of all below it.
fn help(command: &mut clap::Command, name: &str, all: &mut String) {
    let text = command.clone().bin_name(name).term_width(100).render_help().to_string();
    write!(all, "$ {name} --help\n{text}\n").expect("a String takes all");
    for below in command.get_subcommands_mut() {
        let name = format!("{name} {}", below.get_name());
        help(below, &name, all);
    }
}

#[test]
#[cfg(feature = "demo")]
fn the_help_is_the_agreed_one() {
    let mut all = String::new();
    help(&mut Cli::command(), "ccgate", &mut all);
    golden("help.txt", &all);
}

#[test]
fn the_definitions_hold_together() {
    Cli::command().debug_assert();
}

fn parse(line: &str) -> Result<Command, ErrorKind> {
    let parsed = Cli::try_parse_from(line.split(' '));
    parsed.map(|cli| cli.command).map_err(|error| {
        let usage = !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        assert_eq!(error.exit_code(), if usage { 2 } else { 0 }, "{line}");
        error.kind()
    })
}

#[test]
fn what_is_missing_or_too_much_is_a_usage_error() {
    for (line, kind) in [
        ("ccgate --version", ErrorKind::DisplayVersion),
        ("ccgate", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
        ("ccgate rnu", ErrorKind::InvalidSubcommand),
        ("ccgate schema --config x", ErrorKind::UnknownArgument),
        ("ccgate check --config a --set server.listen", ErrorKind::ValueValidation),
        ("ccgate check --config a --set sever.listen=x", ErrorKind::ValueValidation),
        ("ccgate check --config a --agent 1001", ErrorKind::MissingRequiredArgument),
        ("ccgate check --config a --online --agent 01001", ErrorKind::ValueValidation),
        ("ccgate check --config a --online --without-files", ErrorKind::ArgumentConflict),
        ("ccgate sessions", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
        ("ccgate sessions show", ErrorKind::MissingRequiredArgument),
        ("ccgate sessions sign-out 100", ErrorKind::ValueValidation),
        ("ccgate sessions list --client-cert-file a", ErrorKind::MissingRequiredArgument),
        ("ccgate healthcheck --address nowhere", ErrorKind::ValueValidation),
        ("ccgate healthcheck --timeout 5", ErrorKind::ValueValidation),
        ("ccgate policy explain --config a /x", ErrorKind::MissingRequiredArgument),
        ("ccgate policy explain --config a --token t --claims c /x", ErrorKind::ArgumentConflict),
    ] {
        assert_eq!(parse(line).map(|_| ()), Err(kind), "{line}");
    }
}

#[test]
fn r17_a_token_on_the_command_line_is_not_printed() {
    let command = parse("ccgate policy explain --config a --token hunter2 /x").expect("good");
    assert!(!format!("{command:?}").contains("hunter2"));
}

/// What `check` says of a file with this text, in a folder with an audit folder and an account.
fn check_text(text: &str, extra: &[&str]) -> (Exit, String) {
    let dir = tempfile::tempdir().expect("a folder");
    for folder in ["accounts", "audit"] {
        std::fs::create_dir(dir.path().join(folder)).expect("made");
    }
    for (name, text) in [("accounts/4977.yaml", "password: hunter2\n"), ("audit.key", &crate::audit::new_key_pem())] {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("changed");
    }
    let file = dir.path().join("ccgate.yaml");
    std::fs::write(&file, text).expect("written");
    let mut line = vec!["ccgate", "check", "--config", file.to_str().expect("UTF-8")];
    line.extend(extra);
    let cli = Cli::try_parse_from(line).expect("good arguments");
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = offline(cli.command, &mut out, &mut err).expect("needs no runtime");
    assert!(err.is_empty());
    (exit, String::from_utf8(out).expect("UTF-8").replace(&dir.path().display().to_string(), "DIR"))
}

const GOOD: &str = "version: 1\nupstream: {url: 'https://10.244.154.23:8043'}\n\
    auth: {issuers: [{issuer: 'https://idp.example', audiences: [ccgate], algorithms: [ES256]}]}\n\
    sessions: {accounts_dir: accounts}\naudit: {dir: audit, signing_key_file: audit.key}\n";

#[test]
fn check_says_good_or_what_is_wrong() {
    assert_eq!(check_text(GOOD, &[]), (Exit::Ok, "DIR/ccgate.yaml: good\n".to_owned()));
    let proxies = format!("{GOOD}server: {{max_connections: 10, max_downloads: 20}}\n");
    let warned =
        "  warning: line 6: server.max_downloads: 20 can never be reached: it is more than server.max_connections\n";
    assert_eq!(check_text(&proxies, &[]), (Exit::Ok, format!("DIR/ccgate.yaml: good, 1 warning\n{warned}")));
    let missing = GOOD.replace("dir: audit", "dir: elsewhere");
    let wanted = "DIR/ccgate.yaml: 1 problem\n  line 5: audit.dir: DIR/elsewhere: no such folder\n";
    assert_eq!(check_text(&missing, &[]), (Exit::Usage, wanted.to_owned()));
    assert_eq!(check_text(&missing, &["--without-files"]), (Exit::Ok, "DIR/ccgate.yaml: good\n".to_owned()));
    let (exit, told) = check_text(GOOD, &["--set", "log.level=loud"]);
    assert_eq!(exit, Exit::Usage);
    assert!(told.contains("  --set: log.level: \"loud\" is none of error, warn"), "{told}");
}

#[test]
fn a_file_that_is_not_there_is_a_configuration_error() {
    let cli = Cli::try_parse_from(["ccgate", "check", "--config", "/nowhere/ccgate.yaml"]).expect("good arguments");
    let mut out = Vec::new();
    assert_eq!(offline(cli.command, &mut out, &mut Vec::new()).expect("needs no runtime"), Exit::Usage);
    assert!(String::from_utf8(out).expect("UTF-8").contains("cannot be read"));
}

#[test]
fn a_healthcheck_says_that_it_speaks_no_tls() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("ccgate.yaml");
    std::fs::write(&file, format!("{GOOD}admin: {{tls: {{cert_file: a, key_file: b}}}}\n")).expect("written");
    let (config, timeout) = (Some(file), config::Duration::from_secs(1));
    let mut err = Vec::new();
    let args = HealthcheckArgs { address: None, config, live: true, timeout };
    assert_eq!(healthcheck(&args, &mut err).expect("written"), Exit::Usage);
    let told = String::from_utf8(err).expect("UTF-8");
    assert!(told.contains("line 6: admin.tls: this command asks without TLS; probe it over https"), "{told}");
}

#[test]
fn schema_prints_json() {
    let mut out = Vec::new();
    assert_eq!(offline(Command::Schema, &mut out, &mut Vec::new()).expect("needs no runtime"), Exit::Ok);
    let schema: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!(&schema, config::schema());
}

#[test]
fn what_needs_a_runtime_is_handed_back() {
    let command = parse("ccgate run --config a").expect("good");
    let back = offline(command, &mut Vec::new(), &mut Vec::new()).expect_err("needs a runtime");
    assert!(matches!(*back, Command::Run(args) if args.config.config == Path::new("a")));
}

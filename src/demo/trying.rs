//! What a person can try beside the story: lines for a shell that work as they are.

use std::path::Path;

use super::Error;
use super::people::{ANNA, BENS_RECORDING, CALL, INES, Person};
use super::site::Site;
use super::story::FORGED;
use super::teller::Teller;

/// Prints the lines.
pub(super) fn tell(site: &Site, folder: &Path, once: bool, teller: &mut Teller<'_>) -> Result<(), Error> {
    let heading = if once {
        "What you could try next, had it been started without --once"
    } else {
        "Try it yourself: these lines work as they are, in another terminal"
    };
    teller.heading(heading)?;
    for (why, line) in lines(site, folder) {
        teller.remark(why)?;
        teller.verbatim(line)?;
    }
    if !once {
        teller.paragraph("Ctrl-C ends it and removes all files.")?;
    }
    Ok(())
}

fn lines(site: &Site, folder: &Path) -> Vec<(&'static str, String)> {
    let file = |name: &str| quote(&folder.join(name).display().to_string());
    let header =
        |person: &Person| format!("-H {}", quote(&format!("@{}", folder.join(person.header_file()).display())));
    let url = |target: &str| quote(&format!("http://{}{target}", site.addresses.server));
    let (own, other) = (url(&ANNA.call(CALL)), url(&ANNA.recording(BENS_RECORDING)));
    let program = std::env::current_exe().map_or_else(|_| "ccgate".to_owned(), |path| path.display().to_string());
    let (program, config, token) = (quote(&program), file("ccgate.yaml"), file(&ANNA.token_file()));
    let log = file("audit");
    let audit = |question: &str, of: &str| {
        format!("{program} audit {question} --dir {log} --admin http://{}{of}", site.addresses.admin)
    };
    let mut lines = vec![
        ("Anna fetches her own call.", format!("curl -sS -D - -o {} {} {own}", file("own.wav"), header(&ANNA))),
        ("She asks for a call of another agent: 403.", format!("curl -sS -w '\\n' {} {other}", header(&ANNA))),
        (
            "Why not, and what would change it?",
            format!("{program} policy explain --config {config} --token \"$(cat {token})\" {other}"),
        ),
        (
            "Ines, the inspector, hears the beginning of that call.",
            format!(
                "curl -sS -D - -o {} -r 0-65535 {} {}",
                file("part.wav"),
                header(&INES),
                url(&INES.recording(BENS_RECORDING))
            ),
        ),
        ("Nobody gets anything without a token.", format!("curl -sS -w '\\n' {own}")),
        ("Who took what? Whoever asks is in the log, too.", audit("query", "")),
        ("Who took Ben's call?", audit("who-accessed", &format!(" {}", quote(BENS_RECORDING)))),
        ("Is the log the one that was signed?", format!("{program} audit verify {log}")),
        (
            "And the copy in which one word was changed? Exit code 1.",
            format!("{program} audit verify {}", file(FORGED)),
        ),
        ("The records themselves are lines of JSON.", format!("tail -n 5 {log}/audit-*.jsonl")),
        ("How is ccgate?", format!("curl -sS 'http://{}/readyz?verbose'", site.addresses.admin)),
    ];
    if let Some(control) = site.sim.control_url() {
        let agent = quote(&format!("{{\"agent\": {}}}", ANNA.agent));
        let line = format!("curl -sS -w '\\n' -d {agent} {control}/throw-out");
        lines.push(("Throw Anna out at CC-Gateway, then let her fetch again.", line));
    }
    lines
}

/// One word of a POSIX shell.
fn quote(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:@".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_one_word_of_a_shell() {
        for text in ["/tmp/a.b", "/tmp/a b", "it's", "a?b=*", "~", "#", "$(reboot) `x` \"y\" \\ ; # *", ""] {
            let line = format!("printf %s {}", quote(text));
            let shell = std::process::Command::new("sh").args(["-c", &line]).output().expect("a shell");
            assert_eq!(String::from_utf8_lossy(&shell.stdout), text);
        }
    }
}

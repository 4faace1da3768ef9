//! What a person can try beside the story: lines for a shell that work as they are.

use std::path::Path;

use super::Error;
use super::people::{ANNA, BENS_RECORDING, CALL, INES, Person};
use super::site::Site;
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
    let (ccgate, admin) = (format!("http://{}", site.addresses.server), site.addresses.admin);
    let quoted = |name: &str| quote(&folder.join(name).display().to_string());
    let token = |person: &Person| format!("\"$(cat {})\"", quoted(&person.token_file()));
    let bearer = |person: &Person| format!("-H \"Authorization: Bearer $(cat {})\"", quoted(&person.token_file()));
    let own = quote(&format!("{ccgate}{}", ANNA.call(CALL)));
    let by_anna = quote(&format!("{ccgate}{}", ANNA.recording(BENS_RECORDING)));
    let by_ines = quote(&format!("{ccgate}{}", INES.recording(BENS_RECORDING)));
    let program = std::env::current_exe().map_or_else(|_| "ccgate".to_owned(), |path| path.display().to_string());
    let program = quote(&program);
    let mut lines = vec![
        ("Anna fetches her own call", format!("curl -sS -D - -o {} {} {own}", quoted("own.wav"), bearer(&ANNA))),
        ("a call of another agent: 403", format!("curl -sS {} {by_anna}", bearer(&ANNA))),
        (
            "an inspector hears its first seconds",
            format!("curl -sS -D - -o {} -r 0-65535 {} {by_ines}", quoted("part.wav"), bearer(&INES)),
        ),
        ("nobody without a token", format!("curl -sS -i {own}")),
        (
            "why Anna may not, and what would change it",
            format!("{program} policy explain --config {} --token {} {by_anna}", quoted("ccgate.yaml"), token(&ANNA)),
        ),
        ("who took what: the audit log", format!("tail -n 5 {}/*.jsonl", quoted("audit"))),
        ("the metrics", format!("curl -sS http://{admin}/metrics")),
    ];
    if let Some(control) = site.sim.control_url() {
        let body = format!("{{\"agent\": {}}}", ANNA.agent);
        lines.push((
            "throw Anna out at CC-Gateway, then fetch again",
            format!("curl -sS -d {} {control}/throw-out", quote(&body)),
        ));
    }
    lines
}

/// One word of a POSIX shell.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_one_word_of_a_shell() {
        for text in ["/tmp/a b", "it's", "$(reboot) `x` \"y\" \\ ; # *", ""] {
            let line = format!("printf %s {}", quote(text));
            let shell = std::process::Command::new("sh").args(["-c", &line]).output().expect("a shell");
            assert_eq!(String::from_utf8_lossy(&shell.stdout), text);
        }
    }
}

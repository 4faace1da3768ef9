//! The status page for people: what runs, whether it is ready, where to look further. No script, no style from elsewhere.

use std::fmt::Write;

use crate::ready::Ready;

/// Prints the page.
pub(super) fn page(ready: &Ready) -> String {
    let mut rows = String::new();
    for (name, reason) in ready.report() {
        let state = reason.as_deref().unwrap_or("ok");
        // Writing to a string cannot fail.
        let _ = writeln!(rows, "<tr><td>{}</td><td>{}</td></tr>", escaped(name), escaped(state));
    }
    let verdict = if ready.is_ready() { "ready" } else { "not ready" };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>ccgate</title></head><body>\n\
         <h1>ccgate {version}: {verdict}</h1>\n<table>\n{rows}</table>\n\
         <p><a href=\"/readyz?verbose\">readyz</a> <a href=\"/livez\">livez</a> <a href=\"/metrics\">metrics</a></p>\n\
         </body></html>\n",
        version = env!("CARGO_PKG_VERSION"),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

//! `ccgate sessions`: asks a running gateway's admin plane for its sessions, or to end one. It knows no session by itself.

use std::io::{self, Write};
use std::path::PathBuf;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::{Method, Uri};

use super::Exit;
use super::operator::{Endpoint, Error, ask};
use super::run::tell;
use crate::admin::{SESSIONS_PATH, SessionRow};
use crate::cc::AgentId;
use crate::config::CONFIG_VARIABLE;

/// What can be asked of sessions.
#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// List the sessions that the process knows of
    List(AdminArgs),
    /// Show one agent's session
    Show {
        /// The agent
        agent: AgentId,
        /// Whom to ask.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Sign an agent out, whoever uses the session; the next request signs it in again
    SignOut {
        /// The agent
        agent: AgentId,
        /// Whom to ask.
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// Whom to ask, and how to print.
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// Whom.
    #[command(flatten)]
    pub endpoint: Endpoint,
    /// The config file to take admin.listen from
    #[arg(long, value_name = "FILE", env = CONFIG_VARIABLE, hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Asks and prints. Exit code 1 where the gateway does not answer or refuses, 2 for a wrong command line.
///
/// # Errors
/// Only that `out` or `err` is gone.
pub async fn sessions(command: &SessionsCommand, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let done = match command {
        SessionsCommand::List(admin) => list(admin).await,
        SessionsCommand::Show { agent, admin } => show(*agent, admin).await,
        SessionsCommand::SignOut { agent, admin } => sign_out(*agent, admin).await,
    };
    match done {
        Ok(text) => {
            write!(out, "{text}")?;
            Ok(Exit::Ok)
        }
        Err(error) => {
            tell(err, &error)?;
            Ok(error.exit())
        }
    }
}

async fn list(admin: &AdminArgs) -> Result<String, Error> {
    let (at, body) = asked(admin, Method::GET, SESSIONS_PATH).await?;
    let rows: Vec<SessionRow> = read(at, &body)?;
    match (admin.json, rows.is_empty()) {
        (true, _) => Ok(json(&rows)),
        (false, true) => Ok("no sessions\n".to_owned()),
        (false, false) => Ok(table(&rows)),
    }
}

async fn show(agent: AgentId, admin: &AdminArgs) -> Result<String, Error> {
    let (at, body) = asked(admin, Method::GET, &format!("{SESSIONS_PATH}/{agent}")).await?;
    let row: SessionRow = read(at, &body)?;
    Ok(if admin.json { json(&row) } else { table(std::slice::from_ref(&row)) })
}

async fn sign_out(agent: AgentId, admin: &AdminArgs) -> Result<String, Error> {
    asked(admin, Method::DELETE, &format!("{SESSIONS_PATH}/{agent}")).await?;
    Ok(if admin.json {
        json(&serde_json::json!({ "agent": agent, "signed_out": true }))
    } else {
        format!("agent {agent} is signed out\n")
    })
}

async fn asked(admin: &AdminArgs, method: Method, path: &str) -> Result<(Uri, Bytes), Error> {
    ask(&admin.endpoint, admin.config.as_deref(), method, path, Bytes::new()).await
}

fn read<T: serde::de::DeserializeOwned>(at: Uri, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|source| Error::Answer { at, source })
}

fn json(value: &impl serde::Serialize) -> String {
    // A row and a list of rows can always be written.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// Columns as wide as their widest cell; a dash for what is not known.
fn table(rows: &[SessionRow]) -> String {
    let dash = || "-".to_owned();
    let cells = |row: &SessionRow| {
        [
            row.agent.to_string(),
            row.state.to_string(),
            row.kind.as_ref().map_or_else(dash, ToString::to_string),
            if row.owned { "here" } else { "elsewhere" }.to_owned(),
            row.since.map_or_else(dash, |at| format!("{at:.0}")),
            row.rotations.map_or_else(dash, |count| count.to_string()),
            row.in_use.to_string(),
            row.waiting.to_string(),
            row.password_expires.map_or_else(dash, |at| format!("{at:.0}")),
        ]
    };
    let head = ["AGENT", "STATE", "KIND", "OWNED", "SINCE", "ROTATIONS", "IN USE", "WAITING", "PASSWORD ENDS"];
    let lines: Vec<[String; 9]> = std::iter::once(head.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
    let mut widths = [0; 9];
    for cells in &lines {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = cell.len().max(*width);
        }
    }
    let print = |cells: &[String; 9]| {
        let padded: Vec<_> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(print).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(agent: u32) -> SessionRow {
        SessionRow {
            agent: AgentId::try_from(agent).expect("an agent"),
            state: "active".into(),
            kind: Some("own".into()),
            owned: true,
            rotations: Some(3),
            in_use: 1,
            waiting: 0,
            since: Some("2024-01-02T03:04:05.6Z".parse().expect("a time")),
            password_expires: None,
        }
    }

    #[test]
    fn rows_stand_in_columns() {
        let other = SessionRow { kind: None, owned: false, rotations: None, since: None, ..row(49_770) };
        let wanted = "AGENT  STATE   KIND  OWNED      SINCE                 ROTATIONS  IN USE  WAITING  PASSWORD ENDS\n\
                      101    active  own   here       2024-01-02T03:04:05Z  3          1       0        -\n\
                      49770  active  -     elsewhere  -                     -          1       0        -\n";
        assert_eq!(table(&[row(101), other]), wanted);
    }

    #[test]
    fn a_row_survives_the_way_over_json() {
        let text = serde_json::to_string(&row(101)).expect("JSON");
        assert!(text.starts_with(r#"{"agent":"101","state":"active","kind":"own","owned":true,"#), "{text}");
        assert_eq!(serde_json::from_str::<SessionRow>(&text).expect("a row"), row(101));
        assert!(serde_json::from_str::<SessionRow>(&text.replace("101", "0101")).is_err());
    }
}

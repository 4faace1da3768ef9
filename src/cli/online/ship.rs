//! Asks where the audit log's records are to be shipped whether they would be taken. It publishes nothing.

use super::report::{Finding, causes};
use crate::config::{Config, Durability, Ship};
use crate::ship;

/// What is answered there.
pub(super) async fn ship(config: &Config) -> Vec<Finding> {
    let server = match &config.audit.ship {
        Ship::None => {
            return vec![Finding::ok("audit.ship", "none: the log stays in audit.dir; there is nothing to ask")];
        }
        Ship::Stdout => return vec![Finding::ok("audit.ship", "stdout: there is nothing to ask")],
        Ship::Nats(server) => server,
    };
    vec![match ship::probe(server).await {
        Ok(()) => {
            let what = format!("the server answers, and streams take {0} and {0}.checkpoint", server.subject);
            Finding::ok("audit.ship.nats", what)
        }
        Err(error) => {
            let next = match config.audit.durability {
                Durability::Shipped => "until it is taken there, downloads get 503 audit_unavailable",
                Durability::Local => "until it is taken there, records wait in audit.dir",
            };
            Finding::problem("audit.ship.nats", causes(&error), next)
        }
    }]
}

//! The files that shipping and witnesses need: the servers' URLs and what TLS takes. Nothing of what they hold is told.

use secrecy::ExposeSecret as _;

use super::{Check, Severity};
use crate::config::sections::Ship;
use crate::ship::witness::Witness;
use crate::ship::{Nats, Server, SetUpError};

impl Check {
    pub(super) fn ship(&mut self, ship: &Ship) {
        if let Ship::Nats(server) = ship {
            self.nats(server);
        }
    }

    fn nats(&mut self, server: &Server) {
        let key = |name: &str| format!("audit.ship.nats.{name}");
        let before = self.problems.len();
        let next = "put the bare URLs there, on one line, separated by commas: tls://user:password@host:4222";
        let urls = self.secret(&key("url_file"), &server.url_file, next);
        self.trusted(&key("ca_file"), server.tls.ca_file.as_deref());
        if let Some((cert, private)) = &server.tls.client_cert {
            self.pair(&key("client_cert_file"), cert, &key("client_key_file"), private);
        }
        if self.problems.iter().skip(before).any(|problem| problem.severity == Severity::Error) {
            return;
        }
        match Nats::new(server.clone(), "check") {
            Ok(_) => {}
            Err(SetUpError::Url { what, .. }) => self.fail(&key("url_file"), format!("the file holds {what}"), next),
            Err(SetUpError::Tls(error)) => self.fail("audit.ship.nats", error.to_string(), ""),
            Err(error @ SetUpError::Read { .. }) => self.fail(&key("url_file"), error.to_string(), ""),
        }
        let readable = urls.is_some_and(|urls| urls.expose_secret().contains("nats://"));
        if readable && server.tls.ca_file.is_some() {
            let what = "a nats:// URL is with TLS only if the server asks for it";
            self.warn(&key("url_file"), what, "make it tls://, so that nothing is sent in the clear");
        }
    }

    pub(super) fn witnesses(&mut self, witnesses: &[Witness]) {
        for (index, witness) in witnesses.iter().enumerate() {
            self.trusted(&format!("audit.witnesses[{index}].ca_file"), witness.ca_file.as_deref());
        }
    }
}

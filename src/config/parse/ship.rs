//! From what a person wrote about shipping to what the program uses; the rules of `parse` hold here too.

use super::Parser;
use crate::config::grammar;
use crate::config::raw;
use crate::config::sections::{Durability, Ship};
use crate::net::ClientTls;
use crate::ship;
use crate::ship::witness::Witness;
use crate::tlog::WitnessKey;

impl Parser<'_> {
    pub(super) fn ship(&mut self, raw: raw::Ship, durability: Durability) -> Option<Ship> {
        let ship = match raw {
            raw::Ship::None => Some(Ship::None),
            raw::Ship::Stdout => Some(Ship::Stdout),
            raw::Ship::Nats(nats) => self.nats(nats).map(Ship::Nats),
        };
        if ship == Some(Ship::None) && durability == Durability::Shipped && !self.is_dropped("audit.ship") {
            let next = "name where to in audit.ship, or set durability: local";
            self.fail("audit.durability", "shipped needs audit.ship: nothing is shipped", next);
            return None;
        }
        ship
    }

    fn nats(&mut self, raw: raw::Nats) -> Option<ship::Server> {
        let key = |name: &str| format!("audit.ship.nats.{name}");
        let next = "name the file with the servers' URLs, tls://user:password@host:4222";
        let url_file = self.required(&key("url_file"), raw.url_file, next);
        let url_file = url_file.map(|file| self.file(&key("url_file"), file));
        let subject = self.read(&key("subject"), &raw.subject, grammar::subject);
        let ca_file = raw.ca_file.map(|file| self.file(&key("ca_file"), file));
        let client_cert = self.client_cert("audit.ship.nats", raw.client_cert_file, raw.client_key_file);
        subject?;
        Some(ship::Server {
            url_file: url_file?,
            subject: raw.subject,
            tls: ClientTls { ca_file, client_cert, ..ClientTls::default() },
            timeout: raw.timeout.get(),
        })
    }

    /// Those that can be read; what is wrong with others is told.
    pub(super) fn witnesses(&mut self, raw: Vec<raw::Witness>) -> Vec<Witness> {
        let mut witnesses: Vec<Witness> = Vec::new();
        for (index, raw) in raw.into_iter().enumerate() {
            let Some(witness) = self.witness(index, raw) else { continue };
            if let Some(first) = witnesses.iter().position(|other| other.key.name() == witness.key.name()) {
                let what = format!("the name of audit.witnesses[{first}]");
                self.fail(&format!("audit.witnesses[{index}].key"), what, "name each witness once");
            }
            witnesses.push(witness);
        }
        witnesses
    }

    fn witness(&mut self, index: usize, raw: raw::Witness) -> Option<Witness> {
        let key = |name: &str| format!("audit.witnesses[{index}].{name}");
        let url = self.required(&key("url"), raw.url, "the witness's submission prefix, as in https://witness.example");
        let url = url.and_then(|url| self.read(&key("url"), &url, grammar::witness));
        let verifier = self.required(&key("key"), raw.key, "the key that its operator tells, <name>+<id>+<base64>");
        let verifier = verifier.and_then(|text| {
            self.read(&key("key"), &text, |text| {
                text.parse::<WitnessKey>().map_err(|_| "not a key for cosignatures with Ed25519, <name>+<id>+<base64>")
            })
        });
        let ca_file = raw.ca_file.map(|file| self.file(&key("ca_file"), file));
        Some(Witness { url: url?, key: verifier?, ca_file, interval: raw.interval.get(), timeout: raw.timeout.get() })
    }
}

//! From what a person wrote about the gateway to what the program uses; the rules of `parse` hold here too.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::uri::Authority;

use super::Parser;
use crate::cc::NodeName;
use crate::config::grammar;
use crate::config::problem::{shown, shown_key};
use crate::config::raw;
use crate::config::sections::Upstream;
use crate::net::{ClientConfig, ClientTls, ServerTrust};

const AS_IN: &str = "as in https://10.244.154.23:8043";

impl Parser<'_> {
    pub(super) fn upstream(&mut self, raw: raw::Upstream) -> Option<Upstream> {
        if raw.trust == raw::Trust::Pin {
            self.pins_alone(&raw);
        }
        let urls = self.urls(raw.url, raw.urls);
        let nodes = self.nodes(raw.nodes);
        if let Some(name) = &raw.server_name {
            self.read("upstream.server_name", name, grammar::server_name);
        }
        let pin_sha256 = self.each("upstream.pin_sha256", &raw.pin_sha256, grammar::pin);
        let trust = match raw.trust {
            raw::Trust::Ca => ServerTrust::Authorities,
            raw::Trust::Pin => ServerTrust::Pins,
        };
        let client_cert = self.client_cert("upstream", raw.client_cert_file, raw.client_key_file);
        let ca_file = raw.ca_file.map(|file| self.file("upstream.ca_file", file));
        Some(Upstream {
            urls: urls?,
            nodes,
            client: ClientConfig {
                tls: ClientTls { ca_file, trust, server_name: raw.server_name, pin_sha256, client_cert },
                connect_timeout: raw.connect_timeout.get(),
                response_timeout: raw.response_timeout.get(),
            },
            idle_timeout: raw.idle_timeout.get(),
        })
    }

    /// What makes no sense where pins alone decide.
    fn pins_alone(&mut self, raw: &raw::Upstream) {
        if raw.pin_sha256.is_empty() && !self.is_dropped("upstream.pin_sha256") {
            let next = "name the pin of the gateway's key: `ccgate check --online` shows it, to be compared with the gateway's own";
            self.fail("upstream.trust", "pin, and upstream.pin_sha256 is empty: nobody could be trusted", next);
        }
        if raw.ca_file.is_some() {
            self.fail(
                "upstream.ca_file",
                "given beside upstream.trust: pin, which asks no authority",
                "keep one of the two",
            );
        }
        if raw.server_name.is_some() {
            let next = "it is only what the gateway is asked for (SNI)";
            self.warn("upstream.server_name", "not verified: with upstream.trust: pin the key is the name", next);
        }
    }

    /// One URL or a list of them, never both; each leads somewhere else.
    fn urls(&mut self, url: Option<String>, urls: Option<Vec<String>>) -> Option<Vec<Authority>> {
        let Some(texts) = urls else {
            if self.is_dropped("upstream.urls") {
                return None;
            }
            let url = self.required("upstream.url", url, AS_IN)?;
            return self.read("upstream.url", &url, authority).map(|url| vec![url]);
        };
        if url.is_some() {
            self.fail("upstream.urls", "given beside upstream.url", "keep one of the two");
        }
        let texts = self.filled("upstream.urls", Some(texts), "name at least one URL")?;
        let read = self.each("upstream.urls", &texts, authority);
        if read.len() != texts.len() {
            return None;
        }
        for (index, authority) in read.iter().enumerate() {
            let same = |other: &Authority| place(other) == place(authority);
            if let Some(first) = read.iter().take(index).position(same) {
                let what = format!("{} is upstream.urls[{first}] too", shown(authority.as_str()));
                self.fail(&format!("upstream.urls[{index}]"), what, "name each URL once");
            }
        }
        Some(read)
    }

    /// Each node by its name, and each at a place of its own: a copied line would send sessions to where they do not live.
    fn nodes(&mut self, raw: BTreeMap<String, String>) -> BTreeMap<NodeName, Authority> {
        let mut nodes: BTreeMap<NodeName, Authority> = BTreeMap::new();
        for (name, url) in raw {
            let path = format!("upstream.nodes.{}", shown_key(&name));
            let node = NodeName::parse(&name).map_err(|error| {
                self.fail(&path, error.to_string(), "take what stands behind the dot of a Guid");
            });
            let (Ok(node), Some(url)) = (node, self.read(&path, &url, authority)) else { continue };
            if let Some((other, _)) = nodes.iter().find(|(_, other)| place(other) == place(&url)) {
                let what = format!("{} is the URL of {} too", shown(url.as_str()), other.as_str());
                self.fail(&path, what, "name each node's own URL, not a load balancer's");
            }
            nodes.insert(node, url);
        }
        nodes
    }

    /// Our certificate and its key come together or not at all.
    pub(super) fn client_cert(
        &mut self,
        group: &str,
        cert: Option<PathBuf>,
        key: Option<PathBuf>,
    ) -> Option<(PathBuf, PathBuf)> {
        let (cert_path, key_path) = (&format!("{group}.client_cert_file"), &format!("{group}.client_key_file"));
        match (&cert, &key) {
            (Some(_), None) => self.lacks(cert_path, key_path),
            (None, Some(_)) => self.lacks(key_path, cert_path),
            _ => {}
        }
        Some((self.file(cert_path, cert?), self.file(key_path, key?)))
    }

    fn lacks(&mut self, given: &str, missing: &str) {
        if !self.is_dropped(missing) {
            self.fail(given, format!("needs {missing}"), "name both files or none");
        }
    }
}

fn authority(text: &str) -> Result<Authority, &'static str> {
    grammar::upstream(text)?.authority().cloned().ok_or("not a URL with a host")
}

/// Where it leads: https without a port is port 443.
fn place(authority: &Authority) -> (String, u16) {
    (authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(443))
}

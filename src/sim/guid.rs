//! Guids: made at random, compared whole, never printed.

use std::fmt;

use super::config::GuidShape;

/// A Guid with its node's name behind.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Guid(String);

impl Guid {
    pub(super) fn new(shape: GuidShape, node: &str) -> Self {
        let random = match shape {
            GuidShape::Uuid => uuid::Uuid::new_v4().hyphenated().to_string(),
            // 48 of the 64 digits of two UUIDs: as unpredictable as the simulator needs.
            GuidShape::Hex48 => [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()]
                .iter()
                .flat_map(|uuid| uuid.simple().to_string().into_bytes())
                .take(48)
                .map(char::from)
                .collect(),
        };
        Self(format!("{random}.{node}"))
    }

    pub(super) fn is(&self, presented: &str) -> bool {
        self.0 == presented
    }

    /// The value of the `Set-GUID` header.
    pub(super) fn set_guid(&self) -> String {
        format!("JSESSIONID={}", self.0)
    }

    pub(super) fn reveal(&self) -> String {
        self.0.clone()
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<guid>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_carry_the_node() {
        let uuid = Guid::new(GuidShape::Uuid, "AgentGateway0");
        let (random, node) = uuid.0.split_once('.').unwrap();
        assert_eq!((random.len(), node), (36, "AgentGateway0"));
        assert_eq!(uuid.set_guid(), format!("JSESSIONID={random}.AgentGateway0"));
        let hex = Guid::new(GuidShape::Hex48, "AgentGateway1");
        let (random, node) = hex.0.split_once('.').unwrap();
        assert_eq!((random.len(), node), (48, "AgentGateway1"));
        assert!(random.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(hex, Guid::new(GuidShape::Hex48, "AgentGateway1"));
        assert_eq!(format!("{hex:?}"), "<guid>");
    }
}

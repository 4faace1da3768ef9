//! The vendor's words as types: parse and print, never call anybody.
//!
//! Each type's documentation names the part of the CC-Gateway interface that it stands for. What a caller sent becomes
//! one of these types or is refused; what goes upstream is printed from them. Nothing here does IO.

mod agent_id;
mod endpoint;
mod envelope;
mod file_path;
mod file_ref;
mod guid;
mod retcode;

pub use agent_id::{AgentId, AgentIdError};
pub use endpoint::{BASE_PATH, Call, SignInForm};
pub use envelope::{ENVELOPE_BYTES_MAX, Envelope};
pub use file_path::{FilePath, FilePathError};
pub use file_ref::{
    CallId, ChatDate, FieldError, FileName, FileRef, FileType, Kind, LocationId, Operation, Owner, Uuid, ZoneOffset,
};
pub use guid::{Guid, GuidError, GuidTag, GuidTagKey, NodeName, NodeNameError};
pub use retcode::{Meaning, Retcode};

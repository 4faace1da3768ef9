//! What opens, what does not, and that nothing is shown.

use std::io::Write;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::cc::{Guid, Retcode, SignInForm};
use crate::session::accounts::Fingerprint;
use crate::session::journal::BarCause;
use crate::session::store::{Cooling, Kind, Live, Trouble};

const GUID: &str = "279fe21d-2caa-4437-84c3-ab9e9dae20f5.AgentGateway0";

fn agent(number: u32) -> AgentId {
    AgentId::try_from(number).expect("an agent")
}

fn keys(bytes: &[u8]) -> Keys {
    Keys(bytes.iter().map(|byte| Key::new(&[*byte; KEY_BYTES]).expect("a key")).collect())
}

fn sealer() -> Sealer {
    Sealer::new(keys(&[1]), "gateway:8043")
}

fn live() -> Entry {
    Entry::Live(Live {
        guid: Guid::from_text(GUID).expect("a Guid"),
        rotation: 7,
        form: SignInForm::Platform,
        kind: Kind::Own,
        decides: true,
        alive_ago: Duration::from_millis(1_500),
        issued_ago: Duration::from_secs(40),
        rotates_every: Some(Duration::from_mins(1)),
        poll_takes: Duration::ZERO,
    })
}

fn entries() -> impl Strategy<Value = Entry> {
    let span = || (0_u64..1_000_000).prop_map(Duration::from_millis);
    let guid = "[A-Za-z0-9._-]{16,128}".prop_map(|text| Guid::from_text(&text).expect("a Guid"));
    let code = || "[0-9]{3}-[0-9]{3}".prop_map(|text| Retcode::parse(&text).expect("a code"));
    let form = prop_oneof![Just(SignInForm::Platform), Just(SignInForm::Full), Just(SignInForm::Force)];
    let kind = prop_oneof![Just(Kind::Own), Just(Kind::Desk)];
    let trouble = prop_oneof![
        Just(Trouble::AgentBusy),
        code().prop_map(Trouble::Switching),
        code().prop_map(Trouble::Refused),
        Just(Trouble::Unreachable),
        Just(Trouble::Untrusted),
        Just(Trouble::Timeout),
        Just(Trouble::Protocol),
    ];
    let cause = prop_oneof![
        Just(BarCause::WrongPassword),
        Just(BarCause::MustChangePassword),
        code().prop_map(BarCause::BadParameters)
    ];
    let times = (span(), span(), proptest::option::of(span()), span());
    prop_oneof![
        (guid, any::<u64>(), form, kind, any::<bool>(), times).prop_map(
            |(guid, rotation, form, kind, decides, times)| {
                let (alive_ago, issued_ago, rotates_every, poll_takes) = times;
                Entry::Live(Live {
                    guid,
                    rotation,
                    form,
                    kind,
                    decides,
                    alive_ago,
                    issued_ago,
                    rotates_every,
                    poll_takes,
                })
            }
        ),
        (trouble, span(), span()).prop_map(|(trouble, lasts, doubt_lasts)| Entry::Cooling(Cooling {
            trouble,
            lasts,
            doubt_lasts
        })),
        (cause, any::<[u8; 32]>())
            .prop_map(|(cause, bytes)| Entry::Barred { cause, fingerprint: Fingerprint::from_bytes(bytes) }),
    ]
}

/// The texts of both, the Guid included, which `Debug` does not show.
fn same(one: &Entry, other: &Entry) -> bool {
    *form::write(one).expect("a text") == *form::write(other).expect("a text")
}

proptest! {
    #[test]
    fn what_was_sealed_opens_as_it_was(entry in entries(), number in 101_u32..1_000_000, fence in any::<u64>()) {
        let text = sealer().seal(agent(number), fence, &entry).expect("sealed");
        prop_assert!(text.len() <= TEXT_BYTES_MAX);
        let opened = sealer().open(agent(number), fence, &text).expect("opened");
        prop_assert!(same(&entry, &opened));
    }

    #[test]
    fn any_changed_byte_is_refused(entry in entries(), at in any::<prop::sample::Index>(), with in 1_u8..=127) {
        let text = sealer().seal(agent(1001), 9, &entry).expect("sealed");
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert!(sealer().open(agent(1001), 9, &changed).is_err());
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        prop_assert!(sealer().open(agent(1001), 9, &text).is_err());
    }
}

#[test]
fn it_opens_for_its_agent_fence_upstream_and_key_alone() {
    let text = sealer().seal(agent(1001), 9, &live()).expect("sealed");
    let open = |keys_of: &[u8], context: &str, number, fence| {
        Sealer::new(keys(keys_of), context).open(agent(number), fence, &text).err()
    };
    assert_eq!(open(&[1], "gateway:8043", 1001, 9), None);
    assert_eq!(open(&[1], "gateway:8043", 1002, 9), Some(SealError::Refused));
    assert_eq!(open(&[1], "gateway:8043", 1001, 10), Some(SealError::Refused));
    assert_eq!(open(&[1], "gateway:8044", 1001, 9), Some(SealError::Refused));
    assert_eq!(open(&[2], "gateway:8043", 1001, 9), Some(SealError::UnknownKey));
}

#[test]
fn after_a_change_of_keys_the_old_one_still_opens_and_the_new_one_seals() {
    let old = sealer().seal(agent(1001), 9, &live()).expect("sealed");
    let both = Sealer::new(keys(&[2, 1]), "gateway:8043");
    assert!(both.open(agent(1001), 9, &old).is_ok());
    let new = both.seal(agent(1001), 9, &live()).expect("sealed");
    assert_eq!(sealer().open(agent(1001), 9, &new).err(), Some(SealError::UnknownKey));
}

#[test]
fn no_two_seals_are_alike() {
    let seal = || sealer().seal(agent(1001), 9, &live()).expect("sealed");
    assert_ne!(seal(), seal());
}

#[test]
fn r17_neither_keys_nor_entries_nor_errors_show_a_secret() {
    let text = sealer().seal(agent(1001), 9, &live()).expect("sealed");
    assert!(!text.contains("279fe21d"));
    let shown = format!("{:?} {:?} {:?} {:?}", keys(&[1]), sealer(), live(), SealError::Refused);
    assert!(!shown.contains("279fe21d") && shown.contains("Keys(1)"), "{shown}");

    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "planted-secret-that-is-no-key").expect("written");
    let error = Keys::read(file.path()).expect_err("no key");
    assert!(!format!("{error} {error:?}").contains("planted"), "{error:?}");
}

#[test]
fn a_key_file_is_read_or_says_what_is_wrong() {
    let read = |text: &str| {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        Keys::read(file.path()).map(|keys| keys.0.len()).map_err(|error| error.to_string())
    };
    let key = STANDARD.encode([5_u8; 32]);
    assert_eq!(read(&format!("{key}\n\n{key}\r\n")), Ok(2));
    assert!(read("").expect_err("empty").contains("is empty"));
    assert!(read(" \n\n").expect_err("empty").contains("is empty"));
    assert!(read(&format!("{key}\n%%%\n")).expect_err("no base64").ends_with(":2: not base64"));
    assert!(read(&STANDARD.encode([5_u8; 16])).expect_err("short").contains("32 bytes"));
    assert!(read(&"x".repeat(20_000)).expect_err("long").contains("cannot be read"));
    let missing = Keys::read(Path::new("/nowhere/key")).expect_err("missing");
    assert!(matches!(missing, KeyError::Unreadable { .. }), "{missing}");
}

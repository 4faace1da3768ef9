//! What budgets leave in the server.

use super::*;
use crate::budget::{Exchange as _, Own, RecordingId, SubjectId};
use crate::session::store::Metrics;
use crate::session::store::redis::SharedBudgets;

#[tokio::test]
async fn every_key_expires_whatever_is_asked_for() {
    let server = Server::start();
    let metrics = Metrics::register(&prometheus::Registry::new()).expect("fresh names");
    let budgets = SharedBudgets::new(&server.config(), "one", metrics).expect("set up");
    let told = RecordingId::parse("00000000000000aa").expect("an id");
    let own = |subject, recordings_max| Own {
        subject: SubjectId::for_test(subject),
        bytes: "h29900010=7".to_owned(),
        recordings: vec![(told, 29_900_010)],
        since: 29_900_000,
        oldest: 29_898_570,
        now: 29_900_010,
        recordings_max,
    };
    let others = budgets.exchange(&[own(1, 10), own(2, 0)]).await.expect("answered");
    assert_eq!(others.iter().map(|others| others.recordings.len()).collect::<Vec<_>>(), [1, 0]);
    let ::redis::Value::Array(keys) = server.command(&["KEYS", "*:budget:*"]).await else { panic!("keys") };
    assert_eq!(keys.len(), 4);
    for key in keys {
        let ::redis::Value::BulkString(key) = key else { panic!("a key") };
        let key = String::from_utf8(key).expect("a name");
        let ::redis::Value::Int(left) = server.command(&["PTTL", &key]).await else { panic!("a time") };
        assert!(left > 25 * 3_600 * 1_000, "{key}: {left}");
    }
}

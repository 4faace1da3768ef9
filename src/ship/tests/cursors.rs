//! A cursor that cannot be believed costs a second sending and nothing else.

use super::*;
use crate::ship::cursor::{self, Cursor, Useless};

#[test]
fn a_cursor_is_read_as_it_was_written() {
    let dir = TempDir::new().expect("a directory");
    assert_eq!(cursor::load(dir.path(), ORIGIN, 10).expect("none yet"), 0);
    for seq in [3, 10] {
        cursor::save(dir.path(), &Cursor { origin: ORIGIN.to_owned(), seq }).expect("saved");
        assert_eq!(cursor::load(dir.path(), ORIGIN, 10).expect("a cursor"), seq);
    }
    let files: Vec<_> =
        std::fs::read_dir(dir.path()).expect("files").map(|file| file.expect("a file").file_name()).collect();
    assert_eq!(files, ["ship.cursor"]);
}

#[test]
fn a_cursor_that_cannot_be_believed_is_told_apart() {
    let dir = TempDir::new().expect("a directory");
    let load = |text: &[u8]| {
        std::fs::write(dir.path().join("ship.cursor"), text).expect("written");
        cursor::load(dir.path(), ORIGIN, 10)
    };
    let whole = format!("{{\"origin\":\"{ORIGIN}\",\"seq\":10}}\n");
    for cut in 0..whole.len() - 1 {
        assert!(matches!(load(&whole.as_bytes()[..cut]), Err(Useless::Malformed)), "{cut}");
    }
    assert!(matches!(load(b"\0\0\0\0"), Err(Useless::Malformed)));
    assert!(matches!(load(b"{\"origin\":\"other\",\"seq\":1}"), Err(Useless::OtherLog(other)) if other == "other"));
    let beyond = format!("{{\"origin\":\"{ORIGIN}\",\"seq\":11}}");
    assert!(matches!(load(beyond.as_bytes()), Err(Useless::Beyond { seq: 11, durable: 10 })));
    std::fs::remove_file(dir.path().join("ship.cursor")).expect("removed");
    std::fs::create_dir(dir.path().join("ship.cursor")).expect("a folder");
    assert!(matches!(cursor::load(dir.path(), ORIGIN, 10), Err(Useless::Io(_))));
}

#[tokio::test]
async fn with_a_cursor_of_no_use_all_is_sent_again_under_the_same_ids() {
    let other = "{\"origin\":\"another\",\"seq\":5}";
    for useless in ["", "{\"origin\":", other, "{\"origin\":\"ccgate.audit/0123456789abcdef\",\"seq\":999999}"] {
        let mut world = World::new(Fake::default());
        world.write(20).await;
        world.shipped().await;
        let first = world.fake.seqs().len();
        world.kill_shipping();
        tokio::time::sleep(Duration::from_millis(20)).await;
        std::fs::write(world.dir.path().join("ship.cursor"), useless).expect("written");
        world.ship();
        world.until("all again", |world| world.fake.seqs().len() == 2 * first).await;
        world.stop().await;
        world.assert_complete();
    }
}

//! How many instructions one small download costs, counted by valgrind. Other than a time, it is nearly the same on a busy
//! machine, so a slow change is seen when it is made.

use crate::ONE_AT_A_TIME;
use crate::client::Keeper;
use crate::world::{World, call};

/// 1,304,917 were counted when this was last changed, in a debug build, and 5 %. Whoever makes it cheaper lowers it; who must
/// make it dearer raises it, and says why.
const MOST: u64 = 1_370_000;

const FEW: u32 = 50;
const MANY: u32 = 250;

/// All instructions of a life of so many downloads.
async fn counted(downloads: u32) -> u64 {
    let world = World::new().env("TOKIO_WORKER_THREADS", "1").sim(|sim| sim.default_size = 1024).config(|config| {
        config["log"]["level"] = "info".into();
        // What comes by the clock depends on the machine's speed.
        config["audit"]["checkpoint_interval"] = "60s".into();
        config["audit"]["write_timeout"] = "60s".into();
        config["reload"] = serde_json::json!({ "interval": "0s" });
    });
    let mut world = world.without_gateway().await;
    let file = world.dir().join("callgrind.out");
    let to = format!("--callgrind-out-file={}", file.display());
    world.run_process_under(&["valgrind", "--quiet", "--tool=callgrind", &to]).await;
    world.until_ready().await;
    let bearer = format!("Bearer {}", world.issuer.agent(1001));
    let mut connection = Keeper::open(world.server()).await;
    for number in 0..downloads {
        let target = call(1001, &format!("c-{number}"));
        let answer = connection.get(&target, &[("authorization", &bearer)]).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 1024), "{answer:?}");
    }
    drop(connection);
    assert!(world.shut_down().await);
    let text = std::fs::read_to_string(file).unwrap();
    let totals = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("callgrind's totals");
    totals.trim().parse().unwrap()
}

/// The difference of two lives of which one does more: what a start and a stop cost is in both.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_download_costs_no_more_instructions_than_it_did() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let (few, many) = (counted(FEW).await, counted(MANY).await);
    let each = (many - few) / u64::from(MANY - FEW);
    println!("{few} instructions with {FEW} downloads, {many} with {MANY}: {each} each, at most {MOST}");
    assert!(each <= MOST, "{each} instructions, at most {MOST}");
    // Who made it much cheaper and left the bound is to lower it, or the next one may waste it unseen. An optimised build
    // takes a fourth; its count is told, and has no bound.
    assert!(each >= MOST / 2 || cfg!(not(debug_assertions)), "{each} instructions: lower the bound of {MOST}");
}

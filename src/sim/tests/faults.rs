//! Every fault, as a client meets it.

use super::*;

const SIZE: u64 = 200_000;
/// Silence so long is a stall.
const SHORT: Duration = Duration::from_millis(300);

/// A signed-in client of a site where downloads get `what`.
async fn faulty(framing: Framing, what: Kind) -> (Simulator, Client, String) {
    let simulator = start(Config { framing, default_size: SIZE, ..quick() }).await;
    let mut client = Client::new(&simulator).await;
    let guid = sign_in(&mut client).await;
    simulator.fault(Fault { what, calls: Scope::Download, agent: Some(AGENT), times: 1 });
    client.send_call(("GET", &recording(CALL)), Some(&guid), "", "").await;
    (simulator, client, guid)
}

/// The answer that `what` makes of a download with a length.
async fn answer(what: Kind) -> Response {
    let (_simulator, mut client, _) = faulty(Framing::ContentLength, what).await;
    client.response().await.unwrap()
}

fn whole() -> Vec<u8> {
    body_bytes(CALL, 0, 200_000, SIZE)
}

#[tokio::test]
async fn answers_in_place_of_the_call() {
    let refused = answer(Kind::Retcode("000-004".to_owned())).await;
    assert_eq!((refused.status, refused.retcode().as_str()), (200, "000-004"));
    assert_eq!(refused.header("Content-Type"), Some("application/json;charset=UTF-8"));
    let disguised = answer(Kind::JsonAsFile("000-003".to_owned())).await;
    assert_eq!(disguised.header("Content-Type"), Some("application/octet-stream;charset=utf-8"));
    assert_eq!(disguised.retcode(), "000-003");
    assert_eq!(answer(Kind::Http(503)).await.status, 503);
    let page = answer(Kind::HtmlPage).await;
    assert_eq!((page.status, page.header("Content-Type")), (200, Some("text/html;charset=utf-8")));
    let switching = answer(Kind::Switching101).await;
    assert_eq!((switching.status, switching.end), (101, End::Closed));
}

#[tokio::test]
async fn a_fault_is_used_up_and_leaves_the_session() {
    let (simulator, mut client, guid) = faulty(Framing::ContentLength, Kind::Retcode("000-000".to_owned())).await;
    assert_eq!(client.response().await.unwrap().retcode(), "000-000");
    assert_eq!(client.get(&recording(CALL), &guid).await.body, whole());
    simulator.fault(Fault { what: Kind::Reset, calls: Scope::Any, agent: None, times: 9 });
    simulator.clear_faults();
    assert_eq!(client.get(&recording(CALL), &guid).await.status, 200);
    let counts = simulator.counts();
    assert_eq!((counts.downloads, counts.download_refusals), (2, 1));
}

#[tokio::test]
async fn cuts_end_short_with_and_without_a_farewell() {
    for framing in [Framing::ContentLength, Framing::Chunked] {
        for at in [0, 100_000, SIZE] {
            for (what, ending) in [(Kind::CutAt(at), End::Cut), (Kind::CutCleanAt(at), End::Closed)] {
                let (_simulator, mut client, _) = faulty(framing, what).await;
                let cut = client.response().await.unwrap();
                assert_eq!(cut.status, 200);
                assert_eq!(cut.body, whole()[..usize::try_from(at).unwrap()]);
                if framing == Framing::Chunked || at < SIZE {
                    assert_eq!(cut.end, ending, "{framing:?} at {at}");
                } else {
                    assert_eq!((cut.end, client.rest().await.1), (End::Complete, ending));
                }
            }
        }
    }
}

#[tokio::test]
async fn stalls_and_hangs_last_until_the_client_goes() {
    for framing in [Framing::ContentLength, Framing::Chunked] {
        let (simulator, mut client, _) = faulty(framing, Kind::StallAt(1_000)).await;
        client.patience = SHORT;
        let stalled = client.response().await.unwrap();
        assert_eq!((stalled.body.len(), stalled.end), (1_000, End::Silent));
        assert_eq!(simulator.counts().open_downloads, 1);
        drop(client);
        eventually("the body is over", || simulator.counts().open_downloads == 0).await;
    }
    let (simulator, mut client, _) = faulty(Framing::ContentLength, Kind::HangBeforeHead).await;
    client.patience = SHORT;
    assert_eq!(client.response().await.unwrap_err(), End::Silent);
    drop(client);
    eventually("the connection is over", || simulator.counts().open_connections == 0).await;
}

#[tokio::test]
async fn a_hanging_sign_in_was_done_and_stays_unanswered() {
    let simulator = start(quick()).await;
    simulator.fault(Fault { what: Kind::HangBeforeHead, calls: Scope::SignIn, agent: None, times: 1 });
    let (mut one, mut two) = (Client::new(&simulator).await, Client::new(&simulator).await);
    one.send_call(("PUT", &format!("/onlineagent/{AGENT}/loginex")), None, "", BUSY).await;
    eventually("the agent is signed in", || simulator.signed_in(AGENT).is_some()).await;
    let path = format!("/onlineagent/{AGENT}/loginex");
    assert_eq!(two.call("PUT", &path, None, BUSY).await.retcode(), "000-007");
    assert_eq!(rules(&simulator), [Rule::SignInRepeated]);
    drop(one);
    eventually("the connection is over", || simulator.counts().open_connections == 1).await;
    assert_eq!(two.call("PUT", &path, None, BUSY).await.retcode(), "100-002");
}

#[tokio::test]
async fn slow_bodies_are_whole_in_the_end() {
    let started = tokio::time::Instant::now();
    let slow = answer(Kind::SlowBody { piece: 50_000, every: Duration::from_millis(30) }).await;
    assert_eq!(slow.body, whole());
    assert!(started.elapsed() >= Duration::from_millis(120));
    let started = tokio::time::Instant::now();
    let limited = answer(Kind::Rate(1_000_000)).await;
    assert_eq!((limited.body == whole(), limited.end), (true, End::Complete));
    assert!(started.elapsed() >= Duration::from_millis(150), "{:?}", started.elapsed());
    let started = tokio::time::Instant::now();
    assert_eq!(answer(Kind::DelayHead(Duration::from_millis(100))).await.body, whole());
    assert!(started.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn a_pause_ends_when_the_client_goes() {
    let hour = Duration::from_hours(1);
    for what in [Kind::SlowBody { piece: 10, every: hour }, Kind::DelayHead(hour)] {
        let (simulator, client, _) = faulty(Framing::ContentLength, what).await;
        eventually("it has begun", || simulator.counts().downloads == 1).await;
        drop(client);
        eventually("the connection is over", || simulator.counts().open_connections == 0).await;
    }
}

#[tokio::test]
async fn framings_are_broken_on_demand() {
    let both = answer(Kind::BothFramings).await;
    assert_eq!((both.header("Content-Length"), both.header("Transfer-Encoding")), (Some("200000"), Some("chunked")));
    assert_eq!(both.body, whole());
    let two = answer(Kind::TwoLengths).await;
    assert_eq!(two.all("Content-Length"), ["200000", "200001"]);
    let odd = answer(Kind::TransferEncoding("identity".to_owned())).await;
    assert_eq!((odd.header("Transfer-Encoding"), odd.header("Content-Length")), (Some("identity"), None));
    assert_eq!((odd.body == whole(), odd.end), (true, End::Closed));
    let coded = answer(Kind::TransferEncoding("gzip, chunked".to_owned())).await;
    assert_eq!((coded.header("Transfer-Encoding"), coded.end), (Some("gzip, chunked"), End::Complete));
    let open_ended = answer(Kind::CloseDelimited).await;
    assert_eq!((open_ended.header("Content-Length"), open_ended.header("Transfer-Encoding")), (None, None));
    assert_eq!((open_ended.body == whole(), open_ended.end), (true, End::Closed));
}

#[tokio::test]
async fn a_short_length_leaves_bytes_behind() {
    let (_simulator, mut client, _) = faulty(Framing::ContentLength, Kind::ShortLength).await;
    let short = client.response().await.unwrap();
    assert_eq!((short.header("Content-Length"), short.end), (Some("100000"), End::Complete));
    client.patience = SHORT;
    let (left, end) = client.rest().await;
    assert_eq!((left == whole()[100_000..], end), (true, End::Silent));
}

#[tokio::test]
async fn half_a_body_ends_like_a_whole_one() {
    let half = answer(Kind::HalfBody).await;
    assert_eq!((half.body == whole()[..100_000], half.end), (true, End::Complete));
}

#[tokio::test]
async fn heads_are_broken_on_demand() {
    let other = answer(Kind::ContentType("audio/x-wav".to_owned())).await;
    assert_eq!((other.header("Content-Type"), other.body == whole()), (Some("audio/x-wav"), true));
    let huge = answer(Kind::HugeHead).await;
    assert_eq!(huge.all("X-Filler").iter().map(|value| value.len()).sum::<usize>(), 1 << 20);
    let (_simulator, mut client, _) = faulty(Framing::ContentLength, Kind::GarbageHead).await;
    let (bytes, end) = client.rest().await;
    assert_eq!((bytes.starts_with(b"\x05\x01 not HTTP"), end), (true, End::Closed));
    let (_simulator, mut client, _) = faulty(Framing::ContentLength, Kind::Reset).await;
    assert_eq!(client.rest().await, (Vec::new(), End::Reset));
}

#[tokio::test]
async fn json_answers_meet_faults_too() {
    let simulator = start(quick()).await;
    let mut client = Client::new(&simulator).await;
    let guid = sign_in(&mut client).await;
    simulator.fault(Fault { what: Kind::CutAt(5), calls: Scope::Poll, agent: None, times: 1 });
    let cut = client.get(&format!("/agentevent/{AGENT}"), &guid).await;
    assert_eq!((cut.body.len(), cut.end), (5, End::Cut));
}

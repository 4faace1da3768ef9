//! Rules that only show on a connection, and the simulator's own manners.

use super::*;

#[tokio::test]
async fn a_sign_in_is_not_repeated_before_it_answered() {
    let simulator = start(Config { sign_in_delay: Duration::from_secs(1), ..quick() }).await;
    let (mut one, mut two) = (Client::new(&simulator).await, Client::new(&simulator).await);
    one.send_call(("PUT", &format!("/onlineagent/{AGENT}/loginex")), None, "", BUSY).await;
    eventually("the first is there", || simulator.counts().sign_in_calls == 1).await;
    let repeated = two.call("PUT", &format!("/onlineagent/{AGENT}/loginex"), None, BUSY).await;
    assert_eq!(repeated.retcode(), "000-007");
    let out = two.call("DELETE", &format!("/onlineagent/{AGENT}/logout"), Some("any"), "").await;
    assert_eq!(out.retcode(), "000-007");
    assert_eq!(one.response().await.unwrap().retcode(), "0");
    assert_eq!(rules(&simulator), [Rule::SignInRepeated, Rule::SignOutDuringSignIn]);
}

#[tokio::test]
async fn a_sign_in_that_nobody_waits_for_succeeds_all_the_same() {
    let simulator = start(Config { sign_in_delay: Duration::from_millis(50), ..quick() }).await;
    let mut client = Client::new(&simulator).await;
    client.send_call(("PUT", &format!("/onlineagent/{AGENT}/loginex")), None, "", BUSY).await;
    eventually("it is there", || simulator.counts().sign_in_calls == 1).await;
    drop(client);
    eventually("the agent is signed in", || simulator.signed_in(AGENT).is_some()).await;
    let mut client = Client::new(&simulator).await;
    let ghost = client.call("PUT", &format!("/onlineagent/{AGENT}/loginex"), None, BUSY).await;
    assert_eq!(ghost.retcode(), "100-002");
}

#[tokio::test]
async fn what_was_seen_holds_no_guid() {
    let simulator = start(quick()).await;
    let mut client = Client::new(&simulator).await;
    let guid = sign_in(&mut client).await;
    client.get(&recording(CALL), &guid).await;
    let seen = simulator.requests();
    assert_eq!((seen[0].method.as_str(), seen[0].header("guid")), ("PUT", None));
    assert_eq!((seen[1].method.as_str(), seen[1].header("guid")), ("GET", Some("<guid>")));
    assert_eq!(seen[1].target, format!("{BASE}{}", recording(CALL)));
    let printed = format!("{seen:?} {:?} {:?}", simulator.broken_rules(), quick());
    assert!(!printed.contains(&guid) && !printed.contains("simulated"), "{printed}");
}

#[tokio::test]
async fn bad_manners_are_recorded_whatever_is_answered() {
    let simulator = start(quick()).await;
    let mut client = Client::new(&simulator).await;
    let guid = sign_in(&mut client).await;
    let more = "Authorization: Bearer x\r\nX-Forwarded-For: 1.2.3.4\r\nX_Guid: y\r\n";
    client.send_call(("GET", &recording(CALL)), Some(&guid), more, "").await;
    assert_eq!(client.response().await.unwrap().status, 200);
    assert_eq!(rules(&simulator), [Rule::ForbiddenHeader; 3]);
    simulator.clear_broken_rules();
    client.send_call(("GET", &recording(CALL)), Some(&guid), &format!("GUID: {guid}\r\n"), "body").await;
    assert_eq!(client.response().await.unwrap().status, 200);
    assert_eq!(rules(&simulator), [Rule::BodyOnGet, Rule::RepeatedHeader]);
    simulator.clear_broken_rules();
    let twice = format!("{}&callId=2", recording(CALL));
    assert_eq!(client.get(&twice, &guid).await.retcode(), "000-002");
    assert_eq!(client.get(&format!("/recordfile/{AGENT}/../x"), &guid).await.retcode(), "000-002");
    assert_eq!(rules(&simulator), [Rule::RepeatedParameter, Rule::NotCanonical, Rule::UnknownCall]);
    simulator.clear_broken_rules();
    client.send("GET /other HTTP/1.0\r\nGuid: x\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n").await;
    let answer = client.response().await.unwrap();
    assert_eq!((answer.status, client.rest().await.1), (404, End::Closed));
    assert_eq!(rules(&simulator), [Rule::HttpVersion, Rule::UnknownCall]);
}

#[tokio::test]
async fn what_is_no_request_ends_the_connection() {
    let simulator = start(quick()).await;
    let mut client = Client::new(&simulator).await;
    client.send("PUT / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await;
    let answer = client.response().await.unwrap();
    assert_eq!((answer.status, client.rest().await.1), (400, End::Closed));
    assert_eq!((rules(&simulator), simulator.counts().requests), (vec![Rule::Malformed], 1));
    assert!(simulator.requests().is_empty());
}

#[tokio::test]
async fn the_certificate_is_for_its_names_only() {
    let simulator = start(quick()).await;
    for name in ["127.0.0.1", "::1", "localhost"] {
        assert!(Client::named(&simulator, name).await.is_ok(), "{name}");
    }
    assert!(Client::named(&simulator, "10.244.154.23").await.is_err());
    let other = start(Config { names: vec!["cc-gateway.example".to_owned()], ..quick() }).await;
    assert!(Client::named(&other, "127.0.0.1").await.is_err());
    assert!(Client::named(&other, "cc-gateway.example").await.is_ok());
}

#[tokio::test]
async fn stopping_and_dropping_end_all_connections() {
    let simulator = start(Config { poll_wait: Duration::from_mins(1), ..Config::default() }).await;
    let address = simulator.address();
    let (mut one, mut two) = (Client::new(&simulator).await, Client::new(&simulator).await);
    let guid = sign_in(&mut one).await;
    two.send_call(("GET", &format!("/agentevent/{AGENT}")), Some(&guid), "", "").await;
    eventually("the poll waits", || simulator.counts().polls == 1).await;
    simulator.stop().await;
    assert!(matches!(one.rest().await.1, End::Cut | End::Reset));
    assert!(matches!(two.rest().await.1, End::Cut | End::Reset));
    assert!(TcpStream::connect(address).await.is_err());

    let dropped = start(quick()).await;
    let mut client = Client::new(&dropped).await;
    drop(dropped);
    assert!(matches!(client.rest().await.1, End::Cut | End::Reset));
}

#[tokio::test]
async fn a_client_that_goes_ends_its_download() {
    let simulator = start(Config { default_size: 1 << 40, ..quick() }).await;
    let mut client = Client::new(&simulator).await;
    let guid = sign_in(&mut client).await;
    client.send_call(("GET", &recording(CALL)), Some(&guid), "", "").await;
    eventually("the body is open", || simulator.counts().open_downloads == 1).await;
    drop(client);
    eventually("the body is over", || simulator.counts().open_downloads == 0).await;
    assert!(simulator.counts().bytes_sent < 1 << 30);
}

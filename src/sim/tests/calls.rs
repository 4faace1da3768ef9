//! Every call of the vendor, over TLS.

use super::*;

const CONFERENCE: &str = "0e1f2a3b-0000-4000-8000-0123456789ab";

#[tokio::test]
async fn a_good_client_tells_a_whole_story() {
    let simulator = start(quick()).await;
    simulator.add_file(CALL, 200_000);
    let mut client = Client::new(&simulator).await;
    let answer = client.call("PUT", &format!("/onlineagent/{AGENT}/loginex"), None, BUSY).await;
    assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("application/json;charset=UTF-8")));
    let result = &answer.json()["result"];
    assert_eq!((&result["workno"], &result["isForceChange"]), (&"1001".into(), &"false".into()));
    assert_eq!((&result["mediatype"], &result["timeRemaining"]), (&"TFF".into(), &"".into()));
    let guid = answer.guid().unwrap();
    assert_eq!(simulator.guid_of(AGENT).as_deref(), Some(guid.as_str()));
    assert_eq!(simulator.signed_in(AGENT).unwrap().form, SignInForm::Platform);

    let poll = client.get(&format!("/agentevent/{AGENT}"), &guid).await;
    assert_eq!((poll.retcode().as_str(), poll.guid()), ("0", None));
    assert!(poll.json().as_object().unwrap().contains_key("event"));

    let file = client.get(&recording(CALL), &guid).await;
    assert_eq!((file.status, file.header("Content-Type")), (200, Some("application/octet-stream;charset=utf-8")));
    assert_eq!((file.header("Content-Length"), file.header("Accept-Ranges")), (Some("200000"), None));
    assert_eq!(file.header("Content-Disposition"), Some("attachment;filename=\"1621413752-2011.wav\""));
    assert_eq!(file.body, body_bytes(CALL, 0, 200_000, 200_000));

    let answer = client.call("DELETE", &format!("/onlineagent/{AGENT}/logout"), Some(&guid), "").await;
    assert_eq!(answer.retcode(), "0");
    assert_eq!(simulator.signed_in(AGENT), None);
    assert_eq!(simulator.broken_rules(), []);
    let counts = simulator.counts();
    assert_eq!((counts.sign_in_calls, counts.sign_ins, counts.sign_outs, counts.polls), (1, 1, 1, 1));
    assert_eq!((counts.downloads, counts.download_refusals, counts.bytes_sent), (1, 0, 200_000));
    assert_eq!((counts.requests, counts.open_connections, counts.open_downloads), (4, 1, 0));
    drop(client);
    eventually("the connection ends", || simulator.counts().open_connections == 0).await;
}

#[tokio::test]
async fn all_five_downloads_give_their_recording_in_both_framings() {
    for framing in [Framing::ContentLength, Framing::Chunked] {
        let simulator = start(Config { framing, default_size: 70_001, ..quick() }).await;
        let mut client = Client::new(&simulator).await;
        let guid = sign_in(&mut client).await;
        let video = "Y:/90/0/20210519/1001/1642329.mp4";
        for (path, key) in [
            (recording(CALL), CALL.to_owned()),
            (format!("{}&hwFileName=y:/90/0/20210519/1001/1642329.mp4", recording(CALL)), video.to_owned()),
            (format!("/recordfile/{AGENT}?recordId={video}"), video.to_owned()),
            (
                format!("/recordfile/{AGENT}/videofiledownload?conferenceId={CONFERENCE}&fileType=1"),
                CONFERENCE.to_owned(),
            ),
            (format!("/recordfile/{AGENT}/videofiledownloadEx?recordId={video}"), video.to_owned()),
            (format!("/filedownload/{AGENT}/webmsgrecordfiledownloadex?fileName=a.zip"), "a.zip".to_owned()),
        ] {
            let file = client.get(&path, &guid).await;
            assert_eq!((file.status, file.end), (200, End::Complete), "{path}");
            assert_eq!(file.body, body_bytes(&key, 0, 70_001, 70_001), "{path}");
            assert_eq!(file.header("Transfer-Encoding").is_some(), framing == Framing::Chunked);
        }
        assert_eq!(simulator.broken_rules(), []);
    }
}

#[tokio::test]
async fn ranges_are_honoured_where_the_site_does() {
    let simulator = start(Config { ranges: true, ..quick() }).await;
    let mut client = Client::new(&simulator).await;
    let guid = sign_in(&mut client).await;
    let mut ranged = async |more: &str| {
        client.send_call(("GET", &recording(CALL)), Some(&guid), more, "").await;
        client.response().await.unwrap()
    };
    let whole = ranged("").await;
    assert_eq!((whole.status, whole.header("Accept-Ranges")), (200, Some("bytes")));
    let etag = whole.header("ETag").unwrap();
    let part = ranged("Range: bytes=60000-\r\n").await;
    assert_eq!((part.status, part.header("Content-Range")), (206, Some("bytes 60000-65535/65536")));
    assert_eq!(part.body, whole.body[60_000..]);
    let same = ranged(&format!("Range: bytes=0-9\r\nIf-Range: {etag}\r\n")).await;
    assert_eq!((same.status, same.body.as_slice()), (206, &whole.body[..10]));
    assert_eq!(ranged("Range: bytes=0-9\r\nIf-Range: \"old\"\r\n").await.status, 200);
    let beyond = ranged("Range: bytes=65536-\r\n").await;
    assert_eq!((beyond.status, beyond.header("Content-Range")), (416, Some("bytes */65536")));
    assert_eq!(simulator.broken_rules(), []);

    let deaf = start(quick()).await;
    let mut client = Client::new(&deaf).await;
    let guid = sign_in(&mut client).await;
    client.send_call(("GET", &recording(CALL)), Some(&guid), "Range: bytes=0-9\r\n", "").await;
    let whole = client.response().await.unwrap();
    assert_eq!((whole.status, whole.body.len(), whole.header("Content-Range")), (200, 65_536, None));
}

#[tokio::test]
async fn downloads_are_refused_as_documented() {
    let simulator = start(Config { full_sign_in_only: true, ..quick() }).await;
    let mut client = Client::new(&simulator).await;
    let guid = sign_in(&mut client).await;
    let refused = client.get(&recording(CALL), &guid).await;
    assert_eq!((refused.status, refused.retcode().as_str()), (200, "000-003"));
    client.call("DELETE", &format!("/onlineagent/{AGENT}/logout"), Some(&guid), "").await;
    let full = BUSY.replace('{', r#"{"phonenum":"40038","#);
    let answer = client.call("PUT", &format!("/onlineagent/{AGENT}"), None, &full).await;
    let guid = answer.guid().unwrap();
    assert_eq!(client.get(&recording("missing-1"), &guid).await.retcode(), "104-005");
    simulator.add_missing(CALL);
    assert_eq!(client.get(&recording(CALL), &guid).await.retcode(), "104-005");
    assert_eq!(client.get(&recording("2&workNo=1002"), &guid).await.retcode(), "104-002");
    assert_eq!(client.get(&recording("2"), "made-up").await.retcode(), "100-006");
    assert_eq!(simulator.counts().download_refusals, 5);
    assert_eq!(rules(&simulator), [Rule::UnknownGuid]);

    let without = start(Config { download_enabled: false, ..quick() }).await;
    let mut client = Client::new(&without).await;
    let guid = sign_in(&mut client).await;
    assert_eq!(client.get(&recording(CALL), &guid).await.retcode(), "104-001");
}

#[tokio::test]
async fn guids_are_replaced_on_polls_and_on_request() {
    let guid_mode = GuidMode::Dynamic { interval: Duration::ZERO, timeout: Duration::from_secs(9) };
    let simulator = start(Config { guid_mode, guid_shape: GuidShape::Hex48, ..quick() }).await;
    let mut client = Client::new(&simulator).await;
    let first = sign_in(&mut client).await;
    assert_eq!(first.len(), 48 + ".AgentGateway0".len());
    let second = client.get(&format!("/agentevent/{AGENT}"), &first).await.guid().unwrap();
    assert_eq!(client.get(&recording(CALL), &first).await.status, 200);
    let refresh = client.call("PUT", &format!("/onlineagent/{AGENT}/updateGuid"), Some(&second), "").await;
    let third = refresh.guid().unwrap();
    assert_eq!(client.get(&recording(CALL), &third).await.header("Set-GUID"), None);
    assert_eq!(simulator.guid_of(AGENT), Some(third));
    assert_eq!((simulator.counts().rotations, simulator.counts().guid_refreshes), (1, 1));
    assert_eq!(simulator.broken_rules(), []);
}

#[tokio::test]
async fn heartbeats_belong_to_the_push_mode() {
    let guid_mode = GuidMode::Dynamic { interval: Duration::ZERO, timeout: Duration::from_secs(9) };
    let simulator = start(Config { push_mode: true, guid_mode, ..quick() }).await;
    let mut client = Client::new(&simulator).await;
    let body = BUSY.replace('{', r#"{"callBackUri":"https://receiver/","serviceToken":"t","#);
    let signed_in = client.call("PUT", &format!("/onlineagent/{AGENT}/loginex"), None, &body).await;
    let guid = signed_in.guid().unwrap();
    let heartbeat = client.call("POST", &format!("/onlineagent/{AGENT}/handshake"), Some(&guid), "").await;
    assert_eq!(heartbeat.retcode(), "0");
    let fresh = heartbeat.guid().unwrap();
    assert_eq!((simulator.counts().heartbeats, simulator.broken_rules()), (1, vec![]));
    assert_eq!(client.get(&format!("/agentevent/{AGENT}"), &fresh).await.retcode(), "000-001");
    assert_eq!(rules(&simulator), [Rule::WrongEventMode]);
}

#[tokio::test]
async fn forcible_calls_are_counted() {
    let simulator = start(quick()).await;
    simulator.hold_elsewhere(AGENT);
    let mut client = Client::new(&simulator).await;
    let full = BUSY.replace('{', r#"{"phonenum":"40038","#);
    assert_eq!(client.call("PUT", &format!("/onlineagent/{AGENT}"), None, &full).await.retcode(), "100-002");
    let forced = client.call("PUT", &format!("/onlineagent/{AGENT}/forcelogin"), None, &full).await;
    let guid = forced.guid().unwrap();
    let out = client.call("DELETE", &format!("/onlineagent/{AGENT}/forcelogout"), Some(&guid), "").await;
    assert_eq!(out.retcode(), "0");
    let counts = simulator.counts();
    assert_eq!((counts.sign_in_calls, counts.sign_ins, counts.forced, counts.sign_outs), (2, 1, 1, 1));
    assert_eq!(simulator.broken_rules(), []);
}

#[tokio::test]
async fn polls_wait_for_events_and_end_with_their_session() {
    let simulator = start(Config { poll_wait: Duration::from_mins(1), ..Config::default() }).await;
    let mut client = Client::new(&simulator).await;
    let guid = sign_in(&mut client).await;
    simulator.push_event(AGENT, serde_json::json!({"eventType": "AgentEvent_Ready"}));
    let told = client.get(&format!("/agentevent/{AGENT}"), &guid).await;
    assert_eq!(told.json()["event"]["eventType"], "AgentEvent_Ready");

    tokio::time::sleep(Duration::from_millis(210)).await;
    client.send_call(("GET", &format!("/agentevent/{AGENT}")), Some(&guid), "", "").await;
    eventually("the poll waits", || simulator.counts().polls == 2).await;
    simulator.throw_out(AGENT);
    assert_eq!(client.response().await.unwrap().retcode(), "100-006");
    sign_in(&mut client).await;
    simulator.restart();
    assert_eq!(simulator.signed_in(AGENT), None);
    assert_eq!(simulator.broken_rules(), []);
}

#[tokio::test]
async fn a_poll_that_nobody_waits_for_is_over() {
    let simulator = start(Config { poll_wait: Duration::from_mins(1), ..Config::default() }).await;
    let mut client = Client::new(&simulator).await;
    let guid = sign_in(&mut client).await;
    client.send_call(("GET", &format!("/agentevent/{AGENT}")), Some(&guid), "", "").await;
    eventually("the poll waits", || simulator.counts().polls == 1).await;
    drop(client);
    eventually("the connection ends", || simulator.counts().open_connections == 0).await;
    let mut client = Client::new(&simulator).await;
    simulator.push_event(AGENT, serde_json::json!("here"));
    assert_eq!(client.get(&format!("/agentevent/{AGENT}"), &guid).await.json()["event"], "here");
    assert_eq!(simulator.broken_rules(), []);
}

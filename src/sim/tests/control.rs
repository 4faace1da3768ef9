//! The control port.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Status and body of one request.
async fn ask(simulator: &Simulator, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
    let address = simulator.control_url().unwrap().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

fn controlled() -> Config {
    Config { control: Some("127.0.0.1:0".parse().unwrap()), ..quick() }
}

#[tokio::test]
async fn the_state_tells_all_but_guids() {
    let simulator = start(controlled()).await;
    let mut client = Client::new(&simulator).await;
    let guid = sign_in(&mut client).await;
    client.get(&recording(CALL), "made-up").await;
    let (status, state) = ask(&simulator, "GET", "/state", "").await;
    assert_eq!((status, &state["counts"]["sign_ins"], &state["rules_broken"]), (200, &1.into(), &1.into()));
    assert_eq!((&state["sessions"][0]["agent"], &state["sessions"][0]["form"]), (&AGENT.into(), &"platform".into()));
    let (_, rules) = ask(&simulator, "GET", "/rules", "").await;
    assert_eq!((&rules["total"], &rules["broken"][0]["rule"]), (&1.into(), &"unknown_guid".into()));
    let (_, requests) = ask(&simulator, "GET", "/requests", "").await;
    assert_eq!(requests["requests"][1]["headers"][2], serde_json::json!(["Guid", "<guid>"]));
    assert!(!format!("{state}{rules}{requests}").contains(&guid));
    assert_eq!(ask(&simulator, "DELETE", "/rules", "").await.0, 200);
    assert_eq!(simulator.broken_rules(), []);
}

#[tokio::test]
async fn every_switch_switches() {
    let simulator = start(controlled()).await;
    let mut client = Client::new(&simulator).await;
    let fault = r#"{"what":{"retcode":"000-004"},"calls":"sign_in"}"#;
    assert_eq!(ask(&simulator, "POST", "/fault", fault).await.0, 200);
    let path = format!("/onlineagent/{AGENT}/loginex");
    assert_eq!(client.call("PUT", &path, None, BUSY).await.retcode(), "000-004");
    ask(&simulator, "POST", "/fault", fault).await;
    assert_eq!(ask(&simulator, "GET", "/state", "").await.1["faults"][0]["what"]["retcode"], "000-004");
    ask(&simulator, "DELETE", "/faults", "").await;
    let guid = sign_in(&mut client).await;

    ask(&simulator, "POST", "/file", r#"{"key":"1","size":7}"#).await;
    assert_eq!(client.get(&recording("1"), &guid).await.body.len(), 7);
    ask(&simulator, "POST", "/file", r#"{"key":"1"}"#).await;
    assert_eq!(client.get(&recording("1"), &guid).await.retcode(), "104-005");

    ask(&simulator, "POST", "/throw-out", r#"{"agent":1001,"stay":true}"#).await;
    assert_eq!(client.call("PUT", &path, None, BUSY).await.retcode(), "100-002");
    ask(&simulator, "POST", "/release", r#"{"agent":1001}"#).await;
    sign_in(&mut client).await;
    ask(&simulator, "POST", "/restart", "").await;
    assert_eq!(simulator.signed_in(AGENT), None);

    let wrong = BUSY.replace("simulated", "wrong");
    assert_eq!(client.call("PUT", &path, None, &wrong).await.retcode(), "100-004");
    ask(&simulator, "POST", "/allow-password-retry", r#"{"agent":1001}"#).await;
    sign_in(&mut client).await;
    assert_eq!(simulator.broken_rules(), []);
}

#[tokio::test]
async fn mistakes_are_told() {
    let simulator = start(controlled()).await;
    assert_eq!(ask(&simulator, "POST", "/fault", r#"{"what":"nothing"}"#).await.0, 400);
    assert_eq!(ask(&simulator, "POST", "/throw-out", "{}").await.0, 400);
    assert_eq!(ask(&simulator, "GET", "/elsewhere", "").await.0, 404);
    let open = Config { control: Some("0.0.0.0:0".parse().unwrap()), ..quick() };
    assert!(matches!(Simulator::start(open).await, Err(Error::ControlNotLoopback(_))));
    let taken = Config { listen: simulator.address(), ..quick() };
    assert!(matches!(Simulator::start(taken).await, Err(Error::Listen { .. })));
}

//! What holds for any body of an app's sign-in: it is read in one way, and its password never stands in what is printed.

use ccgate::cc::SignInForm;
use ccgate::upstream::DeskSignIn;
use serde_json::Value;

/// The input is the body. Says whether it is taken.
pub fn check(data: &[u8]) -> bool {
    let read = |body: &[u8]| DeskSignIn::parse(SignInForm::Full, body);
    let sign_in = match read(data) {
        Ok(sign_in) => sign_in,
        Err(error) => {
            let text = format!("{error} {error:?}");
            assert!(text.len() < 600 && !text.chars().any(char::is_control), "{text}");
            return false;
        }
    };
    assert!(data.len() <= DeskSignIn::BYTES_MAX);
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(data) else { panic!("a sign-in is one JSON object") };
    // Another writer's spelling of the same fields is the same sign-in.
    let again = read(Value::Object(fields.clone()).to_string().as_bytes()).expect("the same fields");
    let shown = format!("{sign_in:?}");
    assert_eq!(format!("{again:?}"), shown);
    // What is shown does not depend on the password at all.
    let password = fields.insert("password".to_owned(), Value::from("another"));
    assert!(password.is_some_and(|old| old.is_string()), "a sign-in has a password");
    let other = read(Value::Object(fields).to_string().as_bytes()).expect("another password");
    assert_eq!(format!("{other:?}"), shown);
    true
}

//! The client alone.

use http::{HeaderName, HeaderValue};

use super::*;

#[test]
fn r12_a_length_given_in_more_than_one_way_is_seen() {
    let twice = |pairs: &[(HeaderName, &'static str)]| {
        let pairs = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        is_framed_twice(&pairs.fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        }))
    };
    let (length, coding) = (CONTENT_LENGTH, TRANSFER_ENCODING);
    assert!(!twice(&[]) && !twice(&[(length.clone(), "5")]) && !twice(&[(coding.clone(), "Chunked")]));
    assert!(twice(&[(length.clone(), "5"), (coding.clone(), "chunked")]));
    assert!(twice(&[(length.clone(), "5"), (length, "5")]));
    assert!(twice(&[(coding.clone(), "chunked"), (coding.clone(), "chunked")]));
    for odd in ["gzip, chunked", "chunked, chunked", "identity", ""] {
        assert!(twice(&[(coding.clone(), odd)]), "{odd:?}");
    }
}

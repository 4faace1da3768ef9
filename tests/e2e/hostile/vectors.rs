//! The corpus, `vectors.tsv`: what is sent, how it is answered, and whether the upstream hears of it.

/// One vector.
#[derive(Debug)]
pub struct Vector {
    pub name: String,
    /// The heading above it.
    pub group: String,
    /// Of its answers; none: closed without a word.
    pub statuses: Vec<u16>,
    /// Whether the connection is open afterwards.
    pub open: bool,
    /// Whether the upstream is asked for a file.
    pub upstream: bool,
    pub bytes: Vec<u8>,
}

/// The whole corpus, with a good target and a good token in it, so that nothing else refuses what is to be refused.
pub fn all(target: &str, token: &str) -> Vec<Vector> {
    let auth = format!("Authorization: Bearer {token}\\r\\n");
    let head = format!("GET {target} HTTP/1.1\\r\\nHost: a\\r\\n{auth}");
    let fill = |text: &str| {
        let text = text.replace("${head}", &head).replace("${auth}", &auth);
        bytes(&repeat(&text.replace("${target}", target).replace("${token}", token)))
    };
    let mut group = "";
    let mut all = Vec::new();
    for line in include_str!("vectors.tsv").lines().filter(|line| !line.is_empty()) {
        if let Some(heading) = line.strip_prefix('#') {
            group = heading.trim();
            continue;
        }
        let fields: Vec<_> = line.split('\t').collect();
        let [name, statuses, after, upstream, text] = fields[..] else { panic!("not five fields: {line}") };
        let word = |text: &str, yes: &str, no: &str| {
            assert!([yes, no].contains(&text), "{line}");
            text == yes
        };
        all.push(Vector {
            name: name.to_owned(),
            group: group.to_owned(),
            statuses: statuses
                .split(',')
                .filter(|status| *status != "-")
                .map(|status| status.parse().unwrap())
                .collect(),
            open: word(after, "open", "close"),
            upstream: word(upstream, "yes", "no"),
            bytes: fill(text),
        });
    }
    all
}

/// `${text*7}`, filled in.
fn repeat(text: &str) -> String {
    let mut parts = text.split("${");
    let mut filled = parts.next().unwrap().to_owned();
    for part in parts {
        let (inside, behind) = part.split_once('}').unwrap_or_else(|| panic!("not closed: {part}"));
        let (text, times) = inside.rsplit_once('*').unwrap_or_else(|| panic!("not known: {inside}"));
        filled.push_str(&text.repeat(times.parse().unwrap()));
        filled.push_str(behind);
    }
    filled
}

/// The escapes, filled in.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let (byte, length) = match (first, behind) {
            (b'\\', [b'x', high, low, ..]) => {
                let digits = [*high, *low];
                (u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap(), 4)
            }
            (b'\\', [b'r', ..]) => (b'\r', 2),
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b't', ..]) => (b'\t', 2),
            (b'\\', [b'\\', ..]) => (b'\\', 2),
            (b'\\', _) => panic!("no escape: {text}"),
            (byte, _) => (*byte, 1),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

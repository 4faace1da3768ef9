//! The configuration as a tree in which each value knows where it was written. It knows no key.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

use super::problem::{Origin, Problem};

/// A value and where its key (in a list: the value itself) was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Nothing, as after a key without a value: the same as no key.
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; a key that was given twice stands here twice.
    Map(Vec<(String, Node)>),
}

/// Deeper than any key of ours stands; bounds the recursion.
const DEPTH_MAX: usize = 16;

impl Node {
    /// Reads one YAML document. The error tells where the text is no YAML, and quotes nothing of it.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let mut options = serde_saphyr::options! {
            with_snippet: false,
            // `y`, `no` and `on` are texts, as in YAML 1.2; so are 0123 and 1_000, which no two readers take for one number.
            strict_booleans: true,
            leading_zero_numbers_as_strings: true,
            underscored_numbers_as_strings: true,
            // The visitor below keeps both, so that all are reported at once.
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
        };
        if let Some(budget) = &mut options.budget {
            budget.max_depth = DEPTH_MAX;
            budget.max_aliases = 64;
            budget.max_nodes = 10_000;
        }
        serde_saphyr::from_str_with_options::<Self>(text, options).map_err(|error| {
            let error = error.without_snippet();
            let origin = error.location().map_or(Origin::File, |location| Origin::Line(location.line()));
            Problem::error("", "not readable as one YAML document", "mend its syntax first; the rest is checked then")
                .at(origin)
        })
    }

    /// An empty map.
    pub(super) fn empty(origin: Origin) -> Self {
        Self { origin, value: Value::Map(Vec::new()) }
    }

    /// What the value is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a group of keys",
        }
    }

    /// Where the key of a path was written; of its nearest ancestor, where it was not.
    pub(super) fn origin(&self, path: &str) -> Origin {
        let mut node = self;
        for part in path.split(['.', '[']).filter(|part| !part.is_empty()) {
            let next = match &node.value {
                Value::Map(entries) => entries.iter().find(|(key, _)| key == part).map(|(_, node)| node),
                Value::List(items) => part.strip_suffix(']').and_then(|n| items.get(n.parse::<usize>().ok()?)),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.origin.clone()
    }

    /// Makes an empty group of the text that stands at a path of keys, so that keys can be put into it.
    pub(super) fn open(&mut self, path: &[String]) {
        match (path.split_first(), &mut self.value) {
            (None, Value::Text(_)) => self.value = Value::Map(Vec::new()),
            (Some((first, rest)), Value::Map(entries)) => {
                if let Some((_, child)) = entries.iter_mut().find(|(key, _)| key == first) {
                    child.open(rest);
                }
            }
            _ => {}
        }
    }

    /// Puts a value at a path of keys, in place of what is there. Does nothing below a value that is no map: that is
    /// reported as such.
    pub(super) fn put(&mut self, path: &[String], node: Self) {
        let Some((first, rest)) = path.split_first() else {
            *self = node;
            return;
        };
        if self.value == Value::Null {
            self.value = Value::Map(Vec::new());
        }
        let Value::Map(entries) = &mut self.value else { return };
        if rest.is_empty() {
            entries.retain(|(key, _)| key != first);
            entries.push((first.clone(), node));
        } else if let Some((_, child)) = entries.iter_mut().find(|(key, _)| key == first) {
            child.put(rest, node);
        } else {
            let mut child = Self::empty(node.origin.clone());
            child.put(rest, node);
            entries.push((first.clone(), child));
        }
    }

    /// The same for every value below: all of them were written there.
    pub(super) fn written_at(mut self, origin: &Origin) -> Self {
        self.origin = origin.clone();
        self.value = match self.value {
            Value::List(items) => Value::List(items.into_iter().map(|item| item.written_at(origin)).collect()),
            Value::Map(entries) => {
                Value::Map(entries.into_iter().map(|(key, node)| (key, node.written_at(origin))).collect())
            }
            other => other,
        };
        self
    }

    /// The value without origins.
    pub(super) fn into_json(self) -> serde_json::Value {
        match self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(bool) => serde_json::Value::Bool(bool),
            Value::Number(number) => serde_json::Value::Number(number),
            Value::Text(text) => serde_json::Value::String(text),
            Value::List(items) => items.into_iter().map(Self::into_json).collect(),
            Value::Map(entries) => entries.into_iter().map(|(key, node)| (key, node.into_json())).collect(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserializer.deserialize_any(ValueVisitor)?;
        Ok(Self { origin: Origin::File, value })
    }
}

/// Builds any value; the origin of each is its key's line.
struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, bool: bool) -> Result<Value, E> {
        Ok(Value::Bool(bool))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        // Neither NaN nor an infinity is a number to any key of ours; as a text they are refused by name.
        Ok(serde_json::Number::from_f64(number).map_or_else(|| Value::Text(number.to_string()), Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Node>>()? {
            let origin = Origin::Line(item.referenced.line());
            list.push(Node { origin, ..item.value });
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let origin = Origin::Line(key.referenced.line());
            let node = entries.next_value::<Node>()?;
            map.push((key.value, Node { origin, ..node }));
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tree: &Node, path: &str) -> Origin {
        tree.origin(path)
    }

    #[test]
    fn every_value_knows_the_line_of_its_key() {
        let tree = Node::parse("# top\na:\n  b: 1\n  c:\n    - x\n    - {d: y,\n       e: z}\nf: ~\n").expect("YAML");
        assert_eq!(line(&tree, "a"), Origin::Line(2));
        assert_eq!(line(&tree, "a.b"), Origin::Line(3));
        assert_eq!(line(&tree, "a.c"), Origin::Line(4));
        assert_eq!(line(&tree, "a.c[0]"), Origin::Line(5));
        assert_eq!(line(&tree, "a.c[1].e"), Origin::Line(7));
        assert_eq!(line(&tree, "a.missing"), Origin::Line(2), "the nearest that exists");
        assert_eq!(line(&tree, "f"), Origin::Line(8));
        assert_eq!(line(&tree, "missing"), Origin::File);
    }

    #[test]
    fn only_true_and_false_are_booleans_and_a_leading_zero_makes_a_text() {
        let json = Node::parse("[y, no, on, true, False, 0123, 1_000, 0x1f, 1e3, ~, '5']").expect("YAML").into_json();
        let wanted = serde_json::json!(["y", "no", "on", true, false, "0123", "1_000", 31, 1000.0, null, "5"]);
        assert_eq!(json, wanted);
    }

    #[test]
    fn a_key_given_twice_is_kept_twice() {
        let tree = Node::parse("a: 1\na: 2\n").expect("YAML");
        assert!(matches!(&tree.value, Value::Map(entries) if entries.len() == 2), "{tree:?}");
    }

    #[test]
    fn put_replaces_creates_and_leaves_what_is_no_map() {
        let leaf = || Node { origin: Origin::Flag, value: Value::Bool(true) };
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        let mut tree = Node::parse("a:\n  b: 1\nc: 5\nd:\n").expect("YAML");
        for key in ["a.b", "x.y.z", "c.d", "d.e"] {
            tree.put(&path(key), leaf());
        }
        let json = tree.into_json();
        let wanted = serde_json::json!({"a": {"b": true}, "x": {"y": {"z": true}}, "c": 5, "d": {"e": true}});
        assert_eq!(json, wanted);
    }

    #[test]
    fn r17_what_is_no_yaml_is_placed_but_not_quoted() {
        for (text, line) in [
            ("a: 1\nb: [hunter2\n", 3),
            ("a: 1\nb: *hunter2\n", 2),
            ("a: 1\n\tb: hunter2\n", 2),
            ("a: 1\nb: 'hunter2\n", 3),
            ("a: 1\nhunter2\n", 2),
        ] {
            let problem = Node::parse(text).expect_err(text);
            assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
            assert!(matches!(problem.origin, Origin::Line(at) if at.abs_diff(line) <= 1), "{text}: {problem}");
        }
    }

    #[test]
    fn nesting_and_aliases_are_bounded() {
        let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
        assert!(Node::parse(&deep).is_err());
        let bomb = "a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                    d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
        assert!(Node::parse(bomb).is_err());
    }
}

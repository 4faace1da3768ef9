//! The shape of the configuration: one JSON Schema, made from what a person writes ([`Raw`](super::raw::Raw)). Editors get it
//! from `ccgate schema`; `shape` holds a file against the same one, so the two can't differ.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::raw::Raw;

/// The JSON Schema of `ccgate.yaml` (draft 2020-12). `x-min` and `x-max` are the bounds of durations and sizes.
pub fn schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        let mut schema = settings.into_generator().into_root_schema_for::<Raw>().to_value();
        tidy(&mut schema, false);
        if let Some(root) = schema.as_object_mut() {
            root.insert("title".to_owned(), json!("Configuration of ccgate"));
        }
        schema
    });
    &SCHEMA
}

/// The schema of a child: a key of a group, or any of a map, whose keys are the writer's own.
pub(super) fn child<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    match properties(schema) {
        Some(properties) => properties.get(key),
        None => schema.get("additionalProperties").filter(|child| child.is_object()),
    }
}

/// The keys of a group, in order; none for any other value.
pub(super) fn keys(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    properties(schema).into_iter().flatten().map(|(key, child)| (key.as_str(), child))
}

/// Where one of some words or a group may stand: the group.
pub(super) fn either(schema: &Value) -> Option<&Value> {
    let forms = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    forms.into_iter().find(|form| form.get("properties").is_some())
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    either(schema).unwrap_or(schema).get("properties").and_then(Value::as_object)
}

/// The texts that may stand there; none where any may.
pub(super) fn choices(schema: &Value) -> Vec<&str> {
    let plain = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    let documented = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    plain.chain(documented.filter_map(|choice| choice.get("const"))).filter_map(Value::as_str).collect()
}

/// Makes one group out of what the generator writes for an optional one, drops defaults of whole groups, and says in each
/// description what the bounds and the default are.
fn tidy(schema: &mut Value, required: bool) {
    let Some(object) = schema.as_object_mut() else { return };
    without_null(object);
    object.remove("format");
    let names: Vec<String> = strings(object.get("required"));
    for (key, child) in object.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        tidy(child, names.contains(key));
    }
    if let Some(items) = object.get_mut("items") {
        tidy(items, false);
    }
    // A group's own keys say what is required: here it is the form of a choice.
    for form in object.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten() {
        for child in form.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
            tidy(child.1, false);
        }
    }
    if object.contains_key("properties") || object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    describe(object, required);
}

/// `anyOf: [X, null]` becomes X, and `type: [T, null]` becomes T: a key without a value is the same as no key, and an editor
/// need not offer it.
fn without_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(choices)) = object.remove("anyOf") {
        let real = choices.into_iter().find(|choice| choice.get("type") != Some(&json!("null")));
        for (key, value) in real.and_then(|real| real.as_object().cloned()).into_iter().flatten() {
            object.entry(key).or_insert(value);
        }
    }
    if let Some(Value::Array(types)) = object.get("type") {
        let real = types.iter().find(|name| **name != json!("null")).cloned();
        object.insert("type".to_owned(), real.unwrap_or_default());
    }
}

/// Puts bounds and default behind the text, for editors that show nothing else.
fn describe(object: &mut Map<String, Value>, required: bool) {
    let Some(text) = object.get("description").and_then(Value::as_str) else { return };
    let mut parts = vec![text.replace('\n', " ")];
    if required {
        parts.push("Required.".to_owned());
    }
    let bound = |keys: [&str; 2]| keys.iter().find_map(|key| object.get(*key)).map(plain);
    if let (Some(min), Some(max)) = (bound(["x-min", "minimum"]), bound(["x-max", "maximum"]))
        && min != max
    {
        parts.push(format!("From {min} to {max}."));
    }
    if let Some(max) = object.get("maxItems").map(plain) {
        parts.push(format!("At most {max}."));
    }
    if let Some(default) = object.get("default") {
        parts.push(format!("Default: {}.", plain(default)));
    }
    object.insert("description".to_owned(), json!(parts.join(" ")));
}

/// A value as a person writes it.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn strings(list: Option<&Value>) -> Vec<String> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key's path and schema, groups included; `[]` stands for an item of a list.
    fn all(schema: &'static Value, path: &str, found: &mut Vec<(String, &'static Value)>) {
        for (key, child) in keys(schema) {
            let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            found.push((path.clone(), child));
            all(child, &path, found);
            if let Some(items) = child.get("items") {
                all(items, &format!("{path}[]"), found);
            }
        }
    }

    #[test]
    fn every_key_has_a_text_a_type_and_where_it_needs_them_bounds() {
        let mut found = Vec::new();
        all(schema(), "", &mut found);
        assert!(found.len() > 70, "{}", found.len());
        for (path, key) in found {
            assert!(
                key.get("description").is_some_and(|text| text.as_str().is_some_and(|text| text.ends_with('.'))),
                "{path}"
            );
            let choices = choices(key).len();
            let kind = key.get("type").and_then(Value::as_str);
            assert!(kind.is_some() || choices > 0, "{path}: {key}");
            if key.get("x-kind").is_some() {
                assert!(key.get("x-min").is_some() && key.get("x-max").is_some(), "{path} needs bounds");
            }
            if kind == Some("integer") {
                assert!(key.get("minimum").is_some() && key.get("maximum").is_some(), "{path} needs bounds");
            }
            if kind == Some("array") {
                assert!(key.get("maxItems").is_some() && key.get("items").is_some(), "{path} needs a bound");
            }
            assert!(key.get("anyOf").is_none() && key.get("$ref").is_none(), "{path} is not plain: {key}");
        }
    }

    #[test]
    fn no_group_takes_an_unknown_key() {
        let mut found = vec![(String::new(), schema())];
        all(schema(), "", &mut found);
        for (path, key) in found.into_iter().filter(|(_, key)| key.get("properties").is_some()) {
            assert_eq!(key.get("additionalProperties"), Some(&json!(false)), "{path}");
        }
    }

    #[test]
    fn a_description_tells_bounds_and_default() {
        let timeout = child(child(schema(), "server").expect("server"), "header_timeout").expect("header_timeout");
        let text = timeout.get("description").and_then(Value::as_str);
        assert_eq!(text, Some("For a request's head, and for an idle connection. From 100ms to 60s. Default: 10s."));
    }
}

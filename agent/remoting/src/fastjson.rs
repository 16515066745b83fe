//! Bodies written by Java's fastjson, made strict JSON.
//!
//! fastjson prints a map with Integer or Long keys with the keys unquoted, `{0:"10.0.0.1:10911"}`, which no JSON parser
//! accepts (facts §1.6). Only such keys are touched.

use serde::de::DeserializeOwned;

/// Parses a body that fastjson wrote.
///
/// # Errors
/// It is no JSON even with its numeric keys in quotes, or not of the shape asked for. The error's column is that of the
/// repaired text.
pub fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(&repair(body))
}

/// Puts quotes around unquoted numeric keys; everything else, the inside of strings above all, stays as it is.
/// Strict JSON comes out unchanged.
pub fn repair(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + body.len() / 8);
    let mut rest = body;
    let mut key_may_follow = false;
    while let [byte, ..] = rest {
        let taken = match byte {
            b'"' => string_length(rest),
            b'-' | b'0'..=b'9' => number_length(rest),
            _ => 1,
        };
        let (token, after) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
        let is_number = matches!(byte, b'-' | b'0'..=b'9');
        if is_number && key_may_follow && colon_follows(after) {
            out.push(b'"');
            out.extend_from_slice(token);
            out.push(b'"');
        } else {
            out.extend_from_slice(token);
        }
        if !byte.is_ascii_whitespace() {
            key_may_follow = matches!(byte, b'{' | b',');
        }
        rest = after;
    }
    out
}

/// Length of the string at the start of `text`, both quotes included; all of it when it does not end.
fn string_length(text: &[u8]) -> usize {
    let mut escaped = false;
    for (place, byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return place + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of the sign and digits at the start of `text`. A fraction is no map key, so it does not matter.
fn number_length(text: &[u8]) -> usize {
    let digits = text
        .iter()
        .skip(1)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    digits + 1
}

fn colon_follows(text: &[u8]) -> bool {
    text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn repaired(text: &str) -> String {
        String::from_utf8(repair(text.as_bytes())).unwrap()
    }

    #[test]
    fn numeric_keys_get_quotes() {
        assert_eq!(repaired(r#"{0:"a",1:"b"}"#), r#"{"0":"a","1":"b"}"#);
        assert_eq!(
            repaired(r#"{ -1 : {12:[1,2,{3:4}]} , 7	:null}"#),
            r#"{ "-1" : {"12":[1,2,{"3":4}]} , "7"	:null}"#
        );
        let map: BTreeMap<i64, String> = from_slice(br#"{0:"x",-3:"y"}"#).unwrap();
        assert_eq!(
            map,
            BTreeMap::from([(0, "x".to_owned()), (-3, "y".to_owned())])
        );
    }

    #[test]
    fn everything_else_stays() {
        for text in [
            r#"{"a":"{0:1,2:3}"}"#,
            r#"{"a\"":"\\",1.5:2}"#,
            r#"{"k":[1,2,-3,4.5e7],"0":{}}"#,
            r#"{"ends in":"the middle,1:2"#,
            "{0",
            "1:2",
            "",
        ] {
            assert_eq!(repaired(text), text);
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let key = prop_oneof![r"-?[1-9][0-9]{0,6}", r#"[{},:"\\0-9 a]{0,6}"#];
        let leaf = prop_oneof![
            any::<i32>().prop_map(Value::from),
            r#"[{},:"\\0-9 -]{0,8}"#.prop_map(Value::from),
            Just(Value::Null)
        ];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(key.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Prints as fastjson does: integer keys bare.
    fn print_bare(value: &Value, out: &mut String) {
        match value {
            Value::Object(map) => {
                out.push('{');
                for (place, (key, value)) in map.iter().enumerate() {
                    if place > 0 {
                        out.push(',');
                    }
                    match key.parse::<i64>() {
                        Ok(number) if number.to_string() == *key => out.push_str(key),
                        _ => out.push_str(&Value::from(key.as_str()).to_string()),
                    }
                    out.push(':');
                    print_bare(value, out);
                }
                out.push('}');
            }
            Value::Array(items) => {
                out.push('[');
                for (place, item) in items.iter().enumerate() {
                    if place > 0 {
                        out.push(',');
                    }
                    print_bare(item, out);
                }
                out.push(']');
            }
            leaf => out.push_str(&leaf.to_string()),
        }
    }

    proptest! {
        #[test]
        fn bare_keys_are_read_like_quoted_ones(value in json()) {
            let mut bare = String::new();
            print_bare(&value, &mut bare);
            let read: Value = from_slice(bare.as_bytes()).unwrap();
            prop_assert_eq!(read, value);
        }

        #[test]
        fn strict_json_is_not_changed(value in json()) {
            let strict = value.to_string();
            prop_assert_eq!(repaired(&strict), strict);
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = repair(&bytes);
        }
    }
}

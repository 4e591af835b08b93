//! What a client sends with an event, read without making much of little: an object's plain fields, or a
//! text. Whatever else it is, however deep or long, is passed over and not kept.

use std::{collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// Fields of an object that are kept; no event has as many.
const FIELDS_MAX: usize = 16;

/// The first argument of an event.
#[derive(Debug, Default, PartialEq)]
pub(super) enum Payload {
    Text(String),
    Object(HashMap<String, Field>),
    /// Nothing, or nothing that an event takes.
    #[default]
    Other,
}

/// A field of an object.
#[derive(Debug, PartialEq)]
pub(super) enum Field {
    Text(String),
    Whole(i64),
    Flag(bool),
    Other,
}

impl Payload {
    fn field(&self, name: &str) -> Option<&Field> {
        if let Self::Object(fields) = self { fields.get(name) } else { None }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        if let Some(Field::Text(text)) = self.field(name) { Some(text) } else { None }
    }

    pub(super) fn whole(&self, name: &str) -> Option<i64> {
        if let Some(Field::Whole(number)) = self.field(name) { Some(*number) } else { None }
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.field(name) == Some(&Field::Flag(true))
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PayloadVisitor)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct PayloadVisitor;

impl<'de> Visitor<'de> for PayloadVisitor {
    type Value = Payload;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Payload, E> {
        Ok(Payload::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Payload, E> {
        Ok(Payload::Text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Payload, A::Error> {
        let mut fields = HashMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value()?;
            if fields.len() < FIELDS_MAX {
                fields.insert(name, value);
            }
        }
        Ok(Payload::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Payload, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Payload::Other)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Payload, E> {
        Ok(Payload::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Payload, E> {
        Ok(Payload::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Payload, E> {
        Ok(Payload::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Payload, E> {
        Ok(Payload::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Payload, E> {
        Ok(Payload::Other)
    }

    fn visit_unit<E>(self) -> Result<Payload, E> {
        Ok(Payload::Other)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Field, E> {
        Ok(Field::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Field, E> {
        Ok(Field::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Field, E> {
        Ok(Field::Whole(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Field, E> {
        Ok(i64::try_from(number).map_or(Field::Other, Field::Whole))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Field, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_unit<E>(self) -> Result<Field, E> {
        Ok(Field::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Payload {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn texts_and_plain_fields_are_kept_and_nothing_else() {
        assert_eq!(read(r#""ls\r""#), Payload::Text("ls\r".into()));
        let attach = read(r#"{"sessionId":"s","offset":12,"binary":true,"window":1.5,"x":{"y":[1,{}]},"z":null}"#);
        assert_eq!((attach.text("sessionId"), attach.whole("offset"), attach.flag("binary")), (Some("s"), Some(12), true));
        assert_eq!((attach.whole("window"), attach.text("x"), attach.flag("z")), (None, None, false));
        for other in ["null", "1", "-1", "1.5", "true", "[[[]]]", r#"[{"a":1}]"#] {
            assert_eq!(read(other), Payload::Other, "{other}");
        }
        assert_eq!(read(r#"{"offset":18446744073709551615}"#).whole("offset"), None);
    }

    #[test]
    fn an_object_of_many_fields_is_kept_in_part() {
        let many: Vec<String> = (0..1000).map(|number| format!("\"f{number}\":{number}")).collect();
        let Payload::Object(fields) = read(&format!("{{{}}}", many.join(","))) else { panic!("no object") };
        assert_eq!(fields.len(), FIELDS_MAX);
    }
}

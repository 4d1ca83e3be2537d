//! What the value of a key may look like, and what is said when it looks otherwise.

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData, time::Duration};

use jiff::SignedDuration;
use serde::{
    Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error, MapAccess, Visitor},
    ser::SerializeMap,
};
use shiftwork_queue::Timestamp;

use super::{
    Key,
    section::{self, Place, Section, SectionVisitor},
};

/// How the value of a key is read and written.
pub(crate) trait Form {
    /// What the field holds. Its default is a key that is not set.
    type Value;

    fn is_set(&self, value: &Self::Value) -> bool;

    fn read<'de, D: Deserializer<'de>>(&self, at: Place<'_>, from: D) -> Result<Self::Value, D::Error>;

    /// Called only for a value that is set.
    fn write<S: Serializer>(&self, value: &Self::Value, to: S) -> Result<S::Ok, S::Error>;

    /// Adds the key, or those of the section that it is.
    fn list(&self, at: Place<'_>, keys: &mut Vec<Key>);
}

/// A value that is a number or a text.
pub(crate) enum Written<'a> {
    Number(u64),
    Text(Cow<'a, str>),
}

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Written::Number(number) => write!(f, "{number}"),
            Written::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// The form of a number or a text.
pub(crate) trait Scalar {
    type Value;

    /// What may be written, as the end of "accepted is …".
    fn accepts(&self) -> String;

    fn take(&self, written: &Written<'_>) -> Option<Self::Value>;

    fn give(&self, value: &Self::Value) -> Written<'static>;
}

impl<F: Scalar> Form for F {
    type Value = Option<F::Value>;

    fn is_set(&self, value: &Self::Value) -> bool {
        value.is_some()
    }

    fn read<'de, D: Deserializer<'de>>(&self, at: Place<'_>, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(ScalarVisitor { form: self, at }).map(Some)
    }

    fn write<S: Serializer>(&self, value: &Self::Value, to: S) -> Result<S::Ok, S::Error> {
        match value.as_ref().map(|value| self.give(value)) {
            Some(Written::Number(number)) => to.serialize_u64(number),
            Some(Written::Text(text)) => to.serialize_str(&text),
            None => to.serialize_none(),
        }
    }

    fn list(&self, at: Place<'_>, keys: &mut Vec<Key>) {
        keys.push(Key { path: at.to_string(), accepts: self.accepts() });
    }
}

struct ScalarVisitor<'a, F> {
    form: &'a F,
    at: Place<'a>,
}

impl<F: Scalar> ScalarVisitor<'_, F> {
    fn take<E: Error>(&self, written: &Written<'_>) -> Result<F::Value, E> {
        self.form.take(written).ok_or_else(|| self.refuse(written))
    }

    fn refuse<E: Error>(&self, found: impl fmt::Display) -> E {
        E::custom(format_args!("{} is {found}; accepted is {}", self.at, self.form.accepts()))
    }
}

impl<F: Scalar> Visitor<'_> for ScalarVisitor<'_, F> {
    type Value = F::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.form.accepts(), self.at)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<F::Value, E> {
        self.take(&Written::Number(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<F::Value, E> {
        match u64::try_from(number) {
            Ok(number) => self.take(&Written::Number(number)),
            Err(_) => Err(self.refuse(number)),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<F::Value, E> {
        Err(self.refuse(format_args!("{number:?}")))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<F::Value, E> {
        Err(self.refuse(flag))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<F::Value, E> {
        self.take(&Written::Text(text.into()))
    }
}

/// A whole number.
pub(crate) struct Count<N> {
    least: u64,
    most: u64,
    number: PhantomData<N>,
}

impl Count<u32> {
    /// From `least` up.
    pub(crate) const fn from(least: u64) -> Self {
        Self::between(least, u32::MAX as u64)
    }
}

impl<N> Count<N> {
    /// From `least` to `most`, both included.
    pub(crate) const fn between(least: u64, most: u64) -> Self {
        Self { least, most, number: PhantomData }
    }
}

impl<N: TryFrom<u64> + Copy + TryInto<u64>> Scalar for Count<N> {
    type Value = N;

    fn accepts(&self) -> String {
        format!("a whole number from {} to {}", self.least, self.most)
    }

    fn take(&self, written: &Written<'_>) -> Option<N> {
        match written {
            Written::Number(number) if (self.least..=self.most).contains(number) => N::try_from(*number).ok(),
            Written::Number(_) | Written::Text(_) => None,
        }
    }

    fn give(&self, value: &N) -> Written<'static> {
        Written::Number((*value).try_into().unwrap_or(u64::MAX))
    }
}

/// A time with its units, in whole milliseconds, which is what timers resolve.
pub(crate) struct Time {
    least_ms: u64,
}

impl Time {
    pub(crate) const fn from_millis(least_ms: u64) -> Self {
        Self { least_ms }
    }
}

impl Scalar for Time {
    type Value = Duration;

    fn accepts(&self) -> String {
        let least = if self.least_ms == 0 { String::new() } else { format!(" of at least {}ms", self.least_ms) };
        format!("a time{least} in hours, minutes, seconds or milliseconds, such as \"30s\", \"1m 30s\" or \"500ms\"")
    }

    fn take(&self, written: &Written<'_>) -> Option<Duration> {
        let Written::Text(text) = written else { return None };
        let time = Duration::try_from(text.parse::<SignedDuration>().ok()?).ok()?;
        let is_whole = time.subsec_nanos().is_multiple_of(1_000_000);
        (is_whole && time >= Duration::from_millis(self.least_ms)).then_some(time)
    }

    fn give(&self, time: &Duration) -> Written<'static> {
        Written::Text(written((*time).max(Duration::from_millis(self.least_ms))).into())
    }
}

/// A time as it is written. Only code can ask for a part of a millisecond, which is rounded up, as timers do, and for ages, of
/// which the longest that can be read are written.
pub(crate) fn written(time: Duration) -> String {
    const LONGEST: SignedDuration = SignedDuration::from_secs(i64::MAX);
    let part = time.subsec_nanos() % 1_000_000;
    let rest = if part == 0 { 0 } else { 1_000_000 - part };
    let time = time.saturating_add(Duration::from_nanos(rest.into()));
    let time = SignedDuration::try_from(time).unwrap_or(LONGEST).min(LONGEST);
    format!("{time:#}")
}

/// Another form, or `"none"`.
pub(crate) struct OrNone<F>(pub(crate) F);

const NONE: &str = "none";

impl<F: Scalar> Scalar for OrNone<F> {
    type Value = Option<F::Value>;

    fn accepts(&self) -> String {
        format!("{}, or \"none\"", self.0.accepts())
    }

    fn take(&self, written: &Written<'_>) -> Option<Self::Value> {
        match written {
            Written::Text(text) if text == NONE => Some(None),
            Written::Text(_) | Written::Number(_) => self.0.take(written).map(Some),
        }
    }

    fn give(&self, value: &Self::Value) -> Written<'static> {
        value.as_ref().map_or(Written::Text(NONE.into()), |value| self.0.give(value))
    }
}

/// One of a few words.
pub(crate) struct Words<T: 'static>(pub(crate) &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Scalar for Words<T> {
    type Value = T;

    fn accepts(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|(word, _)| format!("{word:?}")).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => words.concat(),
        }
    }

    fn take(&self, written: &Written<'_>) -> Option<T> {
        let Written::Text(text) = written else { return None };
        self.0.iter().find(|(word, _)| word == text).map(|(_, value)| *value)
    }

    fn give(&self, value: &T) -> Written<'static> {
        let word = self.0.iter().find(|(_, it)| it == value).map_or("", |(word, _)| word);
        Written::Text(word.into())
    }
}

/// A text that is looked at when the host is built. Said is what it is to be.
pub(crate) struct Text(pub(crate) &'static str);

impl Scalar for Text {
    type Value = String;

    fn accepts(&self) -> String {
        self.0.to_owned()
    }

    fn take(&self, written: &Written<'_>) -> Option<String> {
        match written {
            Written::Text(text) => Some(text.clone().into_owned()),
            Written::Number(_) => None,
        }
    }

    fn give(&self, value: &String) -> Written<'static> {
        Written::Text(value.clone().into())
    }
}

/// A time of the calendar.
pub(crate) struct Moment;

impl Scalar for Moment {
    type Value = Timestamp;

    fn accepts(&self) -> String {
        "a time of the calendar with its offset, such as \"2026-03-29T01:00:00Z\"".to_owned()
    }

    fn take(&self, written: &Written<'_>) -> Option<Timestamp> {
        match written {
            Written::Text(text) => text.parse().ok(),
            Written::Number(_) => None,
        }
    }

    fn give(&self, value: &Timestamp) -> Written<'static> {
        Written::Text(value.to_string().into())
    }
}

/// A section of its own.
pub(crate) struct Table<T>(PhantomData<T>);

impl<T> Table<T> {
    pub(crate) const NEW: Self = Self(PhantomData);
}

impl<T: Section> Form for Table<T> {
    type Value = T;

    fn is_set(&self, value: &T) -> bool {
        !value.is_empty()
    }

    fn read<'de, D: Deserializer<'de>>(&self, at: Place<'_>, from: D) -> Result<T, D::Error> {
        section::read(at, from)
    }

    fn write<S: Serializer>(&self, value: &T, to: S) -> Result<S::Ok, S::Error> {
        section::write(value, to)
    }

    fn list(&self, at: Place<'_>, keys: &mut Vec<Key>) {
        T::list(at, keys);
    }
}

/// A section of its own, or `"none"`.
pub(crate) struct TableOrNone<T>(PhantomData<T>);

impl<T> TableOrNone<T> {
    pub(crate) const NEW: Self = Self(PhantomData);
}

impl<T: Section> Form for TableOrNone<T> {
    type Value = Option<Option<T>>;

    fn is_set(&self, value: &Self::Value) -> bool {
        value.is_some()
    }

    fn read<'de, D: Deserializer<'de>>(&self, at: Place<'_>, from: D) -> Result<Self::Value, D::Error> {
        struct Either<'a, T>(SectionVisitor<'a, T>);

        impl<'de, T: Section> Visitor<'de> for Either<'_, T> {
            type Value = Option<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.expecting(f)?;
                f.write_str(", or \"none\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
                if text == NONE {
                    return Ok(None);
                }
                Err(E::custom(format_args!("{} is {text:?}; accepted is a table, or \"none\"", self.0.at)))
            }

            fn visit_map<A: MapAccess<'de>>(self, from: A) -> Result<Option<T>, A::Error> {
                self.0.visit_map(from).map(Some)
            }
        }

        from.deserialize_any(Either(SectionVisitor { at, section: PhantomData })).map(Some)
    }

    fn write<S: Serializer>(&self, value: &Self::Value, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(Some(section)) => section::write(section, to),
            Some(None) => to.serialize_str(NONE),
            None => to.serialize_none(),
        }
    }

    fn list(&self, at: Place<'_>, keys: &mut Vec<Key>) {
        keys.push(Key { path: at.to_string(), accepts: "a table with the keys below, or \"none\"".to_owned() });
        T::list(at, keys);
    }
}

/// Sections by name.
pub(crate) struct Named<T>(PhantomData<T>);

impl<T> Named<T> {
    pub(crate) const NEW: Self = Self(PhantomData);
}

impl<T: Section> Form for Named<T> {
    type Value = BTreeMap<String, T>;

    fn is_set(&self, value: &Self::Value) -> bool {
        !value.is_empty()
    }

    fn read<'de, D: Deserializer<'de>>(&self, at: Place<'_>, from: D) -> Result<Self::Value, D::Error> {
        struct Names<'a, T>(Place<'a>, PhantomData<T>);

        impl<'de, T: Section> Visitor<'de> for Names<'_, T> {
            type Value = BTreeMap<String, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a table for each name for {}", self.0)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
                let mut sections = BTreeMap::new();
                while let Some(name) = from.next_key::<String>()? {
                    if sections.contains_key(&name) {
                        return Err(section::twice(self.0.key(&name)));
                    }
                    let section = from.next_value_seed(InPlace(self.0.key(&name), PhantomData))?;
                    sections.insert(name, section);
                }
                Ok(sections)
            }
        }

        struct InPlace<'a, T>(Place<'a>, PhantomData<T>);

        impl<'de, T: Section> DeserializeSeed<'de> for InPlace<'_, T> {
            type Value = T;

            fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
                section::read(self.0, from)
            }
        }

        from.deserialize_map(Names(at, PhantomData))
    }

    fn write<S: Serializer>(&self, value: &Self::Value, to: S) -> Result<S::Ok, S::Error> {
        struct Written<'a, T>(&'a T);

        impl<T: Section> Serialize for Written<'_, T> {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                section::write(self.0, to)
            }
        }

        let mut map = to.serialize_map(Some(value.len()))?;
        for (name, section) in value {
            map.serialize_entry(name, &Written(section))?;
        }
        map.end()
    }

    fn list(&self, at: Place<'_>, keys: &mut Vec<Key>) {
        T::list(at.key("NAME"), keys);
    }
}

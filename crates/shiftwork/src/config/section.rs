//! How a section of a configuration is declared, read and written.
//!
//! A section is a struct with a field for each key. [`section!`] declares both together with the key's [`Form`], and makes
//! of them what serde needs. It does by hand what a derive could do for one reason: a mistake is told by the key's whole
//! path and by what is accepted there, in every format, and at the mistake's own place where the format knows places.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error, MapAccess, Visitor},
    ser::SerializeMap,
};

use super::{Key, form::Form};

/// Where in the file something stands.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a>(Option<(&'a Place<'a>, &'a str)>);

impl Place<'_> {
    /// The file itself.
    pub(crate) const ROOT: Place<'static> = Place(None);

    pub(crate) fn key<'a>(&'a self, key: &'a str) -> Place<'a> {
        Place(Some((self, key)))
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((parent, key)) = self.0 else { return Ok(()) };
        if parent.0.is_some() {
            write!(f, "{parent}.")?;
        }
        // As it would be written in TOML.
        let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        if is_bare { f.write_str(key) } else { write!(f, "{key:?}") }
    }
}

/// A struct with a field for each key.
pub(crate) trait Section: Default {
    /// Its keys, in order.
    const KEYS: &'static [&'static str];

    /// Reads the value of one of [`Section::KEYS`].
    fn read_key<'de, A: MapAccess<'de>>(&mut self, key: &str, at: Place<'_>, from: &mut A) -> Result<(), A::Error>;

    /// Writes every key that is set.
    fn write_keys<M: SerializeMap>(&self, to: &mut M) -> Result<(), M::Error>;

    /// The keys that are set.
    fn set_keys(&self) -> Vec<&'static str>;

    /// Whether none is.
    fn is_empty(&self) -> bool {
        self.set_keys().is_empty()
    }

    /// Adds its keys, and those of the sections in it.
    fn list(at: Place<'_>, keys: &mut Vec<Key>);
}

/// Declares a section: each field is a key, with the [`Form`] of its value.
macro_rules! section {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])+ pub $key:ident: $value:ty = $form:expr, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $key: $value, )+
        }

        impl $crate::config::section::Section for $name {
            const KEYS: &'static [&'static str] = &[$( stringify!($key), )+];

            fn read_key<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                key: &str,
                at: $crate::config::section::Place<'_>,
                from: &mut A,
            ) -> Result<(), A::Error> {
                match key {
                    $( stringify!($key) => {
                        self.$key = $crate::config::section::read_key::<$value, _, _>(from, &$form, at)?;
                    } )+
                    _ => {}
                }
                Ok(())
            }

            fn write_keys<M: serde::ser::SerializeMap>(&self, to: &mut M) -> Result<(), M::Error> {
                $( $crate::config::section::write_key::<$value, _, _>(to, stringify!($key), &$form, &self.$key)?; )+
                Ok(())
            }

            fn set_keys(&self) -> Vec<&'static str> {
                let mut keys = Vec::new();
                $( if $crate::config::section::is_set::<$value, _>(&$form, &self.$key) {
                    keys.push(stringify!($key));
                } )+
                keys
            }

            fn list(at: $crate::config::section::Place<'_>, keys: &mut Vec<$crate::config::Key>) {
                $( $crate::config::section::list_key::<$value, _>(&$form, at.key(stringify!($key)), keys); )+
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                $crate::config::section::write(self, to)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $crate::config::section::read($crate::config::section::Place::ROOT, from)
            }
        }
    };
}

pub(crate) use section;

pub(crate) fn read<'de, T: Section, D: Deserializer<'de>>(at: Place<'_>, from: D) -> Result<T, D::Error> {
    from.deserialize_map(SectionVisitor { at, section: PhantomData })
}

pub(crate) fn write<T: Section, S: Serializer>(section: &T, to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(None)?;
    section.write_keys(&mut map)?;
    map.end()
}

// What the macro calls; the type of the field says which form is meant.

pub(crate) fn read_key<'de, V, F: Form<Value = V>, A: MapAccess<'de>>(
    from: &mut A,
    form: &F,
    at: Place<'_>,
) -> Result<V, A::Error> {
    from.next_value_seed(Reader { form, at })
}

pub(crate) fn is_set<V, F: Form<Value = V>>(form: &F, value: &V) -> bool {
    form.is_set(value)
}

pub(crate) fn list_key<V, F: Form<Value = V>>(form: &F, at: Place<'_>, keys: &mut Vec<Key>) {
    form.list(at, keys);
}

pub(crate) fn write_key<V, F: Form<Value = V>, M: SerializeMap>(
    to: &mut M,
    key: &'static str,
    form: &F,
    value: &V,
) -> Result<(), M::Error> {
    if form.is_set(value) { to.serialize_entry(key, &Writer { form, value }) } else { Ok(()) }
}

/// A key that some formats let stand there twice, as if nobody would ask which of them holds.
pub(super) fn twice<E: Error>(at: Place<'_>) -> E {
    E::custom(format_args!("{at} is written twice; accepted is once"))
}

pub(super) struct SectionVisitor<'a, T> {
    pub(super) at: Place<'a>,
    pub(super) section: PhantomData<T>,
}

impl<'de, T: Section> Visitor<'de> for SectionVisitor<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a table with keys of {}", Listed(T::KEYS))?;
        if self.at.0.is_some() { write!(f, " for {}", self.at) } else { Ok(()) }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<T, A::Error> {
        let (mut section, mut seen) = (T::default(), Vec::new());
        while let Some(key) = from.next_key_seed(KnownKey { at: self.at, keys: T::KEYS })? {
            if seen.contains(&key) {
                return Err(twice(self.at.key(key)));
            }
            seen.push(key);
            section.read_key(key, self.at.key(key), &mut from)?;
        }
        Ok(section)
    }
}

/// Reads a key that must be one of these.
struct KnownKey<'a> {
    at: Place<'a>,
    keys: &'static [&'static str],
}

impl<'de> DeserializeSeed<'de> for KnownKey<'_> {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<&'static str, D::Error> {
        from.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KnownKey<'_> {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of the keys {}", Listed(self.keys))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<&'static str, E> {
        self.keys.iter().find(|known| **known == key).copied().ok_or_else(|| {
            E::custom(format_args!("{} does not exist; accepted here are {}", self.at.key(key), Listed(self.keys)))
        })
    }
}

/// Reads one value in its form.
struct Reader<'a, F> {
    form: &'a F,
    at: Place<'a>,
}

impl<'de, F: Form> DeserializeSeed<'de> for Reader<'_, F> {
    type Value = F::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<F::Value, D::Error> {
        self.form.read(self.at, from)
    }
}

/// Writes one value in its form.
struct Writer<'a, F: Form> {
    form: &'a F,
    value: &'a F::Value,
}

impl<F: Form> Serialize for Writer<'_, F> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.form.write(self.value, to)
    }
}

/// Words in a sentence.
pub(super) struct Listed<'a>(pub(super) &'a [&'a str]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.0.iter().enumerate() {
            let before = match index {
                0 => "",
                index if index + 1 == self.0.len() => " and ",
                _ => ", ",
            };
            write!(f, "{before}{word}")?;
        }
        Ok(())
    }
}

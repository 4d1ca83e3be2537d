//! A hash map by delivery id: the same in every run, and cheap.
//!
//! The standard hasher is keyed at random, so that a map's order differs between runs, and it is made for keys that an
//! attacker chooses. Delivery ids are chosen by the queue, one after the other. The order of this map must not show
//! either: whoever lists its content sorts it.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use crate::DeliveryId;

/// Values by delivery id.
pub(super) type IdMap<V> = HashMap<DeliveryId, V, BuildHasherDefault<IdHasher>>;

/// 2^64 divided by the golden ratio, which is odd: products with it are spread over the high bits.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// How many consecutive ids stay neighbours: 2^4, one group of the standard map. Most queues are claimed in the order of
/// their ids, and neighbours share pages and cache lines: with every id on its own, a push, claim and settlement in a
/// queue of 100 000 took half as long again. All ids as neighbours would be a little faster still, until every 1024th
/// message is a long-delayed one and those share one place.
const BLOCK_BITS: u32 = 4;

/// The bits by which the standard map tells the entries of a group apart. Below them are those that choose the place.
const TAG: u64 = 0x7f << 57;

/// Keeps the neighbours of a block together, spreads the blocks, and tags each id.
#[derive(Debug, Default)]
pub(super) struct IdHasher {
    hash: u64,
}

impl Hasher for IdHasher {
    fn write_u64(&mut self, id: u64) {
        let id = self.hash ^ id;
        let block = (id >> BLOCK_BITS).wrapping_mul(FACTOR) >> 32;
        let within = id & ((1 << BLOCK_BITS) - 1);
        self.hash = (id.wrapping_mul(FACTOR) & TAG) | (block << BLOCK_BITS) | within;
    }

    /// Ids are hashed by [`write_u64`](Self::write_u64); this is only here because the trait asks for it.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, hash::BuildHasher};

    use super::*;

    /// How many different values `part` of the hashes of these ids has.
    fn different(ids: impl Iterator<Item = u64>, part: fn(u64) -> u64) -> usize {
        let hasher = BuildHasherDefault::<IdHasher>::default();
        ids.map(|id| part(hasher.hash_one(DeliveryId(id)))).collect::<HashSet<_>>().len()
    }

    #[test]
    fn consecutive_ids_differ_in_their_tags() {
        assert!(different(0..128, |hash| hash >> 57) > 64);
    }

    #[test]
    fn the_ids_of_a_block_have_places_of_their_own() {
        assert_eq!(different(0..16, |hash| hash & 0xf), 16);
    }

    #[test]
    fn blocks_are_spread_when_only_every_1024th_id_is_left() {
        let sparse = (0..1024).map(|n| n * 1024);
        assert!(different(sparse, |hash| (hash >> BLOCK_BITS) & 0x3ff) > 512);
    }
}

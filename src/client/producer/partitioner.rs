//! Which partition a record goes to: Kafka's murmur2 for keys, and for records without one a partition that sticks
//! until it was given a batch's worth of bytes (KIP-794).

use parking_lot::Mutex;

use crate::client::metadata::TopicView;

/// Kafka's murmur2 (32 bits, seed 0x9747b28c).
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let (blocks, rest) = data.as_chunks::<4>();
    for block in blocks {
        let mut k = u32::from_le_bytes(*block).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a key, of `count`.
pub fn partition_of_key(key: &[u8], count: usize) -> i32 {
    ((murmur2(key) & 0x7fff_ffff) as usize % count.max(1)) as i32
}

/// The partition that records without a key go to for now.
#[derive(Debug, Default)]
pub(super) struct Sticky(Mutex<Option<Stuck>>);

#[derive(Debug, Clone, Copy)]
struct Stuck {
    partition: i32,
    bytes: usize,
}

impl Sticky {
    /// Where a record of `size` bytes goes. Once a partition had `batch_size` bytes, another one is drawn by `draw`.
    pub(super) fn next(&self, size: usize, batch_size: usize, draw: impl FnOnce() -> i32) -> i32 {
        let mut stuck = self.0.lock();
        let mut now = match *stuck {
            Some(now) if now.bytes < batch_size => now,
            _ => Stuck { partition: draw(), bytes: 0 },
        };
        now.bytes += size;
        *stuck = Some(now);
        now.partition
    }
}

/// A partition drawn at random, of those that have a leader if there are any.
pub(super) fn draw(topic: Option<&TopicView>, count: usize) -> i32 {
    let with_leader: Vec<i32> = topic
        .map(|topic| {
            let partitions = topic.partitions.iter().take(count).enumerate();
            partitions.filter(|(_, partition)| partition.leader.is_some()).map(|(index, _)| index as i32).collect()
        })
        .unwrap_or_default();
    match with_leader.len() {
        0 => rand::random_range(0..count.max(1)) as i32,
        len => with_leader[rand::random_range(0..len)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_kafkas() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

    #[test]
    fn a_partition_sticks_for_a_batch() {
        let sticky = Sticky::default();
        let mut drawn = 0;
        let partitions: Vec<i32> = (0..6)
            .map(|_| {
                sticky.next(40, 100, || {
                    drawn += 1;
                    drawn
                })
            })
            .collect();
        assert_eq!(partitions, [1, 1, 1, 2, 2, 2]);
    }
}

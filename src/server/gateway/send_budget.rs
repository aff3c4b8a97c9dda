//! Memory of all send queues together: which clients are closed when it is used up.

use super::Gateway;
use crate::gate::budget::{Budget, Holder};
use crate::gate::ids::ConnId;
use crate::gate::limits;
use crate::gate::refusal::Close;

/// Send queue of an admitted client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct HeldQueue {
    holder: Holder,
    /// Bytes that are queued or being sent.
    bytes: usize,
    conn: ConnId,
    /// Whether the queue has not been empty for [`limits::SEND_QUEUE_SLOW_MS`].
    is_slow: bool,
}

impl Gateway {
    /// Budget of all send queues together, in bytes.
    pub fn send_budget(&self) -> Budget {
        self.send_pool.budget()
    }

    /// Makes room for a frame of `len` bytes to a client that has `own` bytes queued, by closing
    /// slow consumers. Returns whether there is room; always for frames that are not large.
    pub(super) fn make_room(&self, own: usize, len: usize) -> bool {
        let (reserve, spared) = match len >= limits::SEND_QUEUE_LARGE {
            true => (limits::SEND_QUEUES_RESERVE, own + len),
            false => (0, 0),
        };
        let wanted = self.send_pool.budget().used() + len + reserve;
        if wanted <= limits::SEND_QUEUES {
            return true;
        }
        let missing = wanted - limits::SEND_QUEUES;
        let missing = missing.saturating_sub(self.bytes_of_aborted());
        let Some(slow) = slow_consumers(self.held_queues(), missing, spared) else { return false };
        for open in slow.iter().filter_map(|conn| self.connections.get(*conn)) {
            open.send_queue.abort(Close::SlowConsumer);
        }
        true
    }

    /// Bytes of clients that were closed as slow or silent and are not gone yet.
    fn bytes_of_aborted(&self) -> usize {
        let aborted = self.connections.iter().filter(|open| open.send_queue.is_aborted());
        aborted.map(|open| open.send_queue.held()).sum()
    }

    fn held_queues(&self) -> Vec<HeldQueue> {
        let now = self.send_pool.now();
        let queues = self.connections.iter().filter(|open| !open.send_queue.is_closed());
        let held = queues.filter_map(|open| {
            let busy_since = open.send_queue.busy_since()?;
            Some(HeldQueue {
                holder: open.admitted.as_ref()?.holder(),
                bytes: open.send_queue.held(),
                conn: open.id,
                is_slow: now.since(busy_since) >= limits::SEND_QUEUE_SLOW_MS,
            })
        });
        held.filter(|queue| queue.bytes > 0).collect()
    }
}

/// Returns the connections whose end frees `missing` bytes; `None` if too few may be closed.
///
/// The holder with most queued bytes is first, with its largest queue. As long as a client is slow,
/// others are not closed, and later only holders of more than `spared` bytes: for a large answer
/// the bytes that its recipient would hold, because the answer can be refused instead.
fn slow_consumers(
    mut queues: Vec<HeldQueue>,
    missing: usize,
    spared: usize,
) -> Option<Vec<ConnId>> {
    queues.sort_unstable();
    let (mut closed, mut freed) = (Vec::new(), 0);
    while freed < missing {
        let last = largest(&queues, |queue| queue.is_slow)
            .or_else(|| largest(&queues, |_| true).filter(|(_, total)| *total > spared))
            .map(|(last, _)| queues.remove(last));
        match last {
            Some(queue) => {
                freed += queue.bytes;
                closed.push(queue.conn);
            }
            // a frame that cannot be refused is queued in any case
            None if spared == 0 => break,
            None => return None,
        }
    }
    Some(closed)
}

/// Returns the index of the largest queue of the holder with most bytes, and the bytes of the
/// holder, counting only some queues. The list is sorted.
fn largest(queues: &[HeldQueue], counts: impl Fn(&HeldQueue) -> bool) -> Option<(usize, usize)> {
    let (mut best, mut total, mut holder) = (None, 0, None);
    for (index, queue) in queues.iter().enumerate().filter(|(_, queue)| counts(queue)) {
        if holder.replace(queue.holder) != Some(queue.holder) {
            total = 0;
        }
        total += queue.bytes;
        if best.is_none_or(|(_, most)| total >= most) {
            best = Some((index, total));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::ids::DeviceId;

    const MIB: usize = 1024 * 1024;

    fn queue(device: u8, conn: u64, bytes: usize, is_slow: bool) -> HeldQueue {
        let holder = match device {
            0 => Holder::Keyless,
            device => Holder::Device(DeviceId([device; 32])),
        };
        HeldQueue { holder, bytes, conn: ConnId(conn), is_slow }
    }

    fn closed(queues: &[HeldQueue], missing: usize, spared: usize) -> Option<Vec<u64>> {
        let closed = slow_consumers(queues.to_vec(), missing, spared);
        closed.map(|conns| conns.iter().map(|conn| conn.0).collect())
    }

    #[test]
    fn the_largest_holder_is_closed_before_the_client_with_the_largest_queue() {
        // device 1 has most in all, on three connections; device 2 the largest queue
        let queues = [
            queue(1, 1, 3 * MIB, false),
            queue(1, 2, 5 * MIB, false),
            queue(1, 3, 4 * MIB, false),
            queue(2, 4, 10 * MIB, false),
            queue(0, 5, MIB, false),
        ];
        assert_eq!(closed(&queues, 1, 0), Some(vec![2]));
        assert_eq!(closed(&queues, 6 * MIB, 0), Some(vec![2, 4]));
        assert_eq!(closed(&queues, 23 * MIB, 0), Some(vec![2, 4, 3, 1, 5]));
        assert_eq!(closed(&queues, 24 * MIB, 0), Some(vec![2, 4, 3, 1, 5]));
    }

    #[test]
    fn slow_clients_are_closed_before_others_and_before_a_large_answer_is_refused() {
        let queues = [queue(1, 1, 20 * MIB, false), queue(2, 2, 2 * MIB, true)];
        assert_eq!(closed(&queues, MIB, 0), Some(vec![2]));
        assert_eq!(closed(&queues, MIB, 25 * MIB), Some(vec![2]));
        // two clients that read well: the second large answer is refused
        assert_eq!(closed(&queues, 3 * MIB, 20 * MIB), None);
        assert_eq!(closed(&queues, 3 * MIB, 19 * MIB), Some(vec![2, 1]));
        assert_eq!(closed(&[], MIB, MIB), None);
        assert_eq!(closed(&[], MIB, 0), Some(vec![]));
    }

    #[test]
    fn what_is_freed_suffices_and_smaller_holders_stay() {
        for seed in 0..2_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let count = random.u64(..12);
            let queues: Vec<HeldQueue> = (0..count)
                .map(|conn| queue(random.u8(..4), conn, random.usize(1..100), random.bool()))
                .collect();
            let (missing, spared) = (random.usize(1..300), random.usize(..200));
            let Some(closed) = closed(&queues, missing, spared) else { continue };
            let (gone, left): (Vec<HeldQueue>, Vec<_>) =
                queues.iter().partition(|queue| closed.contains(&queue.conn.0));
            let freed: usize = gone.iter().map(|queue| queue.bytes).sum();
            assert!(freed >= missing || left.is_empty(), "seed {seed}");
            let reads = |queues: &[HeldQueue]| queues.iter().any(|queue| !queue.is_slow);
            let slow = left.iter().any(|queue| queue.is_slow);
            assert!(!(slow && reads(&gone)), "seed {seed}: a slow client stays, another does not");
        }
    }
}

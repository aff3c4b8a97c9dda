//! Rate at which connections of one device evict each other.
//!
//! A client that loses its connection connects again within a second. If a device had more clients
//! than it may have connections, they would evict each other for ever. So only a burst of evictions
//! is allowed, and then one at a time: a connection in between is rejected, and clients wait longer
//! after each rejection.

use crate::gate::ids::{DeviceId, Millis};
use crate::gate::limits;

/// Devices whose connections were evicted by newer ones of the same device, each with the time at
/// which the whole burst is allowed again.
#[derive(Default)]
pub struct EvictionRate(Vec<(DeviceId, Millis)>);

impl EvictionRate {
    /// Returns whether a connection of the device may be evicted.
    pub fn allows(&self, device: &DeviceId, now: Millis) -> bool {
        const BURST_MS: u64 = (limits::EVICTIONS_AT_ONCE - 1) * limits::EVICTION_EVERY_MS;
        let spent = self.0.iter().find(|(known, _)| known == device);
        spent.is_none_or(|(_, until)| until.since(now) <= BURST_MS)
    }

    /// Counts an eviction. If too many devices are counted, the one with the fewest evictions is
    /// not counted any more.
    pub fn add(&mut self, device: DeviceId, now: Millis) {
        self.0.retain(|(_, until)| *until > now);
        if let Some((_, until)) = self.0.iter_mut().find(|(known, _)| *known == device) {
            *until = until.plus(limits::EVICTION_EVERY_MS);
            return;
        }
        if self.0.len() >= limits::EVICTIONS_COUNTED {
            let least = (0..self.0.len()).min_by_key(|index| self.0[*index].1);
            least.map(|index| self.0.swap_remove(index));
        }
        self.0.push((device, now.plus(limits::EVICTION_EVERY_MS)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_one_eviction_at_a_time() {
        let mut random = fastrand::Rng::with_seed(17);
        let every = limits::EVICTION_EVERY_MS;
        for _ in 0..200 {
            let (mut rate, device) = (EvictionRate::default(), DeviceId([random.u8(..); 32]));
            // evictions that the device could make at once; grows by one each interval
            let (mut now, mut free_ms) = (0, limits::EVICTIONS_AT_ONCE * every);
            for _ in 0..500 {
                let allowed = rate.allows(&device, Millis(now));
                assert_eq!(allowed, free_ms >= every, "at {now}");
                if allowed {
                    rate.add(device, Millis(now));
                    free_ms -= every;
                }
                let pause = random.u64(..2 * every) * random.u64(..2);
                now += pause;
                free_ms = (free_ms + pause).min(limits::EVICTIONS_AT_ONCE * every);
            }
            let other = DeviceId([!device.0[0]; 32]);
            assert!(rate.allows(&other, Millis(now)), "devices are counted apart");
        }
    }

    #[test]
    fn devices_are_bounded_and_those_with_most_evictions_stay() {
        let mut rate = EvictionRate::default();
        let heavy = DeviceId([255; 32]);
        for _ in 0..limits::EVICTIONS_AT_ONCE {
            rate.add(heavy, Millis(0));
        }
        for number in 0..200 {
            rate.add(DeviceId([number; 32]), Millis(0));
            assert!(rate.0.len() <= limits::EVICTIONS_COUNTED);
        }
        assert!(!rate.allows(&heavy, Millis(0)));
        rate.add(heavy, Millis(2 * limits::EVICTIONS_AT_ONCE * limits::EVICTION_EVERY_MS));
        assert_eq!(rate.0.len(), 1, "nothing is kept of devices that evict no more");
    }
}

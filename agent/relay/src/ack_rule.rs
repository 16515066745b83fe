//! Which acknowledgements a master's JVM may hear, and from where a slave may request (safety §1.8, H16, H17, H22).
//!
//! A request offset is an acknowledgement too: the JVM counts it before the first byte has flowed, and on 4.9 never
//! forgets it (rmq/RELAY R4, H22). So it is capped by what the JVM could know anyway.

/// How far a slave's own acknowledgement `own` may be told, where `all` are the acknowledgements of every proved
/// connection (`own` among them) and `k` of them must have a byte. `None` = nothing may be told.
pub(crate) fn allowed(own: u64, all: impl Iterator<Item = u64>, k: u32) -> Option<u64> {
    match usize::try_from(k) {
        Ok(0) => Some(own),
        Ok(k) => kth_largest(all, k).map(|kth| own.min(kth)),
        Err(_) => None,
    }
}

/// The k-th largest of `all`, counted from 1.
pub(crate) fn kth_largest(all: impl Iterator<Item = u64>, k: usize) -> Option<u64> {
    let mut all: Vec<u64> = all.collect();
    all.sort_unstable_by(|one, other| other.cmp(one));
    k.checked_sub(1).and_then(|index| all.get(index).copied())
}

/// From where to request for a slave whose log ends at `end`, so that `proof` bytes below it are compared, nothing
/// above `cap` is acknowledged, and the master (whose log begins at `min`) has it. Never 0: to the JVM 0 means "from
/// the start of your last file" (facts §4.4).
pub(crate) fn request(end: u64, proof: u64, cap: u64, min: u64) -> u64 {
    end.saturating_sub(proof).min(cap).max(min).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn k_slaves_must_have_it() {
        let acks = [100, 70, 50];
        let rule = |own, k| allowed(own, acks.into_iter(), k);
        assert_eq!(
            [rule(100, 0), rule(100, 1), rule(100, 2), rule(100, 3)],
            [Some(100), Some(100), Some(70), Some(50)]
        );
        assert_eq!(
            [rule(50, 1), rule(50, 2), rule(70, 3)],
            [Some(50), Some(50), Some(50)]
        );
        assert_eq!(rule(100, 4), None);
    }

    #[test]
    fn a_request_proves_a_tail_within_what_the_master_has() {
        assert_eq!(request(1_000_000, 65_536, 1_000_000, 0), 1_000_000 - 65_536);
        assert_eq!(request(1_000_000, 65_536, 500_000, 0), 500_000);
        assert_eq!(request(1_000_000, 65_536, 1_000_000, 990_000), 990_000);
        assert_eq!(request(1000, 65_536, 1000, 0), 1);
        assert_eq!(request(0, 65_536, 0, 4096), 4096);
        assert_eq!(request(0, 65_536, 0, 0), 1);
    }

    proptest! {
        /// Safety H22, rmq/RELAY R4: a request tells no more than the cap, begins where the master has bytes, and leaves
        /// the proof its length where the cap is no tighter.
        #[test]
        fn a_request_is_within_cap_and_log(
            end in 0_u64..1_000_000, proof in 0_u64..100_000, cap in 0_u64..1_000_000, min in 0_u64..1_000_000,
        ) {
            let from = request(end, proof, cap, min);
            prop_assert!(from >= 1 && from >= min);
            prop_assert!(from <= cap.max(min).max(1));
            prop_assert!(from <= end.saturating_sub(proof).max(min).max(1));
        }

        /// Nothing is told that a smaller k would not tell, and whoever has the least is told all of it when all count.
        #[test]
        fn a_larger_k_never_tells_more(acks in prop::collection::vec(0_u64..100, 1..6), k in 0_u32..7) {
            for own in &acks {
                let told = |k| allowed(*own, acks.iter().copied(), k);
                prop_assert!(told(k + 1) <= told(k));
                let all = u32::try_from(acks.len()).unwrap();
                prop_assert_eq!(told(all), acks.iter().min().copied());
            }
        }

        #[test]
        fn whatever_is_told_is_held_by_k(acks in prop::collection::vec(0_u64..100, 1..6), k in 1_u32..6) {
            for own in &acks {
                if let Some(told) = allowed(*own, acks.iter().copied(), k) {
                    let holders = acks.iter().filter(|ack| **ack >= told).count();
                    prop_assert!(holders >= k as usize && told <= *own);
                } else {
                    prop_assert!((k as usize) > acks.len());
                }
            }
        }
    }
}

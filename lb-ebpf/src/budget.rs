//! How many packets are answered with ICMP errors: whoever sends a flood gets no flood back.

/// Answers that a CPU gives in a window.
pub const ANSWERS: u32 = 32;

/// Length of the window in jiffies: 0.064 s at 1000 a second, 0.64 s at 100.
const WINDOW_JIFFIES: u64 = 64;

/// What a CPU has answered.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// The jiffy at which the window began.
    since: u64,
    answered: u32,
    pad: u32,
}

const _: () = assert!(size_of::<Budget>() == 16);

impl Budget {
    /// Whether one more answer may be given at this jiffy; then it counts as given.
    #[inline(always)]
    pub fn take(&mut self, jiffy: u64) -> bool {
        if jiffy.wrapping_sub(self.since) >= WINDOW_JIFFIES {
            *self = Self { since: jiffy, ..Self::default() };
        }
        if self.answered >= ANSWERS {
            return false;
        }
        self.answered += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(budget: &mut Budget, jiffy: u64, asked: u32) -> u32 {
        (0..asked).map(|_| u32::from(budget.take(jiffy))).sum()
    }

    #[test]
    fn a_window_has_so_many_answers_and_the_next_one_as_many() {
        let mut budget = Budget::default();
        assert_eq!(answered(&mut budget, 5_000, 20), 20);
        assert_eq!(answered(&mut budget, 5_063, 100), ANSWERS - 20);
        assert_eq!(answered(&mut budget, 5_064, 100), ANSWERS);
    }

    #[test]
    fn after_a_pause_nothing_is_saved_up() {
        let mut budget = Budget::default();
        assert_eq!(answered(&mut budget, 1, 1), 1);
        assert_eq!(answered(&mut budget, 1_000_000, 100), ANSWERS);
    }
}

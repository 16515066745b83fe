//! Local times. Nothing here is ever compared with another machine's clock (I8).

use core::time::Duration;
use serde::{Deserialize, Serialize};

macro_rules! instant {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// From milliseconds on this clock.
            pub const fn from_millis(ms: u64) -> Self {
                Self(ms)
            }

            /// Milliseconds on this clock.
            pub const fn as_millis(self) -> u64 {
                self.0
            }

            /// This time plus `span`, saturating.
            #[must_use]
            pub fn plus(self, span: Duration) -> Self {
                Self(self.0.saturating_add(millis(span)))
            }

            /// This time minus `span`, not before the clock's zero.
            #[must_use]
            pub fn minus(self, span: Duration) -> Self {
                Self(self.0.saturating_sub(millis(span)))
            }

            /// How long after `earlier` this is; zero when it is not.
            pub const fn since(self, earlier: Self) -> Duration {
                Duration::from_millis(self.0.saturating_sub(earlier.0))
            }
        }
    };
}

instant! {
    /// CLOCK_MONOTONIC of this machine in milliseconds: for waits that may safely last longer.
    Tick
}
instant! {
    /// CLOCK_BOOTTIME of this machine in milliseconds: for the holder's deadlines, which go on during a suspend (H5).
    Boot
}

/// Both local clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For waits.
    pub tick: Tick,
    /// For deadlines.
    pub boot: Boot,
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

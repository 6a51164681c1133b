//! What a group is doing and of which protocol it is, by Kafka's names.
//!
//! Must not know: requests.

use std::fmt;

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// What this client does not know, or the broker did not say.
            Unknown,
        }

        impl $name {
            /// All that have a name.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Kafka's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Unknown => "Unknown",
                }
            }

            /// The one of this name, whatever its case; unknown when there is none.
            #[must_use]
            pub fn from_name(name: &str) -> Self {
                let is_it = |it: &&Self| it.name().eq_ignore_ascii_case(name);
                Self::ALL.iter().find(is_it).copied().unwrap_or(Self::Unknown)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

names! {
    /// What a group is doing.
    GroupState {
        /// It has no members; it may have offsets.
        Empty = "Empty",
        /// Members have to join (classic).
        PreparingRebalance = "PreparingRebalance",
        /// All have joined, and wait for the leader's assignment (classic).
        CompletingRebalance = "CompletingRebalance",
        /// A new assignment is computed (KIP-848).
        Assigning = "Assigning",
        /// Members are on their way to the new assignment (KIP-848).
        Reconciling = "Reconciling",
        /// Everybody has its assignment.
        Stable = "Stable",
        /// It is being removed.
        Dead = "Dead",
        /// What it needs is not there (streams groups).
        NotReady = "NotReady",
    }
}

names! {
    /// By which protocol members take part.
    GroupType {
        /// JoinGroup and SyncGroup.
        Classic = "Classic",
        /// ConsumerGroupHeartbeat (KIP-848).
        Consumer = "Consumer",
        /// Share groups (KIP-932).
        Share = "Share",
        /// Streams groups (KIP-1071).
        Streams = "Streams",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for state in GroupState::ALL {
            assert_eq!(GroupState::from_name(&state.name().to_lowercase()), *state);
        }
        assert_eq!(GroupType::from_name("classic"), GroupType::Classic);
        assert_eq!(GroupType::from_name(""), GroupType::Unknown);
    }
}

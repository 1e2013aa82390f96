//! Machines as enums.

/// Declares a [`StateMachine`](crate::machine::StateMachine): a type for the machine, an enum of its
/// states, and its table, which is [checked](crate::machine::Table::check) while it compiles.
///
/// A state is `Name = "name" -> [Followers]`, or `-> end`, and `Name = "name" in Group -> ...` if it
/// belongs to a group. A group is a state that others are `in`: it is never entered, and its edges count
/// for all its members. See [`machine`](mod@crate::machine) for an example.
#[macro_export]
macro_rules! machine {
    (
        $(#[$machine_meta:meta])*
        $machine_visible:vis machine $machine:ident: $machine_name:literal, version $version:literal,
            starts $initial:ident;
        $(#[$state_meta:meta])*
        $state_visible:vis enum $states:ident {
            $(
                $(#[$row_meta:meta])*
                $state:ident = $name:literal $(in $group:ident)? -> $targets:tt
            ),+ $(,)?
        }
    ) => {
        $(#[$machine_meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        $machine_visible struct $machine;

        $(#[$state_meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $state_visible enum $states {
            $( $(#[$row_meta])* $state, )+
        }

        impl $crate::machine::State for $states {
            fn index(self) -> usize {
                self as usize
            }

            fn from_index(index: usize) -> Option<Self> {
                const ALL: &[$states] = &[$($states::$state),+];
                ALL.get(index).copied()
            }

            fn name(self) -> &'static str {
                match self {
                    $( Self::$state => $name, )+
                }
            }
        }

        impl $crate::machine::StateMachine for $machine {
            type State = $states;

            const TABLE: $crate::machine::Table = $crate::machine::Table {
                name: $machine_name,
                version: $version,
                initial: $states::$initial as usize,
                states: &[$(
                    $crate::machine::Row {
                        name: $name,
                        group: $crate::machine!(@group $states $($group)?),
                        end: $crate::machine!(@end $targets),
                        targets: $crate::machine!(@targets $states $targets),
                    },
                )+],
            };
        }

        const _: () = {
            use $crate::machine::{StateMachine, TableError};
            if let Err(error) = <$machine as StateMachine>::TABLE.check() {
                match error {
                    TableError::SameName(..) => panic!("two states have the same name"),
                    TableError::GroupInItself(_) => panic!("a group is a member of itself"),
                    TableError::EntersGroup(_) => panic!("an edge leads to a group"),
                    TableError::DuplicateEdge(..) => panic!("an edge is there twice"),
                    TableError::EndWithExit(_) => panic!("an end can be left"),
                    TableError::DeadEnd(_) => panic!("a state cannot be left and is no end"),
                    TableError::Unreachable(_) => panic!("nothing leads to a state"),
                    TableError::NeverEnds(_) => panic!("no end can be reached from a state"),
                    _ => panic!("the table has no states, too many, or one without a name"),
                }
            }
        };
    };
    (@group $states:ident) => { None };
    (@group $states:ident $group:ident) => { Some($states::$group as usize) };
    (@end end) => { true };
    (@end [$($target:ident),* $(,)?]) => { false };
    (@targets $states:ident end) => { &[] };
    (@targets $states:ident [$($target:ident),* $(,)?]) => { &[$($states::$target as usize),*] };
}

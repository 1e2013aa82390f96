//! Lists of batch sizes.

/// Most sizes in a list: the powers of two of a `u32`, and one more.
pub const MAX_SIZES: usize = 33;

/// Ascending batch sizes, at most [`MAX_SIZES`] of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    sizes: [u32; MAX_SIZES],
    len: u8,
}

/// Why a list of sizes is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SizesError {
    /// A size is 0.
    Zero,
    /// A size is not above the one before it.
    Order {
        /// That size.
        size: u32,
    },
    /// There are more than [`MAX_SIZES`].
    TooMany,
}

impl core::fmt::Display for SizesError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Zero => f.write_str("a size must be at least 1"),
            Self::Order { size } => write!(f, "sizes must ascend; {size} does not"),
            Self::TooMany => write!(f, "there are more than {MAX_SIZES} sizes"),
        }
    }
}

impl core::error::Error for SizesError {}

impl Sizes {
    /// No list: any size will do.
    pub const ANY: Self = Self { sizes: [0; MAX_SIZES], len: 0 };

    /// The sizes given, which must ascend.
    ///
    /// # Errors
    /// [`SizesError`] says what is wrong with them.
    pub const fn new(list: &[u32]) -> Result<Self, SizesError> {
        if list.len() > MAX_SIZES {
            return Err(SizesError::TooMany);
        }
        let mut sizes = [0; MAX_SIZES];
        let mut index = 0;
        while index < list.len() {
            if list[index] == 0 {
                return Err(SizesError::Zero);
            }
            if index > 0 && list[index] <= list[index - 1] {
                return Err(SizesError::Order { size: list[index] });
            }
            sizes[index] = list[index];
            index += 1;
        }
        Ok(Self { sizes, len: list.len() as u8 })
    }

    /// The sizes, ascending.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        &self.sizes[..usize::from(self.len)]
    }

    /// The largest one, if there is any.
    #[must_use]
    pub fn largest(&self) -> Option<u32> {
        self.as_slice().last().copied()
    }

    /// The smallest size that `items` fit in. `items` itself when there is no list, or they fit in none.
    #[must_use]
    pub fn up(&self, items: u32) -> u32 {
        self.as_slice().iter().copied().find(|&size| size >= items).unwrap_or(items)
    }

    /// The largest size that `items` fill, if they fill one. `items` itself when there is no list.
    #[must_use]
    pub fn down(&self, items: u32) -> Option<u32> {
        if self.len == 0 {
            return Some(items);
        }
        self.as_slice().iter().copied().rev().find(|&size| size <= items)
    }
}

impl core::fmt::Debug for Sizes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

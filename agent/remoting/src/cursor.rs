//! Big-endian reading of a byte slice that never goes past its end.

use crate::error::CodecError;

/// What is left to read.
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes. `field` names them in the error.
    pub(crate) fn take(
        &mut self,
        field: &'static str,
        count: usize,
    ) -> Result<&'a [u8], CodecError> {
        let Some((head, tail)) = self.rest.split_at_checked(count) else {
            return Err(CodecError::Truncated {
                field,
                need: count,
                have: self.rest.len(),
            });
        };
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], CodecError> {
        let Some((head, tail)) = self.rest.split_first_chunk::<N>() else {
            return Err(CodecError::Truncated {
                field,
                need: N,
                have: self.rest.len(),
            });
        };
        self.rest = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, CodecError> {
        self.array(field).map(u8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self, field: &'static str) -> Result<i16, CodecError> {
        self.array(field).map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self, field: &'static str) -> Result<i32, CodecError> {
        self.array(field).map(i32::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, CodecError> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self, field: &'static str) -> Result<i64, CodecError> {
        self.array(field).map(i64::from_be_bytes)
    }

    /// Bytes behind a 16-bit length.
    pub(crate) fn short_bytes(&mut self, field: &'static str) -> Result<&'a [u8], CodecError> {
        let length = self.i16(field)?;
        self.counted(field, i64::from(length))
    }

    /// Bytes behind a 32-bit length.
    pub(crate) fn long_bytes(&mut self, field: &'static str) -> Result<&'a [u8], CodecError> {
        let length = self.i32(field)?;
        self.counted(field, i64::from(length))
    }

    fn counted(&mut self, field: &'static str, length: i64) -> Result<&'a [u8], CodecError> {
        let count =
            usize::try_from(length).map_err(|_| CodecError::NegativeLength { field, length })?;
        self.take(field, count)
    }
}

/// The bytes as text, or an error that names the field.
pub(crate) fn text(field: &'static str, bytes: &[u8]) -> Result<String, CodecError> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| CodecError::NotUtf8 { field })
}

//! Reading big-endian fields.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{RecordFault, StoredHost};

/// Big-endian fields off the front of a slice; a field beyond the end is [`RecordFault::Short`].
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordFault> {
        let Some((field, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.short(N));
        };
        self.rest = rest;
        Ok(*field)
    }

    pub(super) fn take(&mut self, len: u32) -> Result<&'a [u8], RecordFault> {
        let needed = usize::try_from(len).unwrap_or(usize::MAX);
        let Some((field, rest)) = self.rest.split_at_checked(needed) else {
            return Err(self.short(needed));
        };
        self.rest = rest;
        Ok(field)
    }

    pub(super) fn skip(&mut self, len: u32) -> Result<(), RecordFault> {
        self.take(len).map(|_| ())
    }

    pub(super) fn u8(&mut self) -> Result<u8, RecordFault> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, RecordFault> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, RecordFault> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, RecordFault> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, RecordFault> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn host(&mut self, ipv6: bool) -> Result<StoredHost, RecordFault> {
        let ip = if ipv6 {
            IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))
        };
        Ok(StoredHost {
            ip,
            port: self.u32()?,
        })
    }

    fn short(&self, needed: usize) -> RecordFault {
        RecordFault::Short {
            needed,
            have: self.rest.len(),
        }
    }
}

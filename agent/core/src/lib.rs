//! The election: a pure function from what was seen to what is done.
#![no_std]

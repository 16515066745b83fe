//! A world of one agent, told in words.
pub mod show;
pub mod story;
pub mod words;
pub mod world;

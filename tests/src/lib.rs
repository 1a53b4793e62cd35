//! WHAT IS PROMISED. [`house`] reads this repository.
#![forbid(unsafe_code)]

pub mod house;

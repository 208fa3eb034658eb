//! placeholder, replaced in the next commits
#![no_std]
#![no_main]

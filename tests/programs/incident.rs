//! A real process for the tests that send real signals.
fn main() {}

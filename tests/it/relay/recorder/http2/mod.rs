//! The recorder's variant for HTTP/2: the client sends frames, and the upstream is the same as that
//! of HTTP/1.1.

mod frames;
mod script;
mod sides;

pub use script::steps;

use super::record;

/// Runs the script that these bytes encode and checks both sides. Panics at a fault.
pub fn run(data: &[u8]) {
    sides::check(&record(&steps(data)));
}

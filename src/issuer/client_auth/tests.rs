//! What client authentication lets in, and what not.
